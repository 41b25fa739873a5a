"""Notes each request, before anything else, in a file that is named after its process; then takes a moment.

The query string is FOLDER&REQUEST.
"""

import os
import time


def application(environ, start_response):
    folder, _, request = environ["QUERY_STRING"].partition("&")
    file = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(file, request.encode() + b"\n")  # at once: what is killed a moment later has noted it
    os.close(file)
    time.sleep(0.003)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
