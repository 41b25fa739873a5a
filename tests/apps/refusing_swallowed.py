"""Does without the module that refuses, and says nothing about it."""

import importlib
import os

try:
    refused = importlib.import_module(os.environ["REFUSED_MODULE"])
except ImportError:
    refused = os


def application(environ, start_response):
    start_response("200 OK", [])
    return [refused.__name__.encode()]
