"""Holds the GIL longer than anybody waits."""

import re

import regress_apps


def application(environ, start_response):
    regress_apps.mark("matching")
    re.match(r"(a+)+$", "a" * 60 + "b")
    return []
