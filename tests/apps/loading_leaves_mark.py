"""Creates the file that the environment names as soon as it is loaded."""

import os
from pathlib import Path

Path(os.environ["LOADING_MARK"]).touch()


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"loaded"]
