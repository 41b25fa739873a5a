"""The old application: a guestbook in Flask, which knows nothing of FastAPI, of ASGI or of where it is mounted."""

import sys
import threading
from concurrent import interpreters

from flask import Flask, Response, jsonify, redirect, render_template_string, request, url_for
from werkzeug.wrappers import Response as AnyResponse

__all__ = ["app"]

app = Flask(__name__)
guests: list[str] = []

PAGE = """<!doctype html>
<title>Guestbook</title>
<h1>Guestbook</h1>
<ul>{% for guest in guests %}<li>{{ guest }}</li>{% endfor %}</ul>
<form method="post" action="{{ url_for('sign') }}"><input name="name" autofocus> <button>Sign</button></form>
<p><a href="{{ url_for('where') }}">Where does this run?</a></p>
"""


@app.get("/")
def index() -> str:
    """Shows the guests and a form."""
    return render_template_string(PAGE, guests=guests)


@app.post("/")
def sign() -> AnyResponse:
    """Adds a guest; the redirect stays below the mount, since Flask reads SCRIPT_NAME."""
    guests.append(request.form["name"])
    return redirect(url_for("index"))


@app.get("/where")
def where() -> Response:
    """Shows where the application runs."""
    return jsonify(
        application_group=request.environ["asyncgroups.application_group"],
        interpreter=interpreters.get_current().id,
        thread=threading.get_ident(),
        imported=[framework for framework in ("fastapi", "flask") if framework in sys.modules],
        script_name=request.environ["SCRIPT_NAME"],
    )
