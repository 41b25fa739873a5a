"""The only module that knows which event loop runs: asyncio, uvloop among it, or trio.

Guarantees:

- An ``Inlet`` reads from its worker's channel between ``inlet`` and ``close``, and at no other time.
- Under asyncio it stays registered with its loop in between, on a descriptor of its own, which nobody but that loop's
  thread touches: a channel may be used by another loop, listened to by the reaper, or closed meanwhile. What is heard
  while it is closed makes it leave the loop.
- It holds no more unread bytes than the worker has credit for.
- TAKEN messages wake no task but the one that waits for credit, if its inlet listens for them; the message that comes
  with them does.
- A ``Wakeup`` may be set from any thread, also when its loop has been closed meanwhile.
- A task that waits for a worker may sleep on until that worker has said something: ``Wakeup.hear``. What it said stays
  in the channel for the ``inlet`` that the task asks for then.

A kept ``add_reader`` costs 9-15 microseconds per wait where ``anyio.wait_readable`` costs 40-60: hence two inlets. Kept
over the exchanges of a worker it saves another 15.
"""

import asyncio
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import anyio

from asyncgroups.errors import ApplicationGroupsError, ChannelClosed, ProtocolError
from asyncgroups.host.pool import Worker
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["Inlet", "Wakeup", "inlet", "wakeup"]


class Inlet(Protocol):
    """The event loop's side of a worker's channel."""

    async def next(self, timeout: float | None) -> tuple[int, bytes] | None:
        """The next frame; None when ``timeout``, seconds, has passed. Raises ChannelClosed, ProtocolError."""

    def listen(self, taken: Callable[[int], None]) -> None:
        """Call ``taken`` with each number that the worker's TAKEN messages carry, instead of returning them."""

    def poll(self) -> None:
        """Look for TAKEN messages now, where that can be done without missing others."""

    def close(self, *, keep: bool) -> None:
        """Let go of the channel; ``keep`` if this loop is likely to come back to it."""


class Wakeup(Protocol):
    """Ends one wait of one task."""

    def set(self) -> None:
        """End the wait. From any thread, any number of times."""

    def hear(self, worker: Worker) -> bool:
        """Let the next message of ``worker`` end the wait too, for ``inlet`` to return; whether that can be had.

        It can in the thread of the waiting task, if its loop has kept an inlet to that worker.
        """

    async def wait(self, timeout: float | None) -> bool:
        """Wait; False when ``timeout``, seconds, has passed. By the task; may be repeated."""


def inlet(worker: Worker) -> Inlet:
    """The inlet to a worker that suits the running event loop."""
    if _in_trio():
        return _PlainInlet(worker.channel)
    kept = worker.inlet
    if isinstance(kept, _ReaderInlet) and kept.open():
        return kept
    worker.inlet = made = _ReaderInlet(worker.channel)
    return made


def wakeup() -> Wakeup:
    """The wakeup that suits the running event loop."""
    return _TrioWakeup() if _in_trio() else _AsyncioWakeup()


def _in_trio() -> bool:
    # Another thread may be importing trio just now: as long as it has no such function, nothing runs under trio.
    in_trio_task = getattr(sys.modules.get("trio.lowlevel"), "in_trio_task", None)
    return in_trio_task is not None and in_trio_task()


class _ReaderInlet:
    """For asyncio: the loop reads into the channel's frames as bytes arrive."""

    __slots__ = ("_channel", "_descriptor", "_error", "_is_open", "_loop", "_taken", "_timer", "_until", "_waiter")

    def __init__(self, channel: Channel) -> None:
        self._descriptor = -1
        self._taken: Callable[[int], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._error: ApplicationGroupsError | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0
        self._is_open = True
        self._descriptor = os.dup(channel.fileno())
        self._loop.add_reader(self._descriptor, self._read)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)  # the loop has been closed: no selector knows it any more

    def open(self) -> bool:
        """Read on, for another exchange; whether the loop is the one that runs, and still knows it.

        Also where ``wakes`` has opened it, and it has heard the end since: the socket says but once what was unread.
        """
        has_heard_end = self._is_open and self._error is not None
        if (self._descriptor < 0 and not has_heard_end) or self._loop is not asyncio.get_running_loop():
            return False
        self._is_open = True
        return True

    def wakes(self, waiter: asyncio.Future[bool]) -> bool:
        """Open, and settle ``waiter`` with what comes; False where the loop is another one."""
        if self._loop is not waiter.get_loop() or not self._loop.is_running() or not self.open():
            return False
        self._waiter = waiter
        return True

    async def next(self, timeout: float | None) -> tuple[int, bytes] | None:
        while (frame := self._channel.frame()) is None:
            if self._error is not None:
                raise self._error
            waiter = self._waiter = self._loop.create_future()
            self._expect(timeout)
            try:
                if not await waiter:
                    return None
            finally:
                self._waiter = None
        return frame

    def listen(self, taken: Callable[[int], None]) -> None:
        self._taken = taken

    def poll(self) -> None:
        if self._is_open and self._error is None:
            self._read()

    def close(self, *, keep: bool) -> None:
        self._is_open = False
        self._taken = None
        if self._error is not None or not keep:
            self._leave()

    def _leave(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self) -> None:
        if not self._is_open:
            self._leave()  # the reaper listens, or another loop, or the worker has ended
            return
        try:
            self._channel.read()
            if self._taken is not None and self._pass_on(self._taken):
                return
        except (ChannelClosed, ProtocolError) as error:
            self._error = error
            self._leave()
        if self._waiter is not None:
            _settle(self._waiter, True)

    def _pass_on(self, taken: Callable[[int], None]) -> bool:
        """Whether nothing has come but TAKEN: then nobody is woken but who waits for it."""
        while self._channel.peek() == messages.TAKEN:
            frame = self._channel.frame()
            assert frame is not None
            taken(messages.parse_numbers(frame[1], 1)[0])
        return self._channel.peek() < 0

    # One timer serves many waits: most end before it, and to make one and cancel it costs more than to look at a clock.

    def _expect(self, timeout: float | None) -> None:
        if timeout is None:
            self._until = math.inf
            return
        self._until = self._loop.time() + timeout
        if self._timer is None or self._timer.when() > self._until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._until, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._until == math.inf:
            return
        if self._loop.time() >= self._until:
            _settle(self._waiter, False)
        else:
            self._timer = self._loop.call_at(self._until, self._expire)


def _settle(waiter: asyncio.Future[bool], result: bool) -> None:  # noqa: FBT001 - call_later passes no keywords
    if not waiter.done():
        waiter.set_result(result)


class _Alarm:
    """One timer of an event loop for all short waits of one length, which end in the order in which they began.

    Nearly all are over before their time: a timer for each would be made and cancelled, 2 to 4 microseconds.
    """

    __slots__ = ("_is_set", "_seconds", "_waits", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self._seconds = seconds
        self._waits: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._is_set = False

    def expect(self, waiter: asyncio.Future[bool]) -> None:
        """Settle ``waiter`` with False when the time has passed."""
        at = self.loop.time() + self._seconds
        self._waits.append((at, waiter))
        if not self._is_set:
            self._is_set = True
            self.loop.call_at(at, self._ring)

    def _ring(self) -> None:
        waits, now = self._waits, self.loop.time()
        while waits and (waits[0][0] <= now or waits[0][1].done()):
            _settle(waits.popleft()[1], False)
        self._is_set = bool(waits)
        if waits:
            self.loop.call_at(waits[0][0], self._ring)


_SHORT = 0.1
"""Seconds; longer waits are rare, and would keep what they held for as long."""


class _Alarms(threading.local):
    """The alarms of each thread: an event loop runs in one thread, and one at a time."""

    def __init__(self) -> None:
        self._of_length: dict[float, _Alarm] = {}

    def get(self, loop: asyncio.AbstractEventLoop, seconds: float) -> _Alarm:
        """The alarm of ``loop``, which runs in this thread, for waits of ``seconds``."""
        alarm = self._of_length.get(seconds)
        if alarm is None or alarm.loop is not loop:
            alarm = self._of_length[seconds] = _Alarm(loop, seconds)
        return alarm


_alarms = _Alarms()


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

    def listen(self, taken: Callable[[int], None]) -> None:
        pass

    def poll(self) -> None:
        pass  # what is read here would not wake the task that waits for the socket

    def close(self, *, keep: bool) -> None:
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

    def hear(self, worker: Worker) -> bool:
        kept, waiter = worker.inlet, self._waiter
        return (
            waiter is not None
            and not waiter.done()  # else the task is on its way: to tell it costs nothing
            and threading.get_ident() == self._thread
            and isinstance(kept, _ReaderInlet)
            and kept.wakes(waiter)
        )

    async def wait(self, timeout: float | None) -> bool:
        if self._is_set:
            return True
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        timer = None
        if timeout is not None and timeout <= _SHORT:
            _alarms.get(self._loop, timeout).expect(waiter)
        elif timeout is not None:
            timer = self._loop.call_later(timeout, _settle, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


class _TrioWakeup:
    __slots__ = ("_event", "_token")

    def __init__(self) -> None:
        import trio  # noqa: PLC0415 - an optional dependency, there when it runs

        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def set(self) -> None:
        import trio  # noqa: PLC0415 - as above

        try:
            self._token.run_sync_soon(self._event.set)
        except trio.RunFinishedError:
            pass  # the loop has ended, and its tasks with it

    def hear(self, worker: Worker) -> bool:  # noqa: ARG002 - it has no inlets that are kept
        return False

    async def wait(self, timeout: float | None) -> bool:
        with anyio.move_on_after(timeout):
            await self._event.wait()
        return self._event.is_set()
