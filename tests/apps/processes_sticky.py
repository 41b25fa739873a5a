"""Says in which process it runs, and which cookies it was sent."""

import os
import time


def application(environ, start_response):
    if environ["QUERY_STRING"].startswith("until="):
        argument = environ["QUERY_STRING"].partition("=")[2]
        open(f"{argument}-{os.getpid()}", "w").close()
        while not os.path.exists(argument):
            time.sleep(0.005)
    if environ["QUERY_STRING"] == "raise":
        raise RuntimeError("as asked for")
    body = f"{os.getpid()} {environ.get('HTTP_COOKIE')}".encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
