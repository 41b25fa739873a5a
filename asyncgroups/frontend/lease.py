"""A worker for the time of one exchange: how it is talked to and given back; ``taking`` is how it is got.

Imports ``frontend``, ``host``, ``wire``.

Guarantees, each wait with what wakes it and what bounds it:

- For the worker's next message: the message, or the end of its channel; ``timeouts.startup`` while the application
  loads, ``timeouts.request`` afterwards, counted from the grant.
- A cancellation gives back what has been got. A lease ends once: with the pool if the worker has said DONE,
  as a loss if its channel has ended or is not to be trusted, with the reaper until DONE otherwise.
"""

import enum
import logging
import time
from collections.abc import Callable
from typing import NoReturn

import anyio

from asyncgroups.errors import (
    ApplicationFailed,
    ApplicationGroupsError,
    ApplicationNotFound,
    ChannelClosed,
    ProtocolError,
    RequestTimedOut,
)
from asyncgroups.frontend import loops
from asyncgroups.frontend.files import ResponseFile, is_regular
from asyncgroups.frontend.isolation import Refusal
from asyncgroups.frontend.loads import WorkerLoad
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.group import contained
from asyncgroups.host.pool import Pool, Worker
from asyncgroups.wire import messages
from asyncgroups.wire.channel import discard

__all__ = ["GroupMoved", "Lease", "State"]

_log = logging.getLogger("asyncgroups")

_CREDIT_BACK = messages.WINDOW // 4


class GroupMoved(ApplicationGroupsError):
    """Raised where the application does not load in an interpreter that its group has left: the next pool is for it."""


class State(enum.Enum):
    """Of a lease."""

    BUSY = "the worker runs the exchange"
    DONE = "the worker has said DONE"
    LOST = "the worker's channel is of no use any more"
    ENDED = "the worker has been given back"


_TRANSITIONS = {
    (State.BUSY, State.DONE),
    (State.BUSY, State.LOST),
    (State.BUSY, State.ENDED),
    (State.DONE, State.LOST),
    (State.DONE, State.ENDED),
    (State.LOST, State.ENDED),
}


class Lease:
    """The front end's half of the conversation with a worker."""

    __slots__ = (
        "_half",
        "_inlet",
        "_is_loading",
        "_limit_at",
        "_owed",
        "_request",
        "_supervisor",
        "_worker",
        "_writing",
        "on_loaded",
        "pool",
        "sent",
        "state",
    )

    def __init__(
        self, supervisor: Supervisor, worker: Worker, *, sent: int = 0, half: bool = False, since: float | None = None
    ) -> None:
        self.state: State = State.BUSY
        self.sent: int = sent
        """Bytes of the exchange's first message that went out before there was a lease."""
        self.on_loaded: Callable[[], None] | None = None
        """Called when the worker has said that the application is loaded."""
        self._is_loading = False
        self._supervisor = supervisor
        self._worker = worker
        self.pool: Pool = worker.pool
        self._inlet = loops.inlet(worker)
        self._writing: anyio.Lock | None = None
        self._owed = 0
        self._half = half
        """Whether a message has gone out in part: what comes next on the channel would be taken for its rest."""
        self._request = supervisor.timeouts.request if worker.request_timeout is None else worker.request_timeout
        seconds = self._request if worker.ready else supervisor.timeouts.startup
        self._limit_at = seconds + (time.monotonic() if since is None else since) if seconds else None

    def __repr__(self) -> str:
        return f"<Lease of {self._worker!r}: {self.state.value}>"

    @property
    def label(self) -> str:
        """The application group's name, as logs show it."""
        return self._worker.label

    def _move(self, state: State) -> None:
        if (self.state, state) not in _TRANSITIONS:
            raise RuntimeError(f"a lease that is {self.state} cannot be {state}")
        self.state = state

    def _limit(self, seconds: float) -> None:
        self._limit_at = time.monotonic() + seconds if seconds else None

    def is_repeatable(self) -> bool:
        """Whether its exchange may be had with another process, where this one has not read its only message."""
        return self._worker.pool.is_lasting and self._worker.aborted != self._worker.exchange

    def rest(self) -> float | None:
        """Seconds that are left of the application's time; None without a limit, and when the lease has ended."""
        limit_at = None if self.state is State.ENDED else self._limit_at
        return None if limit_at is None else max(0.0, limit_at - time.monotonic())

    def be_load(self) -> None:
        """Its exchange is no request: the end of the server does not wait for it."""
        self._supervisor.loads.note(WorkerLoad(self._worker, self._worker.exchange))

    # The conversation -------------------------------------------------------------------------------------------------

    def heard(self) -> tuple[int, bytes] | None:
        """The worker's next message, if it has been read, or, in a stream of large ones, can be.

        Raises ApplicationFailed, GroupMoved, ChannelClosed, ProtocolError.
        """
        channel = self._worker.channel
        try:
            while True:
                while (frame := channel.frame()) is not None:
                    if self._is_for_exchange(frame):
                        return frame
                if not channel.is_stream or not channel.read():
                    return None
        except ChannelClosed, ProtocolError:
            self._move(State.LOST)
            raise

    async def next(self, patience: float | None = None) -> tuple[int, bytes] | None:
        """The worker's next message; None when ``patience``, seconds, is at its end.

        Raises RequestTimedOut when the application's time is, and what ``heard`` raises.
        """
        while True:
            rest = self.rest()
            is_limit = rest is not None and (patience is None or rest <= patience)
            try:
                frame = await self._inlet.next(rest if is_limit else patience)
                if frame is not None and self._is_for_exchange(frame):
                    return frame
            except ChannelClosed, ProtocolError:
                self._move(State.LOST)
                raise
            if frame is None and is_limit:
                self._limit_at = 0.0  # whoever takes the worker over interrupts it at once
                raise RequestTimedOut("the application took too long (timeouts.request, timeouts.startup)")
            if frame is None:
                return None

    def _is_for_exchange(self, frame: tuple[int, bytes]) -> bool:
        """Take note of a message; whether it is more than a sign of life."""
        kind = frame[0]
        if not self._worker.ready:
            self._worker.ready = True
            if kind != messages.LOADING:
                self._limit(self._request)
        if kind == messages.DONE:
            self._move(State.DONE)
        elif kind == messages.LOADING:
            self._is_loading = True
            self._limit(self._supervisor.timeouts.startup)
            return False
        elif kind == messages.LOADED:
            self._is_loading = False
            self._limit(self._request)
            if self.on_loaded is not None:
                self.on_loaded()
            return False
        elif kind == messages.FAILED:
            if self._is_loading and self._supervisor.has_left(self._worker):
                raise GroupMoved("another application of the group has met the refusal first")
            raise ApplicationFailed(frame[1].decode("utf-8", "replace"))
        elif kind == messages.ABSENT:
            raise ApplicationNotFound(frame[1].decode("utf-8", "replace"))
        elif kind == messages.UNFIT:
            self._meet_refusal(frame[1])
        elif kind == messages.LACKING:
            self._supervisor.move(self._worker, Refusal(*messages.parse_texts(frame[1], 3)))
            return False
        return True

    def _meet_refusal(self, payload: bytes) -> NoReturn:
        """The application does not load in this interpreter."""
        *texts, kind, reason = messages.parse_texts(payload, 5)
        if self._supervisor.move(self._worker, Refusal(*texts)):
            raise GroupMoved("an extension module refuses to be loaded in its interpreter")
        _log.error("[%s #%d] %s", self._worker.label, self._worker.exchange, contained(reason))
        raise ApplicationFailed(kind)

    def listen(self, taken: Callable[[int], None]) -> None:
        """Call ``taken`` with the number of each TAKEN message, where no task need be woken for it."""
        self._inlet.listen(taken)

    def poll(self) -> None:
        """Hear TAKEN messages that are there."""
        if self.state is State.BUSY:
            self._inlet.poll()

    async def give_credit(self, length: int) -> None:
        """Let the response go on: ``length`` bytes of it have been taken."""
        self._owed += messages.cost(length)
        if self._owed >= _CREDIT_BACK:
            owed, self._owed = self._owed, 0
            await self.write(messages.numbers(messages.CREDIT, owed))

    async def write_body(self, piece: bytes) -> None:
        """Send a piece of the request's body, without a copy of it. As ``write``."""
        header = messages.header(messages.BODY, len(piece))
        if self._writing is not None or self.state is not State.BUSY:
            await self.write(header + piece)
        elif (sent := self._send(header, piece)) < len(header) + len(piece):
            await self.write(header + piece, sent)

    async def write(self, frame: bytes, sent: int = 0) -> None:
        """Send ``frame`` but for what is ``sent``; two tasks may do so. Raises ChannelClosed.

        Nothing happens when the lease has ended.
        """
        if self._writing is None:
            if self.state is not State.BUSY:
                return
            sent += self._send(memoryview(frame)[sent:] if sent else frame)
            if sent == len(frame):
                return
            self._writing = anyio.Lock()
        # A socket buffer smaller than ours should be: the worker reads on.
        async with self._writing:
            while sent < len(frame) and self.state is State.BUSY:
                self._half = sent > 0
                await anyio.wait_writable(self._worker.channel.fileno())
                sent += self._send(memoryview(frame)[sent:])
            self._half = 0 < sent < len(frame)

    def _send(self, *parts: bytes | memoryview) -> int:
        try:
            return self._worker.channel.send_nowait(*parts)
        except ChannelClosed:
            self._move(State.LOST)
            raise

    def file(self, length: int) -> ResponseFile:
        """The file that came with FILE, ``length`` bytes of it; from here on the caller's. Raises ProtocolError."""
        if not self._worker.channel.descriptors:
            raise self.distrust("a file without its descriptor")
        descriptor = self._worker.channel.descriptors.pop(0)
        try:
            if is_regular(descriptor):
                return ResponseFile(descriptor, length)
        except OSError:
            pass  # it cannot be read: O_PATH, or a file system of somebody else's (FUSE)
        discard(descriptor)
        raise self.distrust("a descriptor of no regular file")

    def distrust(self, reason: str) -> ProtocolError:
        """The worker has said what it must not say: it gets no further exchange. The error to raise."""
        self._move(State.LOST)
        return ProtocolError(reason)

    # The end ----------------------------------------------------------------------------------------------------------

    def look_for_done(self) -> bool:
        """Take DONE, the last message there can be, if it is there already; whether it was."""
        if self.state is State.BUSY:
            channel = self._worker.channel
            try:
                while (frame := channel.receive_nowait()) is not None:
                    if frame[0] != messages.TAKEN:  # close() may still read from the request's body
                        self._move(State.DONE if frame[0] == messages.DONE else State.LOST)
                        break
            except ChannelClosed, ProtocolError:
                self._move(State.LOST)
        return self.state is State.DONE

    def end(self, abort: str | None = None) -> None:
        """Give the worker back. Later calls do nothing.

        ``abort`` tells the application why nobody waits for its response; None when all of it has been taken.
        """
        if self.state is State.ENDED:
            return
        if abort is None:
            self.look_for_done()
        if self._half and self.state is not State.LOST:
            self._move(State.LOST)
        state, worker, limit = self.state, self._worker, self.rest()
        self._move(State.ENDED)
        self._inlet.close(keep=state is State.DONE)
        if state is State.DONE:
            worker.pool.release(worker)
        elif state is State.LOST:
            worker.pool.lose(worker)
        else:
            if abort is not None:
                worker.abort(abort)
            self._supervisor.adopt(worker, limit=limit)
