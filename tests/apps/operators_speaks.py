"""Misbehaves as QUERY_STRING says, in ways that an operator would have to read in the log."""

import sys
import threading

LINE_ENDS = "\n\r\x0b\x0c\x1c\x85\u2028"


def forged(way):
    """Text whose lines look like a record of the application group ``bank``, and which clears a terminal."""
    lines = "".join(
        f"{end}2026-01-01 00:00:00 +0000 [1] [CRITICAL] [bank #1] forged by {way}\x1b[2J\x9b2J" for end in LINE_ENDS
    )
    return f"l1{lines}\nend of {way}\n"


def application(environ, start_response):
    way, _, argument = environ["QUERY_STRING"].partition("=")
    headers = WAYS[way](environ, argument) or []
    start_response("200 OK", headers)
    return [b"said"]


def by_print(environ, argument):
    print(argument)  # noqa: T201


def by_print_and_stderr(environ, argument):
    print("printed before")  # noqa: T201
    sys.stderr.write("an error after\n")


def by_name_error(environ, argument):
    return arguments  # noqa: F821


def by_header(environ, argument):
    return [(f"X-Marker-{argument}", f"a{chr(int(argument, 16))}smuggled")]


def by_forging_stderr(environ, argument):
    sys.stderr.write(forged("stderr"))


def by_forging_stdout(environ, argument):
    sys.stdout.write(forged("stdout"))


def by_forging_wsgi_errors(environ, argument):
    environ["wsgi.errors"].write(forged("wsgi_errors"))


def by_forging_exception(environ, argument):
    raise LookupError(forged("exception"))


def by_forging_exit(environ, argument):
    sys.exit(forged("exit"))


def by_forging_thread(environ, argument):
    def fail():
        raise LookupError("in a thread")

    thread = threading.Thread(target=fail, name=forged("thread"))
    thread.start()
    thread.join()


WAYS = {name.removeprefix("by_"): function for name, function in list(globals().items()) if name.startswith("by_")}
