"""The reaper over real channels, and what it does with a worker whose exchange has lost its task."""

import os
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from asyncgroups.errors import ProtocolError
from asyncgroups.host.orphans import Orphan
from asyncgroups.host.pool import Pool
from asyncgroups.host.reaper import Reaper, Timer
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair

PATIENCE = 20.0


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    reaper = Reaper()
    yield reaper
    reaper.end()


class Listening:
    """A listener that passes on what it is told, and can be made to misbehave."""

    def __init__(self) -> None:
        self.channel, descriptor = pair()
        self.worker = Channel(descriptor, blocking=True)
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def hear(self, kind: int, payload: bytes) -> bool:
        self.told.put((kind, payload, threading.current_thread().name))
        if payload == b"nonsense":
            raise ProtocolError("nonsense")
        if payload == b"mistake":
            raise RuntimeError("a mistake in a listener")
        return kind != messages.DONE

    def finished(self) -> None:
        self.told.put("finished")

    def lost(self, reason: str) -> None:
        self.told.put(f"lost: {reason}")

    def next(self) -> Any:
        return self.told.get(timeout=PATIENCE)

    def close(self) -> None:
        self.channel.close()
        self.worker.close()


@pytest.fixture
def listener() -> Iterator[Listening]:
    listener = Listening()
    yield listener
    listener.close()


def reapers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncgroups-reaper"]


def test_a_process_without_groups_has_no_reaper(reaper: Reaper, listener: Listening) -> None:
    """The thread starts with the first channel, there is one for all, and it ends."""
    before = len(reapers())
    reaper.listen(listener)
    other = Listening()
    reaper.listen(other)
    assert len(reapers()) == before + 1
    for one in (listener, other):
        one.worker.send(messages.DONE_FRAME)
        assert one.next()[2] == "asyncgroups-reaper"
        assert one.next() == "finished"
    other.close()
    thread = reapers()[-1]
    reaper.end()
    reaper.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    reaper.listen(listener)  # nothing happens any more
    reaper.later(0, lambda: listener.told.put("never"))
    assert listener.told.empty()


def test_what_was_read_before_is_heard(reaper: Reaper, listener: Listening) -> None:
    """Messages that had been taken from the socket before the reaper got the channel are not lost."""
    listener.worker.send(messages.END_FRAME + messages.DONE_FRAME)
    assert listener.channel.read()
    reaper.listen(listener)
    assert [listener.next()[0], listener.next()[0], listener.next()] == [messages.END, messages.DONE, "finished"]


def test_a_channel_is_let_go_before_its_listener_is_told(reaper: Reaper, listener: Listening) -> None:
    """With ``finished`` the channel is the next owner's, who may hand it to the reaper again."""
    for _ in range(3):
        reaper.listen(listener)
        listener.worker.send(messages.DONE_FRAME)
        assert listener.next()[0] == messages.DONE
        assert listener.next() == "finished"
    listener.worker.send(messages.END_FRAME)
    assert repr(reaper) == "<Reaper: 0 channels, 0 timers>"
    assert listener.told.empty()


@pytest.mark.parametrize("ending", ["closed", "shut here", "nonsense", "too large"])
def test_the_end_of_a_channel(reaper: Reaper, listener: Listening, ending: str) -> None:
    """A listener is told once that its channel has ended, or says what it must not say."""
    reaper.listen(listener)
    match ending:
        case "closed":
            listener.worker.close()
        case "shut here":
            listener.channel.shut()
        case "nonsense":
            listener.worker.send(messages.frame(messages.CHUNK, b"nonsense"))
            listener.next()
        case "too large":
            listener.worker.send(messages.header(messages.CHUNK, messages.LARGEST_FRAME + 1))
    assert listener.next().startswith("lost: ")
    assert listener.told.empty()


def test_what_had_been_said_before_the_end_is_heard(reaper: Reaper, listener: Listening) -> None:
    """An interpreter that has logged, and ended, before the reaper is ended: neither is lost, however busy it was."""
    go = threading.Event()
    reaper.post(lambda: go.wait(PATIENCE))
    reaper.listen(listener)
    listener.worker.send(messages.frame(messages.LOADED, b"the last words"))
    listener.worker.send(messages.frame(messages.DONE))
    reaper.end()
    go.set()
    assert listener.next()[:2] == (messages.LOADED, b"the last words")
    assert listener.next()[:2] == (messages.DONE, b"")
    assert listener.next() == "finished"


def test_the_reaper_outlives_a_mistake(reaper: Reaper, listener: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in what it calls is logged; the listener hears what came with that message; others are served."""
    reaper.listen(listener)
    listener.worker.send(messages.frame(messages.CHUNK, b"mistake") + messages.DONE_FRAME)
    assert listener.next()[1] == b"mistake"
    assert listener.next()[0] == messages.DONE
    assert listener.next() == "finished"
    reaper.later(0, lambda: 1 // 0)
    reaper.later(0, lambda: listener.told.put("still there"))
    assert listener.next() == "still there"
    assert "a mistake in a listener" in caplog.text
    assert "ZeroDivisionError" in caplog.text


class Clock:
    """Stands for the module ``time``: no time passes before it is told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_timers(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers go off in the order of their time, in the reaper's thread; a cancelled one does not."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    clock = Clock()
    monkeypatch.setattr("asyncgroups.host.reaper.time", clock)
    reaper.later(0.10, lambda: told.put(("third", threading.current_thread().name)))
    cancelled = reaper.later(0.05, lambda: told.put(("cancelled", "")))
    reaper.later(0.01, lambda: told.put(("second", threading.current_thread().name)))
    reaper.later(0, lambda: told.put(("first", threading.current_thread().name)))
    cancelled.cancel()
    clock.now = 1.0
    found = [told.get(timeout=PATIENCE) for _ in range(3)]
    assert found == [(name, "asyncgroups-reaper") for name in ("first", "second", "third")]
    assert told.empty()


class Fleeting(Timer):
    """One that is cancelled as soon as its action has been looked at."""

    __slots__ = ()

    @property
    def action(self) -> Any:  # type: ignore[override]  # in place of an attribute
        action = Timer.action.__get__(self)  # type: ignore[attr-defined]  # that of the slot
        self.cancel()
        return action

    def cancel(self) -> None:
        Timer.action.__set__(self, None)  # type: ignore[attr-defined]  # as above


def test_a_timer_that_is_cancelled_in_its_time(reaper: Reaper, caplog: pytest.LogCaptureFixture) -> None:
    """By another thread, in a race: it happens or not, and is no mistake."""
    go, told = threading.Event(), queue.SimpleQueue[str]()
    reaper.post(lambda: go.wait(PATIENCE))
    reaper.later(0, lambda: None).__class__ = Fleeting
    reaper.later(0, lambda: told.put("over"))
    go.set()
    assert told.get(timeout=PATIENCE) == "over"
    assert not caplog.records


def test_a_timer_may_set_a_timer(reaper: Reaper) -> None:
    """What a timer asks for while the reaper is awake is not forgotten."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    reaper.later(0, lambda: reaper.later(0, lambda: told.put("second")))
    assert told.get(timeout=PATIENCE) == "second"


def test_many_threads_ask(reaper: Reaper) -> None:
    """Whatever the moment at which it is asked, the reaper wakes for it."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ask() -> None:
        answer: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(200):
            reaper.later(0, lambda number=number: answer.put(number))
            if answer.get(timeout=PATIENCE) != number:
                return
        told.put(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert told.qsize() == 4


# Orphans --------------------------------------------------------------------------------------------------------------


class Home:
    """A pool of one worker, busy with exchange 7, over a real channel."""

    def __init__(self, fakes: Any) -> None:
        self.interpreter = fakes.Interpreter()
        channel, descriptor = pair()
        self.worker_end = Channel(descriptor, blocking=True)
        self.interpreter.add_worker = lambda number: channel
        self.pool = Pool(self.interpreter, threads=1, backlog=5)
        self.worker = self.pool.take(fakes.Ticket(7))
        self.ticket = fakes.Ticket(8)
        self.back: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stuck: queue.SimpleQueue[Any] = queue.SimpleQueue()
        release, lose = self.pool.release, self.pool.lose
        self.pool.release = lambda worker: (release(worker), self.back.put("released"))
        self.pool.lose = lambda worker: (lose(worker), self.back.put("lost"))

    def orphan(self, reaper: Reaper, limit: float | None = None, patience: float = PATIENCE) -> Orphan:
        return Orphan(self.worker, reaper=reaper, limit=limit, patience=patience, on_stuck=self.stuck.put)


@pytest.fixture
def home(fakes: Any) -> Iterator[Home]:
    home = Home(fakes)
    yield home
    home.worker.channel.close()
    home.worker_end.close()


def test_an_orphan_goes_back_with_done(reaper: Reaper, home: Home) -> None:
    """Whatever a worker says before DONE, it goes back to its pool with DONE, and not before."""
    assert repr(home.orphan(reaper)) == "<Orphan of <Worker 'shop' 1 busy with #7>>"
    for kind in (messages.START, messages.CHUNK, messages.TAKEN, messages.END, messages.FAILED):
        home.worker_end.send(messages.frame(kind, b"x"))
    assert home.pool.busy == [home.worker]
    home.worker_end.send(messages.DONE_FRAME)
    assert home.back.get(timeout=PATIENCE) == "released"
    assert home.pool.busy == []


def test_a_file_that_nobody_sends_is_closed(reaper: Reaper, home: Home) -> None:
    """A descriptor that an orphan hands over is closed."""
    reading, writing = os.pipe()
    home.orphan(reaper)
    home.worker_end.send_descriptor(messages.numbers(messages.FILE, 5), writing)
    os.close(writing)
    home.worker_end.send(messages.DONE_FRAME)
    assert home.back.get(timeout=PATIENCE) == "released"
    assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize("ending", ["closed", "a file without a descriptor"])
def test_an_orphan_that_is_lost(reaper: Reaper, home: Home, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that ends, or says what it must not say, is lost: its place is free again."""
    home.orphan(reaper)
    if ending == "closed":
        home.worker_end.close()
    else:
        home.worker_end.send(messages.numbers(messages.FILE, 5), messages.DONE_FRAME)
    assert home.back.get(timeout=PATIENCE) == "lost"
    assert home.pool.busy == []
    assert "[shop] a worker was lost" in caplog.text


def test_an_orphan_past_its_limit(reaper: Reaper, home: Home) -> None:
    """Past its limit the worker is interrupted, and given up when it does not obey; DONE still counts."""
    home.orphan(reaper, limit=0.01, patience=0.01)
    assert home.stuck.get(timeout=PATIENCE) is home.worker
    assert home.interpreter.interrupts == [(1, 7)]
    assert home.worker_end.receive()[0] == messages.ABORT
    home.worker_end.send(messages.DONE_FRAME)
    assert home.back.get(timeout=PATIENCE) == "released"


@pytest.mark.parametrize("limit", [None, PATIENCE])
def test_an_orphan_within_its_limit(reaper: Reaper, home: Home, limit: float | None) -> None:
    """One that is done in time is neither interrupted nor given up, and its timer goes with it."""
    home.orphan(reaper, limit=limit)
    home.worker_end.send(messages.DONE_FRAME)
    assert home.back.get(timeout=PATIENCE) == "released"
    assert home.interpreter.interrupts == []
    assert home.stuck.empty()


def test_a_listener_that_is_dismissed(reaper: Reaper, listener: Listening) -> None:
    """It is told so once, and hears no more."""
    reaper.listen(listener)
    reaper.dismiss(listener)
    reaper.dismiss(listener)
    assert listener.next().startswith("lost")
    listener.worker.send(messages.frame(messages.READY))
    over: queue.SimpleQueue[bool] = queue.SimpleQueue()
    reaper.later(0.05, lambda: over.put(True))
    assert over.get(timeout=PATIENCE)
    assert listener.told.empty()


def test_who_begins_to_listen_at_the_end(reaper: Reaper, listener: Listening) -> None:
    """A job that asks for another one as the end comes is done as a whole: no channel stays that nobody closes."""

    def begin() -> None:
        reaper.end()
        reaper.post(lambda: reaper.listen(listener))

    listener.worker.close()
    reaper.post(begin)
    assert listener.next().startswith("lost")
