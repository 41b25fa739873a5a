"""The processes of a process group, at moments that a server meets once in a long while."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asyncgroups.config import Limits, ProcessSettings, Timeouts
from asyncgroups.frontend.bootstraps import in_processes
from asyncgroups.frontend.process import DaemonProcess, Preloading, Resident, Stage
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.tenants import Tenants
from asyncgroups.host.pool import Pool
from asyncgroups.host.reaper import Reaper
from asyncgroups.selection.mounts import GroupSettings
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from tests.serving import until

PATIENCE = 20.0


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    """One that has begun, with one process."""
    reaper = Reaper()
    group = ProcessGroup(
        ProcessSettings(name="one"), environ=os.environb, reaper=reaper, number=itertools.count(1).__next__, patience=0
    )
    group.start()
    yield group
    group.stop(PATIENCE)
    assert group.join(time.monotonic() + PATIENCE) == []
    reaper.end()


def pool(group: ProcessGroup, name: str, folder: Path) -> Pool:
    bootstrap = in_processes(("one", name), GroupSettings(app_dir=str(folder)), group=group, is_apart=False)
    return group.tenants.pool(bootstrap, backlog=1, preload=())


def test_one_that_is_replaced_before_all_of_it_is_ready(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that gets ready after that ends as well, and the process in its order, not by force."""
    first = pool(group, "first", tmp_path)
    until(lambda: first.is_served)
    (old,) = group.processes
    prepare = Tenants._prepare
    late: list[Resident] = []

    def wait(self: Tenants, resident: Resident) -> None:
        if resident.process is old:
            late.append(resident)
        else:
            prepare(self, resident)

    monkeypatch.setattr(Tenants, "_prepare", wait)
    second = pool(group, "second", tmp_path)
    until(lambda: late)
    group._replace(old, "a moment")
    until(lambda: old.stage is not Stage.SERVING)
    prepare(group.tenants, late[0])
    assert old.join(PATIENCE / 4)
    assert old.status == 0
    until(lambda: second.is_served)


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.SERVING])
def test_one_that_ends_while_somebody_looks_at_its_stage(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stage: Stage
) -> None:
    """Whoever moves it on in that moment goes on, as where it has ended a moment before."""
    (process,) = group.processes
    move = DaemonProcess.move
    moves: list[Any] = []

    def end_first(self: DaemonProcess, to: Stage) -> Any:
        if self is process and to is not Stage.ENDED and self.stage is stage:
            self.kill()
            until(lambda: self.stage is Stage.ENDED)
            moves.append(to)
        return move(self, to)

    monkeypatch.setattr(DaemonProcess, "move", end_first)
    first = pool(group, "first", tmp_path)
    if stage is Stage.SERVING:
        until(lambda: first.is_served)
        group._replace(process, "a moment")
    until(lambda: moves)
    until(lambda: process not in group.processes)
    looked = threading.Event()
    group._reaper.post(looked.set)
    assert looked.wait(PATIENCE)
    assert "the reaper met an exception" not in caplog.text


def test_one_that_ends_between_two_that_are_preloaded() -> None:
    """What waits for both is told of the end, once; that the second cannot be asked for is no mistake."""
    ours, descriptor = pair()
    theirs = Channel(descriptor, blocking=True)
    over: list[bool] = []
    interpreter: Any = SimpleNamespace(add_worker=lambda _: ours)
    reaper: Any = SimpleNamespace(listen=lambda _: None)
    loading = Preloading(interpreter, ["a:a", "b:b"], number=1, reaper=reaper, on_over=lambda: over.append(True))
    theirs.close()
    assert loading.hear(messages.DONE, b"")
    assert not over
    loading.lost("the process has ended")
    assert over == [True]


def test_a_worker_is_given_up_while_its_processes_are_replaced() -> None:
    """Its process group is found, whatever happens to the table meanwhile: it is looked at under the lock."""
    supervisor = Supervisor(limits=Limits(), timeouts=Timeouts(), global_threads=1, environ={})
    found: list[bool] = []

    class Groups:
        @property
        def all(self) -> list[Any]:
            is_safe = supervisor._lock.locked()
            return [SimpleNamespace(give_up=lambda _: found.append(is_safe) or not supervisor._lock.locked())]

    groups: Any = Groups()
    supervisor.process_groups = groups
    worker: Any = SimpleNamespace()
    supervisor.give_up(worker)
    assert found == [True]
