"""The module mod_wsgi without an interpreter of its own: who is told what, and what is left behind."""

import gc
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncgroups.errors import RequestInterrupted
from asyncgroups.wire import messages
from asyncgroups.worker.events import Watch
from asyncgroups.worker.module import ModWsgi
from tests.worker.conftest import Conversing, Front


class Busy:
    """A journal in which this thread is busy with an exchange."""

    def __init__(self) -> None:
        self.exchanges = {threading.get_ident(): 7}


@pytest.fixture
def mod_wsgi() -> ModWsgi:
    mod_wsgi = ModWsgi()
    mod_wsgi.journals.append(Busy())
    return mod_wsgi


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def report(failures: list[str]) -> Callable[[str, BaseException], None]:
    return lambda what, error: failures.append(f"{what}: {error!r}")


def install(mod_wsgi: ModWsgi, group: str) -> None:
    mod_wsgi.install(process_group="", application_group=group, processes=1, threads=1, is_main=False)


def test_the_module_is_made_once(monkeypatch: pytest.MonkeyPatch, mod_wsgi: ModWsgi) -> None:
    """The second of two GLOBALs in one interpreter changes nothing; what the program has loaded itself stays."""
    monkeypatch.delitem(sys.modules, "mod_wsgi", raising=False)
    install(mod_wsgi, "first")
    install(mod_wsgi, "second")
    assert sys.modules["mod_wsgi"].application_group == "first"
    theirs = types.ModuleType("mod_wsgi")
    monkeypatch.setitem(sys.modules, "mod_wsgi", theirs)
    install(ModWsgi(), "third")
    assert sys.modules["mod_wsgi"] is theirs


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, mod_wsgi: ModWsgi) -> None:
    """Where no package of that name is installed it is none, and an attribute that is not there is missed in words."""
    monkeypatch.delitem(sys.modules, "mod_wsgi", raising=False)
    monkeypatch.setattr(sys, "path", [])
    install(mod_wsgi, "")
    with pytest.raises(ModuleNotFoundError, match="not a package"):
        __import__("mod_wsgi.server")
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = sys.modules["mod_wsgi"].nothing


def test_a_request_while_another_journal_goes(mod_wsgi: ModWsgi) -> None:
    """Another GLOBAL that ends in that moment, or has just begun, takes nothing from it."""

    class Going:
        """A journal that goes when it has been looked at."""

        @property
        def exchanges(self) -> dict[int, int]:
            mod_wsgi.journals.remove(self)
            return {}

    answers = []
    for look in (mod_wsgi.of_request, mod_wsgi.process_metrics, lambda: mod_wsgi._attribute("active_requests")):
        mod_wsgi.journals.insert(0, Going())
        answers.append(look())
    assert answers[0] == {}
    assert answers[1]["active_requests"] == 1
    assert answers[2] == {"7": {}}


def test_what_subscribers_answer(mod_wsgi: ModWsgi, failures: list[str], report: Any) -> None:
    """A dictionary changes the facts for those who come later; whatever one raises, the others are told."""
    told: list[Any] = []

    def fails(name: str, **facts: object) -> None:
        raise SystemExit(name)

    for callback in (fails, lambda name, **facts: {"more": 1}, lambda name, **facts: told.append((name, facts))):
        mod_wsgi.subscribe_events(callback)
    mod_wsgi.publish("event", facts := {"first": 0}, report=report)
    assert told == [("event", {"first": 0, "more": 1})]
    assert facts == {"first": 0, "more": 1}
    assert failures == ["a subscriber to mod_wsgi's events failed with event: SystemExit('event')"]


def test_an_interrupt_passes_through(mod_wsgi: ModWsgi, failures: list[str], report: Any) -> None:
    """A request that is interrupted while it is a subscriber's turn ends there."""

    def interrupted(name: str, **facts: object) -> None:
        raise RequestInterrupted

    mod_wsgi.subscribe_events(interrupted)
    with pytest.raises(RequestInterrupted):
        mod_wsgi.publish("event", {}, report=report)
    assert failures == []


def test_the_end_comes_once(mod_wsgi: ModWsgi, failures: list[str], report: Any) -> None:
    """Subscribers to events hear of it, then those to the end; each once, whatever another one raises."""
    told: list[str] = []

    def fails(name: str, **facts: object) -> None:
        raise KeyboardInterrupt

    mod_wsgi.subscribe_shutdown(fails)
    mod_wsgi.subscribe_shutdown(lambda name, shutdown_reason: told.append(f"end {name}"))
    mod_wsgi.subscribe_events(lambda name, shutdown_reason: told.append(f"event {name}"))
    for _ in range(2):
        mod_wsgi.stop(report)
    assert told == ["event process_stopping", "end process_stopping"]
    assert len(failures) == 1


@pytest.mark.parametrize("wrong", [None, 1, "note"])
def test_who_cannot_be_called(mod_wsgi: ModWsgi, wrong: Any) -> None:
    """What is not callable is refused at once, and not with each event."""
    for subscribe in (mod_wsgi.subscribe_events, mod_wsgi.subscribe_shutdown):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            subscribe(wrong)
    assert (mod_wsgi.event_callbacks, mod_wsgi.shutdown_callbacks) == ([], [])


@pytest.fixture
def watched(mod_wsgi: ModWsgi, front: Conversing, report: Any) -> Iterator[tuple[Front, Watch, list[Any]]]:
    """An exchange with the body "hello world" in two pieces, who watches it, and what is told of it."""
    told: list[Any] = []
    mod_wsgi.subscribe_events(lambda name, **facts: told.append((name, facts)))
    with front([b"hello ", b"world"]) as conversation:
        yield conversation, Watch(mod_wsgi, conversation.exchange, length=11, report=report), told


ENVIRON: dict[str, object] = {
    "mod_wsgi.thread_id": 1,
    "mod_wsgi.request_start": 1.0,
    "mod_wsgi.application_start": 2.0,
}


def test_what_is_counted(watched: tuple[Front, Watch, list[Any]]) -> None:
    """Bytes are those of the body that went out and came in, whichever way they went."""
    conversation, watch, told = watched

    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert watch.input.read(3) == b"hel"
        assert watch.input.readline() == b"lo world"
        start_response("200 OK", [("Content-Length", "7")])(b"wri")
        return [b"tten", b", and too much"]

    watch.run(application, dict(ENVIRON), response=watch.respond(b"POST"))
    facts = told[-1][1]
    assert (facts["input_reads"], facts["input_length"]) == (2, 11)
    assert (facts["output_writes"], facts["output_length"]) == (2, 7)
    kinds = [kind for kind, _ in conversation.hear()]
    assert kinds == [messages.START, messages.CHUNK, messages.END]


def test_no_client_waits_for_the_last_event(mod_wsgi: ModWsgi, front: Conversing, report: Any) -> None:
    """The whole response has gone out before it is told that the request has finished."""
    heard: list[int] = []
    with front() as conversation:

        def note(name: str, **_: object) -> None:
            if name == "request_finished":
                heard.extend(kind for kind, _ in conversation.hear())

        mod_wsgi.subscribe_events(note)
        watch = Watch(mod_wsgi, conversation.exchange, length=None, report=report)

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"body"]

        watch.run(application, dict(ENVIRON), response=watch.respond(b"GET"))
    assert heard == [messages.START]


class Thing:
    """Something that a weak reference may point to."""


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_request_lingers(watched: tuple[Front, Watch, list[Any]], mod_wsgi: ModWsgi, fails: bool) -> None:
    """What a request held is gone with it, without the garbage collector."""
    _, watch, told = watched
    mod_wsgi.event_callbacks[:] = [lambda name, **facts: None]
    thing = Thing()
    gone = weakref.ref(thing)
    environ = {**ENVIRON, "thing": thing}
    del thing

    def application(environ: Any, start_response: Any) -> list[bytes]:
        held = environ["thing"]
        if fails:
            raise ValueError
        start_response("200 OK", [])
        return [b"" if held else b"x"]

    gc.disable()
    try:
        try:
            watch.run(application, environ, response=watch.respond(b"GET"))
        except ValueError:
            pass
        del environ
        assert gone() is None
    finally:
        gc.enable()
    assert told == []
