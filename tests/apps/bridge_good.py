"""Applications that keep to PEP 3333; each runs inside ``wsgiref.validate`` as well (``bridge_validated``)."""

import hashlib
import io
import json
import sys
from pathlib import Path

__all__ = [
    "closeable",
    "cookies",
    "digest",
    "echo",
    "echo_lines",
    "empty_list",
    "empty_pieces",
    "environ",
    "errors",
    "exact_length",
    "exc_info_replaces",
    "exc_info_replaces_in_generator",
    "exc_info_replaces_length",
    "exc_info_replaces_no_content",
    "file",
    "file_like",
    "generator",
    "hello",
    "latin_1",
    "many_pieces",
    "no_content",
    "not_modified",
    "start_in_empty_generator",
    "start_in_generator",
    "tuple_of_pieces",
    "write_and_iterate",
    "write_only",
]

TEXT = [("Content-Type", "text/plain")]
FILE = Path(__file__)


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


def tuple_of_pieces(environ, start_response):
    start_response("200 OK", TEXT)
    return (b"one ", b"", b"two")


def generator(environ, start_response):
    start_response("200 OK", TEXT)

    def body():
        yield b"one "
        yield b"two "
        yield b"three"

    return body()


def many_pieces(environ, start_response):
    """More than a window, in pieces smaller and larger than a message."""
    start_response("200 OK", TEXT)
    for number in range(300):
        yield bytes([number % 251]) * (1 + number * number)


def start_in_generator(environ, start_response):
    start_response("201 Created", [*TEXT, ("X-From", "generator")])
    yield b"made"


def start_in_empty_generator(environ, start_response):
    start_response("404 Not Found", [*TEXT, ("X-From", "generator")])
    yield from ()


def empty_pieces(environ, start_response):
    start_response("200 OK", TEXT)
    yield b""
    yield b""
    yield b"at last"
    yield b""


def empty_list(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def write_only(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written ")
    write(b"twice")
    return []


def write_and_iterate(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written, ")
    return [b"then ", b"returned"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def exact_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    yield b"01234"
    yield b"56789"


def echo(environ, start_response):
    start_response("200 OK", TEXT)
    while block := environ["wsgi.input"].read(1000):
        yield block


def echo_lines(environ, start_response):
    start_response("200 OK", TEXT)
    stream = environ["wsgi.input"]
    first = stream.readline()
    return [first, *stream.readlines(), *stream]


def digest(environ, start_response):
    """Says in a few bytes what has arrived, so that a large upload needs no large response."""
    sum_ = hashlib.sha256()
    while block := environ["wsgi.input"].read(65536):
        sum_.update(block)
    start_response("200 OK", TEXT)
    return [sum_.hexdigest().encode()]


def exc_info_replaces(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    try:
        raise LookupError("before anything went out")
    except LookupError:
        start_response("503 Service Unavailable", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def exc_info_replaces_in_generator(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    yield b""
    try:
        raise LookupError("nothing but an empty piece was given")
    except LookupError:
        start_response("503 Service Unavailable", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    yield b"replaced"


def exc_info_replaces_length(environ, start_response):
    """Of the first Content-Length nothing is left."""
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    try:
        raise LookupError("before anything went out")
    except LookupError:
        start_response("503 Service Unavailable", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def exc_info_replaces_no_content(environ, start_response):
    """What has no body is replaced by what has one."""
    start_response("204 No Content", [])
    try:
        raise LookupError("before anything went out")
    except LookupError:
        start_response("503 Service Unavailable", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"replaced"]


def file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](FILE.open("rb"), 512)


def file_like(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"like a file"), 3)


class Closeable:
    closed = 0

    def __init__(self, environ, start_response):
        start_response("200 OK", [*TEXT, ("X-Closed-Before", str(Closeable.closed))])
        self._left = [b"class ", b"based"]

    def __iter__(self):
        return self

    def __next__(self):
        if not self._left:
            raise StopIteration
        return self._left.pop(0)

    def close(self):
        Closeable.closed += 1


closeable = Closeable


def cookies(environ, start_response):
    start_response("200 OK", [*TEXT, ("Set-Cookie", "a=1"), ("X-Between", "b"), ("Set-Cookie", "c=2")])
    return [b"cookies"]


def latin_1(environ, start_response):
    start_response("200 Très bien", [*TEXT, ("X-Name", "J\xfcrgen")])
    return [b"latin"]


def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("written to wsgi.errors: one\nand two\n")
    stream.writelines(["written by ", "writelines\n"])
    stream.write("unfinished line")
    stream.flush()
    start_response("200 OK", TEXT)
    return [b"see the log"]


def environ(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    plain = {name: value for name, value in environ.items() if type(value) in (str, bool, int, tuple)}
    return [json.dumps(plain).encode()]
