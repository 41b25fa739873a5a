"""ASGI events that are taken, and given back to who asks next. Standard library."""

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Before"]


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
