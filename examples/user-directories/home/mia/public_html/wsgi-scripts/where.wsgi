"""Says in JSON where it runs, and under which URL."""

import json
from concurrent import interpreters


def application(environ, start_response):
    answer = {
        "user": "mia",
        "application_group": environ["mod_wsgi.application_group"],
        "interpreter": interpreters.get_current().id,
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer, indent=2).encode(), b"\n"]
