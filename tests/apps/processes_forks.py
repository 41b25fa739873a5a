"""Has a child that stays, with all descriptors of its process; says its number."""

import os
import time


def application(environ, start_response):
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(child).encode()]
