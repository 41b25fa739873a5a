"""What an exchange knows of its ASGI events: those that it has taken and not used, and how far the response is.

Standard library only.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Before", "Progress"]


class Before:
    """A ``receive`` that first returns an event it was given."""

    def __init__(self, event: Any, receive: Callable[[], Awaitable[Any]]) -> None:
        self._event = event
        self._receive = receive

    def __repr__(self) -> str:
        return f"<Before {self._receive!r}: {'an event' if self._event is not None else 'nothing'}>"

    async def __call__(self) -> Any:
        if self._event is None:
            return await self._receive()
        event, self._event = self._event, None
        return event


class Progress(enum.Enum):
    """How far the response is; on its way from the worker, not to the client."""

    WAITING = "the worker has not started it"
    STARTED = "a part of it has been sent"
    COMPLETE = "the worker has said all of it"
