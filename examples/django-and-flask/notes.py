"""A Flask application: notes, kept in the memory of its interpreter."""

from flask import Flask, Response, jsonify, redirect, render_template_string, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from place import place

__all__ = ["app"]

app = Flask(__name__)
notes: list[str] = []

PAGE = """<!doctype html>
<title>Notes</title>
<h1>Notes</h1>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<form method="post" action="{{ url_for('add') }}"><input name="note" autofocus> <button>Add</button></form>
<p><a href="{{ url_for('where') }}">Where does this run?</a></p>
"""


@app.get("/")
def index() -> str:
    """Shows the notes and a form."""
    return render_template_string(PAGE, notes=notes)


@app.post("/")
def add() -> AnyResponse:
    """Adds a note; the redirect stays below the mount, since Flask reads SCRIPT_NAME."""
    notes.append(request.form["note"])
    return redirect(url_for("index"))


@app.get("/where")
def where() -> Response:
    """Shows where the application runs."""
    return jsonify(place(request.environ))
