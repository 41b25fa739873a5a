"""A WSGI application without a framework: a line of JSON at any path."""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from place import place

__all__ = ["application"]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers any request."""
    body = json.dumps(place(environ)).encode() + b"\n"
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
