"""The same promises under every host: four servers, and three frameworks under one.

One process for each host, which its tests share: they come in the order in which they stand here, host after host, and
the last one ends it.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.site import Raw, closed_within_a_second, leave
from tests.hosts.site import GROUPS, HOSTS, PATHS, Host, environ_of, toml
from tests.serving import Server, serving, until

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


@pytest.fixture(scope="module")
def server(host: Host, marks: Path) -> Iterator[Server]:
    configuration = marks / "asyncgroups.toml"
    configuration.write_text(toml(), encoding="utf-8")
    with serving(configuration, kind=host.kind, options=host.options, environ={"STOP_MARKS": str(marks)}) as server:
        yield server


@pytest.fixture
def front(host: Host) -> str:
    """The first of the paths below which asyncgroups is mounted."""
    return host.fronts[0]


# SCRIPT_NAME, PATH_INFO -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "script_name", "path_info"), PATHS)
def test_script_name_and_path_info(server: Server, host: Host, sent: str, script_name: str, path_info: str) -> None:
    """SCRIPT_NAME is the host's path and the mount's, PATH_INFO the rest, together the bytes that the client sent."""
    for front in host.fronts:
        environ = environ_of(server, front + sent)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (host.script_name(front) + script_name, path_info)
        assert environ["REQUEST_URI"] == front + sent


def test_the_frameworks_own(server: Server, host: Host) -> None:
    """A mount's path without a slash after it is what the framework makes of it; its own pages stay its own."""
    for front, expected in host.bare.items():
        if expected is None:
            answer = server.get(front)
            assert (answer.status_code, answer.headers["location"]) == (307, f"{server.url}{front}/")
        else:
            environ = environ_of(server, front)
            assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected
    for path, text in host.own.items():
        assert server.get(path).text == text


# Disconnect -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["in-order", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("group", GROUPS)
def test_reader_vanishes(server: Server, front: str, tmp_path: Path, group: str, method: str, reset: bool) -> None:
    """During an endless response: within a second its producer has stopped, close() has run and the worker is free."""
    head = ["Content-Length: 5"] if method == "POST" else []
    with Raw(server.connect()) as raw:
        body = b"12345" if method == "POST" else b""
        raw.send(f"{method} {front}/{group}/endless?{tmp_path} HTTP/1.1", "Host: x", *head, body=body)
        raw.take(200_000)
        left = leave(raw.socket, reset=reset)
    closed_within_a_second(tmp_path, left)
    assert server.get(f"{front}/{group}/hello").content == b"hello"


@pytest.mark.parametrize("reset", [False, True], ids=["in-order", "reset"])
@pytest.mark.parametrize("group", GROUPS)
def test_writer_vanishes(server: Server, front: str, tmp_path: Path, group: str, reset: bool) -> None:
    """In the middle of an upload: read() raises an OSError within a second."""
    with Raw(server.connect()) as raw:
        raw.send(f"POST {front}/{group}/reads_on?{tmp_path} HTTP/1.1", "Host: x", "Content-Length: 99", body=b"a part")
        until((tmp_path / "reading").exists, what="the application")
        left = leave(raw.socket, reset=reset)
    until((tmp_path / "read").exists, 3, what="the end of read()")
    assert time.monotonic() - left < 1
    assert (tmp_path / "read").read_text() == "ClientDisconnected\n"
    assert server.get(f"{front}/{group}/hello").content == b"hello"


# Upload, streaming ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_upload(server: Server, front: str, chunked: bool) -> None:
    """8 MiB arrive as they were sent."""
    body = b"".join(number.to_bytes(4) * 256 for number in range(8 * 1024))
    content = (body[at : at + 50_000] for at in range(0, len(body), 50_000)) if chunked else body
    with server.client() as client:
        answer = client.post(f"{front}/named/digest", content=content)
    assert ("chunked" in answer.request.headers.get("transfer-encoding", "")) is chunked
    assert answer.text == hashlib.sha256(body).hexdigest()


def test_streaming(server: Server, front: str) -> None:
    """The client has the first piece before the application makes the second."""
    with Raw(server.connect()) as raw:
        raw.send(f"GET {front}/streams HTTP/1.1", "Host: x")
        status, headers = raw.head()
        assert (status, headers["transfer-encoding"], raw.chunk()) == (200, "chunked", b"first")
        assert server.get(f"{front}/streams/ask").content == b"asked"
        assert (raw.chunk(), raw.chunk()) == (b"second", b"")


# Stop, which is the last of a host's tests ----------------------------------------------------------------------------


def test_stop(server: Server, host: Host, front: str, marks: Path) -> None:
    """A request that runs at the signal is answered, the group's atexit functions run, and the process ends at once."""
    interpreter = server.get(f"{front}/waits/whoami").text
    with Raw(server.connect()) as running, Raw(server.connect()) as idle:
        idle.send(f"GET {front}/named/hello HTTP/1.1", "Host: x")
        assert idle.response() == (200, b"hello")
        running.send(f"POST {front}/waits?it HTTP/1.1", "Host: x", "Content-Length: 4", body=b"body")
        until((marks / "running-it").exists, what="the application")
        server.tell(host.stop)
        assert idle.rest() == b""  # the server has taken notice
        (marks / "go").touch()
        assert running.response() == (200, b"body")
        assert server.wait() in (0, -host.stop)  # the client has not closed its connection
    assert (marks / f"atexit-{interpreter}").exists()
    assert "Traceback" not in server.log()
