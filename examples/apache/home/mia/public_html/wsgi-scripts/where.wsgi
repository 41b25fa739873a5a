"""Says in JSON where it runs, and under which URL; the same under Apache with mod_wsgi."""

import json
import os


def application(environ, start_response):
    answer = {
        "script": os.path.relpath(__file__),
        "process_group": environ["mod_wsgi.process_group"],
        "application_group": environ["mod_wsgi.application_group"],
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
        "SITE": environ["SITE"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer, indent=2).encode(), b"\n"]
