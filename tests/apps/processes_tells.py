"""Says where it runs, and does there what the query string tells it to."""

import atexit
import ctypes
import json
import os
import pathlib
import re
import sys
import threading
import time


def application(environ, start_response):
    word, _, argument = environ["QUERY_STRING"].partition("=")
    if word == "exit":
        os._exit(int(argument))
    elif word == "crash":
        ctypes.string_at(0)
    elif word == "print":
        sys.stdout.write(f"to stdout {argument}\n")
        sys.stderr.write(f"to stderr {argument}\n")
    elif word == "atexit":
        atexit.register(pathlib.Path(argument).touch)
    elif word == "eat":  # megabytes
        environ["eaten"] = bytearray(int(argument) << 20)
    elif word == "sleep":
        time.sleep(float(argument))
    elif word == "until":  # the file is there
        open(f"{argument}-{threading.current_thread().name}", "w").close()
        while not os.path.exists(argument):
            time.sleep(0.005)
    elif word == "gil":  # held for minutes, in C code
        open(argument, "w").close()
        re.match(r"(a+)+$", "a" * 40 + "b")
    umask = os.umask(0)
    os.umask(umask)
    body = json.dumps(
        {
            "pid": os.getpid(),
            "thread": threading.current_thread().name,
            "version": sys.version_info[:2],
            "is_main": threading.main_thread().name == "MainThread" and "asyncgroups.host" in sys.modules,
            "process_group": environ["asyncgroups.process_group"],
            "application_group": environ["asyncgroups.application_group"],
            "multithread": environ["wsgi.multithread"],
            "multiprocess": environ["wsgi.multiprocess"],
            "variables": {name: os.environ.get(name) for name in ("ONE", "TWO")},
            "argv": sys.argv,
            "cwd": os.getcwd(),
            "umask": umask,
            "user": [os.getuid(), os.getgid()],
            "path": sys.path,
            "groups": sorted(os.getgroups()),
            "nice": os.nice(0),
        }
    ).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
