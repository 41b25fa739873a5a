"""Says in which interpreter, thread and group it runs."""

import json
import threading
from concurrent import interpreters


def application(environ, start_response):
    answer = {
        "interpreter": interpreters.get_current().id,
        "thread": threading.get_native_id(),
        "group": environ["asyncgroups.application_group"],
    }
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
