"""Counts its requests; a second script of the same user, in the same interpreter."""

import itertools
import json
from concurrent import interpreters

requests = itertools.count(1)


def application(environ, start_response):
    answer = {
        "requests": next(requests),
        "application_group": environ["mod_wsgi.application_group"],
        "interpreter": interpreters.get_current().id,
        "path_info": environ["PATH_INFO"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer, indent=2).encode(), b"\n"]
