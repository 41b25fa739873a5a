"""First comparisons, in turn A B A B: `python tests/benchmarks/compare.py [SECONDS [ROUNDS]]`. Needs wrk.

Prints medians and ratios:

    a tiny application, 32 connections: bare ASGI, asyncgroups, a2wsgi; under hypercorn and uvicorn
    two groups of about 10 ms of Python work per request, to one such group
    one whole request through the bridge, in process, to anyio.to_thread.run_sync of an empty function
"""

import asyncio
import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from asyncgroups import config  # noqa: E402
from asyncgroups.asgi import ApplicationGroups  # noqa: E402
from asyncgroups.frontend.lifecycle import Lifecycle  # noqa: E402
from tests.serving import Server, serving  # noqa: E402

TINY = """
app_dir = "{here}"
[[mount]]
path = "/"
app = "tiny:wsgi"
application_group = "tiny"
threads = {threads}
"""
BUSY = """
app_dir = "{here}"
[[mount]]
path = "/one"
app = "tiny:busy"
application_group = "one"
[[mount]]
path = "/two"
app = "tiny:busy"
application_group = "two"
"""


def wrk(server: Server, *paths: str, seconds: int, connections: int = 32) -> float:
    """Requests per second, of all paths together."""
    runs = [
        subprocess.Popen(
            ["wrk", "-t1", f"-c{connections // len(paths)}", f"-d{seconds}s", server.url + path],
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in paths
    ]
    total = 0.0
    for run in runs:
        output, _ = run.communicate()
        if "Non-2xx" in output:
            raise SystemExit(f"answers other than 200:\n{output}\n{server.log()}")
        match = re.search(r"Requests/sec:\s+([\d.]+)", output)
        assert match is not None, output
        total += float(match[1])
    return total


@contextlib.contextmanager
def written(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asyncgroups.toml"
        path.write_text(text)
        yield path


def contestants(server: str, ours: Path) -> dict[str, tuple[Path | Sequence[str], dict[str, str]]]:
    if server == "hypercorn":
        command = ["-m", "hypercorn", "-b", "127.0.0.1:0"]
        mine: Path | Sequence[str] = ours  # serve, which is hypercorn
    else:
        command = ["-m", "uvicorn", "--no-access-log", "--port", "0", *server.split()[1:]]
        mine = [*command, "asyncgroups.asgi:application"]
    path = {"PYTHONPATH": f"{HERE.parent.parent}:{HERE}"}
    return {
        "bare ASGI": ([*command, "tiny:bare"], path),
        "asyncgroups": (mine, {**path, "ASYNCGROUPS_CONFIG": str(ours)}),
        "a2wsgi": ([*command, "tiny:a2wsgi"], path),
    }


def tiny(server: str, *, threads: int, seconds: int, rounds: int) -> None:
    with written(TINY.format(here=HERE, threads=threads)) as ours:
        results: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, (command, environ) in contestants(server, ours).items():
                with serving(command, environ=environ) as running:
                    wrk(running, "/", seconds=1)
                    results.setdefault(name, []).append(wrk(running, "/", seconds=seconds))
    medians = {name: statistics.median(values) for name, values in results.items()}
    mine = medians["asyncgroups"]
    print(
        f"tiny, {threads} thread(s), {server}: "
        + ", ".join(f"{name} {value:.0f}/s" for name, value in medians.items())
        + f"; to bare {mine / medians['bare ASGI']:.2f}, to a2wsgi {mine / medians['a2wsgi']:.2f}",
        flush=True,
    )


def busy(*, seconds: int, rounds: int) -> None:
    one, two = [], []
    with written(BUSY.format(here=HERE)) as path, serving(path) as server:
        wrk(server, "/one", "/two", seconds=1)
        for _ in range(rounds):
            one.append(wrk(server, "/one", seconds=seconds, connections=8))
            two.append(wrk(server, "/one", "/two", seconds=seconds, connections=8))
    first, both = statistics.median(one), statistics.median(two)
    print(f"CPU-bound: one group {first:.0f}/s, two groups {both:.0f}/s; ratio {both / first:.2f}", flush=True)


async def hop(rounds: int, count: int = 2000) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    def client() -> Any:
        """A client that has sent its request and stays."""
        events = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            if (event := next(events, None)) is None:
                await anyio.sleep_forever()
            return event

        return receive

    async def send(event: Any) -> None:
        pass

    with written(TINY.format(here=HERE, threads=1)) as path:
        application: Any = ApplicationGroups.of(Lifecycle(lambda: config.read(path)))

        async def ours_once() -> None:
            await application(scope, client(), send)

        async def theirs_once() -> None:
            await anyio.to_thread.run_sync(lambda: None)

        async def timed(once: Any) -> float:
            start = time.perf_counter()
            for _ in range(count):
                await once()
            return (time.perf_counter() - start) / count * 1e6

        await timed(ours_once)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(await timed(ours_once))
            theirs.append(await timed(theirs_once))
        await anyio.to_thread.run_sync(application.lifecycle.stop)
    mine, thread = statistics.median(ours), statistics.median(theirs)
    print(f"one request {mine:.0f} us, to_thread.run_sync {thread:.0f} us; ratio {mine / thread:.2f}", flush=True)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed, the load generator (Debian's package wrk)")
    asyncio.run(hop(rounds + 2))
    for server in ("hypercorn", "uvicorn --loop asyncio --http h11", "uvicorn"):
        for threads in (1, 4):
            tiny(server, threads=threads, seconds=seconds, rounds=rounds)
    busy(seconds=seconds, rounds=rounds)


if __name__ == "__main__":
    main()
