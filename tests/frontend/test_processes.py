"""The processes of a process group, at moments that a server meets once in a long while."""

import contextlib
import errno
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asyncgroups.config import Limits, ProcessSettings, Timeouts
from asyncgroups.config.sticky import KeySource, Sticky
from asyncgroups.errors import InterpreterFailed
from asyncgroups.frontend import tenants as tenants_module
from asyncgroups.frontend.bootstraps import in_processes
from asyncgroups.frontend.loads import Loads, WorkerLoad
from asyncgroups.frontend.process import DaemonInterpreter, DaemonProcess, Preloading, Stage
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.tenants import Resident, Tenants
from asyncgroups.host import group as group_module
from asyncgroups.host.pool import Pool
from asyncgroups.host.reaper import Reaper
from asyncgroups.host.rendezvous import ranking
from asyncgroups.selection.mounts import GroupSettings
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from tests.serving import until

PATIENCE = 20.0


@contextlib.contextmanager
def running(settings: ProcessSettings) -> Iterator[ProcessGroup]:
    """One that has begun; nothing is left of it."""
    reaper = Reaper()
    group = ProcessGroup(
        settings, environ=os.environb, reaper=reaper, number=itertools.count(1).__next__, patience=0, loads=Loads()
    )
    group.start()
    try:
        yield group
    finally:
        group.stop(PATIENCE)
        left = group.join(time.monotonic() + PATIENCE)
        reaper.end()
    assert left == []


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    """One with one process."""
    with running(ProcessSettings(name="one")) as group:
        yield group


def pool(group: ProcessGroup, name: str, folder: Path, *, preload: tuple[str, ...] = ()) -> Pool:
    bootstrap = in_processes(("one", name), GroupSettings(app_dir=str(folder)), group=group, is_apart=False)
    return group.tenants.pool(bootstrap, backlog=1, preload=preload)


def interpreter_of(group: ProcessGroup) -> DaemonInterpreter:
    """The only one."""
    ((interpreter,),) = (process.interpreters for process in group.processes)
    return interpreter


def hold_back(monkeypatch: pytest.MonkeyPatch, which: Callable[[Resident], bool]) -> list[Resident]:
    """Interpreters that are ready, which nobody is told yet."""
    prepare = Tenants._prepare
    held: list[Resident] = []

    def wait(self: Tenants, resident: Resident) -> None:
        if which(resident):
            held.append(resident)
        else:
            prepare(self, resident)

    monkeypatch.setattr(Tenants, "_prepare", wait)
    return held


def test_one_that_is_replaced_before_all_of_it_is_ready(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that gets ready after that ends as well, and the process in its order, not by force."""
    first = pool(group, "first", tmp_path)
    until(lambda: first.is_served)
    (old,) = group.processes
    prepare = Tenants._prepare
    late = hold_back(monkeypatch, lambda resident: resident.process is old)
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
    interpreter: Any = SimpleNamespace(
        loading_number=lambda: 0, add_worker=lambda _: ours, take_in=lambda _: None, let_go=lambda _: None
    )
    reaper: Any = SimpleNamespace(listen=lambda _: None)
    loading = Preloading(interpreter, ["a:a", "b:b"], number=1, reaper=reaper, on_over=lambda: over.append(True))
    theirs.close()
    assert loading.hear(messages.DONE, b"")
    assert not over
    loading.lost("the process has ended")
    assert over == [True]


LONG = """
import time
open(MARK, "a").close()
ends = time.monotonic() + 60
try:
    while time.monotonic() < ends:
        pass
except BaseException:
    open(MARK + "-hit", "a").close()
    raise
"""


def test_the_end_while_a_process_preloads(group: ProcessGroup, tmp_path: Path) -> None:
    """What it loads next to its requests is interrupted at once, the rest is not begun, and no force is needed."""
    marks = [tmp_path / "one", tmp_path / "two"]
    for mark in marks:
        (tmp_path / f"{mark.name}.py").write_text(f"MARK = {str(mark)!r}\n{LONG}")
    bootstrap = in_processes(("one", "g"), GroupSettings(app_dir=str(tmp_path)), group=group, is_apart=False)
    group.tenants.pool(bootstrap, backlog=1, preload=("one:application", "two:application"))
    until(marks[0].exists)
    group.tenants._loads.forgo()
    group.stop(PATIENCE)
    assert group.join(time.monotonic() + PATIENCE) == []
    assert (tmp_path / "one-hit").exists()
    assert not marks[1].exists()


def test_loads_after_the_end_has_begun() -> None:
    """One that begins as the end does is interrupted, whichever of the two is first; one that is over never is."""
    hit: list[str] = []

    def load(name: str, *, is_over: bool = False) -> Any:
        return SimpleNamespace(is_over=is_over, interrupt=lambda: hit.append(name))

    loads, first = Loads(), load("first")
    loads.note(first)
    loads.note(load("second"))
    first.is_over = True
    loads.note(load("third"))
    loads.forgo()
    assert hit == ["second", "third"]
    loads.note(load("late"))
    assert hit == ["second", "third", "late"]


def test_a_worker_that_has_another_exchange() -> None:
    """The end of what its worker has loaded interrupts no request that it runs by then."""
    hit: list[int] = []
    worker: Any = SimpleNamespace(exchange=3, interrupt=lambda: hit.append(worker.exchange))
    load = WorkerLoad(worker, 3)
    load.interrupt()
    worker.exchange = 4
    assert load.is_over
    load.interrupt()
    assert hit == [3]


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


def test_a_connection_that_nobody_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of a process may hold its listening socket; who connects when the process has ended is told of that."""
    begin, start, limit = DaemonProcess.start, DaemonInterpreter.start, DaemonProcess.limit
    late: list[DaemonInterpreter] = []
    is_over = threading.Event()

    def begin_and_hold(self: DaemonProcess) -> None:
        held.enter_context(self._listener.dup())  # as the child does
        begin(self)

    def end_meanwhile(self: DaemonInterpreter) -> None:
        if late:
            start(self)
            return
        late.append(self)
        (process,) = group.processes
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)  # it is about to end, and takes no connection any more
        start(self)
        process.kill()
        assert is_over.wait(PATIENCE)

    def tell(self: DaemonProcess, timer: Any) -> None:
        limit(self, timer)
        is_over.set()

    with contextlib.ExitStack() as held:
        monkeypatch.setattr(DaemonProcess, "start", begin_and_hold)
        group = held.enter_context(running(ProcessSettings(name="one")))
        first = pool(group, "first", tmp_path)
        until(lambda: first.is_served)
        monkeypatch.setattr(DaemonInterpreter, "start", end_meanwhile)
        monkeypatch.setattr(DaemonProcess, "limit", tell)
        second = pool(group, "second", tmp_path)
        assert late[0].join(PATIENCE / 4)
        until(lambda: second.is_served)


def test_what_loads_when_its_process_has_ended(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over then, also where a child of the process holds the other end of its channel."""
    pool(group, "first", tmp_path)
    until(lambda: pool(group, "first", tmp_path).is_served)
    held: list[int] = []

    def pair_and_hold() -> tuple[Channel, int]:
        ours, theirs = pair()
        held.append(os.dup(theirs))
        return ours, theirs

    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)")
    over = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(group_module.wire, "pair", pair_and_hold)
        interpreter = interpreter_of(group)
        Preloading(interpreter, ["slow:application"], number=1, reaper=group._reaper, on_over=over.set)
    (process,) = group.processes
    process.kill()
    try:
        assert over.wait(PATIENCE / 4)
        assert not interpreter._loadings
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_what_would_be_loaded_for_nobody(group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that has been told to end before it was ready loads nothing: its end would wait for that."""
    prepare = Tenants._prepare
    late = hold_back(monkeypatch, lambda _: True)
    begun: list[Any] = []
    monkeypatch.setattr(tenants_module, "Preloading", lambda *arguments, **_: begun.append(arguments))
    pool(group, "first", tmp_path, preload=("slow:application",))
    until(lambda: late)
    interpreter_of(group).stop(PATIENCE)
    prepare(group.tenants, late[0])
    assert not begun


def test_two_that_load_at_the_end(group: ProcessGroup, tmp_path: Path) -> None:
    """Each is interrupted for itself: what is preloaded, and a script that has changed meanwhile."""
    first = pool(group, "first", tmp_path)
    until(lambda: first.is_served)
    over: list[threading.Event] = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("import time\nfor _ in range(6000): time.sleep(0.01)")
        over.append(threading.Event())
        loading = Preloading(
            interpreter_of(group), [f"{name}:application"], number=len(over), reaper=group._reaper, on_over=over[-1].set
        )
        group.tenants._loads.note(loading)
    group.tenants._loads.forgo()
    assert all(one.wait(PATIENCE / 4) for one in over)


def test_a_successor_that_is_replaced_itself(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its successor takes over takes the first one's place as well: no process is left beside it."""
    first, second = pool(group, "first", tmp_path), pool(group, "second", tmp_path)
    until(lambda: first.is_served and second.is_served)
    (old,) = group.processes
    late = hold_back(monkeypatch, lambda one: one.process is not old and one.pool is second and not late)
    group._replace(old, "a moment")
    next_one = old.successor
    assert next_one is not None
    until(lambda: late and next_one.kin)
    assert old.stage is Stage.SERVING
    group._replace(next_one, "a moment")
    last = next_one.successor
    until(lambda: group.processes == [last])


def test_what_both_lack(group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose successor does all that it still does itself ends, also where it has come to do less."""
    first, second = pool(group, "first", tmp_path), pool(group, "second", tmp_path)
    until(lambda: first.is_served and second.is_served)
    (old,) = group.processes
    hold_back(monkeypatch, lambda one: one.process is not old and one.pool is second)
    group._replace(old, "a moment")
    until(lambda: old.successor is not None and old.successor.kin)
    (member,) = second.members
    member.interpreter.stop(0)
    until(lambda: not second.members)
    group._look()
    assert old.stage is not Stage.SERVING


def test_who_looks_at_the_pools_while_one_leaves(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there all the time, once, until its last interpreter has ended: who interrupts all requests misses none."""
    first = pool(group, "first", tmp_path)
    until(lambda: first.is_served)
    tenants, seen = group.tenants, []

    class Looked(dict[Any, Any]):
        def pop(self, *arguments: Any) -> Any:
            found = super().pop(*arguments)
            seen.append(tenants.pools)
            return found

        def __delitem__(self, key: Any) -> None:
            seen.append(tenants.pools)
            super().__delitem__(key)
            seen.append(tenants.pools)

    monkeypatch.setattr(tenants, "_staying", Looked(tenants._staying))
    tenants.leave_out(first)
    first.retire()
    assert seen
    assert all(found == [first] for found in seen)
    until(lambda: not tenants.pools)


def test_who_waits_for_all_interpreters_is_told_of_one_that_cannot_be(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not wait until the time is over."""
    first = pool(group, "first", tmp_path)
    until(lambda: first.is_served)
    (old,) = group.processes
    hold_back(monkeypatch, lambda one: one.pool is not first)
    second = group.tenants.another(first, backlog=1)

    def fail(_: DaemonInterpreter) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    def wait() -> object:
        return group.tenants.await_members(second, time.monotonic() + PATIENCE / 4)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait)
        until(lambda: group.tenants._changed._waiters)  # type: ignore[attr-defined]  # who waits there
        monkeypatch.setattr(DaemonInterpreter, "start", fail)
        group._replace(old, "a moment")
        with pytest.raises(InterpreterFailed):
            waiting.result(PATIENCE)


def test_a_script_that_changes_while_a_process_gets_ready(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is executed again in that one as well, which may be loading it as it was, for its first request."""
    script = tmp_path / "app.wsgi"
    script.write_text("application = print")
    late = hold_back(monkeypatch, lambda _: True)
    first = pool(group, "", tmp_path)
    until(lambda: late)
    (errand,) = group.tenants.execute(first, f"{script}:application")
    assert errand.over.wait(PATIENCE)
    assert errand.has_loaded


def test_what_is_kept_of_interpreters_that_have_ended(group: ProcessGroup, tmp_path: Path) -> None:
    """Their number of requests; else a process would grow with each script that is loaded again."""
    (process,) = group.processes
    last = pool(group, "first", tmp_path)
    for _ in range(3):
        new = group.tenants.another(last, backlog=1)
        (member,) = group.tenants.await_members(new, time.monotonic() + PATIENCE)
        member.served = 5
        group.tenants.succeed(last, new)
        group.tenants.leave_out(last)
        last.retire()
        until(lambda: len(group.tenants.pools) == 1)
        last = new
    assert process.served == 15
    assert len(process._members) <= 2


def test_one_that_winds_up_while_it_has_no_process(group: ProcessGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder goes at once: there is no last process that would take it along."""
    assert group._folder is not None
    monkeypatch.setattr(group, "_replenish", lambda: None)
    (process,) = group.processes
    process.kill()
    until(lambda: not group.processes)
    assert Path(group._folder.path).exists()
    group.wind_up()
    assert not Path(group._folder.path).exists()


class Request:
    """A ``Ticket``."""

    def __init__(self, key: bytes) -> None:
        self.exchange = 1
        self.key = key
        self.worker: Any = None

    def granted(self, worker: Any) -> None:
        self.worker = worker

    def refused(self, error: Exception) -> None:
        raise error


@pytest.fixture
def sticky() -> ProcessSettings:
    return ProcessSettings(name="one", processes=2, sticky=Sticky("client", KeySource.CLIENT))


def key_of(slot: int) -> bytes:
    return next(key for key in map(b"%d".__mod__, range(100)) if ranking(key, 2)[0] == slot)


def serve(pool: Pool, slot: int) -> int:
    """The slot of the process that a request gets whose key belongs to ``slot``."""
    request = Request(key_of(slot))
    worker = pool.take(request)
    if worker is None:
        until(lambda: request.worker, PATIENCE / 4)
        worker = request.worker
    pool.lose(worker)
    return worker.member.slot


def test_a_key_whose_process_ends_as_its_group_is_made(
    sticky: ProcessSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes elsewhere until there is another process: nobody is waited for who has ended."""
    with running(sticky) as group:
        monkeypatch.setattr(group, "_replenish", lambda: None)
        until(lambda: all(process.pid for process in group.processes))
        _open = Tenants._open
        gone = group.processes[0]

        def end_first(self: Tenants, process: DaemonProcess, tenant: Any) -> None:
            if process is gone:
                process.kill()
                until(lambda: process.stage is Stage.ENDED)
            _open(self, process, tenant)

        monkeypatch.setattr(Tenants, "_open", end_first)
        assert serve(pool(group, "first", tmp_path), 1) == 2


def test_a_key_whose_process_is_being_replaced_as_its_group_is_made(
    sticky: ProcessSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for whichever of the two will serve it, as long as one of them may."""
    with running(sticky) as group:
        zeroth = pool(group, "zeroth", tmp_path)
        until(lambda: len(zeroth.members) == 2)
        old = group.processes[0]
        prepare, others = Tenants._prepare, group.processes
        late = hold_back(monkeypatch, lambda one: one.process not in others)
        group._replace(old, "a moment")
        until(lambda: late)
        start = DaemonInterpreter.start

        def fail(self: DaemonInterpreter) -> None:
            if self._address == old.address:
                raise OSError(errno.EMFILE, "too many open files")
            start(self)

        monkeypatch.setattr(DaemonInterpreter, "start", fail)
        first = pool(group, "first", tmp_path)
        until(lambda: first.is_served and len(late) == 2)
        request = Request(key_of(1))
        assert first.take(request) is None
        for resident in late:
            prepare(group.tenants, resident)
        assert request.worker.member.slot == 1
        first.lose(request.worker)
