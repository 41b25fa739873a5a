"""The only module that knows which event loop runs: asyncio, uvloop among it, or trio.

Guarantees:

- An ``Inlet`` is bound to the loop of one exchange and leaves nothing behind in it when it is closed.
- It holds no more unread bytes than the worker has credit for.
- A ``Wakeup`` may be set from any thread, also when its loop has been closed meanwhile.

A kept ``add_reader`` costs 9-15 microseconds per wait where ``anyio.wait_readable`` costs 40-60: hence two inlets.
"""

import asyncio
import threading
from typing import Protocol

import anyio
import sniffio

from asyncgroups.errors import ApplicationGroupsError, ChannelClosed, ProtocolError
from asyncgroups.wire.channel import Channel

__all__ = ["Inlet", "Wakeup", "inlet", "wakeup"]


class Inlet(Protocol):
    """The event loop's side of a worker's channel."""

    async def next(self, timeout: float | None) -> tuple[int, bytes] | None:
        """The next frame; None when ``timeout``, seconds, has passed. Raises ChannelClosed, ProtocolError."""

    def close(self) -> None:
        """Let go of the channel."""


class Wakeup(Protocol):
    """Ends one wait of one task."""

    def set(self) -> None:
        """End the wait. From any thread, any number of times."""

    async def wait(self, timeout: float | None) -> bool:
        """Wait; False when ``timeout``, seconds, has passed. By the task; may be repeated."""


def inlet(channel: Channel) -> Inlet:
    """The inlet that suits the running event loop."""
    return _ReaderInlet(channel) if sniffio.current_async_library() == "asyncio" else _PlainInlet(channel)


def wakeup() -> Wakeup:
    """The wakeup that suits the running event loop."""
    return _AsyncioWakeup() if sniffio.current_async_library() == "asyncio" else _TrioWakeup()


class _ReaderInlet:
    """For asyncio: the loop reads into the channel's frames as bytes arrive."""

    __slots__ = ("_channel", "_descriptor", "_error", "_loop", "_waiter")

    def __init__(self, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._error: ApplicationGroupsError | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._descriptor = channel.fileno()
        self._loop.add_reader(self._descriptor, self._read)

    async def next(self, timeout: float | None) -> tuple[int, bytes] | None:
        while (frame := self._channel.frame()) is None:
            if self._error is not None:
                raise self._error
            waiter = self._waiter = self._loop.create_future()
            timer = self._loop.call_later(timeout, _settle, waiter, False) if timeout is not None else None
            try:
                if not await waiter:
                    return None
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return frame

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            self._channel.read()
        except (ChannelClosed, ProtocolError) as error:
            self._error = error
            self.close()
        if self._waiter is not None:
            _settle(self._waiter, True)


def _settle(waiter: asyncio.Future[bool], result: bool) -> None:  # noqa: FBT001 - call_later passes no keywords
    if not waiter.done():
        waiter.set_result(result)


class _PlainInlet:
    """For every other loop."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def next(self, timeout: float | None) -> tuple[int, bytes] | None:
        while (frame := self._channel.frame()) is None:
            if self._channel.read():
                continue
            with anyio.move_on_after(timeout):
                await anyio.wait_readable(self._channel.fileno())
                continue
            return None
        return frame

    def close(self) -> None:
        pass


class _AsyncioWakeup:
    __slots__ = ("_is_set", "_loop", "_thread", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._is_set = False
        self._waiter: asyncio.Future[bool] | None = None

    def set(self) -> None:
        self._is_set = True
        if threading.get_ident() == self._thread:
            self._wake()  # as a rule another request of this loop has freed the worker: no need to write to the loop
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            pass  # the loop has been closed, and its tasks with it

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter, True)

    async def wait(self, timeout: float | None) -> bool:
        if self._is_set:
            return True
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, _settle, waiter, False) if timeout is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return self._is_set


class _TrioWakeup:
    __slots__ = ("_event", "_token")

    def __init__(self) -> None:
        import trio  # noqa: PLC0415 - an optional dependency, there when it runs

        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def set(self) -> None:
        import trio  # noqa: PLC0415

        try:
            self._token.run_sync_soon(self._event.set)
        except trio.RunFinishedError:
            pass  # the loop has ended, and its tasks with it

    async def wait(self, timeout: float | None) -> bool:
        with anyio.move_on_after(timeout):
            await self._event.wait()
        return self._event.is_set()
