"""A framework that reads CONTENT_LENGTH bytes, or, only where ``wsgi.input_terminated`` is there, to the end."""

from flask import Flask, request

application = Flask(__name__)


@application.post("/")
def echo():
    return request.get_data()
