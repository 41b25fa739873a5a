"""Makes another exception of the refusal."""

import importlib
import os

try:
    refused = importlib.import_module(os.environ["REFUSED_MODULE"])
except ImportError:
    raise RuntimeError("the installation is broken") from None


def application(environ, start_response):
    start_response("200 OK", [])
    return [refused.__name__.encode()]
