"""What a client, or an application that does not come back, can make the server hold: bounded, and answered."""

import json
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.conftest import Ask, Site
from tests.serve.test_stop import status
from tests.serving import KINDS, Server, serving, until

QUEUE = 1.0
REQUEST = 1.0  # a machine with one busy core left must answer a tiny request in it
INTERRUPT = 0.5
STARTUP = 1.0
STUCK = ["defies", "sleeps", "holds"]


def mount(path: str, app: str, group: str) -> str:
    return f'[[mount]]\npath = "{path}"\napp = "{app}"\napplication_group = "{group}"\n'


# Groups and requests that wait ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def crowded(request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    marks = tmp_path_factory.mktemp("marks")
    text = (
        f"[limits]\ngroups = 3\nbacklog = 2\n[timeouts]\nqueue = {QUEUE}\n"
        + mount("/server", "limits_who:application", "%{SERVER}")
        + mount("/resource", "limits_who:application", "%{RESOURCE}")
        + mount("/busy", "stop_waits:application", "busy")
        + mount("/too/many", "limits_who:application", "too many")
        + mount("/global", "limits_who:application", "%{GLOBAL}")
    )
    with serving(site(text), kind=request.param, environ={"STOP_MARKS": str(marks)}) as server:
        server.marks = marks
        yield server


def test_a_client_makes_no_groups(crowded: Server) -> None:
    """Whatever the Host header says, a mount has one group."""
    hosts = [f"{name}.example.com:{port}" for name in ("www", "%{ENV:x}", "x" * 200) for port in (1, 80, 65535)]
    for path in ("/server", "/resource"):
        answers = [crowded.get(path, headers={"Host": host}).json() for host in [*hosts, "", "[::1]", "a b"]]
        assert len({(answer["interpreter"], answer["group"]) for answer in answers}) == 1


def test_too_many_groups(crowded: Server) -> None:
    """Past limits.groups the answer is 503 with Retry-After; groups that are there go on, and GLOBAL does not count."""
    (crowded.marks / "go").touch()
    for path in ("/server", "/resource", "/busy"):
        assert crowded.get(path).status_code == 200
    for _ in range(2):
        answer = crowded.get("/too/many")
        assert (answer.status_code, answer.text) == (503, "503 Service Unavailable\n")
        assert int(answer.headers["Retry-After"]) > 0
    for path in ("/server", "/resource", "/busy", "/global"):
        assert crowded.get(path).status_code == 200
    crowded.wait_for_log(r"3 application groups are alive already \(limits.groups\)")


def test_too_many_requests_that_wait(crowded: Server, ask: Ask) -> None:
    """One runs, limits.backlog wait and are served in the end; the others are answered 503 with Retry-After at once."""
    (crowded.marks / "go").unlink(missing_ok=True)
    connections = [ask(crowded, "/busy") for _ in range(8)]
    answered: set[object] = set()
    while len(answered) < 5:
        ready, _, _ = select.select([one for one in connections if one not in answered], [], [], 10)
        assert ready
        answered |= set(ready)
    refused = [one.recv(4096) for one in connections if one in answered]
    assert all(answer.startswith(b"HTTP/1.1 503") and b"\r\nretry-after: 5" in answer.lower() for answer in refused)
    assert crowded.get("/server").status_code == 200
    (crowded.marks / "go").touch()
    assert [status(one) for one in connections if one not in answered] == [200] * 3


def test_a_request_that_waits_for_too_long(crowded: Server, ask: Ask) -> None:
    """It is answered 503 with Retry-After after timeouts.queue, and its place is free again."""
    (crowded.marks / "go").unlink(missing_ok=True)
    running = ask(crowded, "/busy?longest")
    until((crowded.marks / "running-longest").exists)
    began = time.monotonic()
    waiting = [ask(crowded, "/busy") for _ in range(2)]
    for connection in waiting:
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nretry-after: 5" in answer.lower()
    assert QUEUE <= time.monotonic() - began < QUEUE + 2
    later = [ask(crowded, "/busy") for _ in range(2)]
    (crowded.marks / "go").touch()
    assert [status(connection) for connection in [running, *later]] == [200] * 3


# Applications that take too long --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def impatient(request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    marks = tmp_path_factory.mktemp("marks")
    text = f"[timeouts]\nrequest = {REQUEST}\ninterrupt = {INTERRUPT}\nstartup = {STARTUP}\ngraceful = 0.1\n"
    text += mount("/well/who", "limits_who:application", "well")
    text += mount("/returns/who", "limits_who:application", "returns")
    text += mount("/returns", "stop_sleeps:application", "returns")
    text += mount("/closes/who", "limits_who:application", "closes")
    text += mount("/closes", "limits_closes:application", "closes")
    text += mount("/loads", "limits_loads_for_ever:application", "loads")
    for name in ["loops", *STUCK]:
        text += mount(f"/{name}", f"stop_{name}:application", name)
        text += mount(f"/{name}/who", "limits_who:application", name)
    for name in ["loops", "defies", "sleeps"]:
        text += mount(f"/global/{name}", f"stop_{name}:application", "%{GLOBAL}")
    text += mount("/global/who", "limits_who:application", "%{GLOBAL}")
    with serving(site(text), kind=request.param, environ={"STOP_MARKS": str(marks)}) as server:
        server.marks = marks
        yield server


def who_answers(server: Server, path: str) -> dict[str, object]:
    """Who does, as soon as anybody has the time: a loaded machine may take longer than these limits for a moment."""
    answers = []

    def answered() -> bool:
        answers.append(server.get(path))
        return answers[-1].status_code == 200

    until(answered)
    return answers[-1].json()


def well(server: Server) -> int:
    """The interpreter of a group that has nothing to do with what goes on in the others."""
    return server.get("/well/who").json()["interpreter"]


@pytest.mark.parametrize("path", ["/loops", "/closes", "/global/loops"])
def test_a_request_that_is_interrupted(impatient: Server, path: str) -> None:
    """504 after timeouts.request, a log record that says where it was, close() has run, the worker goes on."""
    who = path.rpartition("/")[0] + "/who" if "global" in path else path + "/who"
    before, neighbour = impatient.get(who).json(), well(impatient)
    began = time.monotonic()
    answer = impatient.get(path)
    assert (answer.status_code, answer.text) == (504, "504 Gateway Timeout\n")
    assert REQUEST <= time.monotonic() - began < REQUEST + 2
    after = who_answers(impatient, who)
    assert after["interpreter"] == before["interpreter"]
    if path == "/closes":
        assert after["thread"] == before["thread"]
        assert (impatient.marks / "closed").exists()
    label = "%{GLOBAL}" if "global" in path else path[1:]
    where = "__next__" if path == "/closes" else "application"
    frames = rf"(  File .*\n)*  File .* in .*{where}\n"
    impatient.wait_for_log(rf"\[{label} #\d+\] the request is interrupted; it is at:\n{frames}")
    assert well(impatient) == neighbour


@pytest.mark.parametrize("name", STUCK)
def test_an_interpreter_that_does_not_obey(impatient: Server, name: str) -> None:
    """504, then the interpreter is given up, and the next request to its group gets a new one; the others are well."""
    for mark in ("enough", name):
        (impatient.marks / mark).unlink(missing_ok=True)
    before, neighbour = impatient.get(f"/{name}/who").json(), well(impatient)
    # On a loaded machine it may be loading when its time is over, and then it obeys.
    until(lambda: impatient.get(f"/{name}").status_code == 504 and (impatient.marks / name).exists())
    assert well(impatient) == neighbour
    impatient.wait_for_log(rf"\[{name}\] request #\d+ did not end within {INTERRUPT} s of its interrupt", 10)
    after = who_answers(impatient, f"/{name}/who")
    (impatient.marks / "enough").touch()
    assert after["interpreter"] not in (before["interpreter"], neighbour, 0)
    assert well(impatient) == neighbour


def test_who_waits_for_an_interpreter_that_does_not_obey(impatient: Server) -> None:
    """A request that waits behind a stuck one is answered by the interpreter that replaces its own."""
    for mark in ("enough", "defies"):
        (impatient.marks / mark).unlink(missing_ok=True)
    before = impatient.get("/defies/who").json()
    with impatient.connect() as stuck, impatient.connect() as waiting:
        stuck.sendall(b"GET /defies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until((impatient.marks / "defies").exists, what="the stuck request")
        waiting.sendall(b"GET /defies/who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: waiting.recv(65536), b""))
    (impatient.marks / "enough").touch()
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["interpreter"] != before["interpreter"]


@pytest.mark.parametrize("name", ["defies", "sleeps"])
def test_a_pool_of_global_that_does_not_obey(impatient: Server, name: str) -> None:
    """In GLOBAL it is the pool that is replaced: the interpreter stays the main one."""
    given_up = "of its interrupt: its interpreter is given up"
    (impatient.marks / "enough").unlink(missing_ok=True)
    assert impatient.get("/global/who").json()["interpreter"] == 0
    before = impatient.log().count(given_up)
    assert impatient.get(f"/global/{name}").status_code == 504
    until(lambda: impatient.log().count(given_up) > before, 10)
    assert [impatient.get("/global/who").json()["interpreter"] for _ in range(3)] == [0] * 3
    (impatient.marks / "enough").touch()


def test_an_interpreter_that_was_given_up_is_closed_when_it_can_be(impatient: Server) -> None:
    """As soon as the last of its workers has come back its atexit functions run."""
    given_up = impatient.get("/returns/who").json()["interpreter"]
    assert impatient.get("/returns?2").status_code == 504
    impatient.wait_for_log(r"\[returns\] request #\d+ did not end", 10)
    until((impatient.marks / f"atexit-{given_up}").exists, 10)
    assert impatient.get("/returns/who").json()["interpreter"] != given_up


def test_an_application_that_does_not_finish_loading(impatient: Server) -> None:
    """504 after timeouts.startup, and with the next request it is tried again."""
    for _ in range(2):
        began = time.monotonic()
        assert impatient.get("/loads").status_code == 504
        assert STARTUP <= time.monotonic() - began < STARTUP + 2
    impatient.wait_for_log(r"\[loads #\d+\] the request is interrupted; it is at:\n(.*\n)*.*limits_loads_for_ever.py")


def test_the_end_of_a_server_with_interpreters_that_were_given_up(site: Site, ask: Ask, tmp_path: Path) -> None:
    """They are left behind: the exit status is 0, within the time that they are given."""
    text = f"[timeouts]\nrequest = 0.3\ninterrupt = {INTERRUPT}\ngraceful = 0.3\n"
    text += "".join(mount(f"/{name}", f"stop_{name}:application", name) for name in STUCK)
    with serving(site(text), environ={"STOP_MARKS": str(tmp_path)}) as server:
        assert {status(connection) for connection in [ask(server, f"/{name}") for name in STUCK]} == {504}
        server.wait_for_log(r"(?s)(did not end within.*){3}", 10)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 0.3 + INTERRUPT + 1
