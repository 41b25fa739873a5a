"""wsgi.input over HTTP: streamed, whole, in order, bounded, and an error where the client leaves."""

import contextlib
import hashlib
import io
import itertools
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.bridge.site import BODY_LIMIT, GROUPS, Log, Raw
from tests.serving import Server, until

BODY = b"a\nbb\n\n" + b"c" * 100_000 + b"\nlast\r\nwithout a newline"

CALLS = [
    [["read"]],
    [["read", -1]],
    [["read", None]],
    [["read", 0], ["read", 1], ["read", 70_000], ["read", 1_000_000], ["read", 1], ["read"]],
    [["readline"], ["readline", -1], ["readline", None], ["readline", 7], ["readline", 0], ["readline"], ["readline"]],
    [["readline", 1], ["readline", 1], ["readline", 2], ["readline", 3], ["readline", 200_000], ["read", 2]],
    [["readlines"]],
    [["readlines", None]],
    [["readlines", -1]],
    [["readlines", 0]],
    [["readlines", 1], ["readlines", 4], ["readlines", 1_000_000], ["readlines"]],
    [["iter"], ["iter"], ["next"]],
    [["next"], ["read", 3], ["next"], ["readline", 5], ["iter"], ["read"]],
]


def in_pieces(body: bytes) -> Iterator[bytes]:
    sizes = itertools.cycle([1, 2, 3, 5000, 1, 40_000])
    at = 0
    while at < len(body):
        size = next(sizes)
        yield body[at : at + size]
        at += size


def as_oracle(body: bytes, calls: list[list[object]]) -> list[object]:
    """What a file does."""
    stream = io.BytesIO(body)
    results: list[object] = []
    for name, *arguments in calls:
        if name == "next":
            results.append(next(stream, b"the end"))
        elif name == "iter":
            results.append(list(stream))
        else:
            results.append(getattr(stream, str(name))(*arguments))
    return results


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("calls", CALLS, ids=json.dumps)
def test_reads_like_a_file(server: Server, group: str, calls: list[list[object]], chunked: bool) -> None:
    """Every method, with no size, None, negative and short ones, does what it does with a file."""
    with server.client() as client:
        response = client.post(
            f"/{group}/application?{quote(json.dumps(calls))}", content=in_pieces(BODY) if chunked else BODY
        )
    assert response.text == repr(as_oracle(BODY, calls))


def test_body_without_a_length(server: Server, group: str) -> None:
    """A chunked body reaches the application whole, and there is no CONTENT_LENGTH, but wsgi.input_terminated."""
    with server.client() as client:
        assert client.post(f"/{group}/echo", content=in_pieces(BODY)).content == BODY
        environ = client.post(f"/{group}/environ", content=in_pieces(b"chunked")).json()
        assert "CONTENT_LENGTH" not in environ
        assert environ["wsgi.input_terminated"] is True
        assert client.post(f"/{group}/environ", content=b"12345").json()["CONTENT_LENGTH"] == "5"


def test_ends_where_the_next_request_begins(raw: Raw, group: str) -> None:
    """What follows the body on its connection is another request's, although both came in one packet."""
    head = f"POST /{group}/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n".encode()
    raw.socket.sendall(head + b"first" + head + b"again")
    assert raw.response() == (200, b"first")
    assert raw.response() == (200, b"again")


def test_starts_before_the_body_has_ended(raw: Raw, group: str) -> None:
    """The application answers to the first bytes while the client holds the last ones back."""
    raw.send(f"POST /{group}/answers_then_reads HTTP/1.1", "Host: x", "Content-Length: 10", body=b"first")
    assert raw.head()[0] == 200
    assert raw.chunk() == b"[first]"
    raw.socket.sendall(b" then")
    assert b"".join(iter(raw.chunk, b"")) == b"[ then]"


def test_client_that_sends_no_body_holds_no_worker(server: Server, raw: Raw, group: str) -> None:
    """A head without the first byte of its body occupies nobody."""
    raw.send(f"POST /{group}/echo HTTP/1.1", "Host: x", "Content-Length: 10")
    assert server.get(f"/{group}/hello").content == b"hello"
    raw.socket.sendall(b"0123456789")
    assert raw.response() == (200, b"0123456789")


def test_slow_upload_delays_nobody_else(server: Server, raw: Raw, group: str) -> None:
    """An upload that is read byte by byte holds its worker, and the other groups answer at once."""
    raw.send(f"POST /{group}/digest HTTP/1.1", "Host: x", "Content-Length: 10", body=b"0")
    for byte in b"123456789":
        raw.socket.sendall(bytes([byte]))
        assert server.get("/other", timeout=1).content == b"hello"
    assert raw.response() == (200, hashlib.sha256(b"0123456789").hexdigest().encode())


def test_upload_that_is_not_read_is_held_back(server: Server, group: str, tmp_path: Path) -> None:
    """A client can send no more than a window and what the sockets hold, until the application reads on."""
    size = 12 * 1024 * 1024
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.connect(("127.0.0.1", server.port))
        raw = Raw(connection)
        raw.send(f"POST /{group}/holds_upload?{tmp_path} HTTP/1.1", "Host: x", f"Content-Length: {size}", body=b"x")
        until((tmp_path / "held").exists, what="the application")
        before = server.memory()
        sent = 1
        connection.setblocking(False)
        while sent < size and select.select([], [connection], [], 0.5)[1]:
            sent += connection.send(b"x" * min(65536, size - sent))
        assert sent < size // 2
        assert server.memory() - before < 4 * 1024 * 1024
        (tmp_path / "go").touch()
        connection.settimeout(10)
        connection.sendall(b"x" * (size - sent))
        assert raw.response() == (200, str(size).encode())


@pytest.mark.parametrize(
    ("header", "body"),
    [("Content-Length: 100", b"some"), ("Transfer-Encoding: chunked", b"4\r\nsome\r\n")],
    ids=["length", "chunked"],
)
def test_client_leaves_during_the_upload(
    server: Server, log: Log, group: str, tmp_path: Path, header: str, body: bytes
) -> None:
    """read() raises an OSError, and never takes what came for the whole; the worker gets free, nothing is an error."""
    with Raw(server.connect()) as raw:
        raw.send(f"POST /{group}/reads_on?{tmp_path} HTTP/1.1", "Host: x", header, body=body)
        until((tmp_path / "reading").exists, what="the application")
    until((tmp_path / "read").exists, 2, what="read()")
    assert (tmp_path / "read").read_text() == "ClientDisconnected\n"
    assert server.get(f"/{group}/hello").content == b"hello"
    assert "Traceback" not in str(log)


def test_response_before_the_body_was_read(server: Server, raw: Raw, group: str) -> None:
    """The whole response comes while most of the body is missing, and the worker is free; the rest is dropped."""
    raw.send(f"POST /{group}/answers_at_once HTTP/1.1", "Host: x", "Content-Length: 100000", body=b"x" * 1000)
    assert raw.response() == (200, b"early")
    assert server.get(f"/{group}/hello").content == b"hello"


def test_response_in_pieces_before_the_body_was_read(server: Server, kind: str) -> None:
    """The same, in each group: the last chunk waits two seconds for the rest of the body, and all wait together."""
    groups = [group for group in GROUPS if kind == "serve" or not group.startswith("daemon")]
    with contextlib.ExitStack() as stack:
        clients = {group: stack.enter_context(Raw(server.connect())) for group in groups}
        for group, raw in clients.items():
            raw.send(f"POST /{group}/streams_at_once HTTP/1.1", "Host: x", "Content-Length: 100000", body=b"x" * 1000)
        for group, raw in clients.items():
            assert raw.response() == (200, b"early")
            assert server.get(f"/{group}/hello").content == b"hello"


@pytest.mark.parametrize("size", [100_000, 3_000_000])
@pytest.mark.parametrize("name", ["answers_at_once", "streams_at_once"])
def test_connection_after_an_early_response(raw: Raw, group: str, name: str, size: int) -> None:
    """A client that sends its body to the end gets the response; then the connection goes on, or is closed in order."""
    raw.send(f"POST /{group}/{name} HTTP/1.1", "Host: x", f"Content-Length: {size}", body=b"x" * size)
    assert raw.response() == (200, b"early")
    try:
        raw.send(f"GET /{group}/hello HTTP/1.1", "Host: x", "Connection: close")
        rest = raw.rest()
    except ConnectionError:
        rest = b""
    assert rest == b"" or (rest.startswith(b"HTTP/1.1 200 ") and rest.endswith(b"\r\n\r\nhello"))


def test_body_of_announced_size_over_the_limit(server: Server, raw: Raw, group: str, tmp_path: Path) -> None:
    """413 at the sight of Content-Length; the application does not run."""
    raw.send(f"POST /{group}/reads_on?{tmp_path} HTTP/1.1", "Host: x", f"Content-Length: {BODY_LIMIT + 1}")
    status, headers = raw.head()
    assert (status, raw.take(int(headers["content-length"]))) == (413, b"413 Content Too Large\n")
    assert server.get(f"/{group}/hello").content == b"hello"
    assert not (tmp_path / "reading").exists()


def test_body_that_grows_over_the_limit(server: Server, group: str, tmp_path: Path) -> None:
    """413 once a chunked body has passed the limit; read() raises; a body of just the limit is taken."""
    block = b"x" * (1024 * 1024)
    blocks = BODY_LIMIT // len(block)
    with server.client() as client:
        response = client.post(f"/{group}/digest", content=itertools.repeat(block, blocks))
        assert response.text == hashlib.sha256(block * blocks).hexdigest()
        response = client.post(
            f"/{group}/reads_on?{tmp_path}", content=itertools.chain(itertools.repeat(block, blocks), [b"x"])
        )
        assert (response.status_code, response.content) == (413, b"413 Content Too Large\n")
    until((tmp_path / "read").exists, what="read()")
    assert (tmp_path / "read").read_text() == "ClientDisconnected\n"
    assert server.get(f"/{group}/hello").content == b"hello"


def test_body_that_grows_over_the_limit_after_the_response_began(server: Server, raw: Raw, group: str) -> None:
    """It is too late for a status: the response is cut."""
    chunked = "Transfer-Encoding: chunked"
    raw.send(f"POST /{group}/answers_then_reads HTTP/1.1", "Host: x", chunked, body=b"5\r\nfirst\r\n")
    assert raw.head()[0] == 200
    assert raw.chunk() == b"[first]"
    with contextlib.suppress(ConnectionError):
        raw.socket.sendall(b"%x\r\n" % (BODY_LIMIT + 1) + b"x" * (BODY_LIMIT + 1) + b"\r\n")
    assert raw.rest() == b""
    assert server.get(f"/{group}/hello").content == b"hello"
