"""One exchange as the worker sees it: the credit of both directions, and whether anybody still waits for the response.

Standard library and ``wire``. Guarantees:

- The worker waits in ``Channel.receive`` only, for request body, for credit, or for the next request. What wakes it:
  the message itself, an ABORT, or the end of the channel; each of the last two raises ClientDisconnected.
- It holds no more of a request body than a window; it sends no more of a response than it has credit for.
- An ABORT is noticed at the latest with the next read or write of the application.
"""

from __future__ import annotations

from asyncgroups.errors import ChannelClosed, ClientDisconnected, ProtocolError
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["Exchange"]

_GRANT = messages.WINDOW // 4
_LONGEST = 8 * 1024
"""Characters of an extension module's name, or of its error's text."""


class Exchange:
    """The worker's half of an exchange."""

    __slots__ = (
        "_arrived",
        "_channel",
        "_credit",
        "_held",
        "_taken",
        "aborted",
        "application",
        "complete",
        "number",
        "refusals",
    )

    def __init__(self, channel: Channel, number: int, *, application: str = "", body: bytes, complete: bool) -> None:
        self.number: int = number
        self.application: str = application
        """``module:attribute``, or the name of a callable object."""
        self.refusals: Sequence[tuple[str, str]] = ()
        """Extension modules that have refused since the application was loaded, with the texts of their errors."""
        self.complete: bool = complete
        """Whether the last byte of the request body has arrived."""
        self.aborted: str | None = None
        """Why nobody waits for the response any more."""
        self._channel = channel
        self._arrived = [body] if body else []
        self._credit = messages.WINDOW
        self._taken = 0
        self._held = b""

    # The request's body -----------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """The next piece of the request body; waits for it; empty at the end.

        Raises ClientDisconnected when the rest will never come.
        """
        while not self._arrived:
            if self.complete:
                return b""
            self._check()
            self._hear(self._receive())
        piece = self._arrived.pop(0)
        self._taken += messages.cost(len(piece))
        if self._taken >= _GRANT and not self.complete:
            taken, self._taken = self._taken, 0
            self._send(messages.numbers(messages.TAKEN, taken))
        return piece

    # The response -----------------------------------------------------------------------------------------------------

    def tell(self, *frames: bytes) -> None:
        """Send ``frames`` that need no credit. Raises ClientDisconnected when the front end has gone."""
        self._send(*frames)

    def start(self, head: bytes, body: bytes, *, complete: bool, last: bool = False) -> None:
        """Send the head of the response with the first bytes of its body: ``complete`` if those are all.

        With ``last`` nothing of the application's is left to run, and it goes out together with DONE: one message, one
        wake-up. Raises ClientDisconnected.
        """
        if self.refusals and head.startswith(b"5"):
            self.lack(None)
        if last and complete and len(body) <= messages.LARGEST_CHUNK:
            self._held = messages.start(messages.START, head, body, complete=True)
            return
        inline = body if len(body) <= messages.LARGEST_CHUNK else b""
        whole = complete and len(inline) == len(body)
        self._pay(len(inline))
        self._send(messages.start(messages.START, head, inline, complete=whole))
        if not whole:
            if len(inline) != len(body):
                self.chunk(body)
            if complete:
                self._send(messages.END_FRAME)

    def done(self) -> None:
        """The worker is free. Raises ChannelClosed when the pool has let it go."""
        self._channel.send(self._held + messages.DONE_FRAME)

    def chunk(self, body: bytes) -> None:
        """Send bytes of the body; waits for credit. Raises ClientDisconnected."""
        view = memoryview(body)
        for at in range(0, len(body), messages.LARGEST_CHUNK):
            piece = view[at : at + messages.LARGEST_CHUNK]
            self._pay(len(piece))
            self._send(messages.header(messages.CHUNK, len(piece)), piece)

    def file(self, descriptor: int, length: int) -> None:
        """Let the front end send ``length`` bytes of the file at its position. Raises ClientDisconnected."""
        self.poll()
        self._check()
        try:
            self._channel.send_descriptor(messages.numbers(messages.FILE, length), descriptor)
        except (ChannelClosed, BlockingIOError) as error:
            raise self._gone(str(error)) from None

    def poll(self) -> None:
        """Hear what has arrived, without waiting."""
        try:
            while (frame := self._channel.receive_nowait()) is not None:
                self._hear(frame)
        except ChannelClosed as error:
            self._gone(str(error))

    # Extension modules that refuse ------------------------------------------------------------------------------------

    def refuse(self, module: str, text: str) -> None:
        """``module`` has refused to be loaded, with an ImportError that says ``text``."""
        self.refusals = [*self.refusals, (module[:_LONGEST], text[:_LONGEST])]

    def culprit(self, error: BaseException | None) -> tuple[str, str] | None:
        """The one that ``error`` came of, however often it was wrapped."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            for module, text in self.refusals:
                if type(error) is ImportError and str(error)[:_LONGEST] == text:
                    return module, text
            error = error.__cause__ or error.__context__
        return None

    def lack(self, error: BaseException | None) -> None:
        """The request fails, with ``error`` or a response that says so, after an extension module has refused.

        Raises ClientDisconnected.
        """
        module, text = self.culprit(error) or self.refusals[-1]
        self.refusals = ()
        self._send(messages.texts(messages.LACKING, self.application, module, text))

    # Both -------------------------------------------------------------------------------------------------------------

    def _pay(self, length: int) -> None:
        price = messages.cost(length)
        if self._credit >= price:
            self.poll()
        while self._credit < price and self.aborted is None:
            self._hear(self._receive())
            while (frame := self._channel.frame()) is not None:  # an ABORT may have come with it
                self._hear(frame)
        self._check()
        self._credit -= price

    def _check(self) -> None:
        if self.aborted is not None:
            raise ClientDisconnected(self.aborted)

    def _receive(self) -> tuple[int, bytes]:
        try:
            return self._channel.receive()
        except ChannelClosed as error:
            raise self._gone(str(error)) from None

    def _send(self, *frames: bytes | memoryview) -> None:
        try:
            self._channel.send(*frames)
        except ChannelClosed as error:
            raise self._gone(str(error)) from None

    def _gone(self, reason: str) -> ClientDisconnected:
        if self.aborted is None:
            self.aborted = reason
        return ClientDisconnected(self.aborted)

    def _hear(self, frame: tuple[int, bytes]) -> None:
        kind, payload = frame
        if kind == messages.BODY:
            self._arrived.append(payload)
        elif kind == messages.BODY_END:
            self.complete = True
        elif kind == messages.CREDIT:
            self._credit += messages.parse_numbers(payload, 1)[0]
        elif kind == messages.ABORT:
            self.aborted = payload.decode("utf-8", "replace") or "the client has gone"
        else:
            raise ProtocolError(f"message {kind} in the middle of an exchange")


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
