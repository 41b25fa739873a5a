"""An application whose import is 3 seconds of Python work, measured in CPU time of the thread that imports it."""

import time

SECONDS = 3.0

_end = time.thread_time() + SECONDS
while time.thread_time() < _end:
    sum(number * number for number in range(1000))


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    return [b"1"]
