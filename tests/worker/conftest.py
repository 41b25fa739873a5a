"""The front end's side of a conversation with a worker, played by the tests over a real channel."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from asyncgroups.worker.exchange import Exchange


class Front:
    """The front end's end of a channel, and the exchange at its other end."""

    def __init__(self, body: bytes, *, complete: bool) -> None:
        self.channel, descriptor = pair()
        self.worker = Channel(descriptor, blocking=True)
        self.exchange = Exchange(self.worker, 7, body=body, complete=complete)

    def say(self, *frames: bytes) -> None:
        for frame in frames:
            self.channel.say(frame)

    def hear(self) -> list[tuple[int, bytes]]:
        """What the worker has sent by now."""
        heard = []
        while (frame := self.channel.receive_nowait()) is not None:
            heard.append(frame)
        return heard

    def close(self) -> None:
        self.channel.close()
        self.worker.close()


Conversing = Callable[..., AbstractContextManager[Front]]


@pytest.fixture(scope="session")
def front() -> Conversing:
    """``front(pieces)``: an exchange whose request body has these pieces, the first in REQUEST itself.

    With ``aborted`` the body does not end: the client leaves after the last piece.
    """

    @contextmanager
    def front(pieces: Iterable[bytes] = (), *, aborted: str | None = None) -> Iterator[Front]:
        pieces = list(pieces)
        first = pieces[0] if pieces else b""
        conversation = Front(first, complete=len(pieces) <= 1 and aborted is None)
        try:
            for piece in pieces[1:]:
                conversation.say(messages.frame(messages.BODY, piece))
            if aborted is not None:
                conversation.say(messages.frame(messages.ABORT, aborted.encode()))
            elif len(pieces) > 1:
                conversation.say(messages.frame(messages.BODY_END))
            yield conversation
        finally:
            conversation.close()

    return front
