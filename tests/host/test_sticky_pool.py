"""The pool in which a key always goes to the same process: every decision, and the guarantees under any sequence."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asyncgroups.errors import ChannelClosed, Overloaded, PoolRetired, ShuttingDown
from asyncgroups.host.pool import Member, State
from asyncgroups.host.rendezvous import ranking
from asyncgroups.host.sticky import StickyPool


def key_of(*order: int, slots: int = 3) -> bytes:
    """A key whose order of slots begins like this."""
    return next(key for key in map(b"%d".__mod__, range(10_000)) if ranking(key, slots)[: len(order)] == order)


class Processes:
    """A sticky pool and its interpreters, one in each slot, unless it is still to come."""

    def __init__(self, fakes: Any, *, slots: int = 3, threads: int = 1, missing: tuple[int, ...] = ()) -> None:
        self.fakes = fakes
        self.pool = StickyPool(slots=slots, awaited=missing, threads=threads, backlog=10)
        self.number = 0
        self.members: dict[int, Member] = {}
        for slot in range(1, slots + 1):
            if slot not in missing:
                self.add(slot)

    def add(self, slot: int) -> Member:
        self.members[slot] = self.pool.add(self.fakes.Interpreter(), [], slot=slot)
        return self.members[slot]

    def take(self, key: bytes | None = None) -> Any:
        """The worker, or the ticket that waits."""
        self.number += 1
        ticket = self.fakes.Ticket(self.number, key)
        return self.pool.take(ticket) or ticket

    def slot_of(self, key: bytes) -> int:
        """Where a request with this key is served at once."""
        worker = self.take(key)
        self.pool.release(worker)
        return worker.member.slot


def test_a_key_goes_to_its_slot(fakes: Any) -> None:
    """Each key to the slot that ranks highest, however many others are in flight there."""
    three = Processes(fakes, threads=3)
    for first in (1, 2, 3):
        key = key_of(first)
        assert [three.take(key).member.slot for _ in range(3)] == [first] * 3


def test_without_a_key(fakes: Any) -> None:
    """A request without one goes to the process with the fewest in flight."""
    three = Processes(fakes, threads=2)
    for _ in range(2):
        three.take(key_of(1))
    assert {three.take().member.slot for _ in range(2)} == {2, 3}


def test_a_key_waits_for_its_own_process(fakes: Any) -> None:
    """It does so while others are idle; requests that can be served elsewhere pass by it, and its own come in order."""
    three = Processes(fakes)
    running = three.take(key_of(1))
    first, second = three.take(key_of(1)), three.take(key_of(1, 3))
    other, any_one = three.take(key_of(2)), three.take()
    assert (first.told, second.told) == (0, 0)
    assert (other.member.slot, any_one.member.slot) == (2, 3)
    nobodys, late = three.take(), three.take(key_of(1))
    three.pool.release(other)
    assert (nobodys.worker, first.told) == (other, 0)
    three.pool.release(running)
    assert (first.worker, second.told) == (running, 0)
    three.pool.release(running)
    assert (second.worker, late.told) == (running, 0)


def test_a_worker_that_nobody_waits_for(fakes: Any) -> None:
    """It is idle, although there are requests for others, and serves the next one that it fits."""
    three = Processes(fakes)
    one, two = three.take(key_of(1)), three.take(key_of(2))
    waiting = three.take(key_of(1))
    three.pool.release(two)
    assert (two.exchange, waiting.told) == (0, 0)
    assert three.take(key_of(2)) is two
    three.pool.release(one)
    assert waiting.worker is one


def test_a_death_moves_its_own_keys_alone(fakes: Any) -> None:
    """They go where they rank next, the others stay, and all is as before once the slot is served again."""
    three = Processes(fakes, threads=5)
    keys = [key_of(*order) for order in ((1, 2), (1, 3), (2,), (3,))]
    assert [three.slot_of(key) for key in keys] == [1, 1, 2, 3]
    three.pool.remove(three.members[1])
    assert [three.slot_of(key) for key in keys] == [2, 3, 2, 3]
    three.add(1)
    assert [three.slot_of(key) for key in keys] == [1, 1, 2, 3]


def test_who_waits_moves_as_well(fakes: Any) -> None:
    """A request that waits for a process goes elsewhere as soon as that is known to be dead, or is drained."""
    three = Processes(fakes)
    for end in (three.pool.drain, three.pool.remove):
        running, waiting = three.take(key_of(1, 2)), three.take(key_of(1, 2))
        end(three.members[1])
        assert waiting.worker.member is three.members[2]
        three.pool.release(waiting.worker)
        three.pool.lose(running)
        three.add(1)


def test_who_comes_back_from_waiting_elsewhere(fakes: Any) -> None:
    """A request whose slot is served again while it waits goes there."""
    three = Processes(fakes)
    three.pool.remove(three.members[1])
    three.take(key_of(2))
    waiting = three.take(key_of(1, 2))
    assert waiting.told == 0
    assert waiting.worker is None
    member = three.add(1)
    assert waiting.worker.member is member


def test_a_process_that_may_be_dead_keeps_its_keys(fakes: Any) -> None:
    """They wait until it has said that it lives; those of others do not."""
    three = Processes(fakes, threads=2)
    lost = three.take(key_of(1))
    three.pool.lose(lost)
    waiting = three.take(key_of(1))
    assert (waiting.told, three.slot_of(key_of(2))) == (0, 2)
    assert three.take().member.slot != 1
    three.pool.resume(three.members[1])
    assert waiting.worker.member is three.members[1]


def test_a_successor_has_the_keys_at_once(fakes: Any) -> None:
    """As soon as it serves, also before the one that it replaces takes no more; who waits for that one goes there."""
    three = Processes(fakes)
    old = three.members[1]
    running, waiting = three.take(key_of(1)), three.take(key_of(1))
    successor = three.add(1)
    assert waiting.worker.member is successor
    three.pool.release(waiting.worker)
    three.pool.drain(old)
    assert three.take(key_of(1)).member is successor
    three.pool.release(running)
    assert running.channel.closed == 1


def test_a_slot_that_is_about_to_be_served(fakes: Any) -> None:
    """At the start its keys wait for it, those of others and requests without one do not; unless nobody comes."""
    three = Processes(fakes, threads=5, missing=(1, 2))
    waiting = [three.take(key_of(1, 3)), three.take(key_of(2, 1)), three.take(key_of(2, 3))]
    assert three.take(key_of(3, 1)).member.slot == 3
    assert three.take().member.slot == 3
    three.pool.forgo(2)
    assert [ticket.told for ticket in waiting] == [0, 0, 1]
    assert waiting[2].worker.member.slot == 3
    three.add(1)
    assert [ticket.worker.member.slot for ticket in waiting] == [1, 1, 3]
    three.pool.remove(three.members[1])
    assert three.slot_of(key_of(1, 3)) == 3  # that was the start


def test_a_process_that_takes_no_more_workers(fakes: Any) -> None:
    """The request goes where its key ranks next."""
    three = Processes(fakes)
    three.members[1].interpreter.failing = ChannelClosed("gone")  # type: ignore[attr-defined]
    assert three.take(key_of(1, 3)).member.slot == 3


def test_the_backlog_is_for_those_who_have_to_wait(fakes: Any) -> None:
    """When it is full a request is served where there is a worker for it, and refused where there is none."""
    three = Processes(fakes)
    for _ in range(11):
        three.take(key_of(1))
    with pytest.raises(Overloaded):
        three.take(key_of(1))
    assert three.take(key_of(2)).member.slot == 2


def test_the_end(fakes: Any) -> None:
    """Every interpreter is stopped once the pool is retired and who waits is refused, idle or not."""
    three = Processes(fakes)
    running, waiting = three.take(key_of(1)), three.take(key_of(1))
    three.pool.retire()
    with pytest.raises(PoolRetired):
        three.take(key_of(2))
    three.pool.refuse(PoolRetired("moved"))
    assert isinstance(waiting.error, PoolRetired)
    three.pool.release(running)
    assert all(one.interpreter.stops for one in three.members.values())  # type: ignore[attr-defined]


def machine(fakes: Any) -> type[RuleBasedStateMachine]:  # noqa: C901 - many small rules
    class Pools(RuleBasedStateMachine):
        """Any sequence of what callers may do, next to a model of who belongs where."""

        @initialize(slots=st.integers(1, 4), threads=st.integers(1, 2), awaited=st.sets(st.integers(1, 4)))
        def begin(self, slots: int, threads: int, awaited: set[int]) -> None:
            self.slots, self.threads = slots, threads
            self.awaited = {slot for slot in awaited if slot <= slots}
            self.pool = StickyPool(slots=slots, awaited=self.awaited, threads=threads, backlog=6)
            self.members: list[Member] = []
            self.tickets: list[Any] = []
            self.waiting: list[Any] = []
            self.busy: dict[Any, Any] = {}
            self.retired = False

        def home(self, key: bytes) -> Member | None:
            for slot in ranking(key, self.slots):
                there = [one for one in self.members if one.slot == slot and one.state is not State.RETIRED]
                if there:
                    return there[-1]
                if slot in self.awaited:
                    return None
            return None

        def fits(self, ticket: Any, member: Member) -> bool:
            return ticket.key is None or self.home(ticket.key) is member

        def has_room(self, member: Member) -> bool:
            return member.state is State.OPEN and len(member.busy) < self.threads

        def settle(self) -> None:
            """Take notice of what tickets were told."""
            for ticket in list(self.waiting):
                if ticket.told:
                    self.waiting.remove(ticket)
                    if ticket.worker is not None:
                        self.serve(ticket, ticket.worker)
            for member in [one for one in self.members if one.interpreter.failing]:  # type: ignore[attr-defined]
                if member in self.members and member.state is State.RETIRED:  # one end may bring about another
                    self.end(member)  # its process is found dead in the end

        def serve(self, ticket: Any, worker: Any) -> None:
            assert worker.exchange == ticket.exchange
            assert self.fits(ticket, worker.member), "another process than the key's"
            self.busy[worker] = ticket

        def end(self, member: Member) -> None:
            self.pool.remove(member)
            self.members.remove(member)
            self.settle()

        @rule(key=st.sampled_from([None, b"a", b"b", b"c", b"d", b"e"]))
        def take(self, key: bytes | None) -> None:
            ticket = fakes.Ticket(len(self.tickets) + 1, key)
            self.tickets.append(ticket)
            try:
                worker = self.pool.take(ticket)
            except PoolRetired:
                assert self.retired
                return
            except Overloaded:
                assert len(self.waiting) == 6
                return
            assert ticket.told == 0
            if worker is None:
                self.waiting.append(ticket)
            else:
                self.serve(ticket, worker)
            self.settle()

        @precondition(lambda self: self.busy)
        @rule(choice=st.randoms(use_true_random=False))
        def release(self, choice: Any) -> None:
            worker = choice.choice(list(self.busy))
            del self.busy[worker]
            fitting = [ticket for ticket in self.waiting if self.fits(ticket, worker.member)]
            is_open = worker.member.state is State.OPEN
            self.pool.release(worker)
            if fitting and is_open:
                assert fitting[0].worker is worker, "not the first one that it fits"
            self.settle()

        @precondition(lambda self: self.busy)
        @rule(choice=st.randoms(use_true_random=False))
        def lose(self, choice: Any) -> None:
            worker = choice.choice(list(self.busy))
            del self.busy[worker]
            self.pool.lose(worker)
            self.settle()

        @precondition(lambda self: not self.retired)
        @rule(slot=st.integers(1, 4))
        def add(self, slot: int) -> None:
            slot = min(slot, self.slots)
            self.awaited.discard(slot)
            self.members.append(self.pool.add(fakes.Interpreter(), [], slot=slot))
            self.settle()

        @precondition(lambda self: self.members)
        @rule(choice=st.randoms(use_true_random=False), how=st.sampled_from(["drain", "remove", "resume", "fail"]))
        def change(self, choice: Any, how: str) -> None:
            member = choice.choice(self.members)
            if how == "fail":
                member.interpreter.failing = ChannelClosed("gone")
            elif how == "remove":
                self.end(member)
            else:
                getattr(self.pool, how)(member)
            self.settle()

        @rule(slot=st.integers(1, 4))
        def forgo(self, slot: int) -> None:
            self.awaited.discard(slot)
            self.pool.forgo(slot)
            self.settle()

        @precondition(lambda self: self.tickets)
        @rule(choice=st.randoms(use_true_random=False))
        def withdraw(self, choice: Any) -> None:
            ticket = choice.choice(self.tickets)
            self.pool.withdraw(ticket)
            if ticket in self.waiting:
                self.waiting.remove(ticket)

        @rule(refuses=st.booleans())
        def retire(self, refuses: bool) -> None:
            self.pool.retire()
            self.retired = True
            if refuses:
                self.refuse()

        @rule()
        def refuse(self) -> None:
            self.pool.refuse(ShuttingDown("x"))
            self.settle()
            assert not self.waiting

        @invariant()
        def guarantees(self) -> None:
            if not hasattr(self, "pool"):
                return
            assert list(self.pool._waiting) == self.waiting
            assert all(ticket.told <= 1 for ticket in self.tickets)
            assert {worker: worker.exchange for worker in self.busy} == {
                worker: ticket.exchange for worker, ticket in self.busy.items()
            }
            for member in self.members:
                assert len([one for one in member.interpreter.channels if not one.closed]) <= self.threads  # type: ignore[attr-defined]
                assert not (self.has_room(member) and any(self.fits(ticket, member) for ticket in self.waiting)), (
                    "a request waits where there is a worker for it"
                )
                assert not self.retired or self.waiting or member.busy or member.interpreter.stops  # type: ignore[attr-defined]

    return Pools


def test_any_sequence(fakes: Any) -> None:
    """No request goes to another process than its key's, waits where it could be served, or is told twice."""
    run_state_machine_as_test(
        machine(fakes), settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
