"""Interrupts that hit where Python ignores exceptions."""

import _imp
import contextlib
import importlib
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from asyncgroups.errors import RequestInterrupted
from asyncgroups.worker import region
from asyncgroups.worker.region import Region


class Thing:
    """What weak references may be to."""


def test_what_python_ignores(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that hits the callback of a weak reference is raised again, after it."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: ignored.append(unraisable.exc_type))
    monkeypatch.setattr(region, "_before", None)
    region.watch()
    regions: list[Region] = []
    entered, ends = threading.Event(), time.monotonic() + 20
    hits = 0

    def linger(_: object) -> None:
        entered.set()
        while time.monotonic() < ends:  # until it is hit
            pass

    def work() -> None:
        nonlocal hits
        regions.append(Region())
        regions[0].enter(7)
        try:
            thing = Thing()
            reference = weakref.ref(thing, linger)
            del thing
            del reference
            while time.monotonic() < ends:
                pass
        except RequestInterrupted:
            hits += 1
        assert regions[0].leave()

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(20)
    assert regions[0].interrupt(7)
    thread.join(20)
    assert time.monotonic() < ends
    assert ignored == [RequestInterrupted]
    assert hits == 1


@pytest.mark.parametrize("name", ["the import lock", "a module's lock"])
def test_an_import_that_had_just_begun(name: str) -> None:
    """An interrupt that hits right after importlib has taken a lock leaves none: others go on importing."""
    regions: list[Region] = []
    taken, ends = threading.Event(), time.monotonic() + 20
    module_lock: Any = importlib._bootstrap._get_module_lock("a_module_of_this_test")  # type: ignore[attr-defined]

    def work() -> None:
        regions.append(Region())
        regions[0].enter(7)
        try:
            if name == "the import lock":
                _imp.acquire_lock()
                _imp.acquire_lock()
            else:
                module_lock.acquire()
                module_lock.acquire()
            taken.set()
            while time.monotonic() < ends:
                pass
        except RequestInterrupted:
            assert regions[0].leave()
            left.set()
            over.wait(20)  # what it holds would be free, as likely as not, if it had ended
            with contextlib.suppress(RuntimeError):  # where this fails others are to go on
                while True:
                    _imp.release_lock()

    def take() -> None:
        _imp.acquire_lock()
        _imp.release_lock()
        module_lock.acquire()
        module_lock.release()

    left, over = threading.Event(), threading.Event()
    threads = [threading.Thread(target=target, daemon=True) for target in (work, take)]
    threads[0].start()
    assert taken.wait(20)
    assert regions[0].interrupt(7)
    assert left.wait(20)
    threads[1].start()
    threads[1].join(20)
    over.set()
    assert not threads[1].is_alive()
    threads[0].join(20)


def test_two_that_watch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GLOBALs that start at the same time: the hook is set once, and does not call itself."""
    first, second = threading.Event(), threading.Event()

    class System:
        """Stands for the module ``sys``; who asks for the hook waits a little for the other one to do so as well."""

        def __init__(self) -> None:
            self.hook: Any = sys.__unraisablehook__

        @property
        def unraisablehook(self) -> Any:
            if first.is_set():
                second.set()
            first.set()
            hook = self.hook
            second.wait(0.1)
            return hook

        @unraisablehook.setter
        def unraisablehook(self, hook: Any) -> None:
            self.hook = hook

    system = System()
    monkeypatch.setattr(region, "sys", system)
    monkeypatch.setattr(region, "_before", None)
    threads = [threading.Thread(target=region.watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not second.is_set()
    assert region._before is sys.__unraisablehook__
    assert system.hook is region._notice
