"""What a hostile review found once, and must not come back; one test for each finding."""

import asyncio
import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asyncgroups import config
from asyncgroups.asgi import ApplicationGroups
from asyncgroups.frontend.lifecycle import Lifecycle
from asyncgroups.host.orphans import Orphan
from asyncgroups.host.pool import Worker
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import channel as wire
from asyncgroups.wire import messages
from asyncgroups.worker import main as worker_main
from tests.serve.conftest import Ask, Site
from tests.serving import APPS, Server, serving, until

PATIENCE = 15.0


def mount(path: str, application: str, group: str) -> str:
    return f'[[mount]]\npath = "{path}"\napp = "{application}"\napplication_group = "{group}"\n'


def answer(connection: socket.socket) -> tuple[int, bytes]:
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return response.status, response.read()


# A1: a worker whose application has answered, and still wants the request's body --------------------------------------


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def readers(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    names = ("reads_in_close", "reads_afterwards")
    text = "[timeouts]\nqueue = 5\n" + "".join(mount(f"/{name}", f"regress_apps:{name}", name) for name in names)
    with serving(site(text), kind=request.param) as server:
        yield server


@pytest.mark.parametrize("path", ["/reads_in_close", "/reads_afterwards"])
def test_a_body_that_is_still_to_come_keeps_no_worker(readers: Server, path: str) -> None:
    """The only worker is free as soon as the response is complete, though the client never sends the rest."""
    with readers.connect() as slow:
        slow.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234".encode())
        assert answer(slow) == (200, b"ok")
        for _ in range(3):
            assert readers.get(path).status_code == 200
    assert readers.get(path).status_code == 200


# A2: the limits of a group's second worker ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("startup", "request_", "seconds", "status"), [(1.5, 0, 2.2, 200), (60, 0.5, 9, 504)], ids=["startup", "request"]
)
def test_a_second_worker_has_the_limits_of_the_first(
    site: Site, startup: float, request_: float, seconds: float, status: int
) -> None:
    """Once the application is loaded, timeouts.request holds for each worker, and timeouts.startup for none."""
    text = f"threads = 2\n[timeouts]\nstartup = {startup}\nrequest = {request_}\n"
    with serving(site(text + mount("/", "regress_apps:lasts", "g"))) as server, ThreadPoolExecutor(2) as clients:
        assert server.get("/").status_code == 200
        began = time.monotonic()
        both = [clients.submit(server.get, f"/both?{seconds}") for _ in range(2)]
        assert [one.result(PATIENCE).status_code for one in both] == [status, status]
        assert time.monotonic() - began < 5


# A5, C6, C8: the end of a server --------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["download", "upload"])
def test_a_client_that_stands_still_takes_no_end_from_others(site: Site, ask: Ask, tmp_path: Path, client: str) -> None:
    """With a client that does not read, or sends a head only, an idle group runs its atexit functions; status 0."""
    text = "[timeouts]\ngraceful = 0.5\ninterrupt = 3\n"
    groups = {"/well": "regress_atexit:application", "/endless": "regress_apps:endless", "/ok": "regress_apps:well"}
    text += "".join(mount(path, application, path[1:]) for path, application in groups.items())
    with serving(site(text), environ={"REGRESS_MARKS": str(tmp_path)}) as server:
        assert server.get("/well").text == "well"
        if client == "download":
            ask(server, "/endless")
            until((tmp_path / "endless").exists)
        else:
            connection = ask(server, "/ok", body=b"0123456789", headers="Expect: 100-continue\r\n")
            assert connection.recv(1024).startswith(b"HTTP/1.1 100")
        assert server.stop(seconds=0.5 + 3 + 2) == 0
        assert (tmp_path / "atexit").exists()


def test_no_time_for_the_end_is_no_time(site: Site, ask: Ask, tmp_path: Path) -> None:
    """With graceful and interrupt at 0 the server ends at once, even when GLOBAL holds the GIL."""
    text = "[timeouts]\ngraceful = 0\ninterrupt = 0\n" + mount("/", "regress_gil:application", "%{GLOBAL}")
    with serving(site(text), environ={"REGRESS_MARKS": str(tmp_path)}) as server:
        ask(server, "/")
        until((tmp_path / "matching").exists)
        assert server.stop(seconds=3) == 0


@pytest.mark.parametrize("place", ["", 'process_group = "back"\n'])
def test_a_signal_while_an_application_is_preloaded(site: Site, tmp_path: Path, place: str) -> None:
    """A server that is told to stop before it is ready does not wait until it is, and ends with status 0."""
    text = "preload = true\n[timeouts]\ngraceful = 30\n[process_group.back]\n"
    text += mount("/", "regress_preload:application", "g") + place
    with serving(site(text), environ={"REGRESS_MARKS": str(tmp_path)}, ready=False) as server:
        until((tmp_path / "importing").exists)
        assert server.stop(seconds=10) == 0
        assert "by force" not in server.log()


# In process: the ASGI application -------------------------------------------------------------------------------------


class Client:
    """An ASGI client: what it sends, and then ``last``: an event, an exception, or None for silence."""

    def __init__(self, *events: dict[str, Any], last: dict[str, Any] | Exception | None = None) -> None:
        self.events = [*events] or [{"type": "http.request", "body": b"", "more_body": False}]
        self.last = last
        self.sent: list[Any] = []
        self.stalls = False

    async def receive(self) -> Any:
        if self.events:
            return self.events.pop(0)
        if isinstance(self.last, Exception):
            raise self.last
        return self.last or await asyncio.Event().wait()

    async def send(self, event: Any) -> None:
        self.sent.append(event)
        if self.stalls and event["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def ask(self, application: ApplicationGroups, name: str, query: str = "") -> int | None:
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/{name}",
            "raw_path": f"/{name}".encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [],
            "client": ("192.0.2.1", 4),
            "server": ("192.0.2.2", 8000),
        }
        async with asyncio.timeout(PATIENCE):
            await application(scope, self.receive, self.send)
        return self.sent[0]["status"] if self.sent else None


async def status(application: ApplicationGroups, name: str, query: str = "") -> int | None:
    return await Client().ask(application, name, query)


def groups(tmp_path: Path, *names: str, **tables: dict[str, float]) -> ApplicationGroups:
    mounts = [{"path": f"/{name}", "app": f"regress_apps:{name}", "application_group": name} for name in names]
    table = {"python_path": [str(APPS)], "process_env": {"REGRESS_MARKS": str(tmp_path)}, "mount": mounts, **tables}
    return ApplicationGroups.of(Lifecycle(lambda: config.from_mapping(table, base=tmp_path, source="test")))


@contextlib.asynccontextmanager
async def stopping(application: ApplicationGroups) -> AsyncIterator[ApplicationGroups]:
    try:
        yield application
    finally:
        assert await asyncio.to_thread(application.lifecycle.stop) == []


def mark(folder: Path, name: str) -> None:
    (folder / name).touch()


async def come(path: Path) -> None:
    await asyncio.to_thread(until, path.exists, PATIENCE, what=path.name)


def test_a_second_lifespan(tmp_path: Path) -> None:
    """An application whose lifespan ends and begins again answers again."""
    application = groups(tmp_path, "well")

    async def live() -> list[Any]:
        events: asyncio.Queue[Any] = asyncio.Queue()
        said: asyncio.Queue[Any] = asyncio.Queue()
        scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}}
        life = asyncio.create_task(application(scope, events.get, said.put))
        async with asyncio.timeout(PATIENCE):
            events.put_nowait({"type": "lifespan.startup"})
            seen = [(await said.get())["type"]]
            seen.append(await status(application, "well"))
            events.put_nowait({"type": "lifespan.shutdown"})
            seen.append((await said.get())["type"])
            await life
        return seen

    for _ in range(2):
        assert asyncio.run(live()) == ["lifespan.startup.complete", 200, "lifespan.shutdown.complete"]


def test_clients_that_have_left_keep_no_place_in_the_queue(tmp_path: Path) -> None:
    """Not even those that have sent a part of their body first."""

    async def main() -> None:
        async with stopping(groups(tmp_path, "lasts", limits={"backlog": 4}, timeouts={"queue": 10})) as application:
            busy = asyncio.create_task(status(application, "lasts", "9"))
            await come(tmp_path / "lasts")
            part = {"type": "http.request", "body": b"x", "more_body": True}
            ghosts = [Client(part, last={"type": "http.disconnect"}) for _ in range(4)]
            await asyncio.gather(*(ghost.ask(application, "lasts") for ghost in ghosts))
            assert not busy.done()
            assert [ghost.sent for ghost in ghosts] == [[]] * 4
            mark(tmp_path, "enough")
            assert await status(application, "lasts") == 200
            assert await busy == 200

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError("reset"), RuntimeError("the server's own")], ids=["OSError", "other"])
@pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "running"])
def test_what_receive_raises_comes_as_it_is(tmp_path: Path, error: Exception, waiting: bool) -> None:
    """An OSError is the client's leaving; anything else reaches the server, and not in an exception group."""

    async def main() -> None:
        async with stopping(groups(tmp_path, "lasts")) as application:
            first = None
            if waiting:
                first = asyncio.create_task(status(application, "lasts", "9"))
                await come(tmp_path / "lasts")
            client = Client({"type": "http.request", "body": b"", "more_body": False}, last=error)
            if isinstance(error, OSError):
                assert await client.ask(application, "lasts", "9") is None
            else:
                with pytest.raises(RuntimeError) as raised:
                    await client.ask(application, "lasts", "9")
                assert raised.value is error
            mark(tmp_path, "enough")
            if first is not None:
                assert await first == 200
            assert await status(application, "lasts") == 200

    asyncio.run(main())


def test_a_client_that_does_not_read_is_bound_by_the_limit(tmp_path: Path) -> None:
    """timeouts.request ends a response that its client does not take, and its worker is free for the next one."""

    async def main() -> None:
        limits = {"request": 0.5, "interrupt": 5, "queue": 5}
        async with stopping(groups(tmp_path, "endless", timeouts=limits)) as application:
            for _ in range(2):
                client = Client()
                client.stalls = True
                assert await client.ask(application, "endless") == 200
                assert client.sent[-1].get("more_body", True)  # cut, not ended

    asyncio.run(main())


# In process: threads and descriptors that are not to be had -----------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def no_threads(monkeypatch: pytest.MonkeyPatch, prefix: str) -> Callable[[], None]:
    """Threads of this name cannot be started until the returned function is called."""
    start = threading.Thread.start
    allowed = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(prefix) and not allowed.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return allowed.set


@pytest.fixture
def control() -> Iterator[wire.Channel]:
    """The control channel of GLOBAL's program, which runs in a thread of this process."""
    ours, theirs = wire.pair()
    ours._socket.settimeout(PATIENCE)
    arguments = (theirs, "", "", 2, (), None)
    thread = threading.Thread(target=worker_main.run, args=arguments, name="control", daemon=True)
    thread.start()
    try:
        assert heard(ours, messages.READY) is not None
        yield ours
        assert thread.is_alive()
        ours.say(messages.numbers(messages.STOP, 5000))
        assert messages.parse_numbers(heard(ours, messages.STOPPED), 1) == (0,)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        ours.close()


def heard(channel: wire.Channel, wanted: int) -> bytes:
    """The payload of the next message of that kind."""
    while True:
        kind, payload = channel.receive()
        if kind == wanted:
            return payload


def loads(control: wire.Channel, number: int) -> None:
    """A worker can be made, and does what it is told."""
    ours, theirs = wire.pair()
    ours._socket.settimeout(PATIENCE)
    try:
        control.send_descriptor(messages.numbers(messages.WORKER, number), theirs)
        os.close(theirs)
        ours.say(messages.texts(messages.LOAD, "7", "regress_no_such_module:application"))
        heard(ours, messages.DONE)
    finally:
        ours.close()


def test_a_worker_without_a_descriptor_costs_itself_only(control: wire.Channel) -> None:
    """When the channel of a new worker is lost on its way, its interpreter lives on, and gets the next worker."""
    control.say(messages.numbers(messages.WORKER, 1))
    record = messages.parse_record(heard(control, messages.RECORD))
    assert "worker 1" in record.text
    loads(control, 2)


def test_a_worker_without_a_thread_costs_itself_only(control: wire.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no thread for a new worker its channel ends, and its interpreter lives on."""
    allow = no_threads(monkeypatch, "GLOBAL-")
    ours, theirs = wire.pair()
    ours._socket.settimeout(PATIENCE)
    control.send_descriptor(messages.numbers(messages.WORKER, 1), theirs)
    os.close(theirs)
    assert ours._socket.recv(1) == b""
    ours.close()
    allow()
    loads(control, 2)


def test_no_thread_for_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered with 503, nothing is left behind, and the group works once there is one."""

    async def main() -> None:
        async with stopping(groups(tmp_path, "well", limits={"groups": 1})) as application:
            assert await Client().ask(application, "nowhere") == 404  # whatever is made once has been made
            allow = no_threads(monkeypatch, "interpreter-")
            assert await status(application, "well") == 503
            supervisor = application.lifecycle.start().supervisor
            before = descriptors()
            for _ in range(5):
                assert await status(application, "well") == 503
            assert (supervisor._alive, supervisor._pools) == ({}, {})
            # The reaper closes the last of them when it sees the end of the other side.
            await asyncio.to_thread(until, lambda: descriptors() <= before, PATIENCE)
            allow()
            assert await status(application, "well") == 200

    asyncio.run(main())


@pytest.mark.parametrize("lacking", ["descriptors", "threads"])
def test_a_reaper_that_cannot_start_starts_later(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """Its first user learns of it, nothing is left behind, and its next user has a reaper."""
    reaper = Reaper()
    before = descriptors()
    with monkeypatch.context() as patch:
        if lacking == "threads":
            no_threads(patch, "asyncgroups-reaper")
        else:
            patch.setattr(socket, "socketpair", no_descriptors)
        for _ in range(3):
            with pytest.raises((OSError, RuntimeError)):
                reaper.later(0, int)
    assert descriptors() <= before  # a reaper of an earlier test may have let go of its own meanwhile
    done = threading.Event()
    reaper.later(0, done.set)
    try:
        assert done.wait(PATIENCE)
    finally:
        reaper.end()


def no_descriptors(*_: object) -> None:
    raise OSError(24, "Too many open files")


# A6: the give-up of an interpreter ------------------------------------------------------------------------------------


class FakePool:
    def __init__(self) -> None:
        self.released = threading.Event()

    def release(self, worker: object) -> None:
        self.released.set()


class FakeWorker:
    def __init__(self, channel: wire.Channel) -> None:
        self.channel = channel
        self.pool = FakePool()
        self.interrupted = threading.Event()

    def interrupt(self) -> None:
        self.interrupted.set()


def test_a_worker_that_obeys_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the threads are switched while its time is up: what would give up its interpreter is called off."""
    ours, theirs = wire.pair()
    worker: Any = FakeWorker(ours)
    reaper = Reaper()
    later = reaper.later

    def switched_away(seconds: float, action: Callable[[], None]) -> Any:
        timer = later(seconds, action)
        if action.__name__ == "_interrupt" and worker.interrupted.wait(0.2):  # if the reaper can come first, it does,
            done = threading.Event()
            later(0, done.set)
            assert done.wait(PATIENCE)  # and to its end
        return timer

    monkeypatch.setattr(reaper, "later", switched_away)
    given_up: list[Worker] = []
    try:
        Orphan(worker, reaper=reaper, limit=0.0, patience=100.0, on_stuck=given_up.append)
        assert worker.interrupted.wait(PATIENCE)
        with socket.socket(fileno=theirs) as other:
            other.sendall(messages.frame(messages.DONE))
            assert worker.pool.released.wait(PATIENCE)
        assert [timer.action for _, _, timer in reaper._timers if timer.action is not None] == []
        assert given_up == []
    finally:
        reaper.end()
        ours.close()
