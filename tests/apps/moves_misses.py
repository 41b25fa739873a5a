"""Goes on without what refuses, and then cannot do without it."""

import os

try:
    import readline
except ImportError:
    readline = None

length = readline.get_history_length()


def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
