"""A WSGI application behind somebody else's bridge: ``BRIDGE=a2wsgi uvicorn tests.bridge.peers:application``.

BRIDGE is a name of ``BRIDGES``; BRIDGED is the application, ``module:attribute``, by default that of ``probes.py``.
Imports nothing of ``asyncgroups``, and the bridge with the first event only. hypercorn has a bridge inside.

    with serving(command("asgiref"), environ={"BRIDGE": "asgiref"}) as server: ...
"""

import functools
import os
from importlib import import_module
from typing import Any

__all__ = ["BRIDGES", "application", "command"]

BRIDGES = {
    "a2wsgi": ("a2wsgi", "a2wsgi:WSGIMiddleware"),
    "asgiref": ("asgiref", "asgiref.wsgi:WsgiToAsgi"),
    "starlette": ("starlette", "starlette.middleware.wsgi:WSGIMiddleware"),
    "hypercorn": ("hypercorn", "hypercorn.middleware:AsyncioWSGIMiddleware"),
}
"""By the name of a bridge: its distribution, and its class, which any ASGI server runs."""

_BRIDGED = "bridge_probes:application"


def command(bridge: str, bridged: str = _BRIDGED) -> list[str]:
    """What to run after ``python`` to serve ``bridged``; BRIDGE is in the environment, and BRIDGED if it is another."""
    if bridge == "hypercorn":
        return ["-m", "hypercorn", "-b", "127.0.0.1:0", f"wsgi:{bridged}"]
    return ["-m", "uvicorn", "--port", "0", "--loop", "asyncio", "tests.bridge.peers:application"]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application that the bridge makes of the WSGI application."""
    await _wrapped()(scope, receive, send)


@functools.cache
def _wrapped() -> Any:
    _, bridge = BRIDGES[os.environ["BRIDGE"]]
    return _find(bridge)(_find(os.environ.get("BRIDGED", _BRIDGED)))


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
