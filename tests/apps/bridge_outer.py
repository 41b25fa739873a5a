"""ASGI middleware around ``asyncgroups.asgi``: a request's X-Outer says which."""

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from asyncgroups.asgi import application as inner


async def dispatch(request, call_next):
    response = await call_next(request)
    response.headers["X-Dispatched"] = "yes"
    return response


async def raises(scope, receive, send):
    """Breaks down when the response comes its way."""

    async def send_on(event):
        raise LookupError("on the way out")

    await inner(scope, receive, send_on)


OUTER = {
    b"": inner,
    b"base": BaseHTTPMiddleware(inner, dispatch),
    b"gzip": GZipMiddleware(inner, minimum_size=1),
    b"raises": raises,
}


async def application(scope, receive, send):
    await OUTER[dict(scope.get("headers", [])).get(b"x-outer", b"")](scope, receive, send)
