"""Matches a regular expression that takes longer than anybody waits, and holds the GIL."""

import re

import stop_marks


def application(environ, start_response):
    stop_marks.leave("matches")
    re.match(r"(a+)+$", "a" * 60 + "b")
    start_response("200 OK", [])
    return [b"matched"]
