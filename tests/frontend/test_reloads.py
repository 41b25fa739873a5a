"""Which reloads begin while others hang; what a reload does is ``tests/scripts``'."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from asyncgroups.config import Limits, Timeouts
from asyncgroups.errors import ShuttingDown
from asyncgroups.frontend import reloading as reloading_module
from asyncgroups.frontend.isolation import Place, Refusal
from asyncgroups.frontend.loads import Loads
from asyncgroups.frontend.preload import load_in, load_once
from asyncgroups.frontend.reloading import Reloading
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.versions import FAILING, RELOADS, Entry, Versions
from asyncgroups.host.pool import Pool
from asyncgroups.selection.mounts import GroupSettings
from asyncgroups.wire.channel import pair
from tests.serving import until

KEY = ("", "group")
REFUSAL = Refusal("app:application", "stubborn", "it refuses")

APPLICATION = "/srv/app.wsgi:application"
VERSION = (1, 2, 3, 4)


def group(*, has_failed: bool) -> Entry:
    """A group with a script, whose last reload has failed or not."""
    entry: Any = Entry(("", "group"), None, None, None, Place.HERE, Versions())  # type: ignore[arg-type]  # unused here
    if has_failed:
        entry.versions.fail({APPLICATION: VERSION})
    return entry  # type: ignore[no-any-return]  # as above


@pytest.fixture
def ends() -> Iterator[threading.Event]:
    ends = threading.Event()
    yield ends
    ends.set()


@pytest.fixture
def reloading(ends: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Reloading:
    """Its reloads hang, until they are to end."""
    monkeypatch.setattr(Reloading, "_reload", lambda *_: ends.wait(30))
    supervisor: Any = SimpleNamespace(loads=Loads())  # nothing is reloaded
    return Reloading(supervisor)


def test_groups_that_fail_leave_places(reloading: Reloading, ends: threading.Event) -> None:
    """However many groups hang each time, others' reloads begin; and theirs do again once there is a place."""
    failing = [group(has_failed=True) for _ in range(RELOADS)]
    others = [group(has_failed=False) for _ in range(RELOADS)]
    for entry in failing + others:
        reloading.begin(entry, APPLICATION, version=VERSION)
    begun = [entry.versions.is_reloading for entry in failing + others]
    assert begun == [
        *[number < FAILING for number in range(RELOADS)],
        *[number < RELOADS - FAILING for number in range(RELOADS)],
    ]
    ends.set()
    until(lambda: "0 of" in repr(reloading), 10, what="the end of the reloads")
    ends.clear()
    reloading.begin(failing[-1], APPLICATION, version=VERSION)
    assert failing[-1].versions.is_reloading


def test_places_that_are_taken(reloading: Reloading) -> None:
    """A group whose reload has failed waits for others', as others wait for one another."""
    for _ in range(FAILING):
        reloading.begin(group(has_failed=False), APPLICATION, version=VERSION)
    late = group(has_failed=True)
    reloading.begin(late, APPLICATION, version=VERSION)
    assert not late.versions.is_reloading
    for _ in range(RELOADS):
        reloading.begin(group(has_failed=False), APPLICATION, version=VERSION)
    assert repr(reloading) == f"<Reloading: {RELOADS} of {RELOADS}>"


class Request:
    """A ``Ticket`` that need not wait."""

    exchange, key = 1, None


def test_a_group_that_moves_as_its_reload_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A module that refuses in the new interpreter as well is met as in the old one: the group has its other place."""
    supervisor = Supervisor(limits=Limits(), timeouts=Timeouts(), global_threads=1, environ=os.environb)
    settings = GroupSettings(app_dir=str(tmp_path))
    supervisor.pool_of(KEY, settings)
    entry = supervisor._pools[KEY]
    supervisor.isolation.move(KEY, REFUSAL)
    made = supervisor.candidate(entry, {})
    request: Any = Request()
    request.exchange = supervisor.number() + 1000
    worker = made.pool.take(request)
    assert worker is not None
    assert supervisor.move(worker, REFUSAL)
    assert 'Its isolation is "interpreter"' not in caplog.text
    made.pool.lose(worker)
    supervisor.discard(made)
    assert supervisor.stop() == []


def test_the_end_as_a_reload_is_about_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads nothing any more: nobody would interrupt it before the end has waited for its requests."""
    script = tmp_path / "app.wsgi"
    script.write_text(f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(60)")
    supervisor = Supervisor(limits=Limits(), timeouts=Timeouts(startup=5), global_threads=1, environ=os.environb)
    reloading = supervisor.reloading = Reloading(supervisor)
    supervisor.pool_of(KEY, GroupSettings(app_dir=str(tmp_path)))

    async def load(*arguments: Any, **names: Any) -> Any:
        supervisor.drain()
        return await load_once(*arguments, **names)

    monkeypatch.setattr(reloading_module, "load_once", load)
    reloading._reloads.add(threading.current_thread())
    reloading._run(supervisor._pools[KEY], f"{script}:application", VERSION)
    assert not (tmp_path / "begun").exists()
    assert supervisor.stop() == []


def test_what_would_be_loaded_after_the_end_has_begun() -> None:
    """No worker is asked for."""
    ours, theirs = pair()
    interpreter: Any = SimpleNamespace(add_worker=lambda _: ours, stop=lambda _: None, label="group")
    member = Pool(None, threads=1, backlog=1).add(interpreter, [])
    supervisor: Any = SimpleNamespace(loads=Loads())
    supervisor.loads.forgo()

    async def load() -> None:
        with pytest.raises(ShuttingDown):
            await load_in(supervisor, member, application="app:application")

    anyio.run(load)
    assert not member.made
    ours.close()
    os.close(theirs)


def test_the_end_as_a_reload_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that the new interpreter runs by then have the time that all of them have."""
    script = tmp_path / "app.wsgi"
    script.touch()
    supervisor = Supervisor(limits=Limits(), timeouts=Timeouts(), global_threads=1, environ=os.environb)
    reloading = supervisor.reloading = Reloading(supervisor)
    supervisor.pool_of(KEY, GroupSettings(app_dir=str(tmp_path)))
    workers: list[Any] = []
    request: Any = Request()
    request.exchange = supervisor.number() + 1000

    def swap(old: Entry, new: Entry) -> bool:
        is_swapped = Supervisor.swap(supervisor, old, new)
        workers.append(new.pool.take(request))
        supervisor.drain()
        return is_swapped

    monkeypatch.setattr(supervisor, "swap", swap)
    script.write_text("application = print")
    reloading._reloads.add(threading.current_thread())
    reloading._run(supervisor._pools[KEY], f"{script}:application", VERSION)
    (worker,) = workers
    assert not worker.aborted
    worker.pool.lose(worker)
    assert supervisor.stop() == []
