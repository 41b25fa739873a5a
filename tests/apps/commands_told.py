"""Answers what it was told of the request, as JSON."""

import json

NAMES = ("SCRIPT_NAME", "PATH_INFO", "asyncgroups.process_group", "asyncgroups.application_group")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ[name] for name in NAMES]).encode()]
