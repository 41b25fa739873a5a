"""What an operator relies on: TLS that checks, a log that cannot be forged, statuses and sentences that say why."""

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from asyncgroups import ApplicationGroups
from tests.serve.conftest import Site
from tests.serving import Server, serving

SERVE = ["-m", "asyncgroups", "serve"]
MOUNTS = (
    '[[mount]]\npath = "/shop"\napp = "operators_speaks:application"\napplication_group = "shop"\n'
    '[[virtual_host]]\nserver_name = "other.example.com"\n'
    '[[virtual_host.mount]]\npath = "/only-there"\napp = "operators_speaks:application"\napplication_group = "shop"\n'
)
RECORD = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ \[\d+\] \[[A-Z]+\] "


@pytest.fixture(scope="module")
def unix_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unix") / "socket"


@pytest.fixture(scope="module")
def server(site: Site, unix_path: Path) -> Iterator[Server]:
    with serving(site(MOUNTS), options=["-b", f"unix:{unix_path}", "--log-level", "info"]) as server:
        yield server


@pytest.fixture(scope="module")
def uvicorn(site: Site) -> Iterator[Server]:
    with serving(site(MOUNTS), kind="uvicorn") as server:
        yield server


def raw(server: Server, head: str) -> bytes:
    """All that a raw connection gets as the answer to ``head``, to its end."""
    with server.connect() as connection:
        connection.sendall(head.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


# TLS ------------------------------------------------------------------------------------------------------------------


class Pki:
    """A folder with a server's certificate, its key in several states, and an authority for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.strangers = trustme.CA()
        leaf = self.authority.issue_cert("127.0.0.1")
        (folder / "certificate.pem").write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
        (folder / "stranger.pem").write_bytes(self.strangers.issue_cert("127.0.0.1").private_key_pem.bytes())
        self.authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        (folder / "encrypted.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"right"),
            )
        )
        (folder / "junk.pem").write_text("junk\n")
        (folder / "unreadable.pem").touch(mode=0)

    def client(self, issuer: trustme.CA | None) -> ssl.SSLContext:
        """What trusts the server, and shows it a certificate of ``issuer``."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert("client@example.com").configure_cert(context)
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def secure(site: Site, pki: Pki) -> Iterator[Server]:
    """``serve`` that wants certificates; its key is encrypted, and the password is right."""
    names = {"certfile": "certificate.pem", "keyfile": "encrypted.pem", "ca_certs": "authority.pem"}
    keys = "".join(f'{key} = "{pki.folder / name}"\n' for key, name in names.items())
    with serving(site(f'keyfile_password = "right"\n{keys}{MOUNTS}')) as server:
        yield server


def over_tls(server: Server, context: ssl.SSLContext) -> bytes:
    """Everything that a client gets from the server inside TLS."""
    answer = b""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        server.connect() as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /shop?print=through-tls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while block := connection.recv(65536):
            answer += block
    return answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("issuer", ["nobody", "strangers", "authority"])
def test_ca_certs(secure: Server, pki: Pki, issuer: str, version: ssl.TLSVersion) -> None:
    """With ca_certs only a client with a certificate of that authority gets an answer, others not one byte of HTTP."""
    context = pki.client(getattr(pki, issuer, None))
    context.minimum_version = context.maximum_version = version
    answer = over_tls(secure, context)
    if issuer == "authority":
        assert answer.startswith(b"HTTP/1.1 200 ")
    else:
        assert answer == b""


@pytest.mark.parametrize(
    ("files", "status", "named"),
    [
        ({"certfile": "unreadable.pem"}, 1, "unreadable.pem: Permission denied"),
        ({"keyfile": "unreadable.pem"}, 1, "unreadable.pem: Permission denied"),
        ({"ca_certs": "unreadable.pem"}, 1, "unreadable.pem: Permission denied"),
        ({"certfile": "junk.pem"}, 1, "junk.pem"),
        ({"keyfile": "junk.pem"}, 1, "junk.pem"),
        ({"ca_certs": "junk.pem"}, 1, "junk.pem"),
        ({"keyfile": "stranger.pem"}, 1, "stranger.pem"),
        ({"keyfile": "encrypted.pem"}, 1, "encrypted.pem"),
        ({"keyfile": "encrypted.pem", "keyfile_password": "wrong"}, 1, "encrypted.pem"),
        ({"certfile": "nowhere.pem"}, 2, "nowhere.pem"),
    ],
    ids=lambda value: "-".join(f"{key}={name}" for key, name in value.items()) if isinstance(value, dict) else "",
)
def test_tls_that_cannot_be(site: Site, pki: Pki, files: dict[str, str], status: int, named: str) -> None:
    """What is wrong with a TLS file ends the start at once, without a prompt; one line names the file."""
    files = {"certfile": "certificate.pem", "keyfile": "key.pem", **files}
    keys = "".join(
        f'{key} = "{name if key == "keyfile_password" else pki.folder / name}"\n' for key, name in files.items()
    )
    arguments = [*SERVE, str(site(keys + MOUNTS)), "-b", "127.0.0.1:0"]
    # root may read everything, until it gives up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    code = (
        "import ctypes, os, sys\n"
        "for capability in (1, 2):\n    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)\n"
        f"os.execv(sys.executable, [sys.executable, *{arguments!r}])"
    )
    with serving(["-c", code], ready=False) as server:
        assert server.wait(10) == status
        log = server.log()
        assert "Traceback" not in log
        assert "pass phrase" not in log
        assert str(pki.folder / named) in log.splitlines()[-1]


# The log --------------------------------------------------------------------------------------------------------------


def test_a_name_error(server: Server) -> None:
    """The log has the traceback, and no warning about a module that only the traceback module wanted."""
    assert server.get("/shop?name_error").status_code == 500
    server.wait_for_log(r"\[ERROR\] \[shop #\d+\] (?s:.*)NameError: name 'arguments' is not defined", 5)
    assert server.get("/shop?print=after-the-name-error").status_code == 200
    server.wait_for_log("after-the-name-error", 5)
    assert "_suggestions" not in server.log()


def test_print_under_uvicorn(uvicorn: Server) -> None:
    """Where the embedding server has not set logging up, what a group prints arrives with level and label."""
    assert uvicorn.get("/shop?print=one-line").status_code == 200
    uvicorn.wait_for_log(rf"(?m)^{RECORD.replace('[A-Z]+', 'INFO')}\[shop #\d+\] one-line$", 5)


def test_log_level_under_uvicorn(site: Site) -> None:
    """log_level of the file hides what is below it: a print, not an error that comes after."""
    with serving(site(f'log_level = "error"\n{MOUNTS}'), kind="uvicorn") as server:
        assert server.get("/shop?print_and_stderr").status_code == 200
        server.wait_for_log(r"\[ERROR\] \[shop #\d+\] an error after", 5)
        assert "printed before" not in server.log()


def assert_not_forged(server: Server, marker: str) -> None:
    """No line with ``marker`` looks like a record of group bank, whatever ends a line; none has control characters."""
    lines = [line for line in server.raw_log().splitlines() if marker in line]
    assert lines
    assert [line for line in lines if re.match(rf"{RECORD}\[bank\b", line) or not line.isprintable()] == []


@pytest.mark.parametrize("way", ["stderr", "stdout", "wsgi_errors", "exception", "exit", "thread"])
@pytest.mark.parametrize("kind", ["server", "uvicorn"])
def test_a_group_forges_no_record(request: pytest.FixtureRequest, kind: str, way: str) -> None:
    """No line of what a group says looks like a record of another group, and no control character is in the log."""
    server = request.getfixturevalue(kind)
    assert server.get(f"/shop?forging_{way}").status_code == (500 if way in ("exception", "exit") else 200)
    server.wait_for_log(rf"(?s)forged by {way}.*end of {way}", 5)
    assert_not_forged(server, f"forged by {way}")


@pytest.mark.parametrize("kind", ["server", "uvicorn"])
def test_a_client_forges_no_record(request: pytest.FixtureRequest, kind: str) -> None:
    """A path with line breaks and escapes is logged as one line of printable characters."""
    server = request.getfixturevalue(kind)
    record = "2026-01-01 00:00:00 +0000 [1] [CRITICAL] [bank #1] forged by client\x1b[2J"
    path = "/" + "".join(quote(f"{end}{record}") for end in "\n\r\u2028")
    assert server.get(path).status_code == 404
    server.wait_for_log(r"\[INFO\] 'GET' .*forged by client.*: 404: ", 5)
    assert_not_forged(server, "forged by client")


def test_a_method_forges_no_record(caplog: pytest.LogCaptureFixture) -> None:
    """What an HTTP/2 client sends as a method is logged as text in quotes, and cut."""
    groups = ApplicationGroups.single("nowhere:application")
    method = f"GET\n[bank #1] forged by client\x1b[2J{'x' * 1000}"
    scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": []}
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    with caplog.at_level(logging.INFO, "asyncgroups"):
        asyncio.run(groups(scope, receive, send))
    groups.lifecycle.stop()
    assert sent[0]["status"] == 400
    (line,) = [record.getMessage() for record in caplog.records if "forged by" in record.getMessage()]
    assert line.startswith(r"'GET\n[bank #1] forged by client\x1b")
    assert line.isprintable()
    assert len(line) < 200


CONTROLS = [0x00, 0x07, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B, 0x7F]


@pytest.mark.parametrize("code", CONTROLS, ids=lambda code: f"{code:02x}")
def test_a_control_character_in_a_header(server: Server, code: int) -> None:
    """The answer is 500 with nothing of the header, and one log record of the group names the header."""
    answer = raw(server, f"GET /shop?header={code:02x} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"smuggled" not in answer
    assert b"marker" not in answer.lower()
    server.wait_for_log(f"X-Marker-{code:02x}", 5)
    records = re.split(rf"(?m)^(?={RECORD})", server.raw_log())
    (record,) = [one for one in records if f"X-Marker-{code:02x}" in one]
    assert re.match(rf"{RECORD.replace('[A-Z]+', 'ERROR')}\[shop #\d+\] ", record)
    assert record.replace("\n", "").isprintable()


# Addresses and hosts --------------------------------------------------------------------------------------------------


def test_others_may_connect_to_the_unix_socket(server: Server, unix_path: Path) -> None:
    """The proxy in front is another user: the socket has mode 0666, and answers."""
    assert stat.S_IMODE(os.stat(unix_path).st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(unix_path))
        connection.sendall(b"GET /shop?print=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("kind", ["server", "uvicorn"])
def test_two_host_headers(request: pytest.FixtureRequest, kind: str) -> None:
    """Two different Host headers are refused with 400 (RFC 9112 section 3.2), also where the server lets them by."""
    server = request.getfixturevalue(kind)
    head = "GET /shop?print=two-hosts HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 400 ")
    assert "] two-hosts" not in server.log()


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("/only-there?print=x", "other.example.com", 200),
        ("/only-there?print=x", "shop.example.com", 404),
        ("http://other.example.com/only-there?print=x", "shop.example.com", 200),
        ("http://shop.example.com/only-there?print=x", "other.example.com", 404),
    ],
)
def test_the_target_selects_the_virtual_host(server: Server, target: str, host: str, status: int) -> None:
    """A target in absolute form says which host is meant, whatever the Host header says (RFC 9112 section 3.2.2)."""
    answer = raw(server, f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


# The command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "there is no asyncgroups.toml here: give a file, or an application as module:attribute."),
        (["shop.py"], "'shop.py' is a module: name its application, as in shop:application."),
    ],
)
def test_a_target_that_is_none(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """The exit status is 2, and one sentence says what to give instead."""
    (tmp_path / "shop.py").write_text("application = None\n")
    with serving([*SERVE, *arguments], cwd=tmp_path, ready=False) as server:
        assert server.wait(10) == 2
        assert server.log().splitlines()[-1] == f"Error: {sentence}"
        assert "Traceback" not in server.log()


def test_log_level_in_capitals(site: Site) -> None:
    """--log-level takes a level as the logging module writes it, and beats the file."""
    with serving(site(f'log_level = "error"\n{MOUNTS}'), options=["--log-level", "INFO"]) as server:
        server.wait_for_log(r"\[INFO\] Running on ", 5)
