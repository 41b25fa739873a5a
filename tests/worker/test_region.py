"""Interrupts that hit where Python ignores exceptions."""

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
        until = time.monotonic() + 0.2
        while time.monotonic() < until and not ignored:
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
