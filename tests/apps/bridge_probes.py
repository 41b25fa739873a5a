"""What ``tests/bridge/probes.py`` serves: every application of the ``bridge_`` modules of this folder, and a few more.

Standard library only: other bridges run it as well. ``QUERY_STRING`` is a folder, as in ``bridge_life``.
"""

from importlib import import_module
from pathlib import Path

from bridge_life import note, wait

TEXT = [("Content-Type", "text/plain")]
PIECE = b"x" * 65536


def application(environ, start_response):
    """``/MODULE/NAME`` is the application ``NAME`` of ``MODULE``."""
    _, module, name, *_ = environ["PATH_INFO"].split("/")
    if not module.startswith("bridge_"):
        raise LookupError(module)
    return getattr(import_module(module), name)(environ, start_response)


def much(environ, start_response):
    """48 MiB in pieces of 64 KiB; ``produced`` says how many of them there were so far."""
    folder = Path(environ["QUERY_STRING"])
    start_response("200 OK", TEXT)
    for number in range(768):
        (folder / "produced").write_text(str(number))
        yield PIECE


def counts_and_holds(environ, start_response):
    """Counts what comes; then ``held`` says so, and the answer comes when ``go`` is there."""
    folder = environ["QUERY_STRING"]
    count = 0
    while piece := environ["wsgi.input"].read(65536):
        count += len(piece)
    note(folder, "held")
    wait(folder, "go")
    start_response("200 OK", TEXT)
    return [str(count).encode()]
