"""A WSGI application that says in JSON in which process and interpreter it runs, and with which settings."""

import json
import os
from collections.abc import Iterable
from concurrent import interpreters
from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["application"]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers any request."""
    answer = {
        "process_group": environ.get("asyncgroups.process_group"),
        "application_group": environ.get("asyncgroups.application_group"),
        "process": os.getpid(),
        "interpreter": interpreters.get_current().id,
        "one of several": environ["wsgi.multiprocess"],
        "niceness": os.nice(0),
        "REPORTS": os.environ.get("REPORTS"),
    }
    body = json.dumps(answer, indent=2).encode() + b"\n"
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
