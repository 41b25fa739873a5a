"""The same tiny answer from WSGI and from bare ASGI, and an application that computes for about 10 milliseconds."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from a2wsgi import WSGIMiddleware

BODY = b"Hello, world!\n"
_LENGTH = str(len(BODY))


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer at once."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", _LENGTH)])
    return [BODY]


def busy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Compute in Python, then answer."""
    total = 0
    for number in range(150_000):
        total += number * number
    return wsgi(environ, start_response)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The same answer without WSGI."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", _LENGTH.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


a2wsgi = WSGIMiddleware(wsgi)
