"""Rows 4, 5 and 7: how long an answer takes while others are busy, and the first answer of a group."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from tests.benchmarks import load, servers
from tests.benchmarks.report import Row, percentile
from tests.benchmarks.rows.throughput import inside
from tests.benchmarks.servers import Contestant, Run, mount
from tests.serving import Server

__all__ = ["first_request", "importing", "neighbours"]

PER_SECOND = 100.0


def neighbours(run: Run) -> Row:
    """A tiny application at 100 requests a second: alone, and beside one that burns CPU on 4 connections.

    In groups of their own; both in GLOBAL, with the event loop; and as threads of one process: gunicorn with 8, and
    a2wsgi under uvicorn. Latencies from the intended time of each request, by the paced client.
    """
    row = Row(number=4, title="a tiny application at 100 requests/s beside one that burns CPU on 4 connections")
    seconds = 1.5 if run.quick else 5.0
    places = _places(run)
    for _ in range(run.rounds):
        for one in places:
            with one.running() as server:
                load.paced(server, "/", per_second=PER_SECOND, seconds=0.3)
                load.times(server, ["/busy"] * 4)
                alone = load.paced(server, "/", per_second=PER_SECOND, seconds=seconds)
                with load.beside(server, "/busy", seconds=int(seconds) + 60, connections=4):
                    load.paced(server, "/", per_second=PER_SECOND, seconds=0.3)
                    busy = load.paced(server, "/", per_second=PER_SECOND, seconds=seconds)
            for which, latencies in (("alone", alone), ("beside", busy)):
                row.latencies.setdefault(f"{one.name}, {which}", []).extend(latencies)
                for percent, title in ((50, "median"), (99, "99th percentile")):
                    row.add(f"{title}, {which}", percentile(latencies, percent), unit="ms", under=one.name)
    for one in places:
        asked = {"median": 2.0, "99th percentile": 4.0} if one.name == "groups of their own" else {}
        for title in ("median", "99th percentile"):
            row.ratio(
                f"{title}, beside to alone",
                of=(one.name, f"{title}, beside"),
                to=(one.name, f"{title}, alone"),
                at_most=asked.get(title),
            )
    return row


def _places(run: Run) -> list[Contestant]:
    separate = mount("/", "tiny:application", group="tiny") + mount("/busy", "tiny:busy", group="busy")
    main = mount("/", "tiny:application", group="%{GLOBAL}") + mount("/busy", "tiny:busy", group="%{GLOBAL}")
    found = [servers.ours("hypercorn", run.configuration("separate", separate), name="groups of their own")]
    if not run.quick:
        found.append(servers.ours("hypercorn", run.configuration("main", main), name="both in GLOBAL"))
        uvicorn, place = "uvicorn, uvloop and httptools", "threads of a2wsgi, uvicorn"
        found.append(servers.bridged(run, "a2wsgi", server=uvicorn, application="tiny:together", name=place))
    threads = servers.gunicorn(run, "tiny:together", threads=8)
    return [*found, Contestant(name="threads of gunicorn", command=threads.command, program=threads.program)]


def importing(run: Run) -> Row:
    """The slowest answer of a warm application, at 100 requests a second, while another one imports for 3 s of CPU.

    In groups of their own; as threads of one gunicorn process; and bare ASGI beside a process of its own that imports
    the same: what is slow there is the machine, or what else runs on it. Each round is a process of its own, since an
    import happens once; the worst round counts.
    """
    row = Row(number=5, title="the slowest answer of a warm group while another imports for 3 s of CPU time")
    text = mount("/", "tiny:application", group="tiny") + mount("/heavy", "heavy:application", group="heavy")
    ours = servers.ours("hypercorn", run.configuration("heavy", text), name="groups of their own")
    places: list[tuple[Contestant, Callable[[Server, str], AbstractContextManager[None]]]]
    places = [(ours, _request_beside)]
    if not run.quick:
        bare = replace(servers.bare("hypercorn"), name="bare ASGI, the import in another process")
        threads = replace(servers.gunicorn(run, "tiny:together"), name="threads of gunicorn")
        places += [(bare, _process_beside), (threads, _request_beside)]
    for _ in range(1 if run.quick else run.rounds):
        for one, beside in places:
            with one.running() as server:
                load.paced(server, "/", per_second=PER_SECOND, seconds=0.5)
                alone = load.paced(server, "/", per_second=PER_SECOND, seconds=1.0)
                with beside(server, "/heavy"):
                    latencies = load.paced(server, "/", per_second=PER_SECOND, seconds=3.0)
            row.latencies.setdefault(one.name, []).extend(latencies)
            row.add("slowest answer, before", max(alone), unit="ms", under=one.name)
            row.add("slowest answer", max(latencies), unit="ms", under=one.name)
    row.judge("slowest answer", of=("groups of their own", "slowest answer"), at_most=50.0)
    if not run.quick:
        row.ratio(
            "slowest answer, to bare ASGI's beside a process that imports",
            of=("groups of their own", "slowest answer"),
            to=("bare ASGI, the import in another process", "slowest answer"),
        )
    return row


@contextmanager
def _request_beside(server: Server, path: str) -> Iterator[None]:
    """A request that takes longer than the block. Raises LoadFailed when it fails, or took less."""
    took: list[float] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            took.extend(load.times(server, [path]))
        except (OSError, load.LoadFailed) as error:
            failures.append(error)

    asking = threading.Thread(target=ask, name="beside", daemon=True)
    asking.start()
    yield
    early = not asking.is_alive()
    asking.join(2 * load.PATIENCE)
    if failures or not took or early:
        raise load.LoadFailed(f"{path}: {failures[0] if failures else f'it took {took} s, less than was measured'}")


@contextmanager
def _process_beside(_: Server, path: str) -> Iterator[None]:
    """A process that imports what an application at ``path`` would. Raises LoadFailed when it cannot."""
    command = [sys.executable, "-c", f"import {path[1:]}"]
    with subprocess.Popen(command, cwd=servers.APPLICATIONS, stdout=subprocess.DEVNULL) as process:
        try:
            yield
            if process.poll():
                raise load.LoadFailed(f"{command} ended with status {process.returncode}")
        finally:
            process.kill()


def first_request(run: Run) -> Row:
    """The first request to a new group, less the import of its application, to the bare creation of an interpreter.

    The application imports nothing. Creation and import are measured in a process of their own, with
    ``concurrent.interpreters`` alone; the first requests go over a warm connection of a warm server.
    """
    row = Row(number=7, title="the first request to a new group, less its application's import")
    count = 4 if run.quick else 10
    text = "".join(mount(f"/{at}", "first:application", group=f"group-{at}") for at in range(count + 1))
    path = run.configuration("first", text)
    for _ in range(run.rounds):
        with servers.ours("hypercorn", path).running() as server:
            load.times(server, ["/0", "/0"])
            took = load.times(server, ["/0", *(f"/{at}" for at in range(1, count + 1))])[1:]
        created = inside("creation", count, 1)
        imported = created["import"][0]
        row.add("first request", percentile(took, 50) * 1000, unit="ms")
        row.add("import of the application", imported, unit="ms")
        row.add("first request less import", percentile(took, 50) * 1000 - imported, unit="ms")
        row.add("bare creation of an interpreter", created["bare interpreter"][0], unit="ms")
    row.ratio(
        "first request less import, to bare creation",
        of=("", "first request less import"),
        to=("", "bare creation of an interpreter"),
    )
    return row
