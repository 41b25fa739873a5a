"""The pool: which idle worker takes which waiting request. Standard library and ``wire``; no event loop.

Guarantees:

- Every decision is synchronous and made under one lock, from whichever thread; nobody waits in here.
- A worker is with the pool, with one exchange, or with the reaper; it comes back once, by ``release`` or by ``lose``.
- A broken worker is never used again. There are never more than ``threads`` workers, and none before it is needed.
- Requests wait in their order, at most ``backlog`` of them. A ticket is told once: of its worker, or of its error;
  one that is withdrawn after it has been told gives its worker back.
- A retired pool takes no request, and lets each worker go when it is free; after the last one its interpreter is
  stopped.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Protocol

from asyncgroups.errors import ApplicationGroupsError, ChannelClosed, InterpreterFailed, Overloaded, PoolRetired
from asyncgroups.host.group import GroupInterpreter
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["Pool", "State", "Ticket", "Worker"]

_LAST_SECONDS = 5.0


class State(enum.Enum):
    """The life of a pool."""

    OPEN = "open"
    RETIRED = "retired"


class Worker:
    """A worker as the front end sees it: its channel, and what it is busy with."""

    __slots__ = ("channel", "exchange", "inlet", "number", "pool", "ready")

    def __init__(self, pool: Pool, number: int, channel: Channel) -> None:
        self.pool: Pool = pool
        self.number: int = number
        self.channel: Channel = channel
        self.exchange: int = 0
        """The number of the exchange that it runs; 0 while it is idle."""
        self.ready: bool = False
        """Whether it has ever said something: until then its interpreter may be starting."""
        self.inlet: object = None
        """What the front end keeps from one exchange to the next."""

    def __repr__(self) -> str:
        doing = f"busy with #{self.exchange}" if self.exchange else "idle"
        return f"<Worker {self.pool.interpreter.label!r} {self.number} {doing}>"

    def abort(self, reason: str) -> None:
        """Let the application know, with its next read or write, that nobody waits for its response."""
        try:
            self.channel.say(messages.frame(messages.ABORT, reason.encode()))
        except ChannelClosed:
            pass  # it knows by now, or has ended

    def interrupt(self) -> None:
        """Have RequestInterrupted raised in the application, and end the wait it may be in."""
        exchange = self.exchange
        if exchange:
            self.abort("the request was interrupted")
            self.pool.interpreter.interrupt(self.number, exchange)


class Ticket(Protocol):
    """A request that waits, with the number its exchange will have.

    Both methods are called from any thread, under the pool's lock, and must not wait.
    """

    exchange: int

    def granted(self, worker: Worker) -> None:
        """``worker`` is this request's."""

    def refused(self, error: ApplicationGroupsError) -> None:
        """There will be none."""


class Pool:
    """The workers of one interpreter and the requests that wait for them."""

    def __init__(self, interpreter: GroupInterpreter, *, threads: int, backlog: int) -> None:
        self.interpreter = interpreter
        self.state: State = State.OPEN
        self._threads = threads
        self._backlog = backlog
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._waiting: deque[Ticket] = deque()
        self._made = 0

    def __repr__(self) -> str:
        return (
            f"<Pool {self.interpreter.label!r} {self.state.value}: {len(self._busy)} busy, {len(self._idle)} idle, "
            f"{len(self._waiting)} waiting>"
        )

    @property
    def busy(self) -> list[Worker]:
        """The workers that run an exchange."""
        with self._lock:
            return list(self._busy)

    def take(self, ticket: Ticket) -> Worker | None:
        """A worker for the ticket's exchange, or None when the ticket stands in the queue.

        Raises Overloaded when the queue is full, PoolRetired when there will be no more, InterpreterFailed, and OSError
        when the process has no descriptors left.
        """
        with self._lock:
            if self.state is State.RETIRED:
                raise PoolRetired("the application group takes no more requests")
            if self._idle:
                worker = self._idle.pop()  # the one that ran last: its caches are warm
            elif len(self._busy) < self._threads:
                worker = self._new_worker()
            elif len(self._waiting) >= self._backlog:
                raise Overloaded(f"{self._backlog} requests wait for the application group already")
            else:
                self._waiting.append(ticket)
                return None
            worker.exchange = ticket.exchange
            self._busy.add(worker)
            return worker

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket out of the queue, if it still stands there."""
        with self._lock:
            try:
                self._waiting.remove(ticket)
            except ValueError:
                pass  # told already: its owner gives the worker back

    def release(self, worker: Worker) -> None:
        """``worker`` has said DONE."""
        with self._lock:
            if worker not in self._busy:
                raise RuntimeError(f"{worker!r} was released twice")
            if self._waiting:
                ticket = self._waiting.popleft()
                worker.exchange = ticket.exchange
                ticket.granted(worker)
                return
            worker.exchange = 0
            self._busy.discard(worker)
            if self.state is State.OPEN:
                self._idle.append(worker)
                return
            worker.channel.shut()
            worker.channel.close()
        self._stop_if_empty()

    def lose(self, worker: Worker) -> None:
        """``worker``'s channel has ended, or is not to be trusted. Its place is free for a new one."""
        worker.channel.shut()
        with self._lock:
            worker.channel.close()
            self._busy.discard(worker)
            while self._waiting:
                ticket = self._waiting.popleft()
                try:
                    replacement = self._new_worker()
                except (ApplicationGroupsError, OSError) as error:
                    ticket.refused(
                        InterpreterFailed(str(error))
                    )  # and so are the others: nobody may be left to wait for
                else:
                    replacement.exchange = ticket.exchange
                    self._busy.add(replacement)
                    ticket.granted(replacement)
                    break
        self._stop_if_empty()

    def retire(self) -> None:
        """Take no more requests; those that wait already are served. The interpreter stops after the last."""
        with self._lock:
            self.state = State.RETIRED
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.channel.shut()
            worker.channel.close()
        self._stop_if_empty()

    def refuse(self, error: ApplicationGroupsError) -> None:
        """Send away all requests that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            for ticket in waiting:
                ticket.refused(error)

    def _new_worker(self) -> Worker:
        self._made += 1
        try:
            channel = self.interpreter.add_worker(self._made)
        except ChannelClosed:
            raise InterpreterFailed(self.interpreter.failure or "the interpreter has ended") from None
        return Worker(self, self._made, channel)

    def _stop_if_empty(self) -> None:
        if self.state is State.RETIRED and not self._busy and not self._waiting:
            self.interpreter.stop(_LAST_SECONDS)
