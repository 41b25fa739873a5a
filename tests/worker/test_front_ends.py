"""Several front ends that share an interpreter: its threads are for all of them, and what is said is each one's own."""

import os
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncgroups.errors import ChannelClosed
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from asyncgroups.worker import main
from asyncgroups.worker.control import FrontEnd as Known
from asyncgroups.worker.control import Worker
from asyncgroups.worker.crew import Crew, Post
from asyncgroups.worker.region import Region
from tests.serving import until
from tests.worker.test_main import PARTS, PATIENCE, Side, apps, hello, spin

__all__ = ["apps"]


class FrontEnd:
    """A front end's control channel, and its workers."""

    def __init__(self, channel: Any) -> None:
        self.control = Side(channel)
        self.workers: list[Side] = []
        self.is_told = False

    def worker(self) -> Side:
        channel, theirs = pair()
        self.control.channel.send_descriptor(messages.numbers(messages.WORKER, len(self.workers) + 1), theirs)
        os.close(theirs)
        self.workers.append(Side(channel))
        return self.workers[-1]

    def record(self, about: str) -> messages.Record:
        """The next log record that says ``about``."""
        while True:
            kind, payload = self.control.next()
            if kind == messages.RECORD and about in messages.parse_record(payload).text:
                return messages.parse_record(payload)

    def is_alone_with(self, text: str) -> bool:
        """Whether no record that has come by now says anything else."""
        while (frame := self.control.channel.receive_nowait()) is not None:
            if frame[0] == messages.RECORD and text not in messages.parse_record(frame[1]).text:
                return False
        return True

    def stop(self, seconds: float = PATIENCE) -> int:
        """How many workers are left."""
        self.control.say(messages.numbers(messages.STOP, round(seconds * 1000)))
        return messages.parse_numbers(self.control.until(messages.STOPPED)[-1][1], 1)[0]

    def vanish(self) -> None:
        for side in [self.control, *self.workers]:
            side.channel.shut()
            side.channel.close()


class Shared:
    """``main.run`` in a thread, with a door."""

    def __init__(self, threads: int) -> None:
        channel, control = pair()
        self.door, self.knocker = os.pipe()
        self.left: queue.SimpleQueue[int] = queue.SimpleQueue()
        arguments = (control, "", "", threads, (), None, False, self.door)
        self.thread = threading.Thread(target=lambda: self.left.put(main.run(*arguments)))
        self.thread.start()
        self.front_ends = [FrontEnd(channel)]
        assert self.front_ends[0].control.next() == (messages.READY, b"")

    def enter(self) -> FrontEnd:
        """One more front end."""
        channel, control = pair()
        os.write(self.knocker, control.to_bytes(8))
        self.front_ends.append(FrontEnd(channel))
        assert self.front_ends[-1].control.next() == (messages.READY, b"")
        return self.front_ends[-1]

    def end(self) -> None:
        for front_end in self.front_ends:
            front_end.vanish()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        until(lambda: not threads(), what="the end of the threads")
        os.close(self.door)
        os.close(self.knocker)


def threads() -> list[str]:
    """Names of those that run applications."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("GLOBAL-"))


@pytest.fixture
def share() -> Iterator[Callable[[int], Shared]]:
    shared: list[Shared] = []

    def share(threads: int) -> Shared:
        shared.append(Shared(threads))
        return shared[-1]

    yield share
    for one in shared:
        one.end()


class Held:
    """An application that runs until it is let go, and what is known of its calls."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gone = threading.Event()
        self.calls = 0

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.calls += 1
        self.entered.release()
        spin(self.gone.is_set)
        return hello(environ, start_response)

    def has_begun(self) -> bool:
        return self.entered.acquire(timeout=PATIENCE)


@pytest.fixture
def held(apps: Any) -> Iterator[Held]:
    apps.held = Held()
    yield apps.held
    apps.held.gone.set()


DONE = messages.DONE


def ask(worker: Side, number: int, application: str = "t3_apps:hello") -> int:
    """The thread that has answered."""
    worker.request(number, application)
    body = b""
    for kind, payload in worker.until(DONE):
        if kind == messages.START:
            body = messages.parse_start(payload).body
    return int(body)


def test_each_worker_has_its_thread(share: Callable[[int], Shared], apps: Any) -> None:
    """As long as there are enough of them, also for workers of several front ends."""
    shared = share(3)
    workers = [shared.front_ends[0].worker(), shared.front_ends[0].worker(), shared.enter().worker()]
    idents = [ask(worker, 1) for worker in workers]
    assert len(set(idents)) == 3
    for number in range(2, 12):
        assert [ask(worker, number) for worker in workers] == idents
    assert threads() == ["GLOBAL-1", "GLOBAL-1", "GLOBAL-2"]


def wait_until_it_waits() -> None:
    """Return when the only thread is blocked in its wait for one post: it stays at the same bytecode of that."""
    thread = next(one for one in threading.enumerate() if one.name.startswith("GLOBAL-"))
    same, last, deadline = 0, None, time.monotonic() + PATIENCE
    while same < 5 and time.monotonic() < deadline:
        frame = sys._current_frames()[thread.ident or 0]
        place = (frame.f_code.co_qualname, frame.f_lasti)
        same = same + 1 if place == last and place[0] == "Crew.wait" else 0
        last = place
        time.sleep(0.002)  # the pace of asking
    assert same


def test_a_thread_that_waits_for_another(share: Callable[[int], Shared], apps: Any) -> None:
    """Whichever of several channels has a request next: the only thread, which waited for one of them, serves it."""
    shared = share(1)
    workers = [shared.front_ends[0].worker()]
    ident = ask(workers[0], 1)
    wait_until_it_waits()
    workers += [one.worker() for one in (shared.front_ends[0], shared.enter(), shared.enter())]
    assert ask(workers[3], 1) == ident
    for number in range(2, 40):
        assert ask(random.choice(workers), number) == ident
    assert threads() == ["GLOBAL-1"]


def test_no_more_threads_than_there_may_be(share: Callable[[int], Shared], apps: Any) -> None:
    """Whatever several front ends ask for at once, and each of their requests is answered."""
    lock, running, most, idents = threading.Lock(), 0, 0, set()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            idents.add(threading.get_ident())
        time.sleep(random.choice([0, 0.0005]))
        with lock:
            running -= 1
        return hello(environ, start_response)

    apps.application = application
    shared = share(2)
    fronts = [shared.front_ends[0], shared.enter(), shared.enter()]
    answered: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ask_often(worker: Side) -> None:
        for number in range(1, 101):
            ask(worker, number, "t3_apps:application")
            answered.put(number)
        worker.channel.shut()

    asking = [threading.Thread(target=ask_often, args=(front.worker(),)) for front in fronts for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE)
    assert answered.qsize() == 900
    assert (most, len(idents)) == (2, 2)
    until(lambda: not threads(), what="the end of the threads, since their channels have ended")


class Mark(Post):
    """Leaves a mark for each byte that comes."""

    def __init__(self, name: str, marks: list[str], begin: threading.Event) -> None:
        self.near, far = pair()
        super().__init__(Channel(far, blocking=True))
        self.name, self.marks, self.begin = name, marks, begin

    def take(self, region: Region) -> None:
        assert self.begin.wait(PATIENCE)

    def serve(self, crew: Crew) -> Post:
        while True:
            byte = self.channel._socket.recv(1)
            if not byte:
                raise ChannelClosed("over")
            self.marks.append(self.name)
            if (other := crew.wait(self)) is not None:
                return other

    def part(self) -> None:
        self.channel.close()
        self.near.close()


def test_who_waits_longest_is_next() -> None:
    """One that has always something more to do does not keep another one from its turn."""
    marks: list[str] = []
    begin = threading.Event()
    crew = Crew(name="GLOBAL", limit=1, daemon=True)
    posts = [Mark(name, marks, begin) for name in "abcde"]
    for number, post in enumerate(posts):
        post.near.say(b"x" * 50)
        post.near._socket.shutdown(socket.SHUT_WR)
        crew.add(post, number)
    begin.set()
    assert crew.join(time.monotonic() + PATIENCE) == 0
    assert marks == list("abcde" * 50)


class Owned(Mark):
    """Notes whether who serves it is who has taken it last."""

    def take(self, region: Region) -> None:
        self.owner = threading.get_ident()

    def serve(self, crew: Crew) -> Post:
        while True:
            byte = self.channel._socket.recv(1)
            if not byte:
                raise ChannelClosed("over")
            self.marks.append("its owner" if self.owner == threading.get_ident() else "a stranger")
            if (other := crew.wait(self)) is not None:
                return other


def test_a_thread_that_gets_its_own_post_back() -> None:
    """It takes it again, for another one may have had it meanwhile."""
    marks: list[str] = []
    crew = Crew(name="GLOBAL", limit=1, daemon=True)
    posts = [Owned(name, marks, threading.Event()) for name in "ab"]
    for number, post in enumerate(posts):
        crew.add(post, number)
    posts[0].near.say(b"x")
    until(lambda: marks and crew.claim(posts[0]), what="the thread's wait, in which it has parked its post")
    posts[0].take(Region())
    posts[0].near.say(b"x")
    crew.park(posts[0])
    for post in posts:
        post.near._socket.shutdown(socket.SHUT_WR)
    assert crew.join(time.monotonic() + PATIENCE) == 0
    assert marks == ["its owner"] * 2


def test_a_claim_while_a_post_is_being_parked() -> None:
    """It comes before, or after: in between another thread might park it as well, or close it."""
    crew = Crew(name="GLOBAL", limit=1, daemon=True)
    post = Mark("a", [], threading.Event())
    claims: list[bool] = []
    real = crew._ready

    class Slow:
        """Stands for the crew's ``select.epoll``."""

        def register(self, descriptor: int, events: int) -> None:
            claiming.start()
            claiming.join(0.2)
            assert claims == []
            assert real is not None
            real.register(descriptor, events)

    claiming = threading.Thread(target=lambda: claims.append(crew.claim(post)))
    crew._ready = Slow()  # type: ignore[assignment]
    crew.park(post)
    claiming.join(PATIENCE)
    assert claims == [True]
    post.part()


def test_a_claim_of_a_post_that_has_ended() -> None:
    """It does not get another one, whose channel has the number that this one's had."""
    crew = Crew(name="GLOBAL", limit=1, daemon=True)
    ended = Mark("ended", [], threading.Event())
    ended.part()
    parked = Mark("parked", [], threading.Event())
    parked.descriptor = ended.descriptor
    crew._parked[ended.descriptor] = parked
    assert not crew.claim(ended)
    assert not crew.dismiss(ended)
    assert crew.claim(parked)
    parked.part()


def test_an_interrupt_is_for_its_own_front_end(share: Callable[[int], Shared], held: Held) -> None:
    """Both have a worker 1 that runs exchange 5: the interrupt of one of them hits its own, and tells it alone."""
    shared = share(2)
    fronts = [shared.front_ends[0], shared.enter()]
    workers = [front.worker() for front in fronts]
    for worker in workers:
        worker.request(5, "t3_apps:held")
        assert held.has_begun()
    fronts[1].control.say(messages.numbers(messages.INTERRUPT, 1, 5))
    assert workers[1].until(DONE)[-2] == (messages.FAILED, b"RequestInterrupted")
    assert "in spin" in fronts[1].record("the request is interrupted").text
    assert workers[0].channel.receive_nowait() in ((messages.LOADING, b""), (messages.LOADED, b""), None)
    held.gone.set()
    assert workers[0].until(DONE)[-2][0] == messages.START
    assert fronts[0].is_alone_with("nothing was said")


def test_an_interrupt_meets_another_front_ends_exchange() -> None:
    """A thread that serves another front end by now is not hit, although the numbers are the same."""
    channel, far = pair()
    other = os.dup(far)
    control = main._Interpreter(main.Journal(channel), None, "x", isolated=False).control  # type: ignore[arg-type]
    ends = [Channel(far, blocking=True), Channel(other, blocking=True)]
    known = [Known(channel, control.journal.outlets[0], number) for number in (0, 1)]
    workers = [Worker(control, end, front_end, 1) for end, front_end in zip(ends, known, strict=True)]
    region = Region()
    for worker in workers:
        worker.take(region)
    region.enter(workers[1].key(5))
    workers[0].interrupt(5)
    assert not region.leave()
    for end in [channel, *ends]:
        end.close()


def test_an_interrupt_before_the_beginning(share: Callable[[int], Shared], held: Held) -> None:
    """A request that waits for a thread in vain is never begun; its worker is free for the next one."""
    shared = share(1)
    first, second = shared.front_ends[0], shared.enter()
    worker = first.worker()
    worker.request(1, "t3_apps:held")
    assert held.has_begun()
    waiting = second.worker()
    waiting.say(messages.frame(messages.ABORT, b"of the exchange before"))
    waiting.request(7, "t3_apps:held")
    second.control.say(messages.numbers(messages.INTERRUPT, 1, 6))  # of another one
    second.control.say(messages.frame(messages.PING))
    assert second.control.until(messages.PONG)
    assert waiting.channel.receive_nowait() is None
    second.control.say(messages.numbers(messages.INTERRUPT, 1, 7))
    assert waiting.until(DONE)[-2:] == [(messages.FAILED, b"RequestInterrupted"), (DONE, b"")]
    assert second.record("no thread was free").exchange == 7
    held.gone.set()
    worker.until(DONE)
    assert ask(waiting, 8)
    assert held.calls == 1


def test_an_interrupt_before_all_of_a_request_has_come(share: Callable[[int], Shared], held: Held) -> None:
    """It is not forgotten: the request is not begun when the rest has come."""
    shared = share(1)
    first, second = shared.front_ends[0], shared.enter()
    worker, waiting = first.worker(), second.worker()
    worker.request(1, "t3_apps:held")
    assert held.has_begun()
    request = messages.start(
        messages.REQUEST, messages.request(7, (b"t3_apps:held", *PARTS), [], []), b"", complete=True
    )
    waiting.say(request[:60])
    second.control.say(messages.numbers(messages.INTERRUPT, 1, 7))
    second.control.say(messages.frame(messages.PING))
    second.control.until(messages.PONG)
    waiting.say(request[60:])
    held.gone.set()
    assert waiting.until(DONE)[-2:] == [(messages.FAILED, b"RequestInterrupted"), (DONE, b"")]
    assert second.record("it had not begun").exchange == 7
    assert held.calls == 1


def test_records(share: Callable[[int], Shared], apps: Any) -> None:
    """Those of an exchange go to the front end whose exchange it is; others to the one that has been there longest."""

    def failing(environ: Any, start_response: Any) -> None:
        raise LookupError("its own words")

    def speaking(environ: Any, start_response: Any) -> Any:
        thread = threading.Thread(target=environ["wsgi.errors"].write, args=("from outside\n",))
        thread.start()
        thread.join()
        return hello(environ, start_response)

    apps.failing, apps.speaking = failing, speaking
    shared = share(1)
    fronts = [shared.front_ends[0], shared.enter(), shared.enter()]
    workers = [front.worker() for front in fronts]
    for number, worker, front in zip((11, 12, 13), workers, fronts, strict=True):
        worker.request(number, "t3_apps:failing")
        worker.until(DONE)
        assert front.record("its own words").exchange == number
    ask(workers[2], 1, "t3_apps:speaking")
    assert fronts[0].record("from outside").exchange == 0
    fronts[0].vanish()
    fronts[1].control.say(messages.frame(messages.PING))
    fronts[1].control.until(messages.PONG)
    until(lambda: ask(workers[2], 1, "t3_apps:speaking") and not fronts[1].is_alone_with("nothing"), what="the next")
    assert fronts[2].is_alone_with("nothing")


def test_a_front_end_that_does_not_read(share: Callable[[int], Shared], apps: Any) -> None:
    """What is said to it waits; another one's requests and records do not."""
    written = 0

    def talking(environ: Any, start_response: Any) -> Any:
        nonlocal written
        while written < 5000:
            environ["wsgi.errors"].write("x" * 1000 + "\n")
            written += 1
        return hello(environ, start_response)

    def speaking(environ: Any, start_response: Any) -> Any:
        environ["wsgi.errors"].write("a word\n")
        return hello(environ, start_response)

    apps.talking, apps.speaking = talking, speaking
    shared = share(2)
    other = shared.enter()
    worker, talker = other.worker(), shared.front_ends[0].worker()
    talker.request(1, "t3_apps:talking")
    seen = -1
    while seen < written or not written:  # until the channel is full
        seen = written
        for number in range(2, 12):
            ask(worker, number, "t3_apps:speaking")
            assert other.record("a word").exchange == number
    assert 0 < written < 5000
    shared.front_ends[0].vanish()
    assert ask(worker, 12)


def test_a_front_end_that_vanishes(share: Callable[[int], Shared], held: Held) -> None:
    """It costs the others nothing: what it has asked for and nobody has begun is not begun any more."""
    shared = share(1)
    first, second = shared.front_ends[0], shared.enter()
    running, begun, others = first.worker(), second.worker(), [first.worker(), first.worker()]
    for worker in [begun, *others]:
        ask(worker, 1)
    running.request(1, "t3_apps:held")
    assert held.has_begun()
    for unbegun in others:
        unbegun.request(2, "t3_apps:held")
    begun.request(1, "t3_apps:hello")
    first.control.channel.shut()  # its channels may end later
    second.control.say(messages.frame(messages.PING))
    second.control.until(messages.PONG)
    held.gone.set()
    begun.until(DONE)
    for number in range(2, 10):
        assert ask(begun, number)
    first.vanish()
    assert held.calls == 1
    until(lambda: threads() == ["GLOBAL-1"], what="one thread")


def test_one_stops(share: Callable[[int], Shared], held: Held) -> None:
    """It learns how many of its workers are busy; the others go on, and the last one's end is the interpreter's."""
    shared = share(2)
    first, second, third = shared.front_ends[0], shared.enter(), shared.enter()
    workers = [front.worker() for front in (first, second, third)]
    assert [ask(worker, 1) > 0 for worker in workers] == [True] * 3
    workers[0].channel.shut()
    assert first.stop() == 0
    with pytest.raises(ChannelClosed):
        first.control.next()
    workers[1].request(2, "t3_apps:held")
    assert held.has_begun()
    assert second.stop(0.05) == 1
    assert ask(workers[2], 3)
    assert shared.left.empty()
    held.gone.set()
    for worker in workers[1:]:
        worker.channel.shut()
    assert third.stop() == 0
    assert shared.left.get(timeout=PATIENCE) == 0


def test_stop_waits_for_what_has_not_begun(share: Callable[[int], Shared], held: Held) -> None:
    """A request that waits for a thread when its front end stops is answered within the time for that."""
    shared = share(1)
    first, second = shared.front_ends[0], shared.enter()
    worker, waiting = first.worker(), second.worker()
    worker.request(1, "t3_apps:held")
    assert held.has_begun()
    waiting.request(1, "t3_apps:hello")
    second.control.say(messages.numbers(messages.STOP, round(PATIENCE * 1000)))
    held.gone.set()
    assert waiting.until(DONE)[-2][0] == messages.START
    waiting.channel.shut()
    assert second.control.until(messages.STOPPED)[-1][1] == (0).to_bytes(8)


def test_who_comes_too_late(share: Callable[[int], Shared], apps: Any) -> None:
    """Who stands at the door when the last one has left is not touched: there will be another interpreter for it."""
    shared = share(1)
    assert shared.front_ends[0].stop() == 0
    assert shared.left.get(timeout=PATIENCE) == 0
    channel, control = pair()
    os.write(shared.knocker, control.to_bytes(8))
    assert os.read(shared.door, 8) == control.to_bytes(8)
    assert channel.receive_nowait() is None
    channel.close()
    os.close(control)
