"""The pool: which idle worker takes which waiting request. Standard library and ``wire``; no event loop.

Guarantees:

- Every decision is synchronous and made under one lock, from whichever thread; nobody waits in here.
- A worker is with the pool, with one exchange, or with the reaper; it comes back once, by ``release`` or by ``lose``.
- A broken worker is never used again. There are never more than ``threads`` workers in one interpreter, and none before
  it is needed.
- Requests wait in their order, at most ``backlog`` of them. A ticket is told once: of its worker, or of its error;
  one that is withdrawn after it has been told gives its worker back.
- A retired pool takes no request, and lets each worker go when it is free; after the last one its interpreter is
  stopped.
- A group has one interpreter in each process of its process group. A request goes where a worker is free, and among
  those to the process with the fewest exchanges in flight; those that wait are for whichever gets free first. Where
  processes come and go they wait for the next one. One that has lost a worker gets no request until it has said that
  it lives.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from asyncgroups.errors import (
    ApplicationGroupsError,
    ChannelClosed,
    InterpreterFailed,
    Overloaded,
    PoolRetired,
    ProtocolError,
)
from asyncgroups.host.group import GroupInterpreter
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["Member", "Pool", "State", "Ticket", "Worker"]

_LAST_SECONDS = 5.0


class State(enum.Enum):
    """The life of a pool, and of a member."""

    OPEN = "open"
    SUSPECT = "perhaps dead"
    RETIRED = "retired"


class Member:
    """The workers of one of a pool's interpreters.

    kin: the members, of whichever pool, whose interpreters live in the same process. slot: of that process.
    """

    __slots__ = ("busy", "idle", "interpreter", "kin", "made", "pool", "served", "slot", "state")

    def __init__(self, pool: Pool, interpreter: GroupInterpreter, kin: list[Member], *, slot: int) -> None:
        self.slot: int = slot
        self.pool: Pool = pool
        self.interpreter: GroupInterpreter = interpreter
        self.kin: list[Member] = kin
        self.state: State = State.OPEN
        self.idle: list[Worker] = []
        self.busy: set[Worker] = set()
        self.made: int = 0
        """Workers so far: each has a number of its own."""
        self.served: int = 0
        """Exchanges that are over."""

    def __repr__(self) -> str:
        return f"<Member {self.interpreter.label!r} {self.state.value}: {len(self.busy)} busy, {len(self.idle)} idle>"

    @property
    def in_flight(self) -> int:
        """Exchanges in its process."""
        return sum(len(one.busy) for one in self.kin)


class Worker:
    """A worker as the front end sees it: its channel, and what it is busy with."""

    __slots__ = ("aborted", "channel", "exchange", "inlet", "member", "number", "pool", "ready", "request_timeout")

    def __init__(
        self, pool: Pool, number: int, channel: Channel, *, member: Member, request_timeout: float | None = None
    ) -> None:
        self.request_timeout: float | None = request_timeout
        """Seconds for a request where that is not what holds elsewhere; 0 for no limit."""
        self.pool: Pool = pool
        self.member: Member = member
        self.number: int = number
        self.channel: Channel = channel
        self.exchange: int = 0
        """The number of the exchange that it runs; 0 while it is idle."""
        self.aborted: int = 0
        """The number of the last exchange that it was told to abort."""
        self.ready: bool = False
        """Whether it has ever said something: until then its interpreter may be starting."""
        self.inlet: object = None
        """What the front end keeps from one exchange to the next."""

    def __repr__(self) -> str:
        doing = f"busy with #{self.exchange}" if self.exchange else "idle"
        return f"<Worker {self.label!r} {self.number} {doing}>"

    @property
    def label(self) -> str:
        """Its application group's name, as logs show it."""
        return self.member.interpreter.label

    def abort(self, reason: str) -> None:
        """Let the application know, with its next read or write, that nobody waits for its response."""
        self.aborted = self.exchange
        try:
            self.channel.say(messages.frame(messages.ABORT, reason.encode()))
        except ChannelClosed:
            pass  # it knows by now, or has ended

    def interrupt(self) -> None:
        """Have RequestInterrupted raised in the application, and end the wait it may be in."""
        exchange = self.exchange
        if exchange:
            self.abort("the request was interrupted")
            self.member.interpreter.interrupt(self.number, exchange)


class Ticket(Protocol):
    """A request that waits, with the number its exchange will have, and with its key if it has one.

    Both methods are called from any thread, under the pool's lock, and must not wait.
    """

    exchange: int
    key: bytes | None

    def granted(self, worker: Worker) -> None:
        """``worker`` is this request's."""

    def refused(self, error: ApplicationGroupsError) -> None:
        """There will be none."""


class Pool:
    """The workers of an application group and the requests that wait for them.

    interpreter: the only one; None where ``add`` and ``remove`` say which there are. request_timeout: seconds for a
    request where that is not what holds elsewhere. on_served: called when a worker has come back, from any thread, and
    must not wait.
    """

    def __init__(
        self,
        interpreter: GroupInterpreter | None,
        *,
        threads: int,
        backlog: int,
        request_timeout: float | None = None,
        on_served: Callable[[Member], None] | None = None,
    ) -> None:
        self._request_timeout = request_timeout
        self._on_served = on_served
        self.state: State = State.OPEN
        self.proven: set[str] = set()
        """Applications that are known to have loaded in its interpreter."""
        self.is_movable: bool = False
        """Whether the group may leave its interpreter, where an extension module refuses to be loaded there."""
        self._threads = threads
        self._backlog = backlog
        self._lock = threading.Lock()
        self._lasting = interpreter is None
        """Whether its requests may wait for an interpreter that is still to come."""
        self._members: list[Member] = []
        self._waiting: deque[Ticket] = deque()
        if interpreter is not None:
            self._members.append(only := Member(self, interpreter, [], slot=0))
            only.kin.append(only)

    def __repr__(self) -> str:
        members = list(self._members)
        name = repr(members[0].interpreter.label) if members else "without an interpreter"
        busy, idle = sum(len(one.busy) for one in members), sum(len(one.idle) for one in members)
        return f"<Pool {name} {self.state.value}: {busy} busy, {idle} idle, {len(self._waiting)} waiting>"

    @property
    def busy(self) -> list[Worker]:
        """The workers that run an exchange."""
        with self._lock:
            return [worker for member in self._members for worker in member.busy]

    @property
    def members(self) -> list[Member]:
        """Its interpreters that have not ended."""
        with self._lock:
            return list(self._members)

    @property
    def is_lasting(self) -> bool:
        """Whether its interpreters come and go, as their processes do."""
        return self._lasting

    @property
    def is_retired(self) -> bool:
        """Whether it takes no more requests."""
        return self.state is State.RETIRED

    @property
    def is_over(self) -> bool:
        """Whether it takes no more requests, and its interpreters, which come and go, have gone."""
        return self._lasting and self.is_retired and not self.members

    @property
    def is_served(self) -> bool:
        """Whether there is an interpreter that takes requests."""
        with self._lock:
            return any(member.state is not State.RETIRED for member in self._members)

    # Interpreters -----------------------------------------------------------------------------------------------------

    def add(self, interpreter: GroupInterpreter, kin: list[Member], *, slot: int = 0) -> Member:
        """Have one more interpreter, in the process of ``kin``; requests that wait get its workers."""
        with self._lock:
            member = Member(self, interpreter, kin, slot=slot)
            kin.append(member)
            self._members.append(member)
            self._serve_waiting()
        self._stop_if_empty(member)
        return member

    def resume(self, member: Member) -> None:
        """Its process lives, although it has lost a worker."""
        with self._lock:
            if member.state is State.SUSPECT:
                member.state = State.OPEN
                self._serve_waiting()

    def drain(self, member: Member) -> None:
        """Let one of several interpreters take no more requests, and stop after the last that it runs."""
        with self._lock:
            member.state = State.RETIRED
            idle, member.idle = member.idle, []
            self._serve_waiting()
        _let_go(idle)
        self._stop_if_empty(member)

    def remove(self, member: Member) -> list[Worker]:
        """Its interpreter has ended, or its process has; the workers that exchanges may still wait for.

        Their channels end as well, unless a child of the process holds the other ends.
        """
        with self._lock:
            member.state = State.RETIRED
            idle, member.idle = member.idle, []
            busy = list(member.busy)
            if member in self._members:
                self._members.remove(member)
            if member in member.kin:
                member.kin.remove(member)
            self._serve_waiting()
        _let_go(idle)
        return busy

    # Requests ---------------------------------------------------------------------------------------------------------

    def take(self, ticket: Ticket) -> Worker | None:
        """A worker for the ticket's exchange, or None when the ticket stands in the queue.

        Raises Overloaded when the queue is full, PoolRetired when there will be no more, InterpreterFailed, and OSError
        when the process has no descriptors left.
        """
        with self._lock:
            if self.state is State.RETIRED:
                raise PoolRetired("the application group takes no more requests")
            worker = self._free(ticket)
            if worker is None:
                if len(self._waiting) >= self._backlog:
                    raise Overloaded(f"{self._backlog} requests wait for the application group already")
                self._waiting.append(ticket)
                return None
            worker.exchange = ticket.exchange
            return worker

    def claim(self, member: Member, exchange: int) -> Worker:
        """A worker of ``member``, where the pool takes no requests yet. Raises InterpreterFailed, OSError."""
        with self._lock:
            worker = self._worker_of(member)
            member.busy.add(worker)
            worker.exchange = exchange
            return worker

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket out of the queue, if it still stands there."""
        with self._lock:
            if ticket in self._waiting:  # else it has been told, and its owner gives the worker back
                self._waiting.remove(ticket)
                self._stop_kept()

    def release(self, worker: Worker) -> None:
        """``worker`` has said DONE."""
        member = worker.member
        self._release(worker, member)
        if self._on_served is not None:
            self._on_served(member)

    def _release(self, worker: Worker, member: Member) -> None:
        with self._lock:
            if worker not in member.busy:
                raise RuntimeError(f"{worker!r} was released twice")
            member.served += 1
            if self._waiting and member.state is State.OPEN and (ticket := self._next(member)) is not None:
                worker.exchange = ticket.exchange
                ticket.granted(worker)
                self._stop_kept()
                return
            worker.exchange = 0
            member.busy.discard(worker)
            if self.state is State.OPEN and member.state is not State.RETIRED:
                member.idle.append(worker)
                return
        _let_go([worker])
        self._stop_if_empty(member)

    def lose(self, worker: Worker) -> None:
        """``worker``'s channel has ended, or is not to be trusted. Its place is free for a new one."""
        member = worker.member
        worker.channel.shut()
        with self._lock:
            worker.channel.close()
            member.busy.discard(worker)
            if self._lasting and member.state is State.OPEN:
                # Where a process dies its channels end one after the other: what is said to the others is lost.
                member.state = State.SUSPECT
            self._serve_waiting()
        if member.state is State.SUSPECT:
            member.interpreter.ping()
        self._stop_if_empty(member)

    def retire(self) -> None:
        """Take no more requests; those that wait already are served. The interpreters stop after the last."""
        with self._lock:
            self.state = State.RETIRED
            members = list(self._members)
            idle = [worker for member in members for worker in member.idle]
            for member in members:
                member.idle = []
        _let_go(idle)
        for member in members:
            self._stop_if_empty(member)

    def refuse(self, error: ApplicationGroupsError) -> None:
        """Send away all requests that wait."""
        with self._lock:
            members = list(self._members) if self._waiting else []
            self._refuse(error)
        for member in members:
            self._stop_if_empty(member)  # it may have been idle while there were requests for another

    # Under the lock ---------------------------------------------------------------------------------------------------

    def _refuse(self, error: ApplicationGroupsError) -> None:
        waiting, self._waiting = self._waiting, deque()
        for ticket in waiting:
            ticket.refused(error)

    def _serve_waiting(self) -> None:
        """Workers that there are, or may be made, for requests that wait."""
        for ticket in list(self._waiting):
            try:
                worker = self._free(ticket)
            except (ApplicationGroupsError, OSError) as error:
                self._refuse(InterpreterFailed(str(error)))  # nobody may be left to wait for
                return
            if worker is not None:
                self._waiting.remove(ticket)
                worker.exchange = ticket.exchange
                ticket.granted(worker)
                self._stop_kept()

    def _stop_kept(self) -> None:
        """One waits less: after the last one a retired pool needs those no more that it has kept for them."""
        if self.state is State.RETIRED:
            for member in self._members:
                self._stop_if_empty(member)

    def _candidates(self, ticket: Ticket) -> Sequence[Member]:  # noqa: ARG002 - a sticky pool looks at it
        """The members of which a request may have a worker."""
        return self._members

    def _next(self, member: Member) -> Ticket | None:  # noqa: ARG002 - a sticky pool looks at it
        """Of those that wait, who is to have a worker of ``member``: taken out of the queue."""
        return self._waiting.popleft()

    def _free(self, ticket: Ticket) -> Worker | None:
        """A worker that is free, or a new one, busy from here on; None where there is none."""
        while True:
            best = None
            for member in self._candidates(ticket):
                may_have = member.state is State.OPEN and (member.idle or len(member.busy) < self._threads)
                if may_have and (best is None or member.in_flight < best.in_flight):
                    best = member
            if best is None:
                return None
            try:
                worker = self._worker_of(best)
            except BlockingIOError:
                if best.busy:
                    return None  # it has not begun all that it was given: one of those will be free
                raise
            except InterpreterFailed:
                if not self._lasting:
                    raise
                best.state = State.RETIRED  # its process has ended, and is about to be replaced
                continue
            best.busy.add(worker)
            return worker

    def _worker_of(self, member: Member) -> Worker:
        """The idle one that ran last, since its caches are warm; or a new one. Raises InterpreterFailed, OSError."""
        while member.idle:
            worker = member.idle.pop()
            if not self._lasting or _is_alive(worker):
                return worker
            _let_go([worker])
        member.made += 1
        try:
            channel = member.interpreter.add_worker(member.made)
        except ChannelClosed:
            raise InterpreterFailed(member.interpreter.failure or "the interpreter has ended") from None
        return Worker(self, member.made, channel, member=member, request_timeout=self._request_timeout)

    def _stop_if_empty(self, member: Member) -> None:
        over = member.state is State.RETIRED or (self.state is State.RETIRED and not self._waiting)
        if over and not member.busy:
            member.interpreter.stop(_LAST_SECONDS)


def _let_go(workers: list[Worker]) -> None:
    for worker in workers:
        worker.channel.shut()
        worker.channel.close()


def _is_alive(worker: Worker) -> bool:
    """Whether the channel of an idle worker is still one: its process may have died a moment ago."""
    try:
        return worker.channel.receive_nowait() is None
    except (ChannelClosed, ProtocolError):
        return False
