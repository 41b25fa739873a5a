"""close(), backpressure, clients that leave or stall, files, and workers that are busy until they are free."""

import re
import select
import socket
import time
from pathlib import Path

import pytest

from tests.bridge.site import Log, Raw, closed_within_a_second, closes, leave
from tests.serving import Server, until

MIB = 1024 * 1024


# close() --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "name",
    ["pieces", "nothing", "exact", "too_much", "too_little", "text", "no_start", "failing", "exiting", "wrapped"],
)
def test_close_runs_once_in_the_application_s_thread(
    server: Server, group: str, tmp_path: Path, name: str, method: str
) -> None:
    """On every path, and the worker is free only after it."""
    with Raw(server.connect()) as raw:
        raw.send(f"{method} /{group}/{name}?{tmp_path} HTTP/1.1", "Host: x", "Connection: close")
        assert raw.rest().startswith(b"HTTP/1.1 ")
    thread = server.get(f"/{group}/thread").text
    (line,) = closes(tmp_path)
    assert line.split()[:2] == [thread, thread]


def test_worker_is_busy_until_close_has_run(server: Server, group: str, tmp_path: Path) -> None:
    """The client has the whole response, and still the only worker takes nobody else before close() is over."""
    with Raw(server.connect()) as first, Raw(server.connect()) as second:
        first.send(f"GET /{group}/holds_in_close?{tmp_path} HTTP/1.1", "Host: x")
        assert first.response() == (200, b"whole")
        until((tmp_path / "held").exists, what="close()")
        second.send(f"GET /{group}/hello HTTP/1.1", "Host: x")
        assert not select.select([second.socket], [], [], 0.3)[0]
        assert closes(tmp_path) == []
        (tmp_path / "go").touch()
        assert second.response() == (200, b"hello")
        assert len(closes(tmp_path)) == 1


def test_stuck_group_delays_nobody_else(server: Server, group: str, tmp_path: Path) -> None:
    """With the only worker of a group stuck and requests queueing, other groups and refusals are answered at once."""
    other = {"named": "global", "daemon": "daemon-global", "daemon-global": "daemon"}.get(group, "named")
    with Raw(server.connect()) as stuck, Raw(server.connect()) as waiting:
        stuck.send(f"GET /{group}/holds?{tmp_path} HTTP/1.1", "Host: x")
        until((tmp_path / "held").exists, what="the application")
        waiting.send(f"GET /{group}/hello HTTP/1.1", "Host: x")
        with server.client() as client:
            client.timeout = 1
            for _ in range(5):
                assert client.get(f"/{other}/hello").content == b"hello"
                assert client.get("/other").content == b"hello"
                assert client.get("/nothing/is/mounted/here").status_code == 404
        assert not select.select([waiting.socket], [], [], 0)[0]
        (tmp_path / "go").touch()
        assert stuck.response() == (200, b"let go")
        assert waiting.response() == (200, b"hello")


# A client that leaves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["in-order", "reset"])
@pytest.mark.parametrize("name", ["endless", "endless_drops"])
def test_reader_vanishes(server: Server, log: Log, group: str, tmp_path: Path, name: str, reset: bool) -> None:
    """During an endless response: close() ran within a second, the worker is free, nobody else was delayed."""
    with Raw(server.connect()) as raw:
        raw.send(f"GET /{group}/{name}?{tmp_path} HTTP/1.1", "Host: x")
        raw.take(200)
        started = time.monotonic()
        assert server.get("/other").content == b"hello"
        left = leave(raw.socket, reset=reset)
    assert left - started < 1
    closed_within_a_second(tmp_path, left)
    assert server.get(f"/{group}/hello", timeout=1).content == b"hello"
    assert len(closes(tmp_path)) == 1
    assert "Traceback" not in str(log)


def test_writer_whose_reader_vanishes(server: Server, log: Log, group: str, tmp_path: Path) -> None:
    """write() raises an OSError."""
    with Raw(server.connect()) as raw:
        raw.send(f"GET /{group}/endless_writes?{tmp_path} HTTP/1.1", "Host: x")
        raw.take(100_000)
        leave(raw.socket, reset=True)
    until((tmp_path / "error").exists, 2, what="the end of write()")
    assert (tmp_path / "error").read_text() == "ClientDisconnected\n"
    assert server.get(f"/{group}/hello").content == b"hello"
    assert "Traceback" not in str(log)


@pytest.mark.parametrize("reset", [False, True], ids=["in-order", "reset"])
def test_reader_vanishes_after_an_upload(server: Server, group: str, tmp_path: Path, reset: bool) -> None:
    """The same, with a request body that has been read before."""
    with Raw(server.connect()) as raw:
        raw.send(f"POST /{group}/endless?{tmp_path} HTTP/1.1", "Host: x", "Content-Length: 5", body=b"12345")
        raw.take(200_000)
        left = leave(raw.socket, reset=reset)
    closed_within_a_second(tmp_path, left)
    assert server.get(f"/{group}/hello").content == b"hello"


def test_client_leaves_the_queue(server: Server, group: str, tmp_path: Path) -> None:
    """A request whose client left while it waited for a worker is never run."""
    queued = tmp_path / "queued"
    queued.mkdir()
    with Raw(server.connect()) as stuck, Raw(server.connect()) as leaving, Raw(server.connect()) as waiting:
        stuck.send(f"GET /{group}/holds?{tmp_path} HTTP/1.1", "Host: x")
        until((tmp_path / "held").exists, what="the application")
        leaving.send(f"GET /{group}/pieces?{queued} HTTP/1.1", "Host: x")
        assert server.get("/other").content == b"hello"  # by now the one before stands in the queue
        left = leave(leaving.socket, reset=True)
        while time.monotonic() - left < 0.4:  # nobody can see from outside that it was noticed; a second is promised
            assert server.get("/other").content == b"hello"
        waiting.send(f"GET /{group}/hello HTTP/1.1", "Host: x")
        (tmp_path / "go").touch()
        assert stuck.response() == (200, b"let go")
        assert waiting.response() == (200, b"hello")
    assert closes(queued) == []


def test_client_leaves_while_the_application_works(server: Server, group: str, tmp_path: Path) -> None:
    """The worker comes back when the application returns, and the log has nothing to complain of."""
    with Raw(server.connect()) as raw:
        raw.send(f"GET /{group}/holds?{tmp_path} HTTP/1.1", "Host: x")
        until((tmp_path / "held").exists, what="the application")
        leave(raw.socket, reset=True)
    (tmp_path / "go").touch()
    assert server.get(f"/{group}/hello").content == b"hello"


# A client that stalls -------------------------------------------------------------------------------------------------


def test_reader_stalls(server: Server, group: str, tmp_path: Path) -> None:
    """An endless response stops after a bounded number of bytes, delays nobody, and goes on when the client does."""

    def produced() -> int:
        file = tmp_path / "produced"
        return int(file.read_bytes() or b"0") if file.exists() else 0

    def at_rest() -> bool:
        before = produced()
        assert server.get("/other", timeout=1).content == b"hello"
        return before > 0 and not select.select([], [], [], 0.25)[0] and produced() == before

    before = server.memory()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect(("127.0.0.1", server.port))
        raw = Raw(connection)
        raw.send(f"GET /{group}/endless?{tmp_path} HTTP/1.1", "Host: x")
        until(at_rest, what="the application's rest")
        stalled_at = produced()
        assert stalled_at < 8 * MIB
        assert server.memory() - before < 8 * MIB
        raw.take(12 * MIB)
        assert produced() > stalled_at
        until(at_rest, what="the application's rest")
        assert closes(tmp_path) == []
        left = leave(connection, reset=True)
    closed_within_a_second(tmp_path, left)
    assert server.get(f"/{group}/hello").content == b"hello"


# wsgi.file_wrapper ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that fits into no socket."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "large").write_bytes(b"".join(number.to_bytes(4) * 1024 for number in range(4 * 1024)))
    return folder


def test_file_goes_out_without_the_worker(server: Server, group: str, large: Path) -> None:
    """While a client takes its time with a file, the only worker answers another."""
    with Raw(server.connect()) as raw:
        raw.send(f"GET /{group}/sends_file?{large} HTTP/1.1", "Host: x")
        status, headers = raw.head()
        assert (status, headers["content-length"]) == (200, str(16 * MIB))
        assert server.get(f"/{group}/hello").content == b"hello"
        assert raw.take(16 * MIB) == (large / "large").read_bytes()


def test_reader_of_a_file_vanishes(server: Server, group: str, large: Path) -> None:
    """The file is closed, each time."""
    server.get(f"/{group}/hello")
    before = server.descriptors()
    for _ in range(5):
        with Raw(server.connect()) as raw:
            raw.send(f"GET /{group}/sends_file?{large} HTTP/1.1", "Host: x")
            raw.take(1000)
            leave(raw.socket, reset=True)
    until(lambda: server.descriptors() <= before, 3, what="the end of the descriptors")


def test_file_from_where_it_stands(server: Server, group: str, tmp_path: Path) -> None:
    """What has been read of it already does not go out, nor what is beyond Content-Length."""
    (tmp_path / "large").write_bytes(b"0123456789")
    response = server.get(f"/{group}/sends_rest_of_file?{tmp_path}")
    assert (response.headers["content-length"], response.content) == ("4", b"3456")


def test_empty_file(server: Server, group: str, tmp_path: Path) -> None:
    """A file without bytes is a response without a body."""
    (tmp_path / "large").touch()
    response = server.get(f"/{group}/sends_file?{tmp_path}")
    assert (response.status_code, response.content) == (200, b"")
    assert server.get(f"/{group}/hello").content == b"hello"


def test_file_to_head(server: Server, group: str, large: Path) -> None:
    """HEAD of a file has no body."""
    with server.client() as client:
        response = client.head(f"/{group}/sends_file?{large}")
        assert (response.status_code, response.content) == (200, b"")
        assert client.get(f"/{group}/hello").content == b"hello"


def test_file_shorter_than_its_length(server: Server, log: Log, group: str, tmp_path: Path) -> None:
    """That is known beforehand: 500."""
    (tmp_path / "large").write_bytes(b"0123456789")
    assert server.get(f"/{group}/sends_short_file?{tmp_path}").status_code == 500
    log.wait_for("990 bytes before its Content-Length")


def test_file_that_is_none(server: Server, group: str, tmp_path: Path) -> None:
    """A GzipFile has the file number of the compressed file; the text goes out all the same."""
    import gzip  # noqa: PLC0415

    (tmp_path / "compressed").write_bytes(gzip.compress(b"the text"))
    assert server.get(f"/{group}/sends_compressed_file?{tmp_path}").content == b"the text"


def test_no_traceback_names_the_bridge_itself(server: Server) -> None:
    """At the end: no server of this room has met an exception outside of an application."""
    assert not re.search(r"Exception in ASGI application|the reaper met|a worker has ended|Error in ASGI", server.log())
