"""A Flask application of one page."""

from flask import Flask

application = Flask(__name__)


@application.get("/")
def page():
    return "Hello, world!\n"
