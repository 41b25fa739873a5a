"""Applications that can be watched and held: what they tell goes into files, and what they wait for is a file.

``QUERY_STRING`` is the folder of those files. ``closed`` in it tells of each close(): the identifiers of the thread
that ran the application and of the one that ran close().
"""

import gzip
import io
import os
import threading
import time
from pathlib import Path

TEXT = [("Content-Type", "text/plain")]
BLOCK = b"x" * 65536


def note(folder, name, text=""):
    file = Path(folder) / name
    draft = file.with_suffix(".draft")
    draft.write_text((file.read_text() if file.exists() else "") + f"{text}\n")
    draft.replace(file)  # whoever sees the file sees the text


def wait(folder, name, seconds=20):
    deadline = time.monotonic() + seconds
    while not (Path(folder) / name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.002)


class Closing:
    """Passes pieces on, and notes close()."""

    def __init__(self, folder, pieces):
        self._folder = folder
        self._pieces = iter(pieces)
        self._thread = threading.get_ident()

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._pieces)

    def close(self):
        note(self._folder, "closed", f"{self._thread} {threading.get_ident()} {time.monotonic()}")


def pieces(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], [b"one", b"two"])


def nothing(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], [])


def exact(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "6")])
    return Closing(environ["QUERY_STRING"], [b"one", b"two"])


def too_much(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "6")])
    return Closing(environ["QUERY_STRING"], [b"one", b"two", b"three"])


def too_little(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "60")])
    return Closing(environ["QUERY_STRING"], [b"one", b"two"])


def text(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], [b"one", "two"])


def no_start(environ, start_response):
    return Closing(environ["QUERY_STRING"], [b"one", b"two"])


def failing(environ, start_response):
    def body():
        yield b"one"
        raise LookupError

    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], body())


def exiting(environ, start_response):
    def body():
        yield b"one"
        raise SystemExit

    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], body())


def wrapped(environ, start_response):
    """A file that notes its close(), in ``wsgi.file_wrapper``."""

    class File:
        def __init__(self):
            self._thread = threading.get_ident()
            self._file = io.BytesIO(b"a file of sorts")

        def read(self, size):
            return self._file.read(size)

        def close(self):
            self._file.close()
            note(environ["QUERY_STRING"], "closed", f"{self._thread} {threading.get_ident()} {time.monotonic()}")

    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](File())


KEPT = []
"""Generators that only close() ends: they are not left to the garbage collector."""


def tidies(environ, start_response):
    """A plain generator, whose ``finally`` notes what ``Closing`` notes; ``wsgi.input`` says how it ends."""
    folder, thread = environ["QUERY_STRING"], threading.get_ident()
    end = environ["wsgi.input"].read()

    def body():
        try:
            yield b"a part "
            if end == b"fails":
                raise LookupError
            while end == b"goes on":
                yield BLOCK
            yield b"and another"
        finally:
            note(folder, "closed", f"{thread} {threading.get_ident()} {time.monotonic()}")

    start_response("200 OK", TEXT)
    KEPT.append(body())
    return KEPT[-1]


def endless(environ, start_response):
    """Counts in ``produced`` the bytes it has given."""
    folder = environ["QUERY_STRING"]
    descriptor = os.open(Path(folder) / "produced", os.O_WRONLY | os.O_CREAT)

    def body():
        produced = 0
        try:
            while True:
                produced += len(BLOCK)
                os.pwrite(descriptor, b"%020d" % produced, 0)
                yield BLOCK
        finally:
            os.close(descriptor)

    start_response("200 OK", TEXT)
    return Closing(folder, body())


def endless_drops(environ, start_response):
    """A small piece now and then, as an event stream does."""

    def body():
        while True:
            yield b"drop\n"
            time.sleep(0.02)

    start_response("200 OK", TEXT)
    return Closing(environ["QUERY_STRING"], body())


def endless_writes(environ, start_response):
    write = start_response("200 OK", TEXT)
    try:
        while True:
            write(BLOCK)
    except OSError as error:
        note(environ["QUERY_STRING"], "error", type(error).__name__)
        raise


def reads_on(environ, start_response):
    """Notes what ``read()`` does."""
    folder = environ["QUERY_STRING"]
    note(folder, "reading")
    try:
        body = environ["wsgi.input"].read()
    except OSError as error:
        note(folder, "read", f"{type(error).__name__}")
        raise
    note(folder, "read", f"{len(body)} bytes")
    start_response("200 OK", TEXT)
    return Closing(folder, [b"read"])


def answers_then_reads(environ, start_response):
    """Answers with what it has as soon as it has it."""
    start_response("200 OK", TEXT)
    stream = environ["wsgi.input"]
    yield b"[" + stream.read(5) + b"]"
    yield b"[" + stream.read() + b"]"


def answers_at_once(environ, start_response):
    """Never looks at the body."""
    start_response("200 OK", TEXT)
    return [b"early"]


def streams_at_once(environ, start_response):
    """Never looks at the body, and takes two pieces to answer."""
    start_response("200 OK", TEXT)
    yield b"ear"
    yield b"ly"


def holds(environ, start_response):
    """Notes ``held``, and answers when ``go`` is there."""
    folder = environ["QUERY_STRING"]
    note(folder, "held")
    wait(folder, "go")
    start_response("200 OK", TEXT)
    return [b"let go"]


def holds_upload(environ, start_response):
    """Reads nothing until ``go`` is there; then counts."""
    folder = environ["QUERY_STRING"]
    note(folder, "held")
    wait(folder, "go")
    read = 0
    while block := environ["wsgi.input"].read(65536):
        read += len(block)
    start_response("200 OK", TEXT)
    return [str(read).encode()]


def holds_in_close(environ, start_response):
    """The whole response is out when close() begins, which ends when ``go`` is there."""
    folder = environ["QUERY_STRING"]

    class Body:
        def __iter__(self):
            return iter([b"whole"])

        def close(self):
            note(folder, "held")
            wait(folder, "go")
            note(folder, "closed")

    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Body()


def sends_file(environ, start_response):
    """The file ``large`` of the folder."""
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"]((Path(environ["QUERY_STRING"]) / "large").open("rb"))


def sends_rest_of_file(environ, start_response):
    """From the position at which the file stands, and no more than Content-Length."""
    file = (Path(environ["QUERY_STRING"]) / "large").open("rb")
    file.seek(3)
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    return environ["wsgi.file_wrapper"](file)


def sends_short_file(environ, start_response):
    """A file that is shorter than Content-Length says."""
    start_response("200 OK", [*TEXT, ("Content-Length", "1000")])
    return environ["wsgi.file_wrapper"]((Path(environ["QUERY_STRING"]) / "large").open("rb"))


def sends_compressed_file(environ, start_response):
    """A GzipFile has a fileno(), of the compressed file: the text is to go out."""
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](gzip.open(Path(environ["QUERY_STRING"]) / "compressed"))


def thread(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(threading.get_ident()).encode()]


def starts_and_holds(environ, start_response):
    """Calls start_response(), and has nothing to say before ``go`` is there."""
    folder = environ["QUERY_STRING"]
    start_response("201 Created", TEXT)
    yield b""
    note(folder, "held")
    wait(folder, "go")
    yield b"let go"
