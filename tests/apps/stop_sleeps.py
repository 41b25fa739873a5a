"""Sleeps in C, with the GIL released."""

import ctypes

import stop_marks


def application(environ, start_response):
    stop_marks.leave("sleeps")
    seconds = int(environ["QUERY_STRING"] or 120)
    while seconds > 0:  # a signal may end the sleep of any thread
        seconds = ctypes.CDLL(None).sleep(seconds)
    start_response("200 OK", [])
    return [b"slept"]
