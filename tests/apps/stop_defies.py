"""Loops until somebody leaves the mark ``enough``, and catches whatever is raised in it. It leaves others the CPU."""

import os
import time
from pathlib import Path

import stop_marks

enough = Path(os.environ["STOP_MARKS"]) / "enough"


def application(environ, start_response):
    stop_marks.leave("defies")
    while not enough.exists():
        try:
            while not enough.exists():  # a loop of its own: what ends an outer one is not within `try`
                time.sleep(0.002)
        except BaseException:
            continue
    start_response("200 OK", [])
    return [b"enough"]
