"""``isolation = "auto"``: groups whose applications need what refuses to be loaded in an interpreter of its own."""

import hashlib
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.processes.conftest import Site, daemons
from tests.serving import KINDS, Server, serving, until

PATIENCE = 20.0
MOVED = "The application group is moved into a daemon process of its own"
MIB = 1 << 20


def mount(
    path: str, app: str = "moves_tells", *, group: str = "", needs: str = "", settings: str = "", **env: str
) -> str:
    variables = {"NEEDS": needs, **env}
    table = ", ".join(f'{name} = "{value}"' for name, value in variables.items() if value)
    return (
        f'[[mount]]\npath = "/{path}"\napp = "{app}:application"\napplication_group = "{group or path}"\n'
        f"process_env = {{ {table} }}\n{settings}\n"
    )


BODIES = {
    "nothing": b"",
    "one byte": b"x",
    "a message": bytes(range(256)) * 256,
    "more than a message": bytes(range(256)) * 257,
    "a megabyte": bytes(range(256)) * 4096,
}
WAYS = ("at once", "in pieces")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an application of the server's waits for at its import."""
    return tmp_path_factory.mktemp("gate") / "gate"


HEAD = "[timeouts]\ngraceful = 1\ninterrupt = 1\n"


@pytest.fixture(scope="module", params=KINDS)
def receiving(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    """One of each kind, whose groups take what they are sent."""
    groups = [f"{kind} {way}".replace(" ", "-") for way in WAYS for kind in BODIES]
    text = HEAD + "".join(mount(group, needs="readline") for group in groups)
    with serving(site(text), kind=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def server(site: Site, gate: Path) -> Iterator[Server]:
    text = HEAD + "[process_group.back]\nprocesses = 2\nprocess_env = { TWO = 'of the process group' }\n"
    text += mount("ten", needs="_curses", settings="threads = 4")
    text += mount("sees", needs="_curses", settings="threads = 2")
    text += mount("gate", needs="readline", GATE=str(gate))
    text += mount("plain", needs="")
    text += mount("late")
    text += mount("optional")
    text += mount("flask", "moves_flask")
    text += mount("mistaken", "moves_mistaken")
    text += mount("misses", "moves_misses")
    text += mount("other", OPTIONAL="readline")
    text += mount("twice", "moves_twice")
    text += mount("family/pure", group="family", settings="threads = 2")
    text += mount("family/lazy", "moves_flask", group="family", settings="threads = 2")
    text += mount("back", needs="readline", ONE="of the mount", settings='process_group = "back"\nthreads = 3')
    text += mount("own", ONE="of the mount", settings='isolation = "process"\nthreads = 2')
    text += mount("strict", settings='isolation = "interpreter"')
    environ = {"ONE": "of the server", "THREE": "of the server"}
    with serving(site(text), environ=environ) as server:
        yield server


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, max(len(body), 1), 40_000):
        yield body[at : at + 40_000]


def warnings(server: Server, group: str) -> list[str]:
    return re.findall(rf"\[{re.escape(group)}\] .*{MOVED}.*", server.log())


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("way", WAYS)
def test_the_request_that_meets_it_is_answered(receiving: Server, way: str, kind: str) -> None:
    """By a process of the group's own, with its whole body; as are the next ones; and the log says it once."""
    group = f"{kind} {way}".replace(" ", "-")
    body = BODIES[kind]
    with receiving.client() as client:
        for _ in range(2):
            answer = client.post(f"/{group}", content=body if way == "at once" else pieces(body))
            assert answer.status_code == 200, receiving.log()
            told = answer.json()
            assert (told["length"], told["digest"]) == (len(body), hashlib.sha256(body).hexdigest())
            assert told["pid"] in {one.pid for one in daemons(receiving)}
    (warning,) = warnings(receiving, group)
    assert "'moves_tells:application': the extension module readline refuses to be loaded" in warning
    assert 'isolation = "process" for its mount' in warning
    assert "Traceback" not in "".join(line for line in receiving.log().splitlines() if group in line)


def test_what_the_application_sees(server: Server) -> None:
    """Its group keeps its name, its threads and its environment."""
    told = server.get("/sees").json()
    assert (told["group"], told["process_group"], told["multithread"]) == ("sees", "", True)
    assert not told["multiprocess"]
    assert told["variables"] == ["of the server", None, "of the server"]


def ask(server: Server, path: str, body: bytes) -> httpx.Response:
    with server.client() as client:
        return client.post(path, content=body)


def test_ten_at_once(server: Server) -> None:
    """Requests that meet it together, or wait for those, are all answered; the group is moved once."""
    body = b"y" * 100_000
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: ask(server, "/ten", body), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    told = [answer.json() for answer in answers]
    assert {one["length"] for one in told} == {len(body)}
    assert len({one["pid"] for one in told}) == 1
    assert len(warnings(server, "ten")) == 1


def test_a_client_that_leaves(server: Server, gate: Path) -> None:
    """It is missed while its request moves, and its worker is free for the next one."""
    reached = gate.with_suffix(".reached")
    with server.connect() as connection:
        connection.sendall(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
        until(reached.exists, what="the import in the process")
    gate.touch()
    assert server.get("/gate").json()["group"] == "gate"
    assert len(warnings(server, "gate")) == 1


def test_a_lazy_import(server: Server) -> None:
    """An exception of the request's is a 500, and the next request is answered by a process."""
    before = server.get("/plain").json()
    assert before["pid"] not in {one.pid for one in daemons(server)}
    assert server.get("/plain?needs=readline").text == "500 Internal Server Error\n"
    after = server.get("/plain?needs=readline").json()
    assert after["pid"] in {one.pid for one in daemons(server)}
    assert after["group"] == "plain"
    assert len(warnings(server, "plain")) == 1


def test_a_lazy_import_under_a_framework(server: Server) -> None:
    """A framework makes a response of the exception: it goes out as it is, and the group is moved for the next."""
    first = server.get("/flask/")
    assert (first.status_code, "unable to complete your request" in first.text) == (500, True)
    assert int(server.get("/flask/").text) in {one.pid for one in daemons(server)}
    (warning,) = warnings(server, "flask")
    assert "'moves_flask:application': the extension module readline" in warning


def test_a_lazy_import_in_the_middle_of_a_response(server: Server) -> None:
    """That is cut, as ever; the next request is answered by a process."""
    with server.connect() as connection:
        connection.sendall(b"GET /late?late=readline HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while piece := connection.recv(4096):
            received += piece
    assert received.endswith(b"begun")
    assert server.get("/late").json()["pid"] in {one.pid for one in daemons(server)}


def test_what_is_swallowed(server: Server) -> None:
    """What an application does without moves nothing, and is logged once."""
    answers = [server.get("/optional?optional=readline").json() for _ in range(3)]
    assert {one["pid"] for one in answers}.isdisjoint(one.pid for one in daemons(server))
    record = r"\[optional\] 'moves_tells:application': the extension module readline refuses .* does without"
    server.wait_for_log(record)
    assert len(re.findall(record, server.log())) == 1
    assert warnings(server, "optional") == []


def test_a_mistake_is_no_refusal(server: Server) -> None:
    """A module without the application is not tried in a process, whatever it has swallowed."""
    assert server.get("/mistaken").status_code == 500
    server.wait_for_log(r"\[mistaken #\d+\] .* has no attribute 'application'")
    assert warnings(server, "mistaken") == []


def test_what_is_missed_at_once(server: Server) -> None:
    """An import that fails for another reason, after a refusal, may be its consequence: it is tried in a process."""
    assert int(server.get("/misses").text) in {one.pid for one in daemons(server)}
    assert len(warnings(server, "misses")) == 1


def test_another_failure(server: Server) -> None:
    """A request that fails after the application was loaded without something has nothing to do with that."""
    assert server.get("/other?needs=nothing_of_this_name").status_code == 500
    assert server.get("/other").json()["pid"] not in {one.pid for one in daemons(server)}
    server.wait_for_log(r"\[other\] .*readline refuses .* does without")


def test_what_does_not_load_there_either(server: Server) -> None:
    """500, and the log has the true reason."""
    assert server.get("/twice").status_code == 500
    server.wait_for_log(r"\[twice #\d+\] 'moves_twice:application' does not load(?s:.*)RuntimeError: the true reason")
    assert server.get("/twice").status_code == 500
    assert len(warnings(server, "twice")) == 1


def test_the_whole_group_moves(server: Server, tmp_path: Path) -> None:
    """All applications of the group are in its process then; a request that ran before ends where it is."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(server.get, f"/family/pure?until={gate}")
        until(lambda: gate.with_suffix(".reached").exists(), what="the request")
        assert server.get("/family/lazy/").status_code == 500
        process = int(server.get("/family/lazy/").text)
        assert server.get("/family/pure").json()["pid"] == process
        assert not running.done()
        gate.touch()
        assert running.result(PATIENCE).json()["pid"] not in {one.pid for one in daemons(server)}


def test_out_of_a_process_group(server: Server) -> None:
    """The group's own processes are as its process group has them."""
    told = server.get("/back").json()
    assert (told["group"], told["process_group"], told["multithread"], told["multiprocess"]) == (
        "back",
        "back",
        True,
        True,
    )
    assert told["variables"] == ["of the mount", "of the process group", "of the server"]
    assert len(warnings(server, "back:back")) == 1
    assert sum("asyncgroups:back:back" in one.cmdline() for one in daemons(server)) == 2


def test_a_process_from_the_start(server: Server) -> None:
    """isolation = "process": as if the group had been moved, without a word."""
    told = server.get("/own?needs=readline").json()
    assert told["pid"] in {one.pid for one in daemons(server)}
    assert (told["group"], told["process_group"], told["multithread"]) == ("own", "", True)
    assert told["variables"] == ["of the mount", None, "of the server"]
    assert "[own]" not in server.log()


def test_an_interpreter_and_nothing_else(server: Server) -> None:
    """isolation = "interpreter": the request fails, and the log says once what to set."""
    for _ in range(2):
        assert server.get("/strict?needs=readline").status_code == 500
    record = r'\[ERROR\] \[strict\] .*readline refuses .* Its isolation is "interpreter": set isolation = "process"'
    server.wait_for_log(record)
    assert len(re.findall(record, server.log())) == 1
    assert server.get("/strict").json()["pid"] not in {one.pid for one in daemons(server)}


LIMITED = "[limits]\ngroups = 1\n[timeouts]\ngraceful = 1\ninterrupt = 1\n"


def test_at_the_limit_of_groups(site: Site) -> None:
    """A group that is moved, here while the server starts, counts once; the next group finds no room, as ever."""
    text = LIMITED + mount("only", needs="readline", settings="preload = true") + mount("%{SERVER}", group="%{SERVER}")
    text = text.replace('path = "/%{SERVER}"', 'path = "/other"').replace('"%{SERVER}"', '"%{ENV:OTHER}"')
    with serving(site(text + 'env = { OTHER = "other" }\n')) as server:
        assert len(warnings(server, "only")) == 1
        assert server.get("/only").json()["pid"] in {one.pid for one in daemons(server)}
        assert server.get("/other").status_code == 503
        assert server.stop() == 0


def test_a_stop_in_the_middle_of_a_move(site: Site, tmp_path: Path) -> None:
    """The server ends in its time, and leaves nothing."""
    gate = tmp_path / "gate"
    with serving(site(LIMITED + mount("slow", needs="readline", GATE=str(gate)))) as server:
        with server.connect() as connection:
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: gate.with_suffix(".reached").exists(), what="the import in the process")
            left = daemons(server)
            began = time.monotonic()
            assert server.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began < 4
        assert [one for one in left if one.is_running()] == []


def test_preload_that_fails(site: Site) -> None:
    """What loads in no place keeps the server from starting, with the true reason."""
    text = LIMITED + mount("twice", "moves_twice", settings="preload = true")
    with serving(site(text), ready=False) as server:
        assert server.wait() == 3
        assert "moves_twice:application in application group twice: the log has the reason" in server.log()
        assert "RuntimeError: the true reason" in server.log()
