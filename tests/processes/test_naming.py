"""Which process group a request goes to, as server, ``explain`` and ``check --load`` have it; in any ASGI server."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import httpx
import psutil
import pytest

from asyncgroups import ApplicationGroups, Mount
from tests.processes.conftest import Site, daemons, folder_of, mount
from tests.serving import APPS, Server, has_ended, serving, until

PATIENCE = 20.0

TEXT = (
    'server_name = "www.example.com:80"\nbind = ["127.0.0.1:8000"]\n'
    '[process_group.red]\n[process_group."www.example.com"]\ndefault = true\n'
    + mount("/red", "one", "red")
    + mount("/default", "one", "").replace('process_group = ""\n', "")
    + mount("/server", "one", "%{SERVER}")
    + mount("/here", "one", "%{GLOBAL}")
    + mount("/variable", "one", "%{ENV:WHERE}")
    + 'env = { WHERE = "red" }\n'
    + mount("/unknown", "one", "%{ENV:WHERE}")
    + 'env = { WHERE = "blue" }\n'
)

CHOSEN = {"/red": "red", "/default": "www.example.com", "/server": "www.example.com", "/here": "", "/variable": "red"}


@pytest.fixture(scope="module")
def configuration(site: Site) -> Path:
    return site(TEXT)


@pytest.fixture(scope="module")
def server(configuration: Path) -> Iterator[Server]:
    with serving(configuration) as server:
        yield server


@pytest.mark.parametrize("path", CHOSEN)
def test_the_process_group_of_a_request(server: Server, configuration: Path, path: str) -> None:
    """Names and variables choose it, and ``explain`` says the same."""
    found = server.get(path).json()["process_group"]
    command = [sys.executable, "-m", "asyncgroups", "explain", str(configuration), path, "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert found == json.loads(said.stdout)["process_group"] == CHOSEN[path]


def test_groups_of_one_name(server: Server) -> None:
    """In two process groups one name is two groups; two mounts of one group share its interpreter."""
    red, default, here, again = (server.get(path).json()["pid"] for path in ("/red", "/default", "/here", "/variable"))
    assert len({red, default, here}) == 3
    assert again == red


def test_a_variable_that_names_no_process_group(server: Server) -> None:
    """The request is answered 500, the log says which name."""
    assert server.get("/unknown").status_code == 500
    server.wait_for_log(r"500: mount\[5\]: %\{ENV:WHERE\}: there is no process group 'blue'")


def test_what_is_served_is_said(server: Server) -> None:
    """The log of the start has the process group."""
    server.wait_for_log(r"/red: processes_tells:application in application group red:one \(1 thread\)")


def test_check_loads_in_processes(configuration: Path) -> None:
    """``check --load`` loads each application in its process group, and leaves none behind."""
    command = [sys.executable, "-m", "asyncgroups", "check", str(configuration), "--load"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=True)
    rows = re.findall(r"^processes_tells:application +(\S+) +interpreter +(\S+)", said.stdout, re.MULTILINE)
    assert sorted(rows) == [("one", "yes"), ("red:one", "yes"), ("www.example.com:one", "yes")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_under_another_server(site: Site, number: int) -> None:
    """Under uvicorn as well no process outlives its server, nor does their folder."""
    text = "[process_group.back]\n" + mount("/named", "named", "back")
    with serving(site(text), kind="uvicorn") as server:
        assert server.get("/named").json()["process_group"] == "back"
        (daemon,) = daemons(server)
        folder = folder_of(daemon)
        server.tell(number)
        server.wait()
        until(lambda: has_ended(daemon), what="its end")
        until(lambda: not folder.exists(), what="the end of the folder")


@pytest.mark.anyio
async def test_written_in_python() -> None:
    """Processes live as long as a block of ``running()``; the next block has others."""
    groups = ApplicationGroups(
        mounts=[Mount("/", "processes_tells:application", process_group="back", application_group="a")],
        process_groups={"back": {"processes": 2, "process_env": {"ONE": "1"}}},
        app_dir=APPS,
    )
    pids = set()
    for _ in range(2):
        async with groups.running():
            transport = httpx.ASGITransport(app=groups)
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=PATIENCE) as client:
                found = (await client.get("/")).json()
            assert found["variables"]["ONE"] == "1"
            assert found["multiprocess"] is True
            assert psutil.pid_exists(found["pid"])
        assert not await anyio.to_thread.run_sync(psutil.pid_exists, found["pid"])
        pids.add(found["pid"])
    assert len(pids) == 2
