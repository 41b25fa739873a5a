"""Old clients, pipelines, Expect, HTTP/2 over TLS, unix sockets, websockets, --root-path: other ways in."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest
import trustme

from tests.bridge.site import GROUPS, Raw, toml
from tests.serving import Server, serving

# HTTP/1 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body"), [("hello", b"hello"), ("generator", b"one two three"), ("write_only", b"written twice")]
)
def test_client_of_http_1_0(raw: Raw, kind: str, group: str, name: str, body: bytes) -> None:
    """No chunks; a body of unknown length ends with the connection."""
    raw.send(f"GET /{group}/{name} HTTP/1.0")
    status, headers = raw.head()
    assert status == 200
    if kind == "uvicorn" and name != "hello":
        # uvicorn's own: it sends chunks whatever the client's version, and an ASGI application cannot tell it not to.
        assert b"".join(iter(raw.chunk, b"")) == body
    else:
        assert "transfer-encoding" not in headers
        assert raw.rest() == body


def test_pipeline(raw: Raw, group: str) -> None:
    """Requests that were sent at once are answered in their order."""
    names = ["hello", "generator", "no_content", "echo", "not_modified", "raises_at_once", "hello"]
    for_echo = "Content-Length: 4\r\n\r\nbody"
    requests = [
        f"{'POST' if name == 'echo' else 'GET'} /{group}/{name} HTTP/1.1\r\nHost: x\r\n"
        f"{for_echo if name == 'echo' else '\r\n'}"
        for name in names
    ]
    raw.socket.sendall("".join(requests).encode())
    assert raw.response() == (200, b"hello")
    assert raw.response() == (200, b"one two three")
    assert raw.head()[0] == 204
    assert raw.response() == (200, b"body")
    assert raw.head()[0] == 304
    assert raw.response() == (500, b"500 Internal Server Error\n")
    assert raw.response() == (200, b"hello")


@pytest.mark.parametrize("name", ["hello", "exact_length", "generator"])
def test_head_leaves_nothing_on_the_connection(raw: Raw, group: str, name: str) -> None:
    """After HEAD the next response begins at once, with the same headers as GET's."""
    raw.send(f"HEAD /{group}/{name} HTTP/1.1", "Host: x")
    status, _ = raw.head()
    assert status == 200
    raw.send(f"GET /{group}/hello HTTP/1.1", "Host: x")
    assert raw.response() == (200, b"hello")


def test_expect_100_continue(raw: Raw, group: str) -> None:
    """A client that asks before it sends its body is told to go on."""
    raw.send(f"POST /{group}/echo HTTP/1.1", "Host: x", "Content-Length: 4", "Expect: 100-continue")
    assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    raw.socket.sendall(b"body")
    assert raw.response() == (200, b"body")


def test_expect_100_continue_of_too_much(raw: Raw, group: str) -> None:
    """A client that asks with a body over the limit is told so instead."""
    raw.send(f"POST /{group}/echo HTTP/1.1", "Host: x", "Content-Length: 99999999", "Expect: 100-continue")
    status = raw.head()[0]
    # hypercorn says so before it asks the application.
    assert (raw.head()[0] if status == 100 else status) == 413


def test_websocket_is_refused(raw: Raw, group: str) -> None:
    """The handshake is answered with 403."""
    raw.send(
        f"GET /{group}/hello HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert raw.head()[0] == 403


# Further servers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A folder with a certificate, and what trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "certificate.pem"), append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return folder, context


@pytest.fixture(scope="module")
def secure(tls: tuple[Path, ssl.SSLContext]) -> Iterator[Server]:
    """``serve`` with TLS."""
    folder, _ = tls
    file = folder / "asyncgroups.toml"
    file.write_text(toml('certfile = "certificate.pem"\nkeyfile = "key.pem"'), encoding="utf-8")
    with serving(file) as server:
        yield server


@pytest.fixture
def http_2(secure: Server, tls: tuple[Path, ssl.SSLContext]) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"https://127.0.0.1:{secure.port}", http2=True, verify=tls[1], timeout=10, trust_env=False
    ) as client:
        yield client


def test_http_2_environ(http_2: httpx.Client, secure: Server, group: str) -> None:
    """Over TLS and HTTP/2: https, the protocol, the port, cookies in several fields, the bytes of the path."""
    response = http_2.get(f"/{group}/environ/%FF", headers=[("cookie", "a=1"), ("cookie", "b=2")])
    assert response.http_version == "HTTP/2"
    environ = response.json()
    assert (environ["wsgi.url_scheme"], environ["HTTPS"], environ["SERVER_PROTOCOL"]) == ("https", "on", "HTTP/2")
    assert environ["SERVER_PORT"] == str(secure.port)
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_HOST"] == f"127.0.0.1:{secure.port}"
    assert environ["PATH_INFO"] == "/\xff"


def test_http_2_bodies(http_2: httpx.Client, group: str) -> None:
    """Bodies of both directions, several requests on one connection, and responses without a body."""
    body = bytes(range(256)) * 2000
    assert http_2.post(f"/{group}/echo", content=body).content == body
    assert http_2.get(f"/{group}/validated/generator").content == b"one two three"
    for method, name, status in [("GET", "no_content", 204), ("GET", "not_modified", 304), ("HEAD", "hello", 200)]:
        response = http_2.request(method, f"/{group}/{name}")
        assert (response.status_code, response.content) == (status, b"")
    assert http_2.get(f"/{group}/raises_at_once").status_code == 500
    assert http_2.post(f"/{group}/answers_at_once", content=body).content == b"early"
    assert http_2.get(f"/{group}/hello").content == b"hello"


def test_http_2_reader_vanishes(secure: Server, tls: tuple[Path, ssl.SSLContext], group: str, tmp_path: Path) -> None:
    """A stream that the client resets ends its application within a second; the connection's other streams go on."""
    tls[1].set_alpn_protocols(["h2"])
    with tls[1].wrap_socket(secure.connect(), server_hostname="127.0.0.1") as connection:
        protocol = h2.connection.H2Connection()
        protocol.initiate_connection()

        def ask(path: str) -> int:
            stream = protocol.get_next_available_stream_id()
            head = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "x")]
            protocol.send_headers(stream, head, end_stream=True)
            connection.sendall(protocol.data_to_send())
            return stream

        def data_of(stream: int) -> bytes:
            while True:
                for event in protocol.receive_data(connection.recv(65536)):
                    if isinstance(event, h2.events.DataReceived) and event.stream_id == stream and event.data:
                        return event.data

        endless = ask(f"/{group}/endless?{tmp_path}")
        assert data_of(endless)
        protocol.reset_stream(endless)
        protocol.increment_flow_control_window(65535)
        left = time.monotonic()
        assert data_of(ask(f"/{group}/hello")) == b"hello"
    (line,) = (tmp_path / "closed").read_text().splitlines()
    assert float(line.split()[2]) - left < 1


def test_http_2_body_that_is_cut(http_2: httpx.Client, group: str) -> None:
    """An exception of hypercorn's: it sends neither an end nor a reset, so that the client waits; others go on."""
    with http_2.stream("GET", f"/{group}/raises_in_mid_stream", timeout=0.5) as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"some of it"
        with pytest.raises((httpx.ReadTimeout, httpx.RemoteProtocolError)):
            next(pieces)


@pytest.mark.parametrize("kind", ["serve", "uvicorn"])
def test_unix_socket(kind: str, configuration: Path, tmp_path: Path) -> None:
    """SERVER_PORT is a string there, too, the scheme's; there is no REMOTE_ADDR to tell."""
    path = str(tmp_path / "socket")
    if kind == "serve":
        command = ["-m", "asyncgroups", "serve", str(configuration), "-b", f"unix:{path}"]
    else:
        command = ["-m", "uvicorn", "--uds", path, "asyncgroups.asgi:application"]
    with serving(command, environ={"ASYNCGROUPS_CONFIG": str(configuration)}, ready=False) as server:
        server.wait_for_log("(?i)running on")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            raw = Raw(connection)
            raw.send("GET /named/environ/x HTTP/1.1", "Host: x")
            status, body = raw.response()
            environ = json.loads(body)
            assert (status, environ["SERVER_PORT"], environ["SERVER_NAME"]) == (200, "80", "bridge.example")
            raw.send("GET /global/validated/hello HTTP/1.1", "Host: x")
            assert raw.response() == (200, b"hello")
        assert server.stop() == (0 if kind == "serve" else -15)  # uvicorn ends by the signal it was sent


def test_root_path_of_uvicorn(configuration: Path) -> None:
    """``--root-path``: part of SCRIPT_NAME, with the path as the proxy sent it; no part of what is routed."""
    with serving(configuration, kind="uvicorn", options=["--root-path", "/app"]) as server:
        environ = server.get("/named/environ/x").json()
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app/named/environ", "/x")
        assert server.get("/application/named/environ").status_code == 404
        assert server.get("/global/validated/hello").content == b"hello"


def test_wsgi_errors_is_no_standard_output(configuration: Path, tmp_path: Path) -> None:
    """wsgi.errors of each kind of group goes to the server's standard error."""
    command = [sys.executable, "-m", "asyncgroups", "serve", str(configuration), "-b", f"unix:{tmp_path / 'socket'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            line = b"-"
            while b"running on" not in line.lower():
                line = process.stderr.readline()
                assert line, "the server has ended"
            for group in GROUPS:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(tmp_path / "socket"))
                    raw = Raw(connection)
                    raw.send(f"GET /{group}/errors HTTP/1.1", "Host: x")
                    assert raw.response() == (200, b"see the log")
            process.terminate()
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert out == b""
    assert err.count(b"written to wsgi.errors: one\n  and two\n") == len(GROUPS)
    assert err.count(b"unfinished line") == len(GROUPS)
