"""Sleeps in C, and holds the GIL."""

import ctypes

import stop_marks


def application(environ, start_response):
    stop_marks.leave("holds")
    seconds = 120
    while seconds > 0:
        seconds = ctypes.PyDLL(None).sleep(seconds)
    start_response("200 OK", [])
    return [b"slept"]
