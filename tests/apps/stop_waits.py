"""Answers with the request's body once there is a mark ``go``."""

import os
import time
from concurrent import interpreters
from pathlib import Path

import stop_marks


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    stop_marks.leave("running-" + environ["QUERY_STRING"])
    while not (Path(os.environ["STOP_MARKS"]) / "go").exists():
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def whoami(environ, start_response):
    start_response("200 OK", [])
    return [str(interpreters.get_current().id).encode()]
