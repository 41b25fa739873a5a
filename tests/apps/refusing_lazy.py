"""Imports the module that refuses with the request."""

import importlib
import os


def application(environ, start_response):
    refused = importlib.import_module(os.environ["REFUSED_MODULE"])
    start_response("200 OK", [])
    return [refused.__name__.encode()]
