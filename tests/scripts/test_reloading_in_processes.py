"""Scripts that change while they run in daemon processes: with others in them, in several, or in their own."""

import errno
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from asyncgroups.config import KeySource, ProcessSettings, Sticky
from asyncgroups.frontend import loops
from asyncgroups.frontend.folder import Folder
from asyncgroups.frontend.preload import load_in
from asyncgroups.frontend.process import DaemonProcess
from asyncgroups.frontend.processes import ProcessGroup
from tests.scripts.site import Answer, Site

pytestmark = pytest.mark.anyio

ONE = ProcessSettings(name="back", processes=1)
THREE = ProcessSettings(name="back", processes=3)
STICKY = ProcessSettings(name="back", processes=2, sticky=Sticky("cookie", KeySource.COOKIE))

KINDS: dict[str, tuple[ProcessSettings | None, str]] = {
    "one": (ONE, "auto"),
    "three": (THREE, "auto"),
    "sticky": (STICKY, "auto"),
    "apart": (None, "process"),
    "three apart": (THREE, "process"),
}
"""The process group, and the isolation of the application group."""


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the requests; that of a reload is its own."""
    return "asyncio"


def made(folder: Path, kind: str, **settings: Any) -> tuple[Site, dict[str, str], int]:
    """A site, what its requests are for, and the number of processes that there are to be."""
    group, isolation = KINDS[kind]
    groups = {"back": group} if group is not None else {}
    site = Site(folder, process_groups=groups, settings={"isolation": isolation}, **settings)
    return site, {"process_group": "back" if group is not None else ""}, group.processes if group is not None else 1


def processes(site: Site) -> set[int]:
    """The daemon processes that there are."""
    return set(site.supervisor.process_groups.pids)


async def everywhere(site: Site, path: str, count: int, **chosen: Any) -> dict[int, Answer]:
    """The answers of as many processes, each by its process."""
    found: dict[int, Answer] = {}

    async def ask() -> None:
        answer = await site.ask(path, **chosen)
        assert answer.status == 200, answer
        found[answer.process] = answer

    with anyio.fail_after(20):
        while len(found) < count:
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(ask)
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_a_changed_script(tmp_path: Path, kind: str) -> None:
    """Each process loads it before the first request has it, next to what it runs; its own processes are replaced."""
    site, chosen, count = made(tmp_path, kind)
    async with site:
        marks = tmp_path / "marks"
        path, other = site.write("app.wsgi", "one"), site.write("other.wsgi", "other")
        first = await everywhere(site, path, count, **chosen)
        await site.ask(other, **chosen)
        await site.settle(lambda: len(processes(site)) >= count)
        before = processes(site)
        folders = {Path(psutil.Process(pid).cmdline()[-2]) for pid in first}
        site.write("app.wsgi", "two", first=f"marker.note({str(marks)!r}, str(marker.pid))")
        second = await site.until(lambda answer: answer.tag == "two", path, **chosen)
        loaded = {int(pid) for pid in marks.read_text().split()}
        assert len(marks.read_text().split()) == len(loaded) == count
        after = await everywhere(site, path, count, **chosen)
        assert {answer.tag for answer in after.values()} == {"two"}
        assert after[second.process] == second
        assert not {answer.interpreter for answer in first.values()} & {one.interpreter for one in after.values()}
        assert set(after) == loaded
        assert (await site.ask(other, **chosen)).interpreter in {one.interpreter for one in after.values()}
        if "apart" in kind:
            assert not loaded & before & set(first)
            await site.settle(lambda: not processes(site) & set(first))
            await site.settle(lambda: not any(folder.exists() for folder in folders))
        else:
            assert set(first) == loaded == processes(site)
        await site.calm()
        await site.settle(lambda: len(site.supervisor.process_groups.pools) == 1)
        assert not any(pool.is_retired for pool in site.supervisor.process_groups.pools)
    assert not any(psutil.pid_exists(pid) for pid in loaded)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_request_fails(tmp_path: Path, kind: str) -> None:
    """While a script is written often, and is broken in between, each request has a version that loaded."""
    site, chosen, count = made(tmp_path, kind)
    times, pause = (6, 0.25) if "apart" in kind else (16, 0.04)
    async with site:
        path = site.write("app.wsgi", "v0")
        await everywhere(site, path, count, **chosen)  # a process that has no version yet would load a broken one
        tags: list[str] = []
        over = anyio.Event()

        async def ask() -> None:
            while not over.is_set():
                answer = await site.ask(path, **chosen)
                assert answer.status == 200, answer
                tags.append(answer.tag)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
            for number in range(1, times + 1):
                if number % 4 == 2:
                    site.write("app.wsgi", "", source="import nothing_of_this_name\n")
                else:
                    site.write("app.wsgi", f"v{number}")
                await anyio.sleep(pause)  # the pace of writing
            site.write("app.wsgi", "v100")
            await site.until(lambda answer: answer.tag == "v100", path, **chosen)
            over.set()
        numbers = {int(tag[1:]) for tag in tags}
        assert len(numbers) > 1
        assert not {number for number in numbers if number % 4 == 2}
        await site.calm()
        await site.settle(lambda: len(site.supervisor.process_groups.pools) == 1)
        assert site.supervisor._count(("", "")) == 1


@pytest.mark.parametrize("kind", ["three", "apart"])
async def test_one_that_does_not_load(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The old one goes on in all processes, and nothing is left of what was to take its place."""
    site, chosen, count = made(tmp_path, kind)
    async with site:
        path = site.write("app.wsgi", "one")
        first = await everywhere(site, path, count, **chosen)
        site.write("app.wsgi", "two", first="raise ValueError('broken by hand')")
        await site.ask(path, **chosen)
        await site.calm()
        assert await everywhere(site, path, count, **chosen) == first
        assert caplog.text.count("has changed, but it does not load") == 1
        await site.settle(lambda: "ValueError: broken by hand" in caplog.text)
        await site.settle(lambda: len(site.supervisor.process_groups.pools) == 1)
        await site.settle(lambda: processes(site) == set(first))
        site.write("app.wsgi", "three")
        await site.until(lambda answer: answer.tag == "three", path, **chosen)


@pytest.mark.parametrize("kind", ["three", "apart"])
async def test_those_that_wait_and_those_that_run(tmp_path: Path, kind: str) -> None:
    """Who waits has the new one; what runs ends where it is, and its interpreter, or its process, with it."""
    site, chosen, count = made(tmp_path, kind)
    async with site:
        path = site.write("app.wsgi", "one")
        await everywhere(site, path, count, **chosen)
        answers: list[Answer] = []

        async def ask(query: str = "") -> None:
            answers.append(await site.ask(path, query=query, **chosen))

        async with anyio.create_task_group() as tasks:
            pool = site.supervisor.pool(site.choice(path, **chosen))
            for _ in range(count):
                tasks.start_soon(ask, str(tmp_path / "gate"))
            await site.settle(lambda: len(pool.busy) == count)
            for _ in range(10):
                tasks.start_soon(ask)
            await site.settle(lambda: len(pool._waiting) == 10)
            site.write("app.wsgi", "two")
            await ask()
            await site.settle(lambda: len(answers) == 11)
            assert {answer.tag for answer in answers} == {"two"}
            (tmp_path / "gate").touch()
        assert {answer.tag for answer in answers[-count:]} == {"one"}
        await site.settle(lambda: len(site.supervisor.process_groups.pools) == 1)
        await site.settle(lambda: len(processes(site)) == count)


def brief(folder: Path, **group: Any) -> Site:
    """A site whose application group has a process of its own, which is given little time for its end."""
    settings = replace(ONE, graceful_timeout=0.2, shutdown_timeout=0.2, **group)
    times = {"startup": 2.0, "request": 0.5, "interrupt": 0.2}
    return Site(folder, process_groups={"back": settings}, settings={"isolation": "process"}, timeouts=times)


async def test_a_request_that_is_stuck_in_what_was_replaced(tmp_path: Path) -> None:
    """A process whose place was taken ends by force if a request in it does not obey its interrupt."""
    async with brief(tmp_path) as site:
        path = site.write("app.wsgi", "one", first="import time\nmarker.wait = lambda path: time.sleep(60)")
        first = await site.ask(path, process_group="back")
        async with anyio.create_task_group() as tasks:
            pool = site.supervisor.pool(site.choice(path, process_group="back"))
            tasks.start_soon(lambda: site.ask(path, process_group="back", query="never"))
            await site.settle(lambda: pool.busy)
            site.write("app.wsgi", "two")
            await site.until(lambda answer: answer.tag == "two", path, process_group="back")
        await site.settle(lambda: first.process not in processes(site))
        assert len(processes(site)) == 1


async def test_a_process_that_never_starts(tmp_path: Path) -> None:
    """What was to take the old one's place ends by force when that is given up."""
    python, gate = tmp_path / "python", tmp_path / "gate"
    python.write_text(f'#!/bin/sh\n[ -e "{gate}" ] && exec sleep 60\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    async with brief(tmp_path, python=str(python)) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path, process_group="back")
        before = processes(site)
        gate.touch()
        site.write("app.wsgi", "two")
        assert await site.ask(path, process_group="back") == first
        await site.settle(lambda: len(processes(site)) > len(before))
        await site.calm()
        await site.settle(lambda: processes(site) == before)
        assert len(site.supervisor.process_groups.all) == 1


async def test_processes_that_come_later(tmp_path: Path) -> None:
    """One that takes the place of a process that has died has the interpreters that take requests, and no others."""
    site, chosen, count = made(tmp_path, "three")
    async with site:
        path = site.write("app.wsgi", "one")
        await everywhere(site, path, count, **chosen)
        site.write("app.wsgi", "two")
        second = await site.until(lambda answer: answer.tag == "two", path, **chosen)
        await site.calm()
        os.kill(second.process, signal.SIGKILL)
        await site.settle(lambda: second.process not in processes(site) and len(processes(site)) == count)
        after = await everywhere(site, path, count, **chosen)
        assert {answer.tag for answer in after.values()} == {"two"}
        (group,) = site.supervisor.process_groups.all
        await site.settle(lambda: [len(process.interpreters) for process in group.processes] == [1] * count)


async def test_a_process_that_dies_while_it_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A script that ends its process does not load: the old one goes on, in the process that takes its place."""
    site, chosen, _ = made(tmp_path, "one")
    async with site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path, **chosen)
        site.write("app.wsgi", "two", first="os.kill(os.getpid(), 9)")
        await site.ask(path, **chosen)
        await site.calm()
        site.write("app.wsgi", "three")
        third = await site.until(lambda answer: answer.tag == "three", path, **chosen)
        assert third.process != first.process
        assert "has changed, but" in caplog.text


async def test_what_is_left_of_one_that_has_failed(tmp_path: Path) -> None:
    """Where the new interpreter ends before it is given up, nothing of its pool stays with the process group."""
    site, chosen, _ = made(tmp_path, "one")
    async with site:
        await site.ask(site.write("app.wsgi", "one"), **chosen)
        entry = site.supervisor._pools["back", "shop"]
        other = site.supervisor.candidate(entry, {})
        await site.settle(lambda: other.pool.members)
        (member,) = other.pool.members
        member.interpreter.channel.shut()
        await site.settle(lambda: not other.pool.members)
        site.supervisor.discard(other)
        assert site.supervisor.process_groups.pools == [entry.pool]


async def test_a_load_without_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none to listen to the worker it is free again."""
    site, chosen, _ = made(tmp_path, "one")
    async with site:
        path = site.write("app.wsgi", "one")
        await site.ask(path, **chosen)
        (member,) = site.supervisor._pools["back", "shop"].pool.members

        def fails(_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(loops, "inlet", fails)
            unloaded = await load_in(site.supervisor, member, application=f"{path}:application")
        assert unloaded is not None
        assert "Too many open files" in str(unloaded)
        assert not member.busy
        assert await load_in(site.supervisor, member, application=f"{path}:application") is None


ENDLESS = """
marker.note({entered!r}, "x")
try:
    while True:
        pass
except BaseException:
    marker.note({hit!r}, "x")
    raise
"""


async def test_the_end_during_a_reload(tmp_path: Path) -> None:
    """What is being loaded is interrupted at once, in processes as well, and no process is left."""
    for kind, group in (("three", "shop"), ("apart", "shop"), ("three", "")):
        folder = tmp_path / (kind + group)
        folder.mkdir()
        site, chosen, count = made(folder, kind, timeouts={"graceful": 10.0})
        async with site:
            path = site.write("app.wsgi", "one")
            chosen["group"] = group
            await everywhere(site, path, count, **chosen)
            entered, hit = folder / "entered", folder / "hit"
            site.write("app.wsgi", "two", first=ENDLESS.format(entered=str(entered), hit=str(hit)))
            await site.ask(path, **chosen)
            # In each: an import ignores an interrupt that hits its weak references' callbacks.
            await site.settle(lambda: entered.exists() and entered.read_text() == "x " * count)  # noqa: B023 - over by then
            pids, began = processes(site), anyio.current_time()
            assert await anyio.to_thread.run_sync(site.supervisor.stop) == []
            assert anyio.current_time() - began < 6
            assert hit.read_text() == "x " * count
            assert site.supervisor.reloading is not None
            assert not site.supervisor.reloading._reloads
            assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_the_end_waits_until_processes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets by which they are told to quit do not go before, so that none has to be killed for its end."""
    told, remove, join = DaemonProcess.quit, Folder.remove, ProcessGroup.join
    asked, removed = threading.Event(), threading.Event()

    def quit_late(process: DaemonProcess) -> None:
        asked.set()
        removed.wait(0.3)
        told(process)

    def remove_it(folder: Folder) -> None:
        removed.set()
        remove(folder)

    def join_late(group: ProcessGroup, until: float) -> list[str]:
        assert asked.wait(10)
        return join(group, until)

    monkeypatch.setattr(DaemonProcess, "quit", quit_late)
    monkeypatch.setattr(Folder, "remove", remove_it)
    monkeypatch.setattr(ProcessGroup, "join", join_late)
    site, chosen, count = made(tmp_path, "one")
    async with site:
        await everywhere(site, site.write("app.wsgi", "one"), count, **chosen)
        (group,) = site.supervisor.process_groups.all
        (process,) = group.processes
        assert await anyio.to_thread.run_sync(site.supervisor.stop) == []
        assert process.status == 0


async def test_in_main_interpreters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In each process the changed script alone is executed again; one that fails goes on as it was."""
    site, chosen, count = made(tmp_path, "three")
    chosen["group"] = ""
    async with site:
        mark = f"marker.note({str(tmp_path / 'marks')!r}, __file__[-6])"
        a, b = site.write("a.wsgi", "a1", first=mark), site.write("b.wsgi", "b1", first=mark)
        first = await everywhere(site, a, count, **chosen)
        other = await everywhere(site, b, count, **chosen)
        site.write("a.wsgi", "a2", first=mark)
        await site.until(lambda answer: answer.tag == "a2", a, **chosen)
        await site.calm()
        second = await everywhere(site, a, count, **chosen)
        assert {answer.tag for answer in second.values()} == {"a2"}
        assert {one.interpreter for one in second.values()} == {one.interpreter for one in first.values()}
        assert await everywhere(site, b, count, **chosen) == other
        marks = sorted((tmp_path / "marks").read_text().split())
        assert marks == ["a"] * 2 * count + ["b"] * count
        site.write("a.wsgi", "a3", first="raise ValueError")
        await site.ask(a, **chosen)
        await site.calm()
        assert await everywhere(site, a, count, **chosen) == second
        assert "has changed, but it does not load" in caplog.text
