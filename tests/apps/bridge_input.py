"""Does to ``wsgi.input`` what the query string says; what came of it is compared with ``io.BytesIO``."""

import json
from urllib.parse import unquote


def perform(stream, calls):
    """The results of ``calls``, pairs of a method's name and its arguments."""
    results = []
    for name, *arguments in calls:
        if name == "next":
            results.append(next(stream, b"the end"))
        elif name == "iter":
            results.append(list(stream))
        else:
            results.append(getattr(stream, name)(*arguments))
    return results


def application(environ, start_response):
    calls = json.loads(unquote(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(perform(environ["wsgi.input"], calls)).encode()]
