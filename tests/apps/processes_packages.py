"""Needs a package that one virtual environment has, and nobody else."""

import sys

import of_this_environment


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{sys.version_info.minor} {of_this_environment.__file__}".encode()]
