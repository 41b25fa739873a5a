"""The reaper: one plain thread that listens to channels for which no task waits. Standard library and ``wire``.

It owns the control channel of each interpreter, and the channel of each worker whose exchange has lost its task (the
client left, the task was cancelled, the answer was complete before close() had run) until the worker says DONE.

Guarantees:

- One thread, started with the first channel; a process without groups has none.
- A channel is listened to by one party at a time: the reaper from ``listen`` on, until its listener returns False or is
  told of the end.
- Listeners are called in the reaper's thread, and must not wait.
- It never writes to a channel.
- At its end it hears what has come already: what an interpreter logged last, before it was joined, is not lost.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from asyncgroups.errors import ChannelClosed, ProtocolError

__all__ = ["Listener", "Reaper", "Source", "Timer"]

_log = logging.getLogger("asyncgroups")

_LAST_SECONDS = 1.0
"""How long it listens, after its end, to those who do not stop talking."""


class Source(Protocol):
    """What messages come from: a channel, or what can pass for one."""

    def fileno(self) -> int:
        """The descriptor's number."""

    def read(self) -> bool:
        """Take what is there, for ``frame``. Raises ChannelClosed, ProtocolError."""

    def frame(self) -> tuple[int, bytes] | None:
        """The next message among what ``read`` has taken. Raises ProtocolError."""


class Listener(Protocol):
    """Who is told of what comes over a channel."""

    @property
    def channel(self) -> Source:
        """What it comes from."""

    def hear(self, kind: int, payload: bytes) -> bool:
        """Take a message; whether to go on listening. May raise ProtocolError."""

    def finished(self) -> None:
        """``hear`` has returned False, and the reaper has let go of the channel."""

    def lost(self, reason: str) -> None:
        """The channel has ended, or its other side talks nonsense. Nothing more will come."""


class Timer:
    """A call in the future."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Let it not happen. From any thread; in a race with its time it may still happen."""
        self.action = None


class Reaper:
    """The thread; see above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._pushed = 0
        """Timers since the cancelled ones were last thrown out."""
        self._selector: selectors.BaseSelector | None = None
        self._wake: socket.socket | None = None
        self._ended = False
        self._is_over = False
        """Whether nothing more is taken up."""

    def __repr__(self) -> str:
        listening = len(self._selector.get_map()) - 1 if self._selector and self._selector.get_map() else 0
        return f"<Reaper: {listening} channels, {len(self._timers)} timers>"

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of what comes over its channel, from now on. From any thread."""
        self.post(lambda: self._register(listener))

    def dismiss(self, listener: Listener) -> None:
        """Have ``listener`` lose its channel, if it has not before. From any thread."""
        self.post(lambda: self._dismiss(listener))

    def _dismiss(self, listener: Listener) -> None:
        assert self._selector is not None
        key = self._selector.get_map().get(listener.channel.fileno())
        if key is not None and key.data is listener:
            self._forget(listener)
            listener.lost("nobody listens any more")

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call ``action`` in ``seconds``, in the reaper's thread. From any thread."""
        timer = Timer(action)
        entry = (time.monotonic() + seconds, next(self._order), timer)
        self.post(lambda: self._push(entry))
        return timer

    def _push(self, entry: tuple[float, int, Timer]) -> None:
        heapq.heappush(self._timers, entry)
        self._pushed += 1
        if self._pushed > 64 and self._pushed > len(self._timers) // 2:
            self._pushed = 0
            self._timers = [one for one in self._timers if one[2].action is not None]
            heapq.heapify(self._timers)

    def end(self) -> None:
        """End the thread; later calls do nothing. Channels of those who have not ended belong to nobody then."""
        with self._lock:
            ended, self._ended = self._ended, True  # before the thread wakes and looks
            if self._wake is None:
                self._is_over = True
            elif not ended:
                self._wake.send(b"\0")

    def post(self, job: Callable[[], None]) -> None:
        """Call ``job`` in the reaper's thread, soon. From any thread. Raises OSError, RuntimeError if there is none."""
        with self._lock:
            if self._is_over:
                return
            if self._wake is None:
                self._start()
            assert self._wake is not None
            self._jobs.append(job)
            if len(self._jobs) == 1:  # the first job since the thread last looked: it may be waiting
                self._wake.send(b"\0")

    def _start(self) -> None:
        """All of it, or nothing: who comes next may have more luck."""
        selector = selectors.DefaultSelector()
        try:
            reading, wake = socket.socketpair()
            try:
                wake.setblocking(False)  # noqa: FBT003 - the standard library's signature
                selector.register(reading, selectors.EVENT_READ, None)
                arguments = (selector, reading, wake)
                thread = threading.Thread(target=self._run, args=arguments, name="asyncgroups-reaper", daemon=True)
                self._selector = selector
                thread.start()
            except BaseException:
                reading.close()
                wake.close()
                raise
        except BaseException:
            self._selector = None
            selector.close()
            raise
        self._wake = wake

    def _run(self, selector: selectors.BaseSelector, reading: socket.socket, wake: socket.socket) -> None:
        with reading, wake, selector:
            while not self._ended:
                for key, _ in selector.select(self._pause()):
                    if key.data is None:
                        reading.recv(4096)
                    else:
                        self._guard(self._pass_on, key.data)
                while self._jobs:
                    with self._lock:
                        jobs, self._jobs = self._jobs, deque()
                    for job in jobs:
                        self._guard(job)
                while self._timers and self._timers[0][0] <= time.monotonic():
                    _, _, timer = heapq.heappop(self._timers)
                    action = timer.action  # once: another thread may cancel it just now
                    if action is not None:
                        self._guard(action)
            while not self._is_over:
                with self._lock:  # ``end`` and ``post`` may still be writing to ``wake``
                    jobs, self._jobs = self._jobs, deque()
                    self._is_over = not jobs
                for job in jobs:  # which may ask for more: the channel that one listens to would be nobody's
                    self._guard(job)
            self._hear_out(selector)

    def _hear_out(self, selector: selectors.BaseSelector) -> None:
        """Interpreters that have ended have said their last by now: pass it on, and let them close their channels."""
        until = time.monotonic() + _LAST_SECONDS
        while time.monotonic() < until:
            ready = [key.data for key, _ in selector.select(0) if key.data is not None]
            if not ready:
                break
            for listener in ready:
                self._guard(self._pass_on, listener)

    def _pause(self) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _guard(self, job: Callable[..., None], *arguments: object) -> None:
        """The reaper outlives a mistake in what it calls: every group depends on it."""
        try:
            job(*arguments)
        except Exception:
            _log.exception("the reaper met an exception")

    def _register(self, listener: Listener) -> None:
        assert self._selector is not None
        self._selector.register(listener.channel.fileno(), selectors.EVENT_READ, listener)
        self._pass_on(listener, read=False)  # something may have been read before it came here

    def _pass_on(self, listener: Listener, *, read: bool = True) -> None:
        reason = None
        try:
            if read:
                listener.channel.read()
            while (frame := listener.channel.frame()) is not None:
                if not self._hear(listener, *frame):
                    self._forget(listener)
                    listener.finished()
                    return
        except (ChannelClosed, ProtocolError) as error:
            reason = str(error)
        if reason is not None:
            self._forget(listener)
            listener.lost(reason)

    def _hear(self, listener: Listener, kind: int, payload: bytes) -> bool:
        """What came with a message that a listener stumbles over, DONE perhaps, is for it all the same."""
        try:
            return listener.hear(kind, payload)
        except ProtocolError:
            raise
        except Exception:
            _log.exception("the reaper met an exception")
            return True

    def _forget(self, listener: Listener) -> None:
        assert self._selector is not None
        self._selector.unregister(listener.channel.fileno())
