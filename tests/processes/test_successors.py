"""Daemon processes whose successors fail, and some that never get ready."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.processes.conftest import Site, daemons, mount
from tests.serving import Server, serving, until

GROUPS = ("recycled", "stuck", "late")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def server(site: Site, folder: Path) -> Iterator[Server]:
    """One whose process groups have a Python that fails, or hangs, as long as there is a file."""
    for group in GROUPS:
        script = folder / group
        script.write_text(
            f"#!/bin/sh\nif [ -e {script}.fails ]; then exit 7; fi\n"
            f'if [ -e {script}.hangs ]; then exec sleep 600; fi\nexec {sys.executable} "$@"\n'
        )
        script.chmod(0o755)
    (folder / "late.hangs").touch()
    settings = dict.fromkeys(GROUPS, "") | {
        "recycled": "maximum_requests = 2",
        "stuck": "request_timeout = 0.5\nthreads = 4",
        "late": "startup_timeout = 2",
    }
    text = "[timeouts]\ngraceful = 1\ninterrupt = 0.5\nqueue = 10\n" + "".join(
        f'[process_group.{group}]\npython = "{folder / group}"\n{settings[group]}\n' for group in GROUPS
    )
    with serving(site(text + "".join(mount(f"/{group}", group, group) for group in GROUPS))) as server:
        yield server


def failures(server: Server, group: str) -> int:
    """How many of its processes have ended as the script does."""
    return sum(f"[{group}] " in line and "ended with status 7" in line for line in server.log().splitlines())


def test_successors_that_fail_cost_no_request(server: Server, folder: Path, tmp_path: Path) -> None:
    """Requests that wait for a process that serves are for it, however often its successor fails."""
    gate = tmp_path / "gate"
    assert server.get("/recycled").status_code == 200
    (folder / "recycled.fails").touch()
    assert server.get("/recycled").status_code == 200
    with server.client() as client, ThreadPoolExecutor(3) as pool:
        try:
            answers = [pool.submit(client.get, f"/recycled?until={gate}") for _ in range(3)]
            until(lambda: failures(server, "recycled") > 1)
        finally:
            gate.touch()
        assert [one.result().status_code for one in answers] == [200] * 3


def test_one_that_is_given_up_gets_a_successor_after_one_that_failed(server: Server, folder: Path) -> None:
    """Where a request does not end, and the next process fails at its start, there is one after that."""
    fails = folder / "stuck.fails"
    assert server.get("/stuck").status_code == 200
    fails.touch()
    assert server.get("/stuck?sleep=600").status_code == 504
    until(lambda: failures(server, "stuck"))
    fails.unlink()
    assert server.get("/stuck").status_code == 200


def test_one_that_never_gets_ready_is_killed(server: Server, folder: Path) -> None:
    """Also where its first request comes when startup_timeout has passed since its start."""
    (hanging,) = [one for one in psutil.Process(server.process.pid).children() if one.cmdline()[0] == "sleep"]
    until(lambda: time.time() - hanging.create_time() > 2.5)
    (folder / "late.hangs").unlink()
    assert server.get("/late").status_code == 200
    assert "[late] a daemon process is not ready after 2 s (startup_timeout)" in server.log()


def test_a_stopped_process_is_replaced_for_who_comes_anew(site: Site) -> None:
    """One that serves, and has no interpreter ready in time for a further application group, gets a successor."""
    text = (
        "[timeouts]\ngraceful = 1\ninterrupt = 0.5\n[process_group.back]\nstartup_timeout = 3\ngraceful_timeout = 0.5\n"
    )
    with serving(site(text + mount("/one", "one", "back") + mount("/two", "two", "back"))) as server:
        assert server.get("/one").status_code == 200
        (stopped,) = daemons(server)
        stopped.suspend()
        assert server.get("/two").status_code == 200
        # Until the successor has an interpreter for it as well, the stopped one may still be given its requests.
        until(lambda: server.get("/one").status_code == 200)
        assert "in which an interpreter was not ready (startup_timeout)" in server.log()
