"""Daemon processes: where requests run, what a death costs, and what is left in the end."""

import os
import pwd
import re
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes.conftest import Site, daemons, folder_of, mount
from tests.serving import Server, has_ended, serving, until

PATIENCE = 20.0


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    text = (
        '[process_group.back]\nthreads = 2\ndisplay_name = "the back office"\n'
        'process_env = { TWO = "of the process" }\n'
        "[process_group.pair]\nprocesses = 2\n"
        "[timeouts]\ngraceful = 1\ninterrupt = 1\n"
        + mount("/named", "named", "back", threads=2)
        + mount("/global", "%{GLOBAL}", "back")
        + mount("/pair", "pair", "pair")
        + mount("/here", "here", "")
    )
    with serving(site(text), environ={"ONE": "of the server"}) as server:
        yield server


def ask(server: Server, path: str) -> dict:
    answer = server.get(path)
    assert answer.status_code == 200, server.log()
    return answer.json()


def test_where_requests_run(server: Server) -> None:
    """The groups of a process group share its process, each in an interpreter of its own; others live elsewhere."""
    named, main, pair, here = (ask(server, path) for path in ("/named", "/global", "/pair", "/here"))
    assert here["pid"] == server.process.pid
    assert named["pid"] == main["pid"] != here["pid"]
    assert pair["pid"] not in (named["pid"], here["pid"])
    assert [one["process_group"] for one in (named, main, pair, here)] == ["back", "back", "pair", ""]
    assert [one["application_group"] for one in (named, main)] == ["named", ""]
    assert [one["multiprocess"] for one in (named, main, pair, here)] == [False, False, True, False]
    assert [one["is_main"] for one in (named, main)] == [False, True]
    assert [one["multithread"] for one in (named, main, pair)] == [True, True, False]
    assert named["argv"] == main["argv"] == ["asyncgroups"]


def test_the_environment_of_a_process(server: Server) -> None:
    """It is the server's with the process group's over it, in GLOBAL and in the named groups."""
    for path in ("/named", "/global"):
        assert ask(server, path)["variables"] == {"ONE": "of the server", "TWO": "of the process"}
    assert ask(server, "/here")["variables"] == {"ONE": "of the server", "TWO": None}


def test_what_is_on_the_path(server: Server) -> None:
    """A daemon process finds this package without the folder that it was found in."""
    root = str(Path(__file__).parents[2])
    of_environment = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for path in ("/named", "/global"):
        assert [one for one in ask(server, path)["path"] if one.endswith("asyncgroups/host")] == []
    assert root in ask(server, "/global")["path"] or root not in of_environment


def test_what_process_lists_show(server: Server) -> None:
    """The display name."""
    assert ["the back office" in one.cmdline() for one in daemons(server)].count(True) == 1
    assert "the back office" in [one.name() for one in daemons(server)]


def test_what_a_process_prints(server: Server) -> None:
    """It is logged: a named group's as ever, GLOBAL's, which goes to the process's own streams, under its name."""
    ask(server, "/named?print=1")
    server.wait_for_log(r"\[INFO\] \[back:named #\d+\] to stdout 1")
    server.wait_for_log(r"\[ERROR\] \[back:named #\d+\] to stderr 1")
    ask(server, "/global?print=2")
    server.wait_for_log(r"\[INFO\] \[back\] to stdout 2")
    server.wait_for_log(r"\[ERROR\] \[back\] to stderr 2")


def test_the_folder_is_private(server: Server) -> None:
    """Nobody but the server's user gets at the sockets."""
    for daemon in daemons(server):
        found = os.stat(folder_of(daemon))
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, os.getuid())


def test_two_processes_share_the_requests(server: Server) -> None:
    """A request goes to the process that has the fewest in flight."""
    with ThreadPoolExecutor(2) as threads:
        pids = {answer["pid"] for answer in threads.map(lambda _: ask(server, "/pair?sleep=0.5"), range(2))}
    assert len(pids) == 2


def test_who_waits_gets_the_first_that_is_free(server: Server, tmp_path: Path) -> None:
    """A request waits for no process in particular: one that is stuck behind a long request holds it not."""
    with ThreadPoolExecutor(4) as threads:
        long = threads.submit(ask, server, f"/pair?until={tmp_path / 'go'}")
        until(lambda: list(tmp_path.iterdir()), what="the long request")
        others = [threads.submit(ask, server, "/pair?sleep=0.05") for _ in range(3)]
        pids = {other.result(PATIENCE)["pid"] for other in others}
        assert not long.done()
        (tmp_path / "go").touch()
        assert long.result(PATIENCE)["pid"] not in pids


DEATHS: dict[str, tuple[str, str]] = {
    "exit": ("exit=7", "ended with status 7; another is started at once"),
    "crash": ("crash", "was killed by SIGSEGV; another is started at once"),
}


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("path", ["/named", "/global"])
def test_a_death(server: Server, path: str, how: str) -> None:
    """The request in flight is answered 502, the next one by another process, and the log says what happened."""
    before = ask(server, path)["pid"]
    query, words = DEATHS[how]
    assert server.get(f"{path}?{query}").status_code == 502
    after = ask(server, path)["pid"]
    assert after != before
    server.wait_for_log(rf"\[back\] the daemon process {before} {words}")
    if how == "crash":
        server.wait_for_log(r"\[back\] Fatal Python error: Segmentation fault")


def test_what_a_death_costs(server: Server, tmp_path: Path) -> None:
    """Who is in flight gets a 502; who waits for a worker, and who comes later, is answered by another process."""
    before = ask(server, "/named")["pid"]
    neighbours = [ask(server, path)["pid"] for path in ("/pair", "/here")]
    with ThreadPoolExecutor(8) as threads:
        query = f"/named?until={tmp_path / 'go'}"
        running = [threads.submit(server.get, query) for _ in range(2)]
        until(lambda: len(list(tmp_path.iterdir())) == 2, what="two requests in flight")
        waiting = [threads.submit(server.get, "/named") for _ in range(5)]
        os.kill(before, signal.SIGKILL)
        assert [one.result(PATIENCE).status_code for one in running] == [502, 502]
        answers = [one.result(PATIENCE) for one in waiting]
        assert [one.status_code for one in answers] == [200] * 5
        assert before not in {one.json()["pid"] for one in answers}
    assert set(neighbours) <= {ask(server, path)["pid"] for path in ("/pair", "/pair", "/here")} | set(neighbours)


def _is_stopped(pid: int) -> bool:
    """Whether each thread of a process is: the signal stops them one after the other, whenever they get to run."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def test_what_has_not_been_read(server: Server, tmp_path: Path) -> None:
    """A request that stands in the channel of a process that dies is answered by the next one: it never had it."""
    before = ask(server, "/named")["pid"]
    with ThreadPoolExecutor(2) as threads:
        warm = [threads.submit(server.get, "/named?sleep=0.1") for _ in range(2)]
        assert [one.result(PATIENCE).status_code for one in warm] == [200, 200]  # both threads wait for the next one
        os.kill(before, signal.SIGSTOP)
        until(lambda: _is_stopped(before), what="the end of all its threads' work")
        mark = tmp_path / "mark"
        asked = [threads.submit(server.get, f"/named?until={mark}") for _ in range(2)]
        time.sleep(0.3)  # one that has not been handed over by then is answered as well: this test would be too mild
        os.kill(before, signal.SIGKILL)
        until(lambda: len(list(tmp_path.iterdir())) == 2, what="both to be in flight again")
        mark.touch()
        answers = [one.result(PATIENCE) for one in asked]
    assert [one.status_code for one in answers] == [200, 200]
    assert before not in {one.json()["pid"] for one in answers}


def test_nothing_is_left_after_a_stop(site: Site, tmp_path: Path) -> None:
    """SIGTERM: atexit functions have run, the processes and their folder are gone, the status is 0."""
    text = "[process_group.back]\n" + mount("/named", "named", "back") + mount("/global", "%{GLOBAL}", "back")
    with serving(site(text)) as server:
        for path in ("/named", "/global"):
            ask(server, f"{path}?atexit={tmp_path / path[1:]}")
        processes = daemons(server)
        folder = folder_of(processes[0])
        assert folder.exists()
        assert server.stop() == 0
        assert not folder.exists()
        assert [one for one in processes if one.is_running()] == []
        assert sorted(one.name for one in tmp_path.iterdir()) == ["global", "named"]


@pytest.mark.parametrize("where", ["/named", "/global"])
def test_a_process_does_not_outlive_its_server(site: Site, tmp_path: Path, where: str) -> None:
    """Also when the server is killed, and while an application keeps the GIL."""
    text = "[process_group.back]\n" + mount("/named", "named", "back") + mount("/global", "%{GLOBAL}", "back")
    with serving(site(text)) as server:
        ask(server, "/named")
        (daemon,) = daemons(server)
        folder = folder_of(daemon)
        held = tmp_path / "held"
        thread = threading.Thread(target=_ignore, args=(lambda: server.get(f"{where}?gil={held}"),))
        thread.start()
        until(held.exists, what="the GIL to be held")
        server.tell(signal.SIGKILL)
        until(lambda: has_ended(daemon), what="its end")
        thread.join(PATIENCE)
        until(lambda: not folder.exists(), 5, what="the end of the folder")


def test_a_child_of_the_server_keeps_no_process_alive(site: Site) -> None:
    """One that was forked has all that the server had: the death of the server counts."""
    text = "[process_group.back]\n" + mount("/named", "named", "back")
    text += mount("/forks", "%{GLOBAL}", "").replace("processes_tells", "processes_forks")
    with serving(site(text), kind="uvicorn") as server:
        ask(server, "/named")
        (daemon,) = daemons(server)
        child = psutil.Process(int(server.get("/forks").text))
        try:
            server.tell(signal.SIGKILL)
            until(lambda: has_ended(daemon), what="its end")
            assert child.is_running()
        finally:
            child.kill()


def _ignore(action: Callable[[], object]) -> None:
    try:
        action()
    except httpx.HTTPError:
        pass


def test_recycling(site: Site) -> None:
    """Under load, with maximum_requests and restart_interval, no request is lost, and processes come and go."""
    text = (
        "[process_group.back]\nmaximum_requests = 25\nprocesses = 2\n"
        "[process_group.other]\nrestart_interval = 1\n"
        "[process_group.idle]\ninactivity_timeout = 1\n"
        + mount("/back", "named", "back", threads=2)
        + mount("/other", "%{GLOBAL}", "other")
        + mount("/idle", "named", "idle")
    )
    with serving(site(text)) as server:
        idle = ask(server, "/idle")["pid"]
        seen: dict[str, set[int]] = {"/back": set(), "/other": set()}

        def load(path: str) -> None:
            until_then = time.monotonic() + PATIENCE
            with server.client() as client:
                while len(seen["/back"]) < 5 or len(seen["/other"]) < 3:
                    assert time.monotonic() < until_then, seen
                    answer = client.get(path)
                    assert answer.status_code == 200, server.log()
                    seen[path].add(answer.json()["pid"])

        with ThreadPoolExecutor(6) as threads:
            for one in [threads.submit(load, path) for path in ("/back", "/other", "/back", "/other", "/back")]:
                one.result()
        until(lambda: idle not in [one.pid for one in daemons(server)], what="the end of the idle one")
        assert ask(server, "/idle")["pid"] != idle
        until(lambda: len(daemons(server)) == 4, what="as many processes as there should be")
        assert "ERROR" not in server.log()
        assert server.stop() == 0


def test_who_the_processes_are(site: Site, tmp_path: Path) -> None:
    """User, groups, umask, working directory, niceness and the limit of memory are those of the process group."""
    is_root = os.getuid() == 0
    tmp_path.chmod(0o755)
    text = (
        f'[process_group.back]\numask = "027"\nhome = "{tmp_path}"\ncpu_priority = {os.nice(0) + 1}\n'
        'memory_limit = "300 MiB"\n'
        + ('user = "nobody"\n' if is_root else "")
        + mount("/named", "named", "back")
        + mount("/global", "%{GLOBAL}", "back")
        + mount("/here", "here", "")
    )
    with serving(site(text), environ={"PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}) as server:
        for path in ("/named", "/global"):
            answer = ask(server, path)
            assert answer["umask"] == 0o027
            assert answer["cwd"] == str(tmp_path)
            assert answer["nice"] == os.nice(0) + 1
            if is_root:
                nobody = pwd.getpwnam("nobody")
                assert answer["user"] == [nobody.pw_uid, nobody.pw_gid]
                assert answer["groups"] == sorted(os.getgrouplist("nobody", nobody.pw_gid))
            assert server.get(f"{path}?eat=100").status_code == 200
            assert server.get(f"{path}?eat=400").status_code == 500
            assert ask(server, path)["pid"] == answer["pid"]
        server.wait_for_log(r"\[back:named #\d+\] exception in .*(\n.*)+MemoryError")
        assert server.get("/here?eat=400").status_code == 200
        folder = folder_of(daemons(server)[0])
        assert server.stop() == 0
        assert not folder.exists()


@pytest.mark.parametrize("path", ["/named", "/global"])
def test_a_request_that_does_not_end(site: Site, tmp_path: Path, path: str) -> None:
    """It is answered 504 after request_timeout; where it does not even obey its interrupt its process is replaced."""
    text = (
        "[process_group.back]\nthreads = 1\nrequest_timeout = 0.2\ngraceful_timeout = 0.2\nshutdown_timeout = 0.2\n"
        "[timeouts]\ninterrupt = 0.2\n" + mount("/named", "named", "back") + mount("/global", "%{GLOBAL}", "back")
    )
    with serving(site(text)) as server:
        before = psutil.Process(ask(server, path)["pid"])
        assert daemons(server) == [before]
        assert server.get(f"{path}?until={tmp_path / 'never'}").status_code == 504
        assert ask(server, path)["pid"] == before.pid
        assert server.get(f"{path}?gil={tmp_path / 'held'}").status_code == 504
        assert ask(server, path)["pid"] != before.pid
        before.wait(PATIENCE)
        assert server.stop() == 0


def test_a_stop_has_an_end(site: Site, tmp_path: Path) -> None:
    """Whatever applications do in their processes: these are gone in time, and the status is 0."""
    text = (
        "[process_group.back]\n[process_group.other]\n[timeouts]\ngraceful = 0.5\ninterrupt = 0.5\n"
        + mount("/named", "named", "back")
        + mount("/global", "%{GLOBAL}", "other")
    )
    with serving(site(text)) as server, ThreadPoolExecutor(2) as threads:
        until(lambda: len(daemons(server)) == 2, what="both processes")
        processes = daemons(server)
        folders = {folder_of(process) for process in processes}
        for path in ("/named", "/global"):
            threads.submit(_ignore, lambda path=path: server.get(f"{path}?gil={tmp_path / path[1:]}"))
        until(lambda: len(list(tmp_path.iterdir())) == 2, what="the GIL of both to be held")
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 3
        assert psutil.wait_procs(processes, PATIENCE)[1] == []
        assert [folder for folder in folders if folder.exists()] == []


def test_a_process_that_does_not_start(site: Site) -> None:
    """It is tried again, after a time that grows; a request is answered within bounds, the log says what is wrong."""
    program = shutil.which("false")
    text = f'[process_group.back]\npython = "{program}"\n[timeouts]\nqueue = 3\n'
    with serving(site(text + mount("/named", "named", "back"))) as server:
        assert server.get("/named").status_code in (500, 503)
        server.wait_for_log(r"\[back\] the daemon process \d+ ended with status 1; another is started in 0.5 s")
        server.wait_for_log(r"\[back\] the daemon process \d+ ended with status 1; another is started in 1 s")
        assert server.stop() == 0


def test_a_process_that_cannot_be_started(site: Site) -> None:
    """It is tried again after a time that grows from half a second, as where it fails by itself."""
    with serving(site("[process_group.back]\n" + mount("/named", "named", "back"))) as server:
        ask(server, "/named")
        (daemon,) = daemons(server)
        folder = folder_of(daemon)
        aside = folder.rename(folder.with_suffix(".aside"))
        daemon.kill()
        server.wait_for_log(r"\[back\] no daemon process can be started")
        aside.rename(folder)
        ask(server, "/named")


def test_preloading(site: Site) -> None:
    """Each process loads what is to be preloaded before it takes requests, the later ones as well."""
    text = "preload = true\n[process_group.back]\nprocesses = 2\n" + mount("/named", "named", "back")
    text += mount("/other", "named", "back").replace("processes_tells", "processes_slow")
    with serving(site(text)) as server:
        first = {server.wait_for_log(r"\[back:named #\d+\] loaded in (\d+)")[1]}
        until(lambda: len(set(re.findall(r"loaded in (\d+)", server.log()))) == 2, what="both to be loaded")
        victim = ask(server, "/named")["pid"]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(set(re.findall(r"loaded in (\d+)", server.log()))) == 3, what="the third to be loaded")
        assert len(re.findall("loaded in", server.log())) == 3
        assert first <= set(re.findall(r"loaded in (\d+)", server.log()))
        with ThreadPoolExecutor(2) as threads:
            pids = {answer["pid"] for answer in threads.map(lambda _: ask(server, "/named?sleep=0.3"), range(2))}
        assert len(pids) == 2
        assert victim not in pids
