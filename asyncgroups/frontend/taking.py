"""How an exchange gets its worker: at once, or from a place in the queue of its pool.

Imports ``frontend``, ``host``. Guarantees:

- What ends the wait for a worker: one that gets free, or the pool's refusal; ``timeouts.queue``; the client's leaving.
- Where another pool takes the place of the one that it waits for, the wait goes on there, in the same time.
- A worker that gets free within ``PATIENCE`` is sent the request by whoever frees it: the wait then goes on for its
  first message.
- A cancellation gives back what has been got.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from asyncgroups.errors import ApplicationGroupsError, ChannelClosed, Overloaded, PoolReplaced, PoolRetired
from asyncgroups.frontend import loops
from asyncgroups.frontend.lease import Lease
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.pool import Pool, Worker

__all__ = ["PATIENCE", "take"]

PATIENCE = 0.1
"""Seconds of a wait after which a task of its own listens to the client: it is to be missed within a second."""

_POOLS = 3
"""Pools of its group that a request tries: the first may be given up while it waits, because of a stuck worker."""


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
    tries, since = 0, None
    while True:
        try:
            pool = find()
            place = _Place(exchange, first(pool), key)
            worker = pool.take(place)
            if worker is None:
                since = since or time.monotonic()
                worker = await _wait(place, pool, supervisor, client, since=since)
                if worker is None:
                    return None
            try:
                return Lease(supervisor, worker, sent=place.sent, since=place.at)
            except BaseException:
                (pool.lose if place.sent else pool.release)(worker)
                raise
        except PoolReplaced:
            pass  # by one that is ready: as often as that happens, within the time for all of the wait
        except PoolRetired:
            tries += 1
            if tries == _POOLS:
                raise
        except OSError as error:
            raise Overloaded(f"no file descriptor or thread for one more request: {error}") from error


async def _wait(
    place: _Place, pool: Pool, supervisor: Supervisor, client: Callable[[], Awaitable[Any]] | None, *, since: float
) -> Worker | None:
    """``since``: when the wait began, by the monotonic clock."""
    limit = supervisor.timeouts.queue
    seconds = max(0.001, limit + since - time.monotonic()) if limit else 0.0
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
            raise Overloaded(f"no worker got free in {limit:g} s (timeouts.queue)")
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
