"""The program of an interpreter, run in threads of this one as it is for GLOBAL; the tests are its front end."""

import _frozen_importlib
import _imp
import gc
import importlib
import os
import queue
import select
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.errors import ChannelClosed
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from asyncgroups.worker import main
from asyncgroups.worker import region as region_module
from asyncgroups.worker.control import FrontEnd
from asyncgroups.worker.region import Region
from tests.serving import until

PATIENCE = 20.0

PARTS = (b"GET", b"http", b"1.1", b"", b"/", b"", b"/", b"localhost", b"80", b"", b"", b"0")


class Side:
    """The front end's end of a channel; no wait is longer than PATIENCE."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.say = channel.say

    def next(self) -> tuple[int, bytes]:
        """The next message. Raises ChannelClosed."""
        deadline = time.monotonic() + PATIENCE
        while (frame := self.channel.receive_nowait()) is None:
            if not select.select([self.channel.fileno()], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError("no message in time")
        return frame

    def until(self, kind: int) -> list[tuple[int, bytes]]:
        """The messages up to the first one of a type."""
        heard = [self.next()]
        while heard[-1][0] != kind:
            heard.append(self.next())
        return heard

    def request(
        self, number: int, application: str, body: bytes = b"", *, complete: bool = True, asks: bool = False
    ) -> None:
        head = messages.request(number, (application.encode(), *PARTS), [], [])
        self.say(messages.start(messages.REQUEST, head, body, complete=complete, asks=asks))

    def exchange(self, number: int, application: str) -> list[int]:
        """The types of the messages of one whole exchange."""
        self.request(number, application)
        return [kind for kind, _ in self.until(messages.DONE)]


class Interpreter:
    """``main.run`` in a thread, its control channel, and what was said over it."""

    def __init__(self) -> None:
        channel, control = pair()
        self.control = Side(channel)
        self.left: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.workers: list[Side] = []
        self.thread = threading.Thread(target=lambda: self.left.put(main.run(control, "", "", 3, (), None)))
        self.thread.start()
        assert self.control.next() == (messages.READY, b"")

    def worker(self) -> Side:
        channel, theirs = pair()
        self.control.channel.send_descriptor(messages.numbers(messages.WORKER, len(self.workers) + 1), theirs)
        os.close(theirs)
        self.workers.append(Side(channel))
        return self.workers[-1]

    def interrupt(self, worker: int, exchange: int) -> None:
        self.control.say(messages.numbers(messages.INTERRUPT, worker, exchange))

    def record(self, about: str) -> messages.Record:
        """The next log record that says ``about``."""
        while True:
            kind, payload = self.control.next()
            if kind == messages.RECORD and about in messages.parse_record(payload).text:
                return messages.parse_record(payload)

    def end(self) -> None:
        for worker in self.workers:
            worker.channel.shut()
        self.control.channel.shut()
        self.thread.join(PATIENCE)
        for thread in threading.enumerate():
            if thread.name.startswith("GLOBAL-"):
                thread.join(PATIENCE)
        for side in [self.control, *self.workers]:
            side.channel.close()
        assert not self.thread.is_alive()


@pytest.fixture
def interpreter() -> Iterator[Interpreter]:
    interpreter = Interpreter()
    yield interpreter
    interpreter.end()


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module for the applications of one test."""
    module = types.ModuleType("t3_apps")
    monkeypatch.setitem(sys.modules, "t3_apps", module)
    module.hello = hello
    return module


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"%d" % threading.get_ident()]


def test_an_exchange(interpreter: Interpreter, apps: Any) -> None:
    """The first request tells of the loading; a response that is all there is one message, DONE follows it at once."""
    worker = interpreter.worker()
    assert worker.exchange(1, "t3_apps:hello") == [messages.LOADING, messages.LOADED, messages.START, messages.DONE]
    assert worker.exchange(2, "t3_apps:hello") == [messages.START, messages.DONE]


def test_an_exchange_whose_front_end_asks(interpreter: Interpreter, apps: Any) -> None:
    """Where it wants to know it hears that the application is loaded, also when that is nothing new."""
    worker = interpreter.worker()
    worker.exchange(1, "t3_apps:hello")
    worker.request(2, "t3_apps:hello", asks=True)
    assert [kind for kind, _ in worker.until(messages.DONE)] == [messages.LOADED, messages.START, messages.DONE]


def test_a_load(interpreter: Interpreter, apps: Any) -> None:
    """LOAD is an exchange without a response, and says FAILED for what does not load."""
    worker = interpreter.worker()
    worker.say(messages.texts(messages.LOAD, "1", "t3_apps:hello"))
    assert [kind for kind, _ in worker.until(messages.DONE)] == [messages.LOADING, messages.LOADED, messages.DONE]
    worker.say(messages.texts(messages.LOAD, "2", "t3_apps:nothing"))
    assert [kind for kind, _ in worker.until(messages.DONE)] == [messages.LOADING, messages.FAILED, messages.DONE]
    assert interpreter.record("does not load").exchange == 2


def test_a_script_that_is_not_there(interpreter: Interpreter, tmp_path: Path) -> None:
    """ABSENT says so of a script, or of its callable, to a request as well as to a LOAD; a record says why."""
    worker = interpreter.worker()
    (tmp_path / "app.wsgi").write_text("other = dict\n")
    for application in (f"{tmp_path}/app.wsgi:application", f"{tmp_path}/none.wsgi:application"):
        for number in (1, 2):
            if number == 1:
                worker.request(1, application)
            else:
                worker.say(messages.texts(messages.LOAD, "2", application))
            heard = [kind for kind, _ in worker.until(messages.DONE)]
            assert heard == [messages.LOADING, messages.ABSENT, messages.DONE]
            record = interpreter.record("is not there")
            assert (record.level, record.exchange) == (40, number)
            assert "Traceback" not in record.text


def test_a_reload(interpreter: Interpreter, tmp_path: Path) -> None:
    """RELOAD executes a script again: the next request has the new one; where that fails it has the one that was."""
    worker = interpreter.worker()
    path = tmp_path / "app.wsgi"
    application = f"{path}:application"
    answers = []
    for source, end in (
        ("def application(e, s): s('200 OK', []); return [b'one']\n", messages.LOADED),
        ("def application(e, s): s('200 OK', []); return [b'two']\n", messages.LOADED),
        ("raise ValueError\n", messages.FAILED),
    ):
        path.write_text(source)
        worker.say(messages.texts(messages.RELOAD, "1", application))
        assert [kind for kind, _ in worker.until(messages.DONE)] == [messages.LOADING, end, messages.DONE]
        worker.request(2, application)
        start = next(payload for kind, payload in worker.until(messages.DONE) if kind == messages.START)
        answers.append(messages.parse_start(start).body)
    assert answers == [b"one", b"two", b"two"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class File:
    """What an application should not have for longer than it needs it."""

    def read(self) -> bytes:
        return b"x" * 1000


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only references are counted."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("end", ["raises", "fails in its body", "sees its client leave", "is interrupted"])
def test_nothing_is_held_of_an_exchange_that_failed(
    interpreter: Interpreter, apps: Any, no_collector: None, end: str
) -> None:
    """What an application's frames hold goes with them: a file or a connection does not wait for the collector."""
    held: list[weakref.ref[Any]] = []
    started = threading.Event()

    def fail(file: File) -> Iterator[bytes]:
        yield file.read()
        raise LookupError(file)

    def application(environ: Any, start_response: Any) -> Any:
        file = File()
        held.append(weakref.ref(file))
        if end == "raises":
            raise LookupError(file)
        started.set()
        while end == "is interrupted":
            hash(file)
        start_response("200 OK", [])
        return fail(file) if end == "fails in its body" else iter(file.read, b"")

    apps.application = application
    worker = interpreter.worker()
    worker.request(1, "t3_apps:application")
    if end == "is interrupted":
        assert started.wait(PATIENCE)
        interpreter.interrupt(1, 1)
    elif end == "sees its client leave":
        worker.say(messages.frame(messages.ABORT, b"the client has gone"))
    worker.until(messages.DONE)
    # The thread that interrupts has looked at the application's frame as well.
    until(lambda: held[0]() is None, PATIENCE, what="the file's end")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        Unspeakable(),
        StopIteration(),
        OSError("x"),
    ],
)
def test_no_exception_ends_a_worker(interpreter: Interpreter, apps: Any, error: BaseException) -> None:
    """Whatever an application raises, its response has failed, one record says so, and its worker goes on."""

    def application(environ: Any, start_response: Any) -> Any:
        raise error

    apps.application = application
    worker = interpreter.worker()
    worker.request(1, "t3_apps:application")
    heard = worker.until(messages.DONE)
    assert heard[-2:] == [(messages.FAILED, type(error).__name__.encode()), (messages.DONE, b"")]
    record = interpreter.record(type(error).__name__)
    assert (record.level, record.exchange) == (40, 1)
    assert worker.exchange(2, "t3_apps:hello")[-1] == messages.DONE


def test_a_failing_close_does_not_end_a_worker(interpreter: Interpreter, apps: Any) -> None:
    """What close() raises is logged, after the response, and the worker goes on."""

    class Closing(list):
        def close(self) -> None:
            raise RuntimeError("close has failed")

    apps.application = lambda environ, start_response: (start_response("200 OK", []), Closing([b"x"]))[1]
    worker = interpreter.worker()
    assert messages.START in worker.exchange(1, "t3_apps:application")
    assert "RuntimeError" in interpreter.record("close has failed").text
    assert worker.exchange(2, "t3_apps:hello")[-1] == messages.DONE


def test_what_comes_late_is_dropped(interpreter: Interpreter, apps: Any) -> None:
    """Messages of an exchange whose DONE crossed with them do no harm to the next one."""
    worker = interpreter.worker()
    worker.exchange(1, "t3_apps:hello")
    worker.say(messages.numbers(messages.CREDIT, 5))
    worker.say(messages.frame(messages.BODY, b"late"))
    worker.say(messages.frame(messages.BODY_END))
    worker.say(messages.frame(messages.ABORT, b"late"))
    assert worker.exchange(2, "t3_apps:hello") == [messages.START, messages.DONE]


@pytest.mark.parametrize(
    "nonsense",
    [
        messages.frame(messages.REQUEST, b"nonsense"),
        messages.header(messages.REQUEST, messages.LARGEST_FRAME + 1),
        messages.frame(messages.LOAD, b"one text only"),
        messages.frame(messages.RELOAD, b"one text only"),
    ],
)
def test_a_worker_that_hears_nonsense_ends(
    interpreter: Interpreter, nonsense: bytes, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot trust its channel closes it, says why, and takes no other worker with it."""
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    worker = interpreter.worker()
    worker.say(nonsense)
    with pytest.raises(ChannelClosed):
        worker.next()
    assert "ProtocolError" in interpreter.record("a worker has ended").text
    assert interpreter.worker().exchange(2, "t3_nowhere:x")[-1] == messages.DONE
    for thread in threading.enumerate():
        if thread.name == "GLOBAL-1":  # it closes its channel first, and then raises into the hook above
            thread.join(PATIENCE)


# Interrupts -----------------------------------------------------------------------------------------------------------


def wait_until_it_receives(name: str) -> None:
    """Return when the thread of this name is blocked in receive: it stays at the same bytecode of it."""
    thread = next(one for one in threading.enumerate() if one.name == name)
    same, last = 0, None
    deadline = time.monotonic() + PATIENCE
    while same < 5 and time.monotonic() < deadline:
        frame = sys._current_frames()[thread.ident]
        place = (frame.f_code.co_qualname, frame.f_lasti)
        same = same + 1 if place == last and place[0] == "Channel.receive" else 0
        last = place
        time.sleep(0.002)  # the pace of asking
    assert same


def spin(until: Callable[[], bool] = lambda: False) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < deadline:
        pass


def test_an_interrupt_hits_the_exchange_it_names(interpreter: Interpreter, apps: Any) -> None:
    """An interrupt for another exchange does nothing; the right one ends the application, and is logged."""
    entered, let_go = threading.Event(), threading.Event()
    apps.loop = lambda environ, start_response: spin(lambda: entered.set() or let_go.is_set())
    worker = interpreter.worker()
    worker.request(5, "t3_apps:loop")
    assert entered.wait(PATIENCE)
    interpreter.interrupt(1, 4)
    interpreter.interrupt(9, 5)
    interpreter.interrupt(1, 5)
    record = interpreter.record("the request is interrupted")
    assert (record.level, record.exchange) == (40, 5)
    assert "in spin" in record.text
    assert worker.until(messages.DONE)[-2] == (messages.FAILED, b"RequestInterrupted")
    interpreter.interrupt(1, 5)  # too late
    for number in range(6, 30):
        assert worker.exchange(number, "t3_apps:hello")[-2:] == [messages.START, messages.DONE]
    let_go.set()


@pytest.mark.parametrize("when", ["read", "begun"])
def test_an_interrupt_before_an_exchange_begins(
    interpreter: Interpreter, apps: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """One that comes while the worker reads its request, or takes it up, ends it: the application is not called."""
    calls: list[int] = []
    there, go_on = threading.Event(), threading.Event()

    def held(function: Callable[..., Any]) -> Callable[..., Any]:
        def hold(*arguments: Any) -> Any:
            there.set()
            assert go_on.wait(PATIENCE)
            return function(*arguments)

        return hold

    apps.application = lambda environ, start_response: calls.append(1) or hello(environ, start_response)
    worker = interpreter.worker()
    assert worker.exchange(1, "t3_apps:application")[-1] == messages.DONE
    with monkeypatch.context() as patch:
        if when == "read":
            patch.setattr(messages, "parse_request", held(messages.parse_request))
        else:
            patch.setattr(Region, "enter", held(Region.enter))
        worker.request(2, "t3_apps:application")
        assert there.wait(PATIENCE)
        interpreter.interrupt(1, 2)
        interpreter.control.say(messages.frame(messages.PING))
        interpreter.control.until(messages.PONG)
        go_on.set()
        assert worker.until(messages.DONE) == [(messages.FAILED, b"RequestInterrupted"), (messages.DONE, b"")]
    assert interpreter.record("the request is interrupted").exchange == 2
    assert worker.exchange(3, "t3_apps:application")[-1] == messages.DONE
    assert len(calls) == 2


def test_what_an_application_makes_of_its_interrupt_is_logged(interpreter: Interpreter, apps: Any) -> None:
    """An exception of its own, raised from the interrupt, is told with its traceback like any other."""
    entered = threading.Event()

    def translating(environ: Any, start_response: Any) -> None:
        try:
            spin(lambda: entered.set() or False)
        except BaseException as interrupt:
            raise LookupError("its own words") from interrupt

    apps.translating = translating
    worker = interpreter.worker()
    worker.request(5, "t3_apps:translating")
    assert entered.wait(PATIENCE)
    interpreter.interrupt(1, 5)
    assert interpreter.record("the request is interrupted").exchange == 5
    assert "LookupError: its own words" in interpreter.record("exception in 't3_apps:translating'").text
    assert worker.until(messages.DONE)[-2] == (messages.FAILED, b"LookupError")


def test_an_interrupted_printer_leaves_no_lock_behind(interpreter: Interpreter, apps: Any) -> None:
    """Applications that are interrupted while they write to the log leave it usable, for the control thread as well."""

    def printing(environ: Any, start_response: Any) -> None:
        spin(lambda: environ["wsgi.errors"].write("line\n") < 0)

    apps.printing = printing
    worker = interpreter.worker()
    for number in range(1, 41):
        worker.request(number, "t3_apps:printing")
        assert "line" in interpreter.record("line").text
        interpreter.interrupt(1, number)
        assert interpreter.record("the request is interrupted").exchange == number
        assert worker.until(messages.DONE)[-2] == (messages.FAILED, b"RequestInterrupted")


def test_interrupted_workers_that_wait_for_a_loading_leave_no_lock_behind(interpreter: Interpreter, apps: Any) -> None:
    """Several workers that load one application, all interrupted: a later one can still load it."""
    loading, slow = threading.Event(), True

    def made_when_asked(name: str) -> object:
        if name != "slow":
            raise AttributeError(name)
        loading.set()
        if slow:
            spin()
        return hello

    apps.__getattr__ = made_when_asked
    workers = [interpreter.worker() for _ in range(3)]
    for number, worker in enumerate(workers, 1):
        worker.request(number, "t3_apps:slow")
        assert worker.next()[0] == messages.LOADING
        assert loading.wait(PATIENCE)
    slow = False  # who comes next loads it
    for number in (3, 2, 1):  # those that wait first: theirs is still to come when they are woken
        interpreter.interrupt(number, number)
        assert interpreter.record("the request is interrupted").exchange == number
    for worker in workers:
        worker.until(messages.DONE)
    for number, worker in enumerate(workers, 10):
        assert worker.exchange(number, "t3_apps:slow")[-2:] == [messages.START, messages.DONE]


def test_the_rest_of_an_interrupted_upload_is_no_message(interpreter: Interpreter, apps: Any) -> None:
    """What a client uploads is never taken for messages, where an interrupt comes in the middle of a message as well.

    It could be made to look like a request to another mount of the group.
    """
    forged: list[str] = []

    def reading(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"x")
        return [environ["wsgi.input"].read()]

    apps.reading = reading
    apps.forged = lambda environ, start_response: forged.append("called")
    head = messages.request(2, (b"t3_apps:forged", *PARTS), [], [])
    body = messages.frame(messages.BODY, b"x" * 100 + messages.start(messages.REQUEST, head, b"", complete=True))
    worker = interpreter.worker()
    worker.request(1, "t3_apps:reading", complete=False)
    worker.until(messages.START)
    wait_until_it_receives("GLOBAL-1")
    interpreter.interrupt(1, 1)
    assert "reading" in interpreter.record("the request is interrupted").text
    worker.say(body[:105])  # what wakes the worker
    assert worker.next() == (messages.FAILED, b"RequestInterrupted")
    try:
        worker.say(body[105:])
        assert worker.until(messages.DONE)
        assert worker.exchange(3, "t3_apps:hello")[-2:] == [messages.START, messages.DONE]
    except ChannelClosed:
        pass  # the worker has ended: the pool replaces it
    assert forged == []


def test_a_worker_with_a_torn_channel_is_not_used_again(interpreter: Interpreter, apps: Any) -> None:
    """A worker that has lost bytes of its channel to an interrupt says no DONE: it ends, and the pool loses it."""

    def application(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"]._exchange._channel.torn = True
        start_response("200 OK", [])
        return []

    apps.application = application
    worker = interpreter.worker()
    worker.request(1, "t3_apps:application")
    heard = []
    try:
        while True:
            heard.append(worker.next()[0])
    except ChannelClosed:
        pass
    assert messages.DONE not in heard
    assert interpreter.worker().exchange(2, "t3_apps:hello")[-1] == messages.DONE


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns after a few bytecodes, so that interrupts hit everywhere."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    gc.disable()  # what hits a finaliser is lost in there
    yield
    gc.enable()
    sys.setswitchinterval(usual)


def work(worker: Any) -> None:
    total = 0
    for number in range(300):
        try:
            total += number
        finally:
            total -= number


def swallow(worker: Any) -> None:
    for _ in range(30):
        try:
            work(worker)
        except BaseException:
            pass


def write(worker: Any) -> None:
    for _ in range(20):
        worker.lines.write("a line\n")


def load(worker: Any) -> None:
    for _ in range(20):
        sys.modules.pop("colorsys", None)
        importlib.import_module("colorsys")


def nothing(worker: Any) -> None:
    pass


def assert_no_import_is_held() -> None:
    with pytest.raises(RuntimeError, match="not holding the import lock"):
        _imp.release_lock()
    for lock in list(filter(None, (one() for one in _frozen_importlib._module_locks.values()))):
        assert lock.owner != threading.get_ident()
        assert not lock.lock._is_owned()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python ignores, in the callbacks of each import's weak references, is nothing that pytest is to tell."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    monkeypatch.setattr(region_module, "_before", None)
    region_module.watch()


@pytest.mark.parametrize("action", [work, swallow, write, load, nothing])
@pytest.mark.usefixtures("quick_switches", "watched")
def test_hammering(interpreter: Interpreter, action: Callable[[Any], None]) -> None:
    """Under thousands of interrupts at any moment, each hits the exchange it names or nothing.

    Never the worker's own loop, which this test's loop stands for; after each exchange nothing is pending, and no lock
    is held.
    """
    front, theirs = pair()
    control, theirs_too = pair()
    channel, journal_end = Channel(theirs, blocking=True), Channel(theirs_too, blocking=True)
    journal = main.Journal(journal_end)
    errors = main.LineStream(journal, 40, "wsgi.errors")
    environs = main.EnvironBuilder(process_group="", application_group="hammer", threads=1, errors=errors)
    state = main._Interpreter(journal, environs, "hammer", isolated=False)
    worker = main._Worker(state, state.control, channel, FrontEnd(journal_end, journal.outlets[0], 0), 1)
    worker.take(Region())
    worker.lines = main.LineStream(journal, 20, "lines")
    region, over = worker.region, threading.Event()
    aimed: list[int] = []

    def interrupt() -> None:
        while not over.is_set():
            number = region._current
            if number and region.interrupt(number):
                aimed.append(number)

    def listen() -> None:
        while select.select([control.fileno()], [], [], PATIENCE)[0]:
            try:
                control.receive_nowait()
            except ChannelClosed:
                return

    threads = [threading.Thread(target=target, daemon=True) for target in (interrupt, listen)]
    for thread in threads:
        thread.start()
    hit, number = [], 0
    began = time.monotonic()
    try:
        while (now := time.monotonic()) < began + 1 or (
            len(hit if action is work else aimed) <= 20 and now < began + PATIENCE
        ):
            number += 1
            exchange = main.Exchange(channel, number, body=b"", complete=True)
            error = worker._attempt(exchange, lambda: action(worker))
            if error is not None:
                assert type(error) is main.RequestInterrupted
                hit.append(number)
            assert not region._aimed
            assert not region._lock._is_owned()
            assert not journal.outlets[0]._lock._is_owned()
            assert_no_import_is_held()
            for _ in range(30):
                pass
    finally:
        over.set()
        journal_end.close()
        for thread in threads:
            thread.join(PATIENCE)
        for end in (front, control, channel):
            end.close()
    assert set(hit) <= set(aimed)
    assert len(aimed) == len(set(aimed))
    assert len(aimed) > (5 if action is nothing else 20)  # which is over before most of them are aimed
    assert len(hit) > 20 or action is not work


def test_an_interrupt_in_the_wake_of_an_application_s_own(
    interpreter: Interpreter, apps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hit where the worker takes note of the other one, and does not end the worker."""
    leave = Region.leave

    def leave_late(region: Region) -> bool:
        if not region._aimed:
            assert region.interrupt(1)
        return leave(region)

    def raises(environ: Any, start_response: Any) -> list[bytes]:
        monkeypatch.setattr(Region, "leave", leave_late)
        raise sys.modules["mod_wsgi"].RequestTimeout

    apps.raises, worker = raises, interpreter.worker()
    assert worker.exchange(1, "t3_apps:raises")[-2:] == [messages.FAILED, messages.DONE]
    monkeypatch.setattr(Region, "leave", leave)
    assert worker.exchange(2, "t3_apps:hello")[-1] == messages.DONE


# The end --------------------------------------------------------------------------------------------------------------


def test_stop(interpreter: Interpreter, apps: Any) -> None:
    """STOP waits for the workers that are still busy, then says that none is left."""
    entered, let_go = threading.Event(), threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        entered.set()
        let_go.wait(PATIENCE)
        return hello(environ, start_response)

    apps.application = application
    worker = interpreter.worker()
    worker.request(1, "t3_apps:application")
    assert entered.wait(PATIENCE)
    interpreter.control.say(messages.numbers(messages.STOP, 20_000))
    interpreter.control.say(messages.numbers(messages.STOP, 20_000))
    let_go.set()
    worker.until(messages.DONE)
    worker.channel.shut()
    assert interpreter.control.until(messages.STOPPED)[-1] == (messages.STOPPED, (0).to_bytes(8))
    assert interpreter.left.get(timeout=PATIENCE) == 0


def test_stop_does_not_wait_for_ever(interpreter: Interpreter, apps: Any) -> None:
    """After its time STOP says how many workers have not ended; an interrupt gets through meanwhile."""
    entered, let_go = threading.Event(), threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        entered.set()
        while not let_go.is_set():
            try:
                spin(let_go.is_set)
            except BaseException:
                pass

    apps.application = application
    worker = interpreter.worker()
    worker.request(1, "t3_apps:application")
    assert entered.wait(PATIENCE)
    interpreter.control.say(messages.numbers(messages.STOP, 200))
    interpreter.interrupt(1, 1)
    assert interpreter.record("the request is interrupted").exchange == 1
    assert interpreter.control.until(messages.STOPPED)[-1] == (messages.STOPPED, (1).to_bytes(8))
    assert interpreter.left.get(timeout=PATIENCE) == 1
    let_go.set()


def test_a_timeout_that_the_application_raises_itself(interpreter: Interpreter, apps: Any) -> None:
    """mod_wsgi.RequestTimeout can be raised by anybody: the request fails, and the log says where."""

    def raises(environ: Any, start_response: Any) -> list[bytes]:
        raise sys.modules["mod_wsgi"].RequestTimeout

    apps.raises, worker = raises, interpreter.worker()
    kinds = worker.exchange(1, "t3_apps:raises")
    assert kinds[-2:] == [messages.FAILED, messages.DONE]
    assert "in raises" in interpreter.record("exception in 't3_apps:raises'").text
    assert worker.exchange(2, "t3_apps:hello")[-2:] == [messages.START, messages.DONE]
