"""Applications that did not leave their worker in order, or made others wait, in the first hostile review."""

import os
import threading
import time
from pathlib import Path

_both = threading.Barrier(2)


def mark(name):
    if "REGRESS_MARKS" in os.environ:
        (Path(os.environ["REGRESS_MARKS"]) / name).touch()


def marked(name):
    return "REGRESS_MARKS" in os.environ and (Path(os.environ["REGRESS_MARKS"]) / name).exists()


class _ReadsInClose:
    def __init__(self, environ):
        self._input = environ["wsgi.input"]
        self._chunks = iter([b"ok"])

    def __iter__(self):
        return self._chunks

    def close(self):
        self._input.read()


def reads_in_close(environ, start_response):
    """The whole response, and the request's body only in close()."""
    start_response("200 OK", [("Content-Length", "2")])
    return _ReadsInClose(environ)


def reads_afterwards(environ, start_response):
    """The whole response, and the request's body only after it."""
    start_response("200 OK", [("Content-Length", "2")])
    yield b"ok"
    environ["wsgi.input"].read()


def lasts(environ, start_response):
    """Works for as long as the query says, or until there is a mark "enough"; at /both only when two workers do."""
    if environ["PATH_INFO"] == "/both":
        _both.wait(10)
    mark("lasts")
    end = time.monotonic() + float(environ["QUERY_STRING"] or 0)
    while time.monotonic() < end and not marked("enough"):
        time.sleep(0.01)
    start_response("200 OK", [])
    return [b"lasted"]


def endless(environ, start_response):
    """More than anybody takes."""
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536
        mark("endless")


def well(environ, start_response):
    """Nothing is wrong with it."""
    start_response("200 OK", [])
    return [b"well"]
