"""Row 10: what a request costs, and where."""

from tests.benchmarks import load, processes, servers
from tests.benchmarks.report import Row
from tests.benchmarks.servers import Run, mount

__all__ = ["cost"]


def cost(run: Run) -> Row:
    """CPU time, wake-ups and system calls of one request of row 1, in the front end's thread and in all others.

    Bare ASGI under the same server is what the server itself costs. Wake-ups are the kernel's voluntary context
    switches: how often a thread went to sleep to wait. System calls are counted by perf while wrk runs once more, or by
    strace, which slows everything and tells the threads not apart.
    """
    row = Row(number=10, title="what one request costs: a tiny application, 32 connections")
    hosts = ["hypercorn"] if run.quick else ["hypercorn", "uvicorn, uvloop and httptools"]
    counted = False
    for _ in range(1 if run.quick else run.rounds):
        for host in hosts:
            contestants = [servers.bare(host)]
            for threads in (4,) if run.quick else (1, 4):
                text = mount("/", "tiny:application", group="tiny", threads=threads)
                path = run.configuration(f"tiny-{threads}", text)
                contestants.append(servers.ours(host, path, name=f"asyncgroups, {threads} thread{'s' * (threads > 1)}"))
            for one in contestants:
                under = f"{one.name}, {host}"
                with one.running() as server:
                    load.rate(server, "/", seconds=1)
                    before = processes.spent(server)
                    requests = load.rate(server, "/", seconds=run.seconds).requests
                    parts = [now - then for now, then in zip(processes.spent(server), before, strict=True)]
                    with processes.system_calls(server) as calls:
                        watched = load.rate(server, "/", seconds=1).requests
                    places = ("front end",) if one.name == "bare ASGI" else ("front end", "worker")
                for where, part in zip(places, parts, strict=False):
                    row.add(f"CPU, {where}", part.seconds / requests * 1e6, unit="µs", under=under)
                    row.add(f"wake-ups, {where}", part.waits / requests, unit="", under=under)
                for where, count in calls().items():
                    counted = True
                    if where in places or where == "all threads":
                        row.add(f"system calls, {where}", count / watched, unit="", under=under)
    if not counted:
        row.notes.append("system calls: neither perf nor strace is installed and allowed")
    return row
