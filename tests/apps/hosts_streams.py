"""Two pieces, of which the second is made only when another request has asked for it."""

import threading

asked = threading.Event()


def streams(environ, start_response):
    asked.clear()
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    if not asked.wait(20):
        raise TimeoutError("nobody has asked for the second piece")
    yield b"second"


def ask(environ, start_response):
    asked.set()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"asked"]
