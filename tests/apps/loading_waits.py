"""Does not finish loading before somebody has written into the FIFO that the environment names."""

import os

with open(os.environ["LOADING_FIFO"]) as fifo:
    fifo.read()


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"loaded at last"]
