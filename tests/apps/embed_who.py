"""Says where it runs and what it was asked for; waits for a file if it is told to; leaves a mark when it ends."""

import atexit
import json
import os
import time
from concurrent import interpreters
from pathlib import Path

HERE = interpreters.get_current().id
requests = []


def leave(name):
    if "EMBED_MARKS" in os.environ:
        (Path(os.environ["EMBED_MARKS"]) / name).touch()


atexit.register(leave, f"atexit-{HERE}")


def application(environ, start_response):
    requests.append(environ["PATH_INFO"])
    if environ["QUERY_STRING"]:
        leave("waits")
        while not Path(environ["QUERY_STRING"]).exists():
            time.sleep(0.01)
    answer = {
        "interpreter": HERE,
        "group": environ["asyncgroups.application_group"],
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
        "requests": len(requests),
    }
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
