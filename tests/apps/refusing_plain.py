"""Imports an extension module that refuses to be loaded in an interpreter of its own."""

import importlib
import os

refused = importlib.import_module(os.environ["REFUSED_MODULE"])


def application(environ, start_response):
    start_response("200 OK", [])
    return [refused.__name__.encode()]
