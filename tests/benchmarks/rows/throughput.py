"""Rows 1, 2, 3, 9 and 12: how much, and how long one request takes by itself."""

import itertools
import json
import subprocess
import sys

from tests.benchmarks import load, servers
from tests.benchmarks.report import Row, Verdict
from tests.benchmarks.servers import Contestant, Run, mount
from tests.serving import ROOT

__all__ = ["choosing", "daemon", "hop", "inside", "scaling", "tiny"]

_TARGETS = {  # under which server: at least so much of bare ASGI's, of a2wsgi's
    "hypercorn": (0.65, 2.0),
    "uvicorn, uvloop and httptools": (0.5, 3.5),
    "uvicorn, asyncio and h11": (0.5, 3.5),
}


def tiny(run: Run) -> Row:
    """A tiny application on 32 connections, as fast as wrk gets answers.

    Under each ASGI server: bare ASGI, asyncgroups with one and with four threads, and the other bridges; then the
    native WSGI servers. A round starts each contestant once, in turn, warms it up for a second and measures it.
    """
    row = Row(number=1, title="a tiny application, 32 connections")
    with servers.apache() as apache:
        contestants = _contestants(run) + servers.natives(run)
        if apache is None:
            row.leave_out("Apache with mod_wsgi", "not installed")
        elif not run.quick:
            contestants.append(apache)
        for _ in range(run.rounds):
            for one in contestants:
                if (one.under, one.name) not in row.absent:
                    measure(row, one, run)
        if apache in contestants:
            with apache.running() as server:  # its Python is not ours
                row.notes.append(f"mod_wsgi: {server.get('/').headers['server']}")
    for server, name in dict.fromkeys((one.under, one.name) for one in contestants if one.under):
        if name.startswith("asyncgroups"):
            of_bare, of_a2wsgi = _TARGETS.get(server, (None, None))
            threads = name.removeprefix("asyncgroups, ")
            row.ratio(f"to bare, {threads}", of=(server, name), to=(server, "bare ASGI"), at_least=of_bare)
            row.ratio(f"to a2wsgi, {threads}", of=(server, name), to=(server, "a2wsgi"), at_least=of_a2wsgi)
    return row


def _contestants(run: Run) -> list[Contestant]:
    hosts = ["hypercorn", "uvicorn, uvloop and httptools"] if run.quick else list(servers.SERVERS)
    bridges = {"a2wsgi": "a2wsgi"}
    if not run.quick:
        bridges |= {"asgiref": "asgiref WsgiToAsgi", "hypercorn": "hypercorn's WSGI"}
    found = []
    for server in hosts:
        found.append(servers.bare(server))
        for threads in (4,) if run.quick else (1, 4):
            text = mount("/", "tiny:application", group="tiny", threads=threads)
            path = run.configuration(f"tiny-{threads}", text)
            found.append(servers.ours(server, path, name=f"asyncgroups, {threads} thread{'s' * (threads > 1)}"))
        for bridge, name in bridges.items():
            found.append(servers.bridged(run, bridge, server=server, application="tiny:application", name=name))
    return found


def measure(row: Row, one: Contestant, run: Run) -> None:
    """One contestant, one round. What cannot be measured is left out, with the reason."""
    try:
        with one.running() as server:
            if run.quick:
                load.times(server, ["/"] * 200)
            else:
                load.rate(server, "/", seconds=1)
            found = load.rate(server, "/", seconds=run.seconds)
    except (AssertionError, load.LoadFailed, OSError) as error:
        row.leave_out(one.name, f"not measured: {' '.join(str(error).split())[-200:]}", under=one.under)
    else:
        row.add(one.name, found.per_second, unit="requests/s", under=one.under)


def inside(what: str, count: int, rounds: int) -> dict[str, list[float]]:
    """The figures of ``tests.benchmarks.inside``."""
    command = [sys.executable, "-m", "tests.benchmarks.inside", what, str(count), str(rounds)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if said.returncode != 0:
        raise AssertionError(said.stderr[-2000:])
    return json.loads(said.stdout)


def hop(run: Run) -> Row:
    """The hop of one request, in process, without a server: from the ASGI call through the group and back.

    Against ``anyio.to_thread.run_sync`` of an empty function, on one event loop, one after the other, in turn.
    """
    row = Row(number=2, title="the hop of one request, in process, to that of to_thread.run_sync")
    for name, values in inside("hop", 500 if run.quick else 3000, run.rounds + 2).items():
        for value in values:
            row.add(name, value, unit="µs")
    row.ratio("one request to to_thread.run_sync", of=("", "one request"), to=("", "to_thread.run_sync"))
    return row


def scaling(run: Run) -> Row:
    """About 10 ms of Python work for each request, on 8 connections: one group, two, and four groups that share them.

    All are groups of one server, each with one thread; the rates are those of all groups together.
    """
    row = Row(number=3, title="10 ms of Python work for each request: two groups to one, four to one")
    names = ["one", "two", "three", "four"]
    text = "".join(mount(f"/{name}", "tiny:busy", group=name) for name in names)
    with servers.ours("hypercorn", run.configuration("busy", text)).running() as server:
        load.rate(server, *(f"/{name}" for name in names), seconds=1, connections=8)
        for _ in range(run.rounds):
            for count, title in ((1, "one group"), (2, "two groups"), (4, "four groups")):
                paths = [f"/{name}" for name in names[:count]]
                found = load.rate(server, *paths, seconds=1 if run.quick else 4, connections=8)
                row.add(title, found.per_second, unit="requests/s")
    row.ratio("two groups to one", of=("", "two groups"), to=("", "one group"), at_least=1.85)
    row.ratio("four groups to one", of=("", "four groups"), to=("", "one group"))
    return row


def choosing(run: Run) -> Row:
    """Choosing mount and group among 10 and among 10,000 mounts, each with a group of its own, paths drawn at random.

    As a share of a whole request through the bridge in process, as in row 2: of a request that also goes through a
    server it is less.
    """
    row = Row(number=9, title="choosing mount and group, as a share of a request in process")
    for name, values in inside("choice", 300 if run.quick else 3000, run.rounds).items():
        for value in values:
            row.add(name, value, unit="µs")
    whole = row.figures["", "one request"].values
    for (_, name), one in list(row.figures.items()):
        if name.startswith("choosing"):
            shares = tuple(part / request * 100 for part, request in zip(one.values, whole, strict=True))
            row.verdicts.append(Verdict(name=name, unit="%", values=shares))
    return row


def daemon(run: Run) -> Row:
    """A tiny application on 32 connections, embedded and in a daemon process.

    Both are mounts of one server, each with one thread and then each with four: measured one after the other, in turn,
    after a second for each to warm up. The server is the same for both: what differs is where the worker lives.
    """
    row = Row(number=12, title="a tiny application in a daemon process to the same one embedded, 32 connections")
    hosts = ["hypercorn"] if run.quick else ["hypercorn", "uvicorn, uvloop and httptools", "uvicorn, asyncio and h11"]
    for server, threads in itertools.product(hosts, (4,) if run.quick else (1, 4)):
        places = {"/here": "embedded", "/there": "in a daemon process"}
        text = "[process_group.there]\n" + "".join(
            mount(path, "tiny:application", group="tiny", threads=threads) for path in places
        )
        configuration = run.configuration(f"daemon-{threads}", text + 'process_group = "there"\n')
        suffix = f", {threads} thread{'s' * (threads > 1)}"
        with servers.ours(server, configuration).running() as running:
            for path in places:
                load.rate(running, path, seconds=1)
            for _ in range(run.rounds):
                for path, name in places.items():
                    found = load.rate(running, path, seconds=run.seconds)
                    row.add(name + suffix, found.per_second, unit="requests/s", under=server)
        embedded, elsewhere = ((server, name + suffix) for name in places.values())
        row.ratio(f"in a daemon process to embedded{suffix}", of=elsewhere, to=embedded, at_least=0.8)
    return row
