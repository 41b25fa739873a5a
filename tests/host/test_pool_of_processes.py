"""The pool of a group that has an interpreter in each of several processes, which come and go."""

from typing import Any

import pytest

from asyncgroups.errors import ChannelClosed, InterpreterFailed, PoolRetired
from asyncgroups.host.pool import Member, Pool


class Processes:
    """A pool and its interpreters, one in each of some processes."""

    def __init__(self, fakes: Any, count: int, *, threads: int = 1) -> None:
        self.fakes = fakes
        self.served: list[Member] = []
        self.pool = Pool(None, threads=threads, backlog=10, on_served=self.served.append)
        self.interpreters: list[Any] = []
        self.members: list[Member] = []
        for _ in range(count):
            self.add()

    def add(self) -> Member:
        self.interpreters.append(self.fakes.Interpreter())
        self.members.append(self.pool.add(self.interpreters[-1], []))
        return self.members[-1]

    def take(self, number: int) -> Any:
        """The worker, or the ticket that waits."""
        ticket = self.fakes.Ticket(number)
        return self.pool.take(ticket) or ticket


def test_the_fewest_in_flight(fakes: Any) -> None:
    """A request goes to the process with the fewest in flight, those of other groups included."""
    both = Processes(fakes, 2, threads=3)
    other = Pool(None, threads=3, backlog=10)
    other.add(fakes.Interpreter(), both.members[0].kin)
    for number in range(2):
        other.take(fakes.Ticket(100 + number))
    assert [both.take(number).member for number in range(5)] == [
        *[both.members[1]] * 2,
        *[both.members[0], both.members[1], both.members[0]],
    ]


def test_a_worker_that_is_free_comes_before_fewer_in_flight(fakes: Any) -> None:
    """Nobody waits while any process has a worker for the group."""
    both = Processes(fakes, 2)
    other = Pool(None, threads=3, backlog=10)
    other.add(fakes.Interpreter(), both.members[0].kin)
    for number in range(3):
        other.take(fakes.Ticket(100 + number))
    assert {both.take(1).member, both.take(2).member} == set(both.members)


def test_whoever_is_free_first(fakes: Any) -> None:
    """A request waits for no process in particular."""
    both = Processes(fakes, 2)
    _, second = both.take(1), both.take(2)
    waiting = both.take(3)
    both.pool.release(second)
    assert waiting.worker is second
    assert both.served == [second.member]


def test_requests_wait_for_a_process(fakes: Any) -> None:
    """Without any they stand in the queue; the first interpreter takes as many as it has threads for."""
    none = Processes(fakes, 0, threads=2)
    tickets = [none.take(number) for number in range(3)]
    assert [ticket.told for ticket in tickets] == [0, 0, 0]
    member = none.add()
    assert [ticket.told for ticket in tickets] == [1, 1, 0]
    assert {tickets[0].worker, tickets[1].worker} == member.busy


def test_a_drained_process(fakes: Any) -> None:
    """It takes no more requests, lets go of who is idle, and stops after the last that it runs."""
    one = Processes(fakes, 1, threads=2)
    first, second = one.take(1), one.take(2)
    one.pool.release(second)
    one.pool.drain(one.members[0])
    assert second.channel.closed == 1
    assert one.interpreters[0].stops == []
    waiting = one.take(3)
    assert waiting.told == 0
    one.pool.release(first)
    assert (waiting.told, first.channel.closed, len(one.interpreters[0].stops)) == (0, 1, 1)
    one.add()
    assert waiting.worker.member is one.members[1]


def test_a_process_that_has_ended(fakes: Any) -> None:
    """Who may still run there is told, who waits is served by the next one."""
    one = Processes(fakes, 1)
    running, waiting = one.take(1), one.take(2)
    assert one.pool.remove(one.members[0]) == [running]
    assert running.channel.shut_down == 0  # how it ends by itself says more
    assert one.members[0].kin == []
    one.pool.lose(running)
    assert waiting.told == 0
    one.add()
    assert waiting.worker.member is one.members[1]


def test_a_process_that_may_have_ended(fakes: Any) -> None:
    """Where a worker is lost nobody gets another of its process until that has said that it lives."""
    one = Processes(fakes, 1, threads=2)
    first, second = one.take(1), one.take(2)
    waiting = one.take(3)
    one.pool.lose(first)
    assert (waiting.told, one.interpreters[0].pings) == (0, 1)
    one.pool.release(second)
    assert waiting.told == 0
    one.pool.resume(one.members[0])
    assert waiting.worker is second


def test_a_worker_that_died_while_it_was_idle(fakes: Any) -> None:
    """It is passed over."""
    one = Processes(fakes, 1)
    worker = one.take(1)
    one.pool.release(worker)
    worker.channel.gone = True
    assert one.take(2) is not worker
    assert worker.channel.closed == 1


def test_a_process_that_takes_no_more_workers(fakes: Any) -> None:
    """The request goes to a sibling; where there is none it waits, and is not refused."""
    both = Processes(fakes, 2)
    both.interpreters[0].failing = ChannelClosed("gone")
    assert both.take(1).member is both.members[1]
    assert both.take(2).told == 0


@pytest.mark.parametrize("how", ["withdrawn", "served", "served by another"])
def test_the_end_of_who_was_kept_for_a_request(fakes: Any, how: str) -> None:
    """Where a pool is retired while a request waits an idle interpreter stops as soon as that waits no more."""
    both = Processes(fakes, 2)
    lost, running, waiting = (both.take(number) for number in (1, 2, 3))
    both.pool.lose(lost)  # its process may have ended: it is idle, and not to be had
    both.pool.retire()
    assert [len(one.stops) for one in both.interpreters] == [0, 0]
    if how == "withdrawn":
        both.pool.withdraw(waiting)
    elif how == "served":
        both.pool.release(running)
    else:
        both.add()
    assert [len(one.stops) for one in both.interpreters] == [1, 0, 0][: len(both.interpreters)]


def test_the_end(fakes: Any) -> None:
    """A retired pool takes no request; who waits is refused when the pool is told so; every interpreter stops."""
    both = Processes(fakes, 2)
    running = both.take(1)
    both.pool.retire()
    with pytest.raises(PoolRetired):
        both.take(2)
    assert [len(one.stops) for one in both.interpreters] == [0, 1]
    both.pool.refuse(InterpreterFailed("over"))
    both.pool.release(running)
    assert [len(one.stops) for one in both.interpreters] == [1, 1]
