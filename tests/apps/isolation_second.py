"""Another application for the group of ``isolation_probe``."""

import json
from concurrent import interpreters

import isolation_shared


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"interpreter": interpreters.get_current().id, "calls": next(isolation_shared.calls)}).encode()]
