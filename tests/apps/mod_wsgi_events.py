"""Keeps what mod_wsgi tells it of its requests, and does what the path says; for Apache as well as for asyncgroups."""

import atexit
import json
import sys

import mod_wsgi

seen = []


def note(name, **facts):
    if name == "process_stopping":
        return None
    if name == "request_started" and facts["request_environ"]["PATH_INFO"] == "/seen":
        facts["request_data"]["quiet"] = True
    if "quiet" in facts["request_data"]:
        return None
    assert facts["request_data"] is mod_wsgi.request_data()
    told = {key: facts[key] for key in ("response_status", "input_length", "output_length") if key in facts}
    if facts.get("exception_info"):
        told["exception"] = facts["exception_info"][0].__name__
    seen.append([name, told, sorted(facts)])
    if name == "request_started" and facts["request_environ"]["PATH_INFO"] == "/wrapped":
        return {"application_object": wrapped}
    if name == "response_started":
        return {"response_status": "418 ignored"}
    return None


def fail(name, **facts):
    if facts.get("request_environ", {}).get("PATH_INFO") == "/unheard":
        raise LookupError("a subscriber that fails")


def stopping(name, **facts):
    say(f"{name} {facts}")


def say(words):
    sys.stderr.write(f"{mod_wsgi.application_group or 'main'}: {words}\n")
    sys.stderr.flush()


mod_wsgi.subscribe_events(note)
mod_wsgi.subscribe_events(fail)
atexit.register(say, "atexit")
mod_wsgi.subscribe_shutdown(stopping)


class Closing:
    def __iter__(self):
        yield b"a"
        yield b"b"

    def close(self):
        raise KeyError("close")


def late():
    yield b"a"
    raise ValueError("late")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    status, body = "200 OK", [b"ok"]
    if path == "/seen":
        taken = seen[:]
        del seen[: len(taken)]
        body = [json.dumps(taken).encode()]
    elif path == "/raise":
        raise ZeroDivisionError
    elif path == "/nothing":
        return body
    elif path == "/late":
        body = late()
    elif path == "/close":
        body = Closing()
    elif path == "/body":
        status = "201 Created"
        body = [environ["wsgi.input"].read(3), environ["wsgi.input"].read()]
    elif path == "/changed":
        start_response(status, [])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Changed", [], sys.exc_info())
        return body
    elif path == "/file":
        body = environ["wsgi.file_wrapper"](open(__file__, "rb"))  # noqa: SIM115 - the wrapper closes it
    elif path == "/loops":
        try:
            while True:
                pass
        except mod_wsgi.RequestTimeout:
            say("it was RequestTimeout")
            raise
    start_response(status, [])
    return body


def wrapped(environ, start_response):
    start_response("202 Wrapped", [])
    return [b"wrapped"]
