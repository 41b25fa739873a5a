"""Takes its time to load, and says that it has."""

import os
import sys
import time

time.sleep(0.3)
sys.stdout.write(f"loaded in {os.getpid()}\n")


def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
