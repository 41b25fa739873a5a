"""Rows 6 and 8: memory, of large bodies and of further groups."""

import time

from tests.benchmarks import load, processes, servers
from tests.benchmarks.report import Row
from tests.benchmarks.servers import Run, mount
from tests.transfers import GIB, MIB, download, growth, upload

__all__ = ["bodies", "further_groups"]


def bodies(run: Run) -> Row:
    """1 GiB up and 1 GiB down (128 MiB when quick), over one connection, under hypercorn: ours and bare ASGI.

    Each has moved 32 MiB before. Growth is that of the resident memory of the process tree, at most, looked at twenty
    times a second; the worst round counts.
    """
    length = 128 * MIB if run.quick else GIB
    row = Row(number=6, title=f"{length // MIB} MiB up and {length // MIB} MiB down, under hypercorn")
    path = run.configuration("moves", mount("/moves", "memory_moves:application", group="moves"))
    contestants = [servers.bare("hypercorn"), servers.ours("hypercorn", path)]
    for _ in range(run.rounds):
        for one in contestants:
            with one.running() as server:
                for move, title in ((upload, "up"), (download, "down")):
                    move(server, "/moves", 32 * MIB)
                    with growth(server) as grown:
                        start = time.perf_counter()
                        move(server, "/moves", length)
                        took = time.perf_counter() - start
                    row.add(f"rate {title}", length / MIB / took, unit="MiB/s", under=one.name)
                    row.add(f"growth {title}", grown.most / MIB, unit="MiB", under=one.name)
    for title in ("up", "down"):
        row.judge(f"growth {title}", of=("asyncgroups", f"growth {title}"), at_most=16.0)
        row.ratio(
            f"rate {title} to bare ASGI's",
            of=("asyncgroups", f"rate {title}"),
            to=("bare ASGI", f"rate {title}"),
            at_least=0.7,
        )
    return row


def further_groups(run: Run) -> Row:
    """Memory (PSS) of each further Flask group, to that of each further gunicorn worker with the same application.

    Of ours: one server, measured after the first group has answered and after all have. Of gunicorn: a server with one
    worker and one with several, without and with --preload, after a hundred requests.
    """
    row = Row(number=8, title="memory (PSS) of each further Flask group, to a further gunicorn worker's")
    further = 2 if run.quick else 4
    text = "".join(mount(f"/{at}", "pages:application", group=f"group-{at}") for at in range(further + 1))
    path = run.configuration("pages", text)
    for _ in range(1 if run.quick else run.rounds):
        with servers.ours("hypercorn", path).running() as server:
            load.times(server, ["/0/"] * 20)
            first = processes.proportional(server)
            load.times(server, [f"/{at}/" for at in range(1, further + 1)] * 20)
            row.add("a further Flask group", (processes.proportional(server) - first) / further, unit="MiB")
        for name, options in (
            ("a further gunicorn worker", ()),
            ("a further gunicorn worker, --preload", ("--preload",)),
        ):
            found = []
            for workers in (1, 1 + further):
                one = servers.gunicorn(run, "pages:application", workers=workers, options=options)
                with one.running() as server:
                    for _ in range(100):
                        load.times(server, ["/"])
                    found.append(processes.proportional(server))
            row.add(name, (found[1] - found[0]) / further, unit="MiB")
    for name in ("a further gunicorn worker", "a further gunicorn worker, --preload"):
        row.ratio(f"a further group to {name}", of=("", "a further Flask group"), to=("", name))
    return row
