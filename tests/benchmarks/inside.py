"""What is measured inside one process, in a Python of its own: `python -m tests.benchmarks.inside WHAT COUNT ROUNDS`.

Prints JSON: for each name the value of each round. The names are the rows' figures.
"""

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from tests.benchmarks.servers import APPLICATIONS, mount

MANY = 10_000
"""Mounts in the large configuration."""


def main() -> None:
    what, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    result = {
        "hop": lambda: asyncio.run(hop(count, rounds)),
        "choice": lambda: asyncio.run(choice(count, rounds)),
        "creation": lambda: creation(count, rounds),
    }[what]()
    print(json.dumps(result))


# A whole request, without a server ------------------------------------------------------------------------------------


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


def client() -> Callable[[], Awaitable[Any]]:
    """A client that has sent its request and stays."""
    events = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        if (event := next(events, None)) is None:
            await anyio.sleep_forever()
        return event

    return receive


@contextlib.asynccontextmanager
async def hosted(text: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Hosts ``asyncgroups.asgi:application`` as a server would, through its lifespan; gives what requests a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asyncgroups.toml"
        path.write_text(f'app_dir = "{APPLICATIONS}"\nlog_level = "warning"\n{text}', encoding="utf-8")
        os.environ["ASYNCGROUPS_CONFIG"] = str(path)
        from asyncgroups.asgi import application as theirs  # noqa: PLC0415 - it reads the variable

        application: Any = theirs
        said: asyncio.Queue[Any] = asyncio.Queue()
        told: asyncio.Queue[Any] = asyncio.Queue()
        life = asyncio.ensure_future(application({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, said.put))
        await told.put({"type": "lifespan.startup"})
        begun = await said.get()
        if begun["type"] != "lifespan.startup.complete":
            raise SystemExit(str(begun))

        async def request(path: str) -> None:
            status = 0

            async def send(event: Any) -> None:
                nonlocal status
                status = event.get("status", status)

            await application(scope(path), client(), send)
            if status != 200:
                raise SystemExit(f"{path}: status {status}")

        yield request
        await told.put({"type": "lifespan.shutdown"})
        await said.get()
        await life


async def timed(once: Callable[[], Awaitable[Any]], count: int) -> float:
    """Microseconds of one, on average."""
    start = time.perf_counter()
    for _ in range(count):
        await once()
    return (time.perf_counter() - start) / count * 1e6


async def hop(count: int, rounds: int) -> dict[str, list[float]]:
    """One request through the bridge, and ``anyio.to_thread.run_sync`` of an empty function, in turn."""
    found: dict[str, list[float]] = {"one request": [], "to_thread.run_sync": []}
    async with hosted(mount("/", "tiny:application", group="tiny")) as request:
        await timed(lambda: request("/"), count // 10)
        await timed(lambda: anyio.to_thread.run_sync(_nothing), count // 10)
        for _ in range(rounds):
            found["one request"].append(await timed(lambda: request("/"), count))
            found["to_thread.run_sync"].append(await timed(lambda: anyio.to_thread.run_sync(_nothing), count))
    return found


def _nothing() -> None:
    pass


# Choosing -------------------------------------------------------------------------------------------------------------


async def choice(count: int, rounds: int) -> dict[str, list[float]]:
    """Choosing mount and group among 10 and among MANY mounts, and a whole request, in turn."""
    from asyncgroups import config  # noqa: PLC0415 - ``hosted`` imports it when the variable is set

    choosers = {}
    for size in (10, MANY):
        mounts = [
            {"path": f"/tenants/{number}/shop", "app": "tiny:application", "application_group": "%{RESOURCE}"}
            for number in range(size)
        ]
        configuration = config.from_mapping({"mount": mounts}, base=APPLICATIONS, source="mounts")
        selection = configuration.selection({})
        paths = [f"/tenants/{number}/shop/cart".encode() for number in random.Random(1).choices(range(size), k=1000)]
        choosers[f"choosing among {size:,} mounts"] = (selection, paths)
    found: dict[str, list[float]] = {name: [] for name in ("one request", *choosers)}
    async with hosted(mount("/tenants/1/shop", "tiny:application", group="tiny")) as request:
        await timed(lambda: request("/tenants/1/shop/cart"), count // 10)
        for _ in range(rounds):
            found["one request"].append(await timed(lambda: request("/tenants/1/shop/cart"), count))
            for name, (selection, paths) in choosers.items():
                for path in paths:  # every name is known
                    selection.choose(host=b"127.0.0.1:8000", port=8000, raw_path=path, env=None)
                start = time.perf_counter()
                for _ in range(max(1, count // 100)):
                    for path in paths:
                        selection.choose(host=b"127.0.0.1:8000", port=8000, raw_path=path, env=None)
                found[name].append((time.perf_counter() - start) / max(1, count // 100) / len(paths) * 1e6)
    return found


# Creating -------------------------------------------------------------------------------------------------------------


def creation(count: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of creating a bare interpreter, and of importing the application in it: medians of ``count``."""
    from concurrent import interpreters  # noqa: PLC0415 - TID251 is for the package

    importing = f"""
import sys, time
sys.path.insert(0, {str(APPLICATIONS)!r})
start = time.perf_counter()
import first
took.put(time.perf_counter() - start)
"""
    found: dict[str, list[float]] = {"bare interpreter": [], "import": []}
    for _ in range(rounds):
        created, imported = [], []
        for _ in range(count):
            start = time.perf_counter()
            interpreter = interpreters.create()
            created.append(time.perf_counter() - start)
            took = interpreters.create_queue()
            interpreter.prepare_main(took=took)
            interpreter.exec(importing)
            imported.append(took.get(timeout=10))
            interpreter.close()
        found["bare interpreter"].append(statistics.median(created) * 1000)
        found["import"].append(statistics.median(imported) * 1000)
    return found


if __name__ == "__main__":
    main()
