"""Signals that come when nobody expects them any more."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from asyncgroups import server


def test_a_signal_while_the_interpreters_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop has ended by then: the signal is the watchdog's, and no exception goes through the orderly end."""
    handlers: list[Any] = []

    async def serve(*_: object, **__: object) -> None:
        """It ends at once."""

    monkeypatch.setattr(server, "_own_signals", lambda stop, _: handlers.append(stop))
    monkeypatch.setattr(server, "_say_what_is_served", lambda *_: None)
    monkeypatch.setattr(server.hypercorn.asyncio, "serve", serve)
    lifecycle: Any = SimpleNamespace(start=lambda: None)
    nothing: Any = SimpleNamespace()
    assert asyncio.run(server._serve(lifecycle, nothing, nothing)) == 0
    handlers[0](signal.SIGTERM, None)
