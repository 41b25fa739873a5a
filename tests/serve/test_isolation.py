"""Which interpreter and which thread runs a request, and what one group sees of another: nothing."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serve.conftest import Site
from tests.serving import APPS, KINDS, Server, serving, until

CONFIGURATION = """
[global]
threads = 3

[process_env]
PROBE_SETTING = "of all"

[[mount]]
path = "/red"
app = "isolation_probe:application"
application_group = "red"
threads = 3

[[mount]]
path = "/red/second"
app = "isolation_second:application"
application_group = "red"
threads = 3

[[mount]]
path = "/blue"
app = "isolation_probe:application"
application_group = "blue"
process_env = { PROBE_SETTING = "of blue" }

[[mount]]
path = "/global"
app = "isolation_probe:application"
application_group = "%{GLOBAL}"

[[mount]]
path = "/global/second"
app = "isolation_second:application"
application_group = "%{GLOBAL}"

[[mount]]
path = "/unnamed"
app = "isolation_probe:application"

[[mount]]
path = "/created/after/environ"
app = "isolation_probe:application"

[[mount]]
path = "/created/after/environb"
app = "isolation_probe:application"

[[mount]]
path = "/created/after/putenv"
app = "isolation_probe:application"

[[mount]]
path = "/created/after/update"
app = "isolation_probe:application"

[[mount]]
path = "/created/after/global"
app = "isolation_probe:application"

[[mount]]
path = "/waiting"
app = "loading_waits:application"
application_group = "waiting"

[[mount]]
path = "/global/waiting"
app = "loading_waits:application"
application_group = "%{GLOBAL}"

[[mount]]
path = "/eager"
app = "loading_leaves_mark:application"
preload = true
application_group = "eager"
process_env = { LOADING_MARK = "$FOLDER/eager" }

[[mount]]
path = "/lazy"
app = "loading_leaves_mark:application"
application_group = "lazy"
process_env = { LOADING_MARK = "$FOLDER/lazy" }
"""

CONCURRENT = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isolation")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, site: Site, folder: Path) -> Iterator[Server]:
    for mark in ("eager", "lazy"):
        (folder / mark).unlink(missing_ok=True)
    config = site(CONFIGURATION.replace("$FOLDER", str(folder)))
    environ = {"PROBE_INHERITED": "from outside", "LOADING_FIFO": str(folder / "fifo")}
    with serving(config, kind=request.param, environ=environ) as server:
        server.folder = folder
        server.app_dir = str(config.parent)
        yield server


def test_preload_loads_before_the_first_request(server: Server) -> None:
    """When the server accepts connections, the application with ``preload`` is there, and no other one."""
    assert (server.folder / "eager").exists()
    assert not (server.folder / "lazy").exists()
    assert server.get("/lazy").text == "loaded"
    assert (server.folder / "lazy").exists()


def test_interpreters(server: Server) -> None:
    """Same group, same interpreter; other group, other interpreter; GLOBAL is interpreter 0."""
    paths = ["/red", "/red/second", "/blue", "/global", "/global/second", "/unnamed"]
    ids = {path: server.get(path).json()["interpreter"] for path in paths}
    assert ids["/red"] == ids["/red/second"]
    assert ids["/global"] == ids["/global/second"] == 0
    assert len({ids["/red"], ids["/blue"], ids["/unnamed"], 0}) == 4


@pytest.mark.parametrize("group", ["/red", "/global"])
def test_two_mounts_of_one_group_share_its_modules(server: Server, group: str) -> None:
    """A module is imported once for all applications of a group, and apart from that of other groups."""
    before = server.get(group).json()["calls"]
    elsewhere = server.get("/blue").json()["calls"]
    assert server.get(group + "/second").json()["calls"] == before + 1
    assert server.get(group).json()["calls"] == before + 2
    assert server.get("/blue").json()["calls"] == elsewhere + 1


def test_a_worker_never_changes_its_interpreter(server: Server) -> None:
    """Each thread is seen in one group only, and keeps its ``threading.local`` from one request to the next."""
    paths = ["/red", "/blue", "/global", "/unnamed"]
    with server.client() as client, ThreadPoolExecutor(CONCURRENT) as threads:
        answers = list(threads.map(lambda path: client.get(path).json(), paths * 25))
    homes: dict[int, set[tuple[int, str]]] = {}
    calls: dict[int, list[int]] = {}
    for answer in answers:
        homes.setdefault(answer["thread"], set()).add((answer["interpreter"], answer["group"]))
        calls.setdefault(answer["thread"], []).append(answer["calls_of_thread"])
    assert all(len(home) == 1 for home in homes.values())
    assert all(len(set(numbers)) == len(numbers) for numbers in calls.values())
    assert max(map(max, calls.values())) > 4, "threads are used again"
    limits = {"red": 3, "blue": 1, "": 3}
    for group, limit in limits.items():
        assert len({answer["thread"] for answer in answers if answer["group"] == group}) <= limit


@pytest.mark.parametrize(("group", "threads"), [("/red", 3), ("/global", 3), ("/blue", 1)])
def test_threads_run_at_once(server: Server, group: str, threads: int) -> None:
    """``threads`` requests of a group run at the same time, in as many threads of one interpreter."""
    with server.client() as client, ThreadPoolExecutor(threads) as clients:
        answers = list(clients.map(lambda _: client.get(f"{group}/together?parties={threads}").json(), range(threads)))
    assert len({answer["thread"] for answer in answers}) == threads
    assert len({answer["interpreter"] for answer in answers}) == 1
    assert {answer["multithread"] for answer in answers} == {threads > 1}


def test_all_groups_live_in_one_process(server: Server) -> None:
    """There is one process, the server's own, for named groups and for GLOBAL."""
    answers = [server.get(path).json() for path in ("/red", "/blue", "/global")]
    assert {answer["process"] for answer in answers} == {server.process.pid}


@pytest.mark.parametrize("path", ["/waiting", "/global/waiting"])
def test_loading_holds_up_its_own_application_only(server: Server, path: str) -> None:
    """While one application is being imported, the other groups answer."""

    def opened() -> int | None:
        try:
            return os.open(server.folder / "fifo", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None  # until somebody reads, which is when the application is being imported

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(server.get, path)
        fifo = until(opened)
        try:
            for other in ("/red", "/blue", "/global"):
                assert server.get(other).status_code == 200
            assert not waiting.done()
        finally:
            os.close(fifo)
        assert waiting.result(20).text == "loaded at last"


@pytest.mark.parametrize(
    ("path", "setting"), [("/red", "of all"), ("/blue", "of blue"), ("/global", None), ("/unnamed", "of all")]
)
def test_what_is_there_before_the_import(server: Server, path: str, setting: str | None) -> None:
    """sys.path, sys.argv and os.environ are set when the application is imported; GLOBAL keeps the server's own."""
    found = server.get(path).json()["at_import"]
    assert found["path"] == [server.app_dir, str(APPS)]
    assert found["variable"] == setting
    assert found["inherited"] == "from outside"
    if path != "/global":
        assert found["argv"] == ["asyncgroups"]


@pytest.mark.parametrize("way", ["environ", "environb", "putenv", "update"])
def test_a_write_to_the_environment_stays_in_its_group(server: Server, way: str) -> None:
    """Neither another group, nor one created later, nor the server or a child of its sees it; this group does."""
    name = f"PROBE_WRITTEN_{way.upper()}"
    server.get(f"/red/write?way={way}&name={name}&value=red").raise_for_status()
    if way != "putenv":  # which does not change os.environ: see its documentation
        assert server.get(f"/red/environ?name={name}").json()["value"] == "red"
    for path in ("/blue", "/global", f"/created/after/{way}"):
        assert server.get(f"{path}/environ?name={name}").json()["value"] is None
        assert server.get(f"{path}/child?way=subprocess&name={name}").json()["value"] == "-"
    assert server.get(f"/red/child?way=subprocess&name={name}").json()["value"] == "red"


def test_a_write_in_global_stays_in_the_main_interpreter(server: Server) -> None:
    """A group that is created afterwards starts with the environment that the server was started with."""
    server.get("/global/write?way=environ&name=PROBE_OF_GLOBAL&value=yes").raise_for_status()
    assert server.get("/global/child?way=subprocess&name=PROBE_OF_GLOBAL").json()["value"] == "yes"
    for path in ("/blue", "/created/after/global"):
        assert server.get(f"{path}/environ?name=PROBE_OF_GLOBAL").json()["value"] is None
        for way in ("subprocess", "posix_spawn"):
            assert server.get(f"{path}/child?way={way}&name=PROBE_OF_GLOBAL").json()["value"] == "-"


def test_a_variable_that_is_taken_away(server: Server) -> None:
    """Deleting an inherited variable takes it from this group and its children only."""
    server.get("/unnamed/drop?name=PROBE_INHERITED").raise_for_status()
    for path, left in (("/unnamed", None), ("/red", "from outside"), ("/global", "from outside")):
        assert server.get(f"{path}/environ?name=PROBE_INHERITED").json()["value"] == left
        assert server.get(f"{path}/child?way=subprocess&name=PROBE_INHERITED").json()["value"] == (left or "-")


@pytest.mark.parametrize("way", ["subprocess", "system", "popen", "posix_spawn", "asyncio", "multiprocessing"])
def test_children_have_the_environment_of_their_group(server: Server, way: str) -> None:
    """However a group starts a child process, the child has what the group wrote, and what it was configured with."""
    server.get("/red/write?way=environ&name=PROBE_CHILD&value=seen").raise_for_status()
    assert server.get(f"/red/child?way={way}&name=PROBE_CHILD").json()["value"] == "seen"
    assert server.get(f"/red/child?way={way}&name=PROBE_SETTING").json()["value"] == "of all"
    assert server.get(f"/blue/child?way={way}&name=PROBE_CHILD").json()["value"] == "-"
    assert server.get(f"/blue/child?way={way}&name=PROBE_SETTING").json()["value"] == "of blue"


def test_an_outer_application_chooses_the_group(site: Site) -> None:
    """``scope["asyncgroups"]["env"]`` decides %{ENV:x} and is in the environ; without it the answer is 500."""
    config = site(
        '[[mount]]\npath = "/"\napp = "isolation_probe:application"\napplication_group = "%{ENV:PROBE_TENANT}"\n'
    )
    command = ["-m", "uvicorn", "--port", "0", "--lifespan", "on", "isolation_outer:application"]
    with serving(command, environ={"ASYNCGROUPS_CONFIG": str(config)}) as server:
        alice, bob, again = (server.get(f"/{tenant}/").json() for tenant in ("alice", "bob", "alice"))
        assert (alice["group"], alice["tenant"]) == ("alice", "alice")
        assert (bob["group"], bob["tenant"]) == ("bob", "bob")
        assert alice["interpreter"] == again["interpreter"] != bob["interpreter"]
        nobody = server.get("/nobody/")
        assert nobody.status_code == 500
        assert "PROBE_TENANT" not in nobody.text
        server.wait_for_log("PROBE_TENANT")


def test_the_main_thread_runs_no_application(server: Server) -> None:
    """Requests run in threads of their own, those of GLOBAL too."""
    threads = {server.get(path).json()["thread"] for path in ("/red", "/blue", "/global")}
    assert server.process.pid not in threads
