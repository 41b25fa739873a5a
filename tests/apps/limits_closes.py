"""An iterable that never comes to its first chunk, and leaves a mark when it is closed.

It leaves others the CPU.
"""

import time

import stop_marks


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        stop_marks.leave("iterates")
        while True:
            time.sleep(0.002)

    def close(self):
        stop_marks.leave("closed")


def application(environ, start_response):
    start_response("200 OK", [])
    return Endless()
