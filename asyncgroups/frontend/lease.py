"""A worker for the time of one exchange: how it is got, talked to and given back.

Imports ``frontend``, ``host``, ``wire``.

Guarantees, each wait with what wakes it and what bounds it:

- For a worker: one that gets free, or the pool's refusal; ``timeouts.queue``; the client's leaving. A worker that gets
  free within ``PATIENCE`` is sent the request by whoever frees it: the wait then goes on for its first message.
- For the worker's next message: the message, or the end of its channel; ``timeouts.startup`` while the application
  loads, ``timeouts.request`` afterwards, counted from the grant.
- A cancellation in either gives back what has been got. A lease ends once: with the pool if the worker has said DONE,
  as a loss if its channel has ended or is not to be trusted, with the reaper until DONE otherwise.
"""

import enum
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import anyio

from asyncgroups.errors import (
    ApplicationGroupsError,
    ChannelClosed,
    Overloaded,
    PoolRetired,
    ProtocolError,
    RequestTimedOut,
)
from asyncgroups.frontend import loops
from asyncgroups.frontend.isolation import Refusal
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.group import contained
from asyncgroups.host.pool import Pool, Worker
from asyncgroups.wire import messages

__all__ = ["PATIENCE", "ApplicationFailed", "GroupMoved", "Lease", "State", "take"]

_log = logging.getLogger("asyncgroups")

PATIENCE = 0.1
"""Seconds of a wait after which a task of its own listens to the client: it is to be missed within a second."""

_POOLS = 3
"""Pools of its group that a request tries: the first may be given up while it waits, because of a stuck worker."""


class ApplicationFailed(ApplicationGroupsError):
    """Raised for the worker's FAILED: the log has the reason already."""


class GroupMoved(ApplicationGroupsError):
    """Raised where the application does not load in an interpreter that its group has left: the next pool is for it."""


class _Place:
    """A place in the queue of a pool; see ``pool.Ticket``. ``first`` is the first message of its exchange."""

    __slots__ = ("at", "exchange", "first", "is_quiet", "key", "refusal", "sent", "wakeup", "worker")

    def __init__(self, exchange: int, first: bytes, key: bytes | None) -> None:
        self.exchange = exchange
        self.key = key
        self.first = first
        self.is_quiet = True
        """Whether its task need not know of the grant before the worker says something."""
        self.sent = 0
        """Bytes of the first message that have gone out with the grant."""
        self.at: float | None = None
        """The clock's time of the grant, where the task may learn of it later."""
        self.worker: Worker | None = None
        self.refusal: ApplicationGroupsError | None = None
        self.wakeup: loops.Wakeup | None = None

    def granted(self, worker: Worker) -> None:
        self.worker = worker
        if self.wakeup is None:
            return
        if self.is_quiet and self.wakeup.hear(worker):
            # By the task whose worker this was: one wait and one turn of the loop less, for the worker as well.
            self.at = time.monotonic()
            try:
                self.sent = worker.channel.send_nowait(self.first)
            except ChannelClosed:
                pass  # the task will meet it again
            if self.sent == len(self.first):
                return
        self.wakeup.set()

    def refused(self, error: ApplicationGroupsError) -> None:
        self.refusal = error
        if self.wakeup is not None:
            self.wakeup.set()


async def take(
    supervisor: Supervisor,
    find: Callable[[], Pool],
    exchange: int,
    *,
    first: Callable[[Pool], bytes],
    client: Callable[[], Awaitable[Any]] | None = None,
    key: bytes | None = None,
) -> Lease | None:
    """A worker for ``exchange``, of the pool that ``find`` returns; None when the client left while its request waited.

    ``first`` makes the exchange's first message for a pool; ``Lease.sent`` says how much of it has gone out already.
    ``find`` is called again when that pool is retired before it has a worker for this request. ``client`` receives an
    ASGI event and does not use it up: the leaving of the client is seen there. ``key``: see ``host.sticky``.
    Raises TooManyGroups, Overloaded, ShuttingDown, InterpreterFailed.
    """
    retired = PoolRetired("the application group takes no more requests")
    for _ in range(_POOLS):
        try:
            pool = find()
            place = _Place(exchange, first(pool), key)
            worker = pool.take(place)
            if worker is None and (worker := await _wait(place, pool, supervisor, client)) is None:
                return None
            try:
                return Lease(supervisor, worker, sent=place.sent, since=place.at)
            except BaseException:
                (pool.lose if place.sent else pool.release)(worker)
                raise
        except PoolRetired as error:
            retired = error
        except OSError as error:
            raise Overloaded(f"no file descriptor or thread for one more request: {error}") from error
    raise retired


async def _wait(
    place: _Place, pool: Pool, supervisor: Supervisor, client: Callable[[], Awaitable[Any]] | None
) -> Worker | None:
    seconds = supervisor.timeouts.queue
    place.wakeup = loops.wakeup()
    kept = False
    try:
        if place.worker is None and place.refusal is None:  # or it was told before it could be woken
            patience = min(PATIENCE, seconds) if seconds else PATIENCE
            told = await place.wakeup.wait(patience)
            if not told and place.worker is None and place.refusal is None:
                place.is_quiet = False
                rest = seconds - patience if seconds else None
                if await _leaves(client, place.wakeup, rest):
                    return None
        if place.worker is None:
            pool.withdraw(place)  # from here on nobody tells it anything any more
        if place.refusal is not None:
            raise place.refusal
        if place.worker is None:
            raise Overloaded(f"no worker got free in {seconds:g} s (timeouts.queue)")
        kept = True
        return place.worker
    finally:
        if not kept:
            pool.withdraw(place)
            if place.worker is not None:
                _give_back(place, place.worker, supervisor)


def _give_back(place: _Place, worker: Worker, supervisor: Supervisor) -> None:
    if not place.sent:
        worker.pool.release(worker)
        return
    try:
        lease = Lease(supervisor, worker, sent=place.sent, half=place.sent < len(place.first), since=place.at)
        lease.end("the client has gone")
    except OSError:  # no descriptor for an inlet
        worker.pool.lose(worker)


async def _leaves(client: Callable[[], Awaitable[Any]] | None, wakeup: loops.Wakeup, seconds: float | None) -> bool:
    """Wait on, and listen to the client meanwhile; whether it left."""
    left = False
    problem: Exception | None = None

    async def watch(receive: Callable[[], Awaitable[Any]]) -> None:
        nonlocal left, problem
        try:
            event = await receive()
            left = event["type"] == "http.disconnect"
        except OSError:
            left = True
        except Exception as error:  # not through the task group, which would make an exception group of it
            problem = error
        if left or problem is not None:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        if client is not None:
            tasks.start_soon(watch, client)
        await wakeup.wait(seconds)
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return left


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
        self._half = half
        """Whether a message has gone out in part: what comes next on the channel would be taken for its rest."""
        self._request = supervisor.timeouts.request if worker.request_timeout is None else worker.request_timeout
        seconds = self._request if worker.ready else supervisor.timeouts.startup
        self._limit_at: float | None = None
        if seconds:
            self._limit_at = seconds + (time.monotonic() if since is None else since)

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

    def rest(self) -> float | None:
        """Seconds that are left of the application's time; None without a limit, and when the lease has ended."""
        if self._limit_at is None or self.state is State.ENDED:
            return None
        return max(0.0, self._limit_at - time.monotonic())

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

    def descriptor(self) -> int:
        """The file descriptor that came with FILE, from here on the caller's. Raises ProtocolError if there is none."""
        if not self._worker.channel.descriptors:
            raise self.distrust("a file without its descriptor")
        return self._worker.channel.descriptors.pop(0)

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
