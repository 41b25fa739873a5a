"""Sticky process groups: a key always goes to one process, a death moves its own keys alone, and they come back."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from asyncgroups.host.rendezvous import ranking
from tests.processes.conftest import Site, mount
from tests.serving import Server, serving, until

PATIENCE = 20.0
KEYS = [f"user-{number}" for number in range(200)]

# A python that waits with its start while a file is there.
WAITING = """#!/bin/sh
while [ -e {file} ]; do sleep 0.02; done
exec {python} "$@"
"""


def mounted(path: str, process_group: str) -> str:
    return mount(path, "named", process_group).replace("processes_tells", "processes_sticky")


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As long as this file is there no process of ``keys`` starts."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def server(site: Site, hold: Path) -> Iterator[Server]:
    python = hold.with_name("python")
    python.write_text(WAITING.format(file=shlex.quote(str(hold)), python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    text = (
        f'[process_group.keys]\nprocesses = 4\nsticky = "header:X-User"\npython = "{python}"\n'
        '[process_group."the jar"]\nprocesses = 2\nsticky = "cookie"\n'
        + mounted("/keys", "keys")
        + mounted("/jar", "the jar")
    )
    with serving(site(text)) as server:
        yield server
        assert server.stop() == 0


def pid_of(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer
    return int(answer.text.split()[0])


def where(server: Server, keys: list[str]) -> dict[str, int]:
    """The process that answers each key."""
    with server.client() as client:
        return {key: pid_of(client.get("/keys", headers={"X-User": key})) for key in keys}


def ask_often(server: Server, keys: list[str], times: int) -> dict[str, set[int]]:
    """The processes that have answered each key, over one connection, in batches, in turn."""
    found: dict[str, set[int]] = {key: set() for key in keys}
    batch = b"".join(f"GET /keys HTTP/1.1\r\nHost: a\r\nX-User: {key}\r\n\r\n".encode() for key in keys)
    with server.connect() as connection, connection.makefile("rb") as stream:
        for _ in range(times):
            connection.sendall(batch)
            for key in keys:
                assert stream.readline() == b"HTTP/1.1 200 \r\n"
                length = 0
                while (line := stream.readline()) != b"\r\n":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                found[key].add(int(stream.read(length).split()[0]))
    return found


def test_a_key_stays_where_it_is(server: Server) -> None:
    """Over 10,000 requests, from the first one on, each key is answered by one process, and every process answers."""
    with ThreadPoolExecutor(8) as threads:
        # Each key over two connections, 625 requests over each: after 1000 hypercorn closes one.
        parts = [threads.submit(ask_often, server, KEYS[at % 8 :: 8], 25) for at in range(16)]
        found: dict[str, set[int]] = {key: set() for key in KEYS}
        for part in parts:
            for key, pids in part.result(60).items():
                found[key] |= pids
    assert all(len(pids) == 1 for pids in found.values())
    assert len(set.union(*found.values())) == 4


def test_one_process_is_killed(server: Server, hold: Path) -> None:
    """Its keys go to the others, whose own stay where they are; they come back to the process that takes its place."""
    before = where(server, KEYS)
    victim = before[KEYS[0]]
    hold.touch()
    try:
        psutil.Process(victim).kill()
        until(lambda: victim not in psutil.pids(), what="its end")
        meanwhile = where(server, KEYS)
        moved = {key for key in KEYS if before[key] == victim}
        assert {key for key in KEYS if meanwhile[key] != before[key]} == moved
        assert {meanwhile[key] for key in moved} == set(before.values()) - {victim}
        assert meanwhile == where(server, KEYS)
    finally:
        hold.unlink()
    until(lambda: where(server, [KEYS[0]])[KEYS[0]] not in before.values(), what="the new process")
    after = where(server, KEYS)
    assert {key for key in KEYS if after[key] != before[key]} == moved
    assert len({after[key] for key in moved}) == 1


def test_a_request_in_flight_is_the_only_one_that_is_lost(server: Server, tmp_path: Path) -> None:
    """A request that waits for a process that dies is answered by another one; that in flight there is 502."""
    asked = {"X-User": KEYS[1]}
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(server.get, f"/keys?until={tmp_path / 'go'}", headers=asked)
        until(lambda: list(tmp_path.iterdir()), what="the running request")
        waiting = threads.submit(server.get, "/keys", headers=asked)
        victim = int(next(tmp_path.iterdir()).name.rpartition("-")[2])
        with pytest.raises(TimeoutError):
            waiting.result(0.2)  # it waits, although three processes are idle
        psutil.Process(victim).kill()
        assert running.result(PATIENCE).status_code == 502
        assert pid_of(waiting.result(PATIENCE)) != victim


def test_a_cookie(server: Server) -> None:
    """Who brings it is answered by one process, who does not by any; the application sees nothing of it."""
    with server.client() as client:
        first = client.get("/jar", headers={"Cookie": "a=b"})
        assert re.fullmatch(
            r"asyncgroups-the%20jar=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Lax", first.headers["set-cookie"]
        )
        assert first.text.partition(" ")[2] == "a=b"
        answers = [client.get("/jar") for _ in range(20)]
        assert {pid_of(answer) for answer in answers} == {pid_of(first)}
        assert {answer.text.partition(" ")[2] for answer in answers} == {"None"}
        assert [answer for answer in answers if "set-cookie" in answer.headers] == []
    fresh = [server.get("/jar") for _ in range(20)]
    assert len({pid_of(answer) for answer in fresh}) == 2
    assert len({answer.headers["set-cookie"] for answer in fresh}) == 20


def test_a_forged_cookie(server: Server) -> None:
    """It is ignored, hidden from the application, and replaced; other cookies are left."""
    with server.client() as client:
        name, _, value = client.get("/jar").headers["set-cookie"].partition(";")[0].partition("=")
    for wrong in (value[::-1], value[:-1], "0" * 64):
        answer = server.get("/jar", headers={"Cookie": f"x=y; {name}={wrong}; z"})
        assert answer.text.partition(" ")[2] == "x=y; z"
        assert name in answer.headers["set-cookie"]
    again = server.get("/jar", headers={"Cookie": f"{name}={'0' * 64}; {name}={value}"})
    assert "set-cookie" not in again.headers


def test_an_error_sets_it_as_well(server: Server) -> None:
    """Whatever the response is, the next request goes where this one was."""
    with server.client() as client:
        first = client.get("/jar?raise")
        assert (first.status_code, "set-cookie" in first.headers) == (500, True)
        assert "set-cookie" not in client.get("/jar").headers


ONE_ALONE = """#!/bin/sh
mkdir {folder}/first && exec {python} "$@"
until [ -e {folder}/go ]; do sleep 0.02; done
exit 1
"""


def test_a_process_that_never_lives(site: Site, tmp_path: Path) -> None:
    """Its keys wait while it starts; as soon as it has ended they are answered by the other one."""
    python = tmp_path / "python"
    python.write_text(ONE_ALONE.format(folder=tmp_path, python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    text = f'[process_group.keys]\nprocesses = 2\nsticky = "header:X-User"\npython = "{python}"\n'
    with serving(site(text + mounted("/keys", "keys"))) as server, ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(where, server, [key]) for key in KEYS[:10]]
        until(lambda: any(one.done() for one in asked), what="the process that lives")
        with pytest.raises(TimeoutError):
            [one.result(0.1) for one in asked]
        (tmp_path / "go").touch()
        assert len({pid for one in asked for pid in one.result(PATIENCE).values()}) == 1
        server.wait_for_log(r"\[keys\] the daemon process \d+ ended with status 1")
        assert server.stop() == 0


def test_recycling(site: Site) -> None:
    """The successor of a process has its keys, no other has them meanwhile, and no request is lost."""
    text = '[process_group.back]\nprocesses = 3\nmaximum_requests = 40\nsticky = "%{ENV:TENANT}"\n'
    text += "".join(mounted(f"/{key}", "back") + f'env = {{ TENANT = "{key}" }}\n' for key in "abcdef")
    with serving(site(text)) as server:

        def ask(key: str) -> list[int]:
            pids: list[int] = []
            deadline = time.monotonic() + PATIENCE
            with server.client() as client:
                while len(pids) < 4 and time.monotonic() < deadline:
                    pid = pid_of(client.get(f"/{key}"))
                    if pids[-1:] != [pid]:
                        pids.append(pid)
            return pids

        with ThreadPoolExecutor(6) as threads:
            lines = dict(zip("abcdef", threads.map(ask, "abcdef"), strict=True))
        for key, line in lines.items():
            assert len(set(line)) == len(line) == 4, "back at one that has been left"
            for other, others in lines.items():
                is_of_one_slot = ranking(key.encode(), 3)[0] == ranking(other.encode(), 3)[0]
                assert is_of_one_slot or set(line).isdisjoint(others)
        assert "ERROR" not in server.log()
        assert server.stop() == 0
