"""Which idle worker takes which waiting request: every decision, and the guarantees under any sequence of them."""

import threading
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

from asyncgroups.errors import ChannelClosed, InterpreterFailed, Overloaded, PoolRetired, ShuttingDown
from asyncgroups.host.pool import Pool, State
from asyncgroups.wire import messages


@pytest.fixture
def make(fakes):
    def make(threads: int = 1, backlog: int = 2) -> tuple[Pool, Any]:
        interpreter = fakes.Interpreter()
        return Pool(interpreter, threads=threads, backlog=backlog), interpreter

    return make


def test_no_worker_before_it_is_needed(make, fakes) -> None:
    """Workers are made one by one, as requests come that find none idle, and are used again."""
    pool, interpreter = make(threads=3)
    assert interpreter.numbers == []
    first = pool.take(fakes.Ticket(1))
    assert interpreter.numbers == [1]
    pool.release(first)
    assert pool.take(fakes.Ticket(2)) is first
    assert interpreter.numbers == [1]
    assert pool.take(fakes.Ticket(3)) is not first
    assert interpreter.numbers == [1, 2]


def test_a_worker_knows_its_exchange(make, fakes) -> None:
    """A busy worker has the number of its exchange, an idle one has 0, and ``busy`` lists the former."""
    pool, _ = make()
    worker = pool.take(fakes.Ticket(41))
    assert (worker.exchange, pool.busy) == (41, [worker])
    pool.release(worker)
    assert (worker.exchange, pool.busy) == (0, [])


def test_the_one_that_ran_last_is_taken_first(make, fakes) -> None:
    """Of several idle workers the one whose caches are warm is taken."""
    pool, _ = make(threads=2)
    first, second = pool.take(fakes.Ticket(1)), pool.take(fakes.Ticket(2))
    pool.release(second)
    pool.release(first)
    assert pool.take(fakes.Ticket(3)) is first
    assert pool.take(fakes.Ticket(4)) is second


def test_requests_wait_in_their_order(make, fakes) -> None:
    """What finds no worker waits, and is told of one in the order of coming; past the backlog comes Overloaded."""
    pool, _ = make(backlog=2)
    worker = pool.take(fakes.Ticket(1))
    waiting = [fakes.Ticket(2), fakes.Ticket(3)]
    assert [pool.take(ticket) for ticket in waiting] == [None, None]
    with pytest.raises(Overloaded):
        pool.take(fakes.Ticket(4))
    for ticket in waiting:
        assert ticket.told == 0
        pool.release(worker)
        assert (ticket.worker, worker.exchange) == (worker, ticket.exchange)
    assert [ticket.told for ticket in waiting] == [1, 1]


@pytest.mark.parametrize("lasting", [True, False])
def test_an_interpreter_that_begins_no_further_worker(make, fakes, monkeypatch, lasting: bool) -> None:
    """Requests wait for the workers that it has been given, and later ones may have more of them again."""
    pool, interpreter = make(threads=3)
    if lasting:
        pool = Pool(None, threads=3, backlog=2)
        pool.add(interpreter, [])
    worker, add = pool.take(fakes.Ticket(1)), type(interpreter).add_worker

    def refuse(self: Any, number: int) -> Any:
        raise BlockingIOError

    monkeypatch.setattr(type(interpreter), "add_worker", refuse)
    waiting = fakes.Ticket(2)
    assert pool.take(waiting) is None
    pool.release(worker)
    assert waiting.worker is worker
    monkeypatch.setattr(type(interpreter), "add_worker", add)
    assert pool.take(fakes.Ticket(3)) not in (None, worker)


def test_no_backlog(make, fakes) -> None:
    """With a backlog of 0 no request waits."""
    pool, _ = make(backlog=0)
    pool.take(fakes.Ticket(1))
    with pytest.raises(Overloaded):
        pool.take(fakes.Ticket(2))


def test_a_withdrawn_ticket_is_told_nothing(make, fakes) -> None:
    """A ticket that leaves the queue is not told of a worker; its place is free for another; twice is as once."""
    pool, _ = make(backlog=1)
    worker = pool.take(fakes.Ticket(1))
    gone, next_one = fakes.Ticket(2), fakes.Ticket(3)
    pool.take(gone)
    pool.withdraw(gone)
    pool.withdraw(gone)
    pool.take(next_one)
    pool.release(worker)
    assert (gone.told, next_one.worker) == (0, worker)


def test_a_ticket_that_is_withdrawn_too_late_gives_its_worker_back(make, fakes) -> None:
    """A ticket that has been told owns its worker, withdrawn or not, and gives it back as everybody does."""
    pool, _ = make()
    worker = pool.take(fakes.Ticket(1))
    late = fakes.Ticket(2)
    pool.take(late)
    pool.release(worker)
    pool.withdraw(late)
    assert pool.busy == [worker]
    pool.release(late.worker)
    assert pool.busy == []


def test_a_worker_comes_back_once(make, fakes) -> None:
    """A worker that is released, and was not busy, is a mistake of the caller, and changes nothing."""
    pool, _ = make()
    worker = pool.take(fakes.Ticket(1))
    pool.release(worker)
    with pytest.raises(RuntimeError, match="released twice"):
        pool.release(worker)
    assert pool.take(fakes.Ticket(2)) is worker
    assert pool.take(fakes.Ticket(3)) is None


def test_a_lost_worker_is_never_used_again(make, fakes) -> None:
    """A lost worker's channel is shut and closed; the next request gets a new worker with a number of its own."""
    pool, interpreter = make()
    lost = pool.take(fakes.Ticket(1))
    pool.lose(lost)
    assert (lost.channel.shut_down, lost.channel.closed) == (1, 1)
    fresh = pool.take(fakes.Ticket(2))
    assert fresh is not lost
    assert interpreter.numbers == [1, 2]


def test_who_waits_gets_the_replacement(make, fakes) -> None:
    """Where requests wait, a lost worker is replaced at once."""
    pool, _ = make()
    lost, waiting = pool.take(fakes.Ticket(1)), fakes.Ticket(2)
    pool.take(waiting)
    pool.lose(lost)
    assert waiting.worker not in (None, lost)
    assert waiting.worker.exchange == 2
    assert pool.busy == [waiting.worker]


@pytest.mark.parametrize("error", [ChannelClosed("ended"), OSError(24, "Too many open files")])
def test_without_a_replacement_nobody_waits_for_ever(make, fakes, error: Exception) -> None:
    """Where a lost worker cannot be replaced and no other is busy, all that wait are told of an error."""
    pool, interpreter = make(backlog=3)
    lost, waiting = pool.take(fakes.Ticket(1)), [fakes.Ticket(n) for n in (2, 3, 4)]
    for ticket in waiting:
        pool.take(ticket)
    interpreter.failing = error
    pool.lose(lost)
    assert [type(ticket.error) for ticket in waiting] == [InterpreterFailed] * 3


@pytest.mark.parametrize(
    ("failing", "failure", "raised", "text"),
    [
        (ChannelClosed("x"), "the module did not load", InterpreterFailed, "the module did not load"),
        (ChannelClosed("x"), None, InterpreterFailed, "the interpreter has ended"),
        (OSError(24, "Too many open files"), None, OSError, "Too many open files"),
    ],
)
def test_a_worker_that_cannot_be_made(
    make, fakes, failing: Exception, failure: str, raised: type[Exception], text: str
) -> None:
    """The request that needed it gets the error, and no place is taken by a worker that is none."""
    pool, interpreter = make()
    interpreter.failing, interpreter.failure = failing, failure
    for _ in range(3):
        with pytest.raises(raised, match=text):
            pool.take(fakes.Ticket(1))
    interpreter.failing = None
    assert pool.take(fakes.Ticket(2)) is not None


def test_a_retired_pool(make, fakes) -> None:
    """A retired pool takes no request, serves those that wait, lets each worker go, and stops its interpreter last."""
    pool, interpreter = make(threads=2)
    busy, idle = pool.take(fakes.Ticket(1)), pool.take(fakes.Ticket(2))
    waiting = fakes.Ticket(3)
    pool.take(waiting)
    pool.release(idle)  # goes to the one that waits
    other = fakes.Ticket(4)
    pool.take(other)
    pool.retire()
    with pytest.raises(PoolRetired):
        pool.take(fakes.Ticket(5))
    assert interpreter.stops == []
    pool.release(busy)
    assert other.worker is busy
    pool.release(busy)
    assert (busy.channel.closed, interpreter.stops) == (1, [])
    pool.release(idle)
    assert idle.channel.closed == 1
    assert len(interpreter.stops) == 1
    assert pool.state is State.RETIRED


def test_a_retired_pool_without_work_stops_at_once(make, fakes) -> None:
    """Idle workers are let go at once, and with them the interpreter; retiring again is no harm."""
    pool, interpreter = make()
    worker = pool.take(fakes.Ticket(1))
    pool.release(worker)
    pool.retire()
    pool.retire()
    assert (worker.channel.shut_down, worker.channel.closed) == (1, 1)
    assert interpreter.stops


def test_a_lost_worker_of_a_retired_pool(make, fakes) -> None:
    """The last worker may be lost as well: then the interpreter is stopped."""
    pool, interpreter = make()
    worker = pool.take(fakes.Ticket(1))
    pool.retire()
    pool.lose(worker)
    assert interpreter.stops


def test_refuse(make, fakes) -> None:
    """All that wait are told of the error, once, and none of a worker later."""
    pool, _ = make()
    worker, waiting = pool.take(fakes.Ticket(1)), [fakes.Ticket(2), fakes.Ticket(3)]
    for ticket in waiting:
        pool.take(ticket)
    error = ShuttingDown("the server shuts down")
    pool.refuse(error)
    pool.release(worker)
    assert [(ticket.told, ticket.error, ticket.worker) for ticket in waiting] == [(1, error, None)] * 2


def test_abort_and_interrupt(make, fakes) -> None:
    """An abort is said over the worker's channel, an interrupt names the exchange over the control channel too."""
    pool, interpreter = make()
    worker = pool.take(fakes.Ticket(9))
    worker.abort("the client has gone")
    assert worker.channel.said == [messages.frame(messages.ABORT, b"the client has gone")]
    worker.interrupt()
    assert interpreter.interrupts == [(1, 9)]
    assert len(worker.channel.said) == 2
    worker.channel.gone = True
    worker.abort("it knows by now")
    pool.release(worker)
    worker.interrupt()  # idle: nobody is hit
    assert interpreter.interrupts == [(1, 9)]


def test_repr_is_a_status_line(make, fakes) -> None:
    """``repr`` says what an operator wants to know."""
    pool, _ = make(threads=2)
    first, second = pool.take(fakes.Ticket(7)), pool.take(fakes.Ticket(8))
    pool.take(fakes.Ticket(9))
    assert repr(pool) == "<Pool 'shop' open: 2 busy, 0 idle, 1 waiting>"
    assert repr(first) == "<Worker 'shop' 1 busy with #7>"
    pool.release(first)
    pool.release(second)
    assert repr(second) == "<Worker 'shop' 2 idle>"


def test_under_many_threads(fakes) -> None:
    """From many threads at once: no worker is in two hands, and no ticket is told twice or forgotten."""
    pool = Pool(interpreter := fakes.Interpreter(), threads=3, backlog=1000)
    hands: dict[object, int] = {}
    mistakes: list[object] = []

    def use(worker: Any, exchange: int) -> None:
        if hands.setdefault(worker, exchange) != exchange or worker.exchange != exchange:
            mistakes.append(worker)
        del hands[worker]
        pool.release(worker)

    def go(first: int) -> None:
        for number in range(first, first + 300):
            ticket = fakes.Ticket(number)
            told = threading.Event()
            ticket.granted = lambda worker, ticket=ticket, told=told: (setattr(ticket, "worker", worker), told.set())
            worker = pool.take(ticket)
            if worker is None:
                if not told.wait(20):
                    mistakes.append(ticket)
                    return
                worker = ticket.worker
            use(worker, number)

    threads = [threading.Thread(target=go, args=(1000 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert mistakes == []
    assert pool.busy == []
    assert len(interpreter.numbers) <= 3


def machine(fakes) -> type[RuleBasedStateMachine]:  # noqa: C901 - many small rules
    class Pools(RuleBasedStateMachine):
        """Any sequence of what callers may do, next to a model of who has what."""

        @initialize(threads=st.integers(1, 3), backlog=st.integers(0, 3))
        def begin(self, threads: int, backlog: int) -> None:
            self.threads, self.backlog = threads, backlog
            self.interpreter = fakes.Interpreter()
            self.pool = Pool(self.interpreter, threads=threads, backlog=backlog)
            self.number = 0
            self.waiting: list[Any] = []
            self.busy: dict[Any, int] = {}
            self.lost: set[Any] = set()
            self.tickets: list[Any] = []
            self.told: dict[Any, int] = {}
            self.retired = False

        def settle(self) -> None:
            """Take notice of what tickets were told."""
            for ticket in list(self.waiting):
                if ticket.told:
                    self.waiting.remove(ticket)
                    if ticket.worker is not None:
                        self.busy[ticket.worker] = ticket.exchange

        @rule()
        def take(self) -> None:
            self.number += 1
            ticket = fakes.Ticket(self.number)
            room = len(self.busy) < self.threads
            try:
                worker = self.pool.take(ticket)
            except PoolRetired:
                assert self.retired
            except Overloaded:
                assert not room
                assert len(self.waiting) == self.backlog
            except InterpreterFailed, OSError:
                assert self.interpreter.failing is not None
            else:
                assert not self.retired
                if worker is None:
                    assert not room
                    self.waiting.append(ticket)
                    self.tickets.append(ticket)
                else:
                    assert room
                    assert worker not in self.busy
                    self.busy[worker] = self.number
            assert ticket.told == 0

        @rule()
        def crowd(self) -> None:
            for _ in range(self.threads + self.backlog):
                self.take()

        @precondition(lambda self: self.busy)
        @rule(choice=st.randoms(use_true_random=False))
        def release(self, choice: Any) -> None:
            worker = choice.choice(list(self.busy))
            del self.busy[worker]
            head = self.waiting[0] if self.waiting else None
            self.pool.release(worker)
            assert head is None or head.worker is worker
            self.settle()

        @precondition(lambda self: self.busy)
        @rule(choice=st.randoms(use_true_random=False))
        def lose(self, choice: Any) -> None:
            worker = choice.choice(list(self.busy))
            del self.busy[worker]
            self.lost.add(worker)
            head = self.waiting[0] if self.waiting else None
            self.pool.lose(worker)
            assert head is None or head.told == 1
            self.settle()

        @precondition(lambda self: self.tickets)
        @rule(choice=st.randoms(use_true_random=False))
        def withdraw(self, choice: Any) -> None:
            ticket = choice.choice(self.tickets)
            self.pool.withdraw(ticket)
            if ticket in self.waiting:
                self.waiting.remove(ticket)

        @rule(failing=st.sampled_from([None, None, OSError(24, "no descriptors"), ChannelClosed("ended")]))
        def fail(self, failing: Exception | None) -> None:
            self.interpreter.failing = failing

        @rule()
        def retire(self) -> None:
            self.pool.retire()
            self.retired = True

        @rule()
        def refuse(self) -> None:
            self.pool.refuse(ShuttingDown("x"))
            self.settle()
            assert not self.waiting

        @invariant()
        def guarantees(self) -> None:
            if not hasattr(self, "pool"):
                return
            assert set(self.pool.busy) == set(self.busy)
            assert all(worker.exchange == number for worker, number in self.busy.items())
            open_channels = [one for one in self.interpreter.channels if not one.closed]
            assert len(open_channels) <= self.threads
            assert len(self.waiting) <= self.backlog
            assert list(self.pool._waiting) == self.waiting
            assert all(ticket.told <= 1 for ticket in self.tickets)
            assert not self.lost & set(self.busy)
            assert all(worker.channel.closed == 1 for worker in self.lost)
            assert not self.waiting or len(self.busy) == self.threads, "requests wait where a worker could be made"
            if self.retired and not self.busy:
                assert self.interpreter.stops
                assert not open_channels
            if not self.retired or self.busy:
                assert not self.interpreter.stops

    return Pools


def test_any_sequence(fakes) -> None:
    """The guarantees at the head of the module hold after any sequence of calls."""
    run_state_machine_as_test(
        machine(fakes), settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
