"""Flask, with a view that imports what it needs when it is asked."""

import importlib
import os

import flask

application = flask.Flask(__name__)


@application.get("/")
def view() -> str:
    importlib.import_module("readline")
    return str(os.getpid())
