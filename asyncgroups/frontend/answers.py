"""Answers that the front end gives itself, without an application. Imports ``errors``.

The body says no more than the status does: what went wrong is in the log.
"""

from http import HTTPStatus

import anyio
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

from asyncgroups.errors import ApplicationGroupsError

__all__ = ["DRAIN_BYTES", "DRAIN_SECONDS", "answer"]

DRAIN_BYTES = 1024 * 1024
DRAIN_SECONDS = 2.0


async def answer(
    send: ASGISendCallable,
    error: ApplicationGroupsError,
    *,
    method: str,
    receive: ASGIReceiveCallable | None = None,
) -> None:
    """Answer with the status of ``error``.

    ``receive`` is given where the request's body has not been read to its end: servers close such a connection after
    the response, and a client that is still sending may lose the response with it (RFC 9112 section 9.6). So the rest
    is read and dropped, within bounds, before the response ends. A client that has left is no error.
    """
    body = f"{error.status} {HTTPStatus(error.status).phrase}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if method == "HEAD":
        body = b""
    try:
        await send({"type": "http.response.start", "status": error.status, "headers": headers, "trailers": False})
        if receive is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await _drain(receive)
            body = b""
        await send({"type": "http.response.body", "body": body, "more_body": False})
    except OSError:
        pass  # ASGI specification, "Disconnected Client": nobody is there to answer


async def _drain(receive: ASGIReceiveCallable) -> None:
    dropped = 0
    with anyio.move_on_after(DRAIN_SECONDS):
        while dropped < DRAIN_BYTES:
            event = await receive()
            if event["type"] != "http.request" or not event.get("more_body", False):
                return
            dropped += len(event.get("body", b""))
