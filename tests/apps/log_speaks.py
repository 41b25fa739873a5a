"""Says what PATH_INFO asks for, in the way that QUERY_STRING names."""

import logging
import sys
import threading
import warnings

logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s")


def application(environ, start_response):
    WAYS[environ["QUERY_STRING"]](environ)
    start_response("200 OK", [])
    return [b"said"]


def by_print(environ):
    print("one line")  # noqa: T201


def by_unfinished_print(environ):
    print("an unfinished line", end="")  # noqa: T201


def by_lines(environ):
    sys.stdout.write("first line\nsecond line\n")


def by_stderr(environ):
    print("to stderr", file=sys.stderr)  # noqa: T201


def by_wsgi_errors(environ):
    environ["wsgi.errors"].write("to wsgi.errors\n")


def by_unfinished_wsgi_errors(environ):
    environ["wsgi.errors"].write("unfinished")


def by_logging(environ):
    logging.getLogger("shop").info("sold out")


def by_warning(environ):
    warnings.warn("old-fashioned", DeprecationWarning, stacklevel=1)
    warnings.warn("look out", UserWarning, stacklevel=1)


def by_exception(environ):
    raise LookupError("nobody is at home")


def by_exit(environ):
    sys.exit("enough")


def by_thread(environ):
    def fail():
        raise LookupError("nobody is in the thread")

    thread = threading.Thread(target=fail, name="side")
    thread.start()
    thread.join()


WAYS = {name.removeprefix("by_"): function for name, function in list(globals().items()) if name.startswith("by_")}
