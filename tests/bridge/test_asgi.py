"""The ASGI application called by hand, on asyncio and trio: scopes, events that fail, cancellation in every phase.

One application for all tests, so for many event loops. Each group has one worker, and ``/hello`` after a test shows
that it is free.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncgroups import config
from asyncgroups.asgi import ApplicationGroups
from asyncgroups.errors import ConfigurationError
from asyncgroups.frontend.lifecycle import Lifecycle
from tests.bridge.site import GROUPS, NAMES, names
from tests.serving import APPS

pytestmark = pytest.mark.anyio

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

PATIENCE = 5.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def application() -> Iterator[ApplicationGroups]:
    mounts = [
        {
            "path": f"/{group}/{name}",
            "app": f"{module}:{name}",
            "application_group": NAMES[group],
            "process_group": "back" if group.startswith("daemon") else "",
        }
        for group in GROUPS
        for module in ("bridge_good", "bridge_life", "bridge_bad")
        for name in names(module)
    ]
    mounts.append({"path": "/unnamed", "app": "bridge_good:environ", "application_group": "%{ENV:WHICH}"})
    table = {
        "app_dir": str(APPS),
        "limits": {"request_body": "unlimited"},
        "global": {"threads": 1},
        "timeouts": {"graceful": 1, "interrupt": 1},
        "process_group": {"back": {"threads": 1}},
        "mount": mounts,
    }
    application = ApplicationGroups.of(Lifecycle(lambda: config.from_mapping(table, base=APPS, source="this test")))
    yield application
    assert application.lifecycle.stop() == []


def http(path: str, *, method: str = "GET", query: object = b"", headers: Any = (), **keys: Any) -> Event:
    """A scope, as uvicorn makes it."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query if isinstance(query, bytes) else str(query).encode(),
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 40000),
        "server": ("192.0.2.2", 8000),
    } | keys
    return {key: value for key, value in scope.items() if value is not ...}


def body(*pieces: bytes) -> list[Event]:
    """The events of a request's body."""
    *first, last = pieces
    events = [{"type": "http.request", "body": piece, "more_body": True} for piece in first]
    return [*events, {"type": "http.request", "body": last, "more_body": False}]


GONE = {"type": "http.disconnect"}


class Client:
    """Gives its events one after the other, then waits; keeps what was sent."""

    def __init__(self, *events: Event, send: Send | None = None) -> None:
        self._events = list(events)
        self._send = send
        self.sent: list[Event] = []
        self.left = anyio.Event()
        self.waits = anyio.Event()

    async def receive(self) -> Event:
        await anyio.lowlevel.checkpoint()
        if self._events:
            return self._events.pop(0)
        self.waits.set()
        await self.left.wait()
        return GONE

    async def send(self, event: Event) -> None:
        if self._send is not None:
            await self._send(event)
        else:
            await anyio.lowlevel.checkpoint()
        self.sent.append(event)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        """The whole body of the response."""
        assert [event["type"] for event in self.sent] == ["http.response.start"] + ["http.response.body"] * (
            len(self.sent) - 1
        )
        assert [event.get("more_body", False) for event in self.sent[1:]] == [True] * (len(self.sent) - 2) + [False]
        return b"".join(event.get("body", b"") for event in self.sent[1:])


async def call(application: ApplicationGroups, scope: Event, *events: Event) -> Client:
    """One exchange from its beginning to its end."""
    client = Client(*(events or body(b"")))
    with anyio.fail_after(PATIENCE):
        await application(scope, client.receive, client.send)  # type: ignore[arg-type]
    return client


async def environ(application: ApplicationGroups, path: str = "/named/environ", **keys: Any) -> dict[str, Any]:
    return json.loads((await call(application, http(path, **keys))).body)


async def in_good_health(application: ApplicationGroups, group: str) -> None:
    """The only worker of the group is free."""
    assert (await call(application, http(f"/{group}/hello"))).body == b"hello"


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not true():  # noqa: ASYNC110 - what it waits for happens in another interpreter
            await anyio.sleep(0.005)


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> str:
    return request.param


# Scopes ---------------------------------------------------------------------------------------------------------------


async def test_websocket_is_refused(application: ApplicationGroups) -> None:
    """A clean close before it was accepted, which servers answer with 403."""
    client = Client({"type": "websocket.connect"})
    await application({"type": "websocket", "path": "/named/hello"}, client.receive, client.send)  # type: ignore[arg-type,typeddict-item]
    assert [event["type"] for event in client.sent] == ["websocket.close"]


async def test_unknown_scope(application: ApplicationGroups) -> None:
    """A type of scope that is none of ours raises, which the specification asks for."""
    client = Client()
    with pytest.raises(TypeError, match="telepathy"):
        await application({"type": "telepathy"}, client.receive, client.send)  # type: ignore[arg-type,typeddict-item]
    assert client.sent == []


async def test_lifespan() -> None:
    """Startup and shutdown are answered; what was served is served no longer then."""
    table = {"app_dir": str(APPS), "mount": [{"path": "/", "app": "bridge_good:hello", "application_group": "x"}]}
    application = ApplicationGroups.of(Lifecycle(lambda: config.from_mapping(table, base=APPS, source="this test")))
    client = Client({"type": "lifespan.startup"})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(application, {"type": "lifespan"}, client.receive, client.send)
        await until(lambda: client.sent)
        assert client.sent == [{"type": "lifespan.startup.complete"}]
        assert (await call(application, http("/"))).body == b"hello"
        client.left.set()
    assert client.sent[1:] == [{"type": "lifespan.shutdown.complete"}]
    assert (await call(application, http("/"))).status == 503


async def test_lifespan_with_a_configuration_that_is_wrong() -> None:
    """Startup fails and says why; it raises then, for which Starlette's test client waits."""
    application = ApplicationGroups.of(
        Lifecycle(lambda: config.from_mapping({"threats": 1}, base=APPS, source="this test"))
    )
    client = Client({"type": "lifespan.startup"})
    with pytest.raises(ConfigurationError) as caught:
        await application({"type": "lifespan"}, client.receive, client.send)  # type: ignore[arg-type,typeddict-item]
    assert client.sent == [{"type": "lifespan.startup.failed", "message": str(caught.value)}]
    assert "did you mean threads?" in client.sent[0]["message"]


@pytest.mark.parametrize(
    ("keys", "script_name", "path_info"),
    [
        ({"path": "/named/environ/\udcff", "raw_path": ...}, "/named/environ", "/\xff"),
        ({"path": "/named/environ/\ufffd", "raw_path": b"/named/environ/%FF"}, "/named/environ", "/\xff"),
        ({"path": "/named/environ/\xfc", "raw_path": None}, "/named/environ", "/\xc3\xbc"),
        ({"path": "/named/environ/x", "raw_path": b"/named/environ/x?q=1"}, "/named/environ", "/x"),
        ({"path": "/named/environ/x", "raw_path": b"http://h:1/named/environ/x"}, "/named/environ", "/x"),
        ({"path": "/app/named/environ/x", "root_path": "/app"}, "/app/named/environ", "/x"),
        ({"path": "/named/environ/x", "root_path": "/app"}, "/app/named/environ", "/x"),
        ({"path": "/app/named/environ/x", "root_path": "/app/"}, "/app/named/environ", "/x"),
        ({"raw_path": b"/app/named/environ/x", "root_path": "/app"}, "/app/named/environ", "/x"),
        ({"path": "/named/environ/x", "root_path": "/nam"}, "/nam/named/environ", "/x"),
        ({"path": "/named/environ/x", "root_path": "/\xfc"}, "/\xc3\xbc/named/environ", "/x"),
        ({"path": "/named/environ/new", "raw_path": b"/old"}, "/named/environ", "/new"),
    ],
    ids=ascii,
)
async def test_script_name_and_path_info(
    application: ApplicationGroups, keys: Event, script_name: str, path_info: str
) -> None:
    """From raw_path where it says what path says; both conventions of root_path; and only whole segments of it."""
    given = await environ(application, **({"path": "/named/environ/x", "raw_path": ...} | keys))
    assert (given["SCRIPT_NAME"], given["PATH_INFO"]) == (script_name, path_info)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"server": None}, {"SERVER_NAME": "localhost", "SERVER_PORT": "80"}),
        ({"server": None, "scheme": "https"}, {"SERVER_PORT": "443", "HTTPS": "on", "wsgi.url_scheme": "https"}),
        ({"server": ("/run/socket", None)}, {"SERVER_NAME": "localhost", "SERVER_PORT": "80"}),
        ({"server": ("192.0.2.9", "8080")}, {"SERVER_NAME": "192.0.2.9", "SERVER_PORT": "8080"}),
        ({"client": None}, {"REMOTE_ADDR": None, "REMOTE_PORT": None}),
        ({"query": b"\xe9=%FF"}, {"QUERY_STRING": "\xe9=%FF"}),
        ({"headers": [(b"X-Upper", b"\xff")]}, {"HTTP_X_UPPER": "\xff"}),
        ({"headers": [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]}, {"CONTENT_LENGTH": None}),
        ({"asyncgroups": {"env": {"SITE": "n\xf6"}}}, {"SITE": "n\xc3\xb6"}),
    ],
    ids=ascii,
)
async def test_environ_of_a_scope(application: ApplicationGroups, keys: Event, expected: dict[str, str | None]) -> None:
    """What servers leave out, or write in their own ways."""
    given = await environ(application, **keys)
    assert {key: given.get(key) for key in expected} == expected


async def test_group_from_an_outer_application(application: ApplicationGroups) -> None:
    """scope["asyncgroups"]["env"] decides where %{ENV:...} asks for it; without it the answer is 500."""
    given = await environ(application, "/unnamed", asyncgroups={"env": {"WHICH": "bridge"}})
    assert given["asyncgroups.application_group"] == "bridge"
    assert (await call(application, http("/unnamed"))).status == 500


@pytest.mark.parametrize(
    ("path", "keys", "status"),
    [
        ("/named/environ", {"headers": [(b"content-length", b"-1")]}, 400),
        ("/named/environ", {"headers": [(b"content-length", b"1"), (b"content-length", b"2")]}, 400),
        ("/named/environ", {"headers": [(b"x", b"a\0b")]}, 400),
        ("/named/environ", {"headers": [(b"x", b"a" * 70_000)]}, 431),
        ("example.org:443", {"method": "CONNECT"}, 400),
        ("/nowhere", {}, 404),
        ("*", {"method": "OPTIONS"}, 404),
    ],
    ids=lambda value: ascii(value)[:60],
)
async def test_refused(application: ApplicationGroups, path: str, keys: Event, status: int) -> None:
    """A request that no environ can be made of is answered with a status, and no application runs."""
    assert (await call(application, http(path, **keys))).status == status


# Bodies ---------------------------------------------------------------------------------------------------------------


async def test_no_more_than_the_content_length(application: ApplicationGroups, group: str) -> None:
    """Bytes that a server lets through beyond it never reach the application."""
    scope = http(f"/{group}/echo", method="POST", headers=[(b"content-length", b"5")])
    assert (await call(application, scope, *body(b"012", b"3456", b"789"))).body == b"01234"


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 1_000_000])
async def test_one_event_of_any_size(application: ApplicationGroups, group: str, size: int) -> None:
    """A server may give the whole body in one event, or begin with an empty one."""
    block = (bytes(range(251)) * (size // 251 + 1))[:size]
    for events in (body(block), body(b"", block), body(block, b"")):
        assert (await call(application, http(f"/{group}/echo", method="POST"), *events)).body == block


async def test_unlimited(application: ApplicationGroups, group: str) -> None:
    """With request_body = "unlimited" any Content-Length will do."""
    scope = http(f"/{group}/answers_at_once", method="POST", headers=[(b"content-length", b"%d" % 10**15)])
    assert (await call(application, scope, *body(b"x", b"y"))).body == b"early"


async def test_nothing_goes_out_before_the_first_piece(
    application: ApplicationGroups, group: str, tmp_path: Path
) -> None:
    """start_response() alone, and empty pieces, say nothing to the server."""
    client = Client(*body(b""))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(application, http(f"/{group}/starts_and_holds", query=tmp_path), client.receive, client.send)
        await until((tmp_path / "held").exists)
        await client.waits.wait()  # it has been patient already
        assert client.sent == []
        (tmp_path / "go").touch()
    assert (client.status, client.body) == (201, b"let go")


async def test_wsgi_errors(
    application: ApplicationGroups,
    group: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """wsgi.errors is an error stream: records with the level ERROR, which know their group, and nothing on stdout."""
    await call(application, http(f"/{group}/errors"))
    await until(lambda: "unfinished line" in caplog.text)
    records = [record for record in caplog.records if "wsgi.errors" in record.getMessage()]
    assert [record.levelno for record in records] == [logging.ERROR]
    assert records[0].application_group == ("" if group.endswith("global") else "bridge")  # type: ignore[attr-defined]
    assert capfd.readouterr().out == ""


async def test_disconnect_from_inside_the_last_send(application: ApplicationGroups, group: str) -> None:
    """Servers end ``receive`` when they get the last event: their ``send`` is not cancelled on the way back.

    hypercorn on trio would not start the keep-alive timer of the connection, and wait for it at its stop.
    """

    async def send(event: Event) -> None:
        if event["type"] == "http.response.body" and not event["more_body"]:
            client.left.set()
            for _ in range(10):
                await anyio.lowlevel.checkpoint()

    client = Client(*body(b"one", b"two"), send=send)
    with anyio.fail_after(PATIENCE):
        await application(http(f"/{group}/digest", method="POST"), client.receive, client.send)  # type: ignore[arg-type]
    assert len(client.body) == 64
    await in_good_health(application, group)


# send() that raises ---------------------------------------------------------------------------------------------------


def failing(error: Exception, at: int) -> Send:
    """A ``send`` that raises at its ``at``-th event."""
    count = 0

    async def send(_: Event) -> None:
        nonlocal count
        count += 1
        if count >= at:
            raise error
        await anyio.lowlevel.checkpoint()

    return send


@pytest.mark.parametrize("error", [OSError("the client has left"), RuntimeError("a mistake of the server's")], ids=repr)
@pytest.mark.parametrize(
    ("name", "at"),
    [*(("pieces", at) for at in (1, 2, 3)), *(("endless", at) for at in (1, 2, 20)), ("endless_drops", 9)],
)
async def test_send_raises(
    application: ApplicationGroups, group: str, tmp_path: Path, name: str, at: int, error: Exception
) -> None:
    """The application is ended, close() runs once, the worker is free. An OSError means that the client has left."""
    client = Client(*body(b""), send=failing(error, at))
    expected = contextlib.nullcontext() if isinstance(error, OSError) else pytest.raises(type(error))
    with anyio.fail_after(PATIENCE), expected:
        await application(http(f"/{group}/{name}", query=tmp_path), client.receive, client.send)  # type: ignore[arg-type]
    await in_good_health(application, group)
    assert len((tmp_path / "closed").read_text().splitlines()) == 1


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("path", ["/nowhere", "/named/raises_at_once"])
async def test_send_of_a_refusal_raises(application: ApplicationGroups, path: str, at: int) -> None:
    """A client that has left before it could be refused is no error."""
    client = Client(*body(b""), send=failing(OSError("the client has left"), at))
    with anyio.fail_after(PATIENCE):
        await application(http(path), client.receive, client.send)  # type: ignore[arg-type]
    await in_good_health(application, "named")


async def test_send_of_a_file_raises(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """Also where the file goes out without the worker."""
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    client = Client(*body(b""), send=failing(OSError("the client has left"), 3))
    with anyio.fail_after(PATIENCE):
        await application(http(f"/{group}/sends_file", query=tmp_path), client.receive, client.send)  # type: ignore[arg-type]
    await in_good_health(application, group)


# Cancellation ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running(application: ApplicationGroups, scope: Event, client: Client) -> AsyncIterator[Callable[[], None]]:
    """The exchange beside the block, which gets what cancels it; at its end it has come to an end."""
    async with anyio.create_task_group() as tasks:
        scope_of_task = anyio.CancelScope()

        async def exchange() -> None:
            with scope_of_task:
                await application(scope, client.receive, client.send)  # type: ignore[arg-type]

        tasks.start_soon(exchange)
        with anyio.fail_after(PATIENCE):
            yield scope_of_task.cancel


async def blocked(_: Event) -> None:
    await anyio.sleep(math.inf)


async def test_cancelled_before_the_first_event(application: ApplicationGroups, group: str) -> None:
    """While the client has not sent a byte of its body."""
    client = Client()
    async with running(application, http(f"/{group}/echo"), client) as cancel:
        await client.waits.wait()
        cancel()
    assert client.sent == []
    await in_good_health(application, group)


async def test_cancelled_in_the_queue(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """While it waits for a worker: it is never run."""
    stuck, waiting = Client(*body(b"")), Client(*body(b""))
    (tmp_path / "queued").mkdir()
    async with running(application, http(f"/{group}/holds", query=tmp_path), stuck):
        await until((tmp_path / "held").exists)
        scope = http(f"/{group}/pieces", query=tmp_path / "queued")
        async with running(application, scope, waiting) as cancel:
            await waiting.waits.wait()
            cancel()
        (tmp_path / "go").touch()
    assert stuck.body == b"let go"
    await in_good_health(application, group)
    assert not (tmp_path / "queued" / "closed").exists()


async def test_cancelled_while_the_interpreter_starts(anyio_backend: str) -> None:
    """Before there is an interpreter: its worker serves the next request."""
    table = {"app_dir": str(APPS), "mount": [{"path": "/", "app": "bridge_good:hello", "application_group": "new"}]}
    application = ApplicationGroups.of(Lifecycle(lambda: config.from_mapping(table, base=APPS, source="this test")))
    client = Client(*body(b""))
    async with running(application, http("/"), client) as cancel:
        await until(lambda: "1 of 100 interpreters" in repr(application))
        cancel()
    assert client.sent == []
    assert (await call(application, http("/"))).body == b"hello"
    assert application.lifecycle.stop() == []


async def test_cancelled_while_the_application_loads(tmp_path: Path) -> None:
    """While it is imported: the import goes on, and the next request finds it loaded."""
    mount = {"path": "/", "app": "bridge_slow_import:application", "application_group": "slow"}
    table = {"app_dir": str(APPS), "process_env": {"GATE": str(tmp_path / "gate")}, "mount": [mount]}
    application = ApplicationGroups.of(Lifecycle(lambda: config.from_mapping(table, base=APPS, source="this test")))
    client = Client(*body(b""))
    async with running(application, http("/"), client) as cancel:
        await until((tmp_path / "gate.reached").exists)
        cancel()
    (tmp_path / "gate").touch()
    assert (await call(application, http("/"))).body == b"loaded"
    assert client.sent == []
    assert application.lifecycle.stop() == []


@pytest.mark.parametrize("patient", [False, True], ids=["at-once", "later"])
async def test_cancelled_while_the_application_works(
    application: ApplicationGroups, group: str, tmp_path: Path, patient: bool
) -> None:
    """While nothing has been said: the worker comes back when the application returns, and not before."""
    client = Client(*body(b""))
    async with running(application, http(f"/{group}/holds", query=tmp_path), client) as cancel:
        await until((tmp_path / "held").exists)
        if patient:
            await client.waits.wait()
        cancel()
    waiting = Client(*body(b""))
    async with running(application, http(f"/{group}/hello"), waiting):
        await waiting.waits.wait()
        assert waiting.sent == []
        (tmp_path / "go").touch()
    assert waiting.body == b"hello"
    assert client.sent == []


@pytest.mark.parametrize("name", ["pieces", "endless", "endless_drops"])
async def test_cancelled_while_the_client_stalls(
    application: ApplicationGroups, group: str, tmp_path: Path, name: str
) -> None:
    """While send() does not return."""
    told = anyio.Event()

    async def send(event: Event) -> None:
        if event["type"] == "http.response.body":
            told.set()
            await blocked(event)

    client = Client(*body(b""), send=send)
    async with running(application, http(f"/{group}/{name}", query=tmp_path), client) as cancel:
        await told.wait()
        cancel()
    await in_good_health(application, group)
    assert len((tmp_path / "closed").read_text().splitlines()) == 1


async def test_cancelled_during_the_upload(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """While the application waits for more of the body: read() raises."""
    client = Client({"type": "http.request", "body": b"some", "more_body": True})
    async with running(application, http(f"/{group}/reads_on", method="POST", query=tmp_path), client) as cancel:
        await until((tmp_path / "reading").exists)
        cancel()
    await in_good_health(application, group)
    assert (tmp_path / "read").read_text() == "ClientDisconnected\n"


async def test_cancelled_while_the_upload_is_held_back(
    application: ApplicationGroups, group: str, tmp_path: Path
) -> None:
    """While the body waits for the application: no more of it is taken from the server than a window."""
    given = 0

    async def receive() -> Event:
        nonlocal given
        await anyio.lowlevel.checkpoint()
        given += 1
        return {"type": "http.request", "body": b"x" * 16384, "more_body": True}

    client = Client()
    client.receive = receive  # type: ignore[method-assign]
    async with running(application, http(f"/{group}/holds_upload", method="POST", query=tmp_path), client) as cancel:
        await until((tmp_path / "held").exists)
        await anyio.wait_all_tasks_blocked()
        assert given * 16384 <= 256 * 1024
        cancel()
    (tmp_path / "go").touch()
    await in_good_health(application, group)


async def test_cancelled_while_a_file_goes_out(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """While a file goes out: the worker had been free before."""
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    told = anyio.Event()

    async def send(event: Event) -> None:
        if event.get("body"):
            told.set()
            await blocked(event)

    client = Client(*body(b""), send=send)
    async with running(application, http(f"/{group}/sends_file", query=tmp_path), client) as cancel:
        await told.wait()
        await in_good_health(application, group)
        cancel()
    await in_good_health(application, group)


async def test_cancelled_while_the_rest_of_the_body_is_dropped(application: ApplicationGroups, group: str) -> None:
    """While an early response waits for the rest of the request: the worker had been free before."""
    client = Client({"type": "http.request", "body": b"some", "more_body": True})
    async with running(application, http(f"/{group}/streams_at_once", method="POST"), client) as cancel:
        await until(lambda: sum(len(event.get("body", b"")) for event in client.sent) == len(b"early"))
        await in_good_health(application, group)
        cancel()
    await in_good_health(application, group)


async def test_cancelled_in_close(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """While close() runs, with the whole response out: the worker is free after it."""
    client = Client(*body(b""))
    async with running(application, http(f"/{group}/holds_in_close", query=tmp_path), client) as cancel:
        await until((tmp_path / "held").exists)
        cancel()
    (tmp_path / "go").touch()
    await in_good_health(application, group)
    assert len((tmp_path / "closed").read_text().splitlines()) == 1


# Disconnects ----------------------------------------------------------------------------------------------------------


async def test_gone_before_the_first_event(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """A client that has left before its request was looked at."""
    assert (await call(application, http(f"/{group}/pieces", query=tmp_path), GONE)).sent == []
    assert not (tmp_path / "closed").exists()


async def test_gone_during_a_response_that_sends_without_waiting(
    application: ApplicationGroups, group: str, tmp_path: Path
) -> None:
    """After a disconnect the send() of some servers returns at once: neither loop nor worker is lost to that."""

    async def send(_: Event) -> None:
        """Never suspends."""

    client = Client(*body(b""), send=send)
    async with running(application, http(f"/{group}/endless", query=tmp_path), client):
        await client.waits.wait()
        client.left.set()
    await in_good_health(application, group)
    assert len((tmp_path / "closed").read_text().splitlines()) == 1


@pytest.mark.parametrize("moving", ["up", "down"])
async def test_a_body_leaves_the_loop_to_others(
    application: ApplicationGroups, group: str, tmp_path: Path, moving: str
) -> None:
    """While a body passes through ``receive`` or ``send`` that take a millisecond and never suspend, others run."""
    turns = 0
    seen: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def receive() -> Event:
        if len(seen) == 20:
            return GONE
        busy()
        return {"type": "http.request", "body": bytes(60_000), "more_body": True}

    def busy() -> None:
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        seen.append(turns)

    async def send(event: Event) -> None:
        if event["type"] == "http.response.body":
            busy()
        if len(seen) == 20:
            client.left.set()

    client = Client(*body(b""), send=send)
    name, asks = ("digest", receive) if moving == "up" else ("endless", client.receive)
    scope = http(f"/{group}/{name}", method="POST" if moving == "up" else "GET", query=tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        with anyio.fail_after(PATIENCE):
            await application(scope, asks, client.send)  # type: ignore[arg-type]
        tasks.cancel_scope.cancel()
    assert len(seen) >= 20
    # trio's tasks take their turns in any order: within two of them each has had one.
    assert all(before < after for before, after in zip(seen[2:], seen[4:], strict=False))
    await in_good_health(application, group)


async def test_receive_raises(application: ApplicationGroups, group: str, tmp_path: Path) -> None:
    """A receive() that fails ends the exchange, and its error is the server's to see."""

    class Broken(Exception):
        pass

    events = body(b"")

    async def receive() -> Event:
        await anyio.lowlevel.checkpoint()
        if events:
            return events.pop(0)
        raise Broken

    client = Client()
    with anyio.fail_after(PATIENCE), pytest.raises(Broken):
        await application(http(f"/{group}/endless", query=tmp_path), receive, client.send)  # type: ignore[arg-type]
    await in_good_health(application, group)
    assert len((tmp_path / "closed").read_text().splitlines()) == 1
