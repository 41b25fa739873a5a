"""Says what the module mod_wsgi and the environ tell it."""

import importlib.util
import json
import sys
import threading

import mod_wsgi
import mod_wsgi.server

NAMES = ("version", "process_group", "application_group", "maximum_processes", "threads_per_process")


def application(environ, start_response):
    mod_wsgi.request_data()["mark"] = environ["QUERY_STRING"]
    try:
        mod_wsgi.subscribe_events(None)
    except TypeError as error:
        refused = str(error)
    outside = []

    def ask():
        try:
            mod_wsgi.request_data()
        except RuntimeError as error:
            outside.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    answer = {
        **{name: getattr(mod_wsgi, name) for name in NAMES},
        "environ": {name: value for name, value in environ.items() if name.startswith("mod_wsgi.")},
        "wrapper": environ["wsgi.file_wrapper"] is mod_wsgi.FileWrapper,
        "timeout": [one.__name__ for one in mod_wsgi.RequestTimeout.__mro__],
        "active": mod_wsgi.active_requests,
        "metrics": mod_wsgi.process_metrics(),
        "refused": refused,
        "outside": outside,
        "installed": mod_wsgi.server.WORD,
        "found": importlib.util.find_spec("mod_wsgi") is not None,
        "nothing": hasattr(mod_wsgi, "nothing"),
        "events": "asyncgroups.worker.events" in sys.modules,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
