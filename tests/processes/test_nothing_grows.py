"""Daemon processes that die or are recycled over and over under load: who pays for it, and what is left over."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from tests.processes.conftest import Site, daemons, folder_of, mount
from tests.serving import Server, serving, until

PROCESSES, THREADS = 2, 2
CLIENTS = 6
DEATHS = 50
RECYCLES = 20


class Answer(NamedTuple):
    """Of which request, and when it was asked and answered, by the monotonic clock."""

    request: int
    path: str
    status: int
    body: bytes
    asked: float
    answered: float


class Usage(NamedTuple):
    """What a server uses when it has nothing to do."""

    processes: int
    """Itself and its children, dead ones that nobody has waited for among them."""
    threads: int
    descriptors: int
    sockets: int
    """Files in the private folder."""
    memory: int
    """Bytes that are the server's alone."""


@dataclass(kw_only=True)
class Load:
    """Clients that ask one request after the other, each with a number of its own, on connections that stay."""

    server: Server
    clients: list[httpx.Client]
    journal: Path
    numbers: Iterator[int]
    answers: list[Answer]

    @contextlib.contextmanager
    def running(self, *paths: str) -> Iterator[None]:
        """Under load inside the block; at its end every request has its answer."""
        over = threading.Event()

        def live(client: httpx.Client, path: str) -> None:
            while not over.is_set():
                number = next(self.numbers)
                asked = time.monotonic()
                answer = client.get(f"{path}?{self.journal}&{number}")
                self.answers.append(Answer(number, path, answer.status_code, answer.content, asked, time.monotonic()))

        with ThreadPoolExecutor(len(self.clients)) as threads:
            begun = [threads.submit(live, *one) for one in zip(self.clients, itertools.cycle(paths), strict=False)]
            try:
                yield
            finally:
                over.set()
        for one in begun:
            one.result()

    def usage(self, processes: int) -> Usage:
        """When it has come to rest, with so many daemon processes."""
        until(lambda: len(daemons(self.server)) == processes, what="as many processes as there should be")
        folder = folder_of(daemons(self.server)[0])
        until(lambda: len(list(folder.iterdir())) == processes, what="the end of the sockets of those that have died")
        me = psutil.Process(self.server.process.pid)
        return Usage(
            processes=1 + len(me.children(recursive=True)),
            threads=self.server.threads(),
            descriptors=self.server.descriptors(),
            sockets=len(list(folder.iterdir())),
            memory=me.memory_full_info().uss,
        )


@pytest.fixture
def under_load(site: Site, tmp_path: Path) -> Iterator[Callable[[str], Load]]:
    """Starts a server with a process group, whose further settings it is given, and an embedded group beside it."""
    with contextlib.ExitStack() as stack:

        def start(settings: str) -> Load:
            text = f"[process_group.back]\n{settings}\n"
            for path, process_group in (("/back", "back"), ("/here", "")):
                one = mount(path, "journal", process_group, threads=THREADS)
                text += one.replace("processes_tells", "processes_journal")
            server = stack.enter_context(serving(site(text)))
            clients = [stack.enter_context(server.client()) for _ in range(CLIENTS)]
            (tmp_path / "journal").mkdir()
            return Load(
                server=server, clients=clients, journal=tmp_path / "journal", numbers=itertools.count(), answers=[]
            )

        yield start


def begun(journal: Path) -> dict[int, list[int]]:
    """Request to the processes that an application has begun it in."""
    found: dict[int, list[int]] = {}
    for file in journal.iterdir():
        for line in file.read_text().split():
            found.setdefault(int(line), []).append(int(file.name))
    return found


def is_flat(before: Usage, load: Load, processes: int) -> None:
    """No more of anything than before, once it has come to rest, but for workers' channels and 4 MiB of memory.

    An allocator keeps what it once had: threads that come and go may have arenas of their own (mallopt(3)).
    """
    allowed = before._replace(descriptors=before.descriptors + processes * THREADS, memory=before.memory + 2**22)

    def is_within() -> bool:
        return all(now <= then for now, then in zip(load.usage(processes), allowed, strict=True))

    try:
        until(is_within, 10)
    except AssertionError:
        assert load.usage(processes) == before  # what is shown when it fails


class Death(NamedTuple):
    """Of which process, from before the signal to when the server had waited for it."""

    pid: int
    begin: float
    end: float


def kill(load: Load, deaths: list[Death]) -> None:
    """Kill a process that has answered a request, and wait until another one is there in its place."""
    past, alive, dead = len(load.answers), {one.pid for one in daemons(load.server)}, {one.pid for one in deaths}

    def has_answered() -> int | None:
        found = (int(one.body) for one in load.answers[past:] if one.path == "/back" and one.status == 200)
        return next((pid for pid in found if pid not in dead), None)

    victim = until(has_answered, what="an answer")
    assert isinstance(victim, int)
    begin = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(victim), what="its end")
    deaths.append(Death(victim, begin, time.monotonic()))
    until(lambda: {one.pid for one in daemons(load.server)} - alive, what="another process")


def test_killed_under_load(under_load: Callable[[str], Load]) -> None:
    """Fifty times in a run: who fails was in flight in the process that was killed then; all others get their answer.

    Where a request was in flight its application has noted. One that nobody has noted had not been begun: a process was
    killed between its question and its answer. No request is begun twice, and a death costs one for each thread.
    """
    load = under_load(f"processes = {PROCESSES}")
    deaths: list[Death] = []
    with load.running("/back", "/back", "/here"):
        for _ in range(DEATHS // 5):
            kill(load, deaths)
    before = load.usage(PROCESSES)
    with load.running("/back", "/back", "/here"):
        while len(deaths) < DEATHS:
            kill(load, deaths)
    is_flat(before, load, PROCESSES)

    noted, log = begun(load.journal), load.server.log()
    failed = [one for one in load.answers if one.status != 200]
    victims: Counter[int] = Counter()
    for one in failed:
        assert (one.path, one.status) == ("/back", 502)
        dying = {death.pid for death in deaths if one.asked < death.end and death.begin < one.answered}
        where = noted.get(one.request, [])
        assert set(where) <= dying, (one, where, dying)
        assert len(where) <= 1
        assert dying
        victims.update(where)
    assert max(victims.values()) <= THREADS
    assert len(failed) <= THREADS * DEATHS
    assert victims.total() > DEATHS // 5  # else little has been shown
    answered = [one for one in load.answers if one.status == 200]
    assert [noted[one.request] for one in answered] == [[int(one.body)] for one in answered]
    assert len(answered) > 10 * DEATHS
    assert log.count("was killed by SIGKILL; another is started at once") == DEATHS
    assert log.count("] 502: ") == len(failed)
    assert "Traceback" not in log


def test_recycled_under_load(under_load: Callable[[str], Load]) -> None:
    """Twenty times in a run: every request is answered, once, and nothing is left over."""
    load = under_load("maximum_requests = 20")

    def recycle(times: int) -> None:
        past = len(list(load.journal.iterdir()))
        with load.running("/back"):
            until(lambda: len(list(load.journal.iterdir())) >= past + times, what="as many processes")

    recycle(RECYCLES // 4)
    before = load.usage(1)
    recycle(RECYCLES - RECYCLES // 4)
    is_flat(before, load, 1)
    assert {one.status for one in load.answers} == {200}
    assert {one.request: [int(one.body)] for one in load.answers} == begun(load.journal)
    assert "ERROR" not in load.server.log()
