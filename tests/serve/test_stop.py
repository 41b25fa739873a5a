"""How a server comes to its end, whatever its applications do."""

import http.client
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.serve.conftest import Ask, Site
from tests.serving import Server, serving, until

STUCK = ["loops", "defies", "sleeps", "holds", "matches"]
GRACEFUL = INTERRUPT = 0.6
SLACK = 1.0
"""Seconds that a busy machine may add."""


def mounts(groups: dict[str, str]) -> str:
    return "".join(
        f'[[mount]]\npath = "{path}"\napp = "{app}"\napplication_group = "{path[1:]}"\n' for path, app in groups.items()
    ).replace('"global"', '"%{GLOBAL}"')


def timeouts(graceful: float, interrupt: float) -> str:
    return f"[timeouts]\ngraceful = {graceful}\ninterrupt = {interrupt}\n"


def status(connection: socket.socket) -> int | None:
    """The status of the answer on ``connection``; None when it was closed without one."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
    except ConnectionError:
        return None
    with response:
        response.read()
        return response.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_had_been_read_is_answered(site: Site, ask: Ask, tmp_path: Path, number: int) -> None:
    """Requests that run, wait for a worker or still send their body when the signal arrives get their answer.

    Meanwhile no new connection is accepted; the exit status is 0.
    """
    config = site(timeouts(20, 1) + mounts({"/waiting": "stop_waits:application"}))
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server:
        running = ask(server, "/waiting?first", body=b"running")
        until((tmp_path / "running-first").exists)
        others = []
        for _ in range(4):
            connection = ask(server, "/waiting", body=b"0123456789", headers="Expect: 100-continue\r\n")
            assert connection.recv(1024).startswith(b"HTTP/1.1 100")  # which says that its head has been read
            others.append(connection)
        for connection in others[:2]:
            connection.sendall(b"0123456789")
        server.tell(number)
        server.wait_for_log("stopping")
        until(lambda: refused(server), what="a refused connection")
        for connection in others[2:]:
            connection.sendall(b"0123456789")
        (tmp_path / "go").touch()
        assert [status(connection) for connection in [running, *others]] == [200] * 5
        assert server.wait() == 0


def refused(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_no_answer_is_cut_by_a_stop_under_load(site: Site, tmp_path: Path) -> None:
    """Clients that keep asking while the server stops see whole answers, then the end of the connection."""
    config = site(mounts({"/group": "stop_waits:whoami", "/global": "stop_waits:whoami"}))
    answers = count()

    def hammer(path: str) -> set[int]:
        seen = set()
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            try:
                for _ in range(50):
                    connection.request("GET", path)
                    response = connection.getresponse()
                    response.read()
                    seen.add(response.status)
                    next(answers)
            except ConnectionError:  # not IncompleteRead, not BadStatusLine: nothing of an answer had come
                if stopped:
                    return seen
            finally:
                connection.close()

    stopped = False
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server, ThreadPoolExecutor(4) as clients:
        hammering = [clients.submit(hammer, path) for path in ("/group", "/global") * 2]
        until(lambda: next(answers) > 200, what="200 answers")
        stopped = True
        assert server.stop() == 0
        assert [future.result(20) for future in hammering] == [{200}] * 4


def test_atexit_functions_run(site: Site, tmp_path: Path) -> None:
    """Each interpreter runs its atexit functions when the server stops, the main one as well."""
    config = site(mounts(dict.fromkeys(("/one", "/two", "/global"), "stop_waits:whoami")))
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server:
        ids = {server.get(path).text for path in ("/one", "/two", "/global")}
        assert len(ids) == 3
        assert server.stop(seconds=5) == 0
    assert {mark.name for mark in tmp_path.glob("atexit-*")} == {f"atexit-{number}" for number in ids}


def ended_in_time(server: Server, interrupt: float = INTERRUPT) -> bool:
    """Tell the server to stop; whether it used its graceful time, and no more than the interrupt time after it."""
    began = time.monotonic()
    assert server.stop() == 0
    return GRACEFUL <= time.monotonic() - began < GRACEFUL + interrupt + SLACK


def test_stuck_groups_do_not_hold_up_the_end(site: Site, ask: Ask, tmp_path: Path) -> None:
    """Applications that loop, defy the interrupt or hang in C: the others' atexit functions run, the status is 0."""
    stuck = {f"/{name}": f"stop_{name}:application" for name in STUCK}
    interrupt = 2.4  # seven groups, of which some want the processors for themselves, end within that
    config = site(
        timeouts(GRACEFUL, interrupt) + mounts(stuck | {"/well": "stop_waits:whoami", "/global": "stop_waits:whoami"})
    )
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server:
        well = {server.get(path).text for path in ("/well", "/global")}
        connections = [ask(server, path) for path in stuck]
        for name in STUCK:
            until((tmp_path / name).exists)
        assert ended_in_time(server, interrupt)
        assert not any(status(connection) == 200 for connection in connections)
        assert {f"atexit-{number}" for number in well} <= {mark.name for mark in tmp_path.glob("atexit-*")}
        ((message, names),) = [(line, line.rpartition(": ")[2]) for line in server.log().splitlines() if "come" in line]
        assert "did not come to an end" in message
        assert set(names.split(", ")) == {"defies", "holds", "matches", "sleeps"}


@pytest.mark.parametrize("name", STUCK)
def test_a_stuck_main_interpreter_does_not_hold_up_the_end(site: Site, ask: Ask, tmp_path: Path, name: str) -> None:
    """The same in GLOBAL, where whoever holds the GIL keeps even the signal handlers from running."""
    config = site(
        timeouts(GRACEFUL, INTERRUPT)
        + '[[mount]]\npath = "/"\napplication_group = "%{GLOBAL}"\n'
        + f'app = "stop_{name}:application"\n'
    )
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server:
        connection = ask(server, "/")
        until((tmp_path / name).exists)
        assert ended_in_time(server)
        assert status(connection) != 200
        if name not in ("holds", "matches"):
            assert (tmp_path / "atexit-0").exists()


@pytest.mark.parametrize(("path", "name"), [("/group", "sleeps"), ("/global", "holds")])
def test_a_second_signal_ends_it_at_once(site: Site, ask: Ask, tmp_path: Path, path: str, name: str) -> None:
    """Long before the graceful time is over, and with status 0."""
    config = site(timeouts(60, 60) + mounts({path: f"stop_{name}:application"}))
    with serving(config, environ={"STOP_MARKS": str(tmp_path)}) as server:
        ask(server, path)
        until((tmp_path / name).exists)
        server.tell(signal.SIGTERM)
        with pytest.raises(AssertionError, match="did not end"):
            server.wait(0.3)
        assert server.stop(signal.SIGINT, 3) == 0


def test_a_server_that_is_not_ours_ends_as_well(site: Site, ask: Ask, tmp_path: Path) -> None:
    """Under uvicorn the process ends too when an application is stuck, once its client has gone."""
    config = site(
        timeouts(GRACEFUL, INTERRUPT) + mounts({"/stuck": "stop_sleeps:application", "/well": "stop_waits:whoami"})
    )
    with serving(config, kind="uvicorn", environ={"STOP_MARKS": str(tmp_path)}) as server:
        well = server.get("/well").text
        connection = ask(server, "/stuck")
        until((tmp_path / "sleeps").exists)
        connection.close()
        server.stop(seconds=GRACEFUL + INTERRUPT + 5)
        assert "stuck" in server.log()
    assert (tmp_path / f"atexit-{well}").exists()
