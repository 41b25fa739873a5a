"""A WSGI application that says in JSON which group, interpreter and thread it runs in."""

import itertools
import json
import threading
from collections.abc import Iterable
from concurrent import interpreters
from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["application"]

requests = itertools.count(1)
"""One for each interpreter, like every other global variable."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers any request."""
    answer = {
        "application_group": environ.get("asyncgroups.application_group"),
        "interpreter": interpreters.get_current().id,
        "thread": threading.get_ident(),
        "requests": next(requests),
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
    }
    body = json.dumps(answer, indent=2).encode() + b"\n"
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
