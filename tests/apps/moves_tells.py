"""Says where it runs and what it was sent, and does what the query string tells it to."""

import hashlib
import importlib
import json
import os
import threading
import time

if os.environ.get("NEEDS"):  # an extension module that refuses, or not
    importlib.import_module(os.environ["NEEDS"])
if os.environ.get("OPTIONAL"):
    try:
        importlib.import_module(os.environ["OPTIONAL"])
    except ImportError:
        pass
if os.environ.get("GATE"):  # a file that ends the import when it is there
    open(os.environ["GATE"] + ".reached", "w").close()
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.005)


def application(environ, start_response):
    word, _, argument = environ["QUERY_STRING"].partition("=")
    if word == "needs":
        importlib.import_module(argument)
    elif word == "late":  # a part of the response has gone out by then
        write = start_response("200 OK", [("Content-Length", "9")])
        write(b"begun")
        importlib.import_module(argument)
    elif word == "optional":
        try:
            importlib.import_module(argument)
        except ImportError:
            pass
    elif word == "until":  # the file is there
        open(f"{argument}.reached", "w").close()
        while not os.path.exists(argument):
            time.sleep(0.005)
    body = environ["wsgi.input"].read()
    answer = {
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "group": environ["mod_wsgi.application_group"],
        "process_group": environ["mod_wsgi.process_group"],
        "multithread": environ["wsgi.multithread"],
        "multiprocess": environ["wsgi.multiprocess"],
        "variables": [os.environ.get(name) for name in ("ONE", "TWO", "THREE")],
        "length": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
