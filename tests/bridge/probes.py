"""What WSGI bridges get wrong: a table of probes that runs against any server of WSGI applications.

    with serving(...) as server:          # serves APPLICATION at "/", by whichever bridge
        for probe in PROBES:
            probe.run(server)             # raises AssertionError if the bridge gets it wrong

- ``APPLICATION`` is ``module:attribute`` below ``tests/apps`` (which ``tests.serving`` puts on the path of the server),
  and gives all applications of the probes, each at ``/module/attribute``.
- ``Probe.name`` is a slug, ``Probe.claim`` the line of the README's table, ``Probe.application`` what is asked.
- ``Probe.check(server, path)`` does the work; ``path`` is where the application is mounted. ``Probe.run(server)`` calls
  it with the path that ``APPLICATION`` has for it, and makes an AssertionError of what else a broken server leads to.
- A probe takes 5 seconds at most, where a bridge fails; what fails may leave the server in a bad state.
- ``judge(serve)`` runs all of them, and takes a new server after each that has failed.
- ``toml()`` is the configuration with which asyncgroups serves ``APPLICATION``.

Imports nothing of ``asyncgroups`` and nothing of pytest: the benchmark session runs it on other bridges (``peers.py``).
"""

import contextlib
import hashlib
import io
import json
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx

from tests.apps.bridge_input import perform
from tests.bridge.site import Raw
from tests.serving import APPS, Server, until

__all__ = ["APPLICATION", "PROBES", "Probe", "judge", "toml"]

APPLICATION = "bridge_probes:application"

PATIENCE = 5.0
MIB = 1024 * 1024


def toml(process_group: str = "") -> str:
    """A configuration of asyncgroups: one group, embedded or in a daemon process, threads for what runs together."""
    mount = ["[[mount]]", 'path = "/"', f'app = "{APPLICATION}"', 'application_group = "probes"', "threads = 4"]
    if process_group:
        mount = [f"[process_group.{process_group}]", *mount, f'process_group = "{process_group}"']
    return "\n".join([f"app_dir = {json.dumps(str(APPS))}", *mount]) + "\n"


class Probe(NamedTuple):
    """One thing that a WSGI bridge gets right or wrong."""

    name: str
    claim: str
    application: str
    check: Callable[[Server, str], None]

    @property
    def path(self) -> str:
        """Where ``APPLICATION`` has it."""
        return "/" + self.application.replace(":", "/")

    def run(self, server: Server) -> None:
        """Ask the bridge of ``server``, which serves ``APPLICATION``. Raises AssertionError if it gets it wrong."""
        try:
            self.check(server, self.path)
        except (OSError, httpx.HTTPError, ValueError) as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error


def judge(serve: Callable[[], AbstractContextManager[Server]]) -> dict[str, str | None]:
    """What each probe says of the servers that ``serve`` starts: None, or what is wrong, by the probe's name."""
    verdicts: dict[str, str | None] = {}
    probes = iter(PROBES)
    probe = next(probes, None)
    while probe is not None:
        with serve() as server:
            while probe is not None:
                try:
                    probe.run(server)
                except AssertionError as error:
                    verdicts[probe.name] = str(error) or "an assertion failed"
                    probe = next(probes, None)
                    break  # who knows what state the server is in
                verdicts[probe.name] = None
                probe = next(probes, None)
    return verdicts


# How they ask ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def asking(server: Server, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Iterator[Raw]:
    """A connection on which a request has been sent: byte by byte, and with patience."""
    with Raw(server.connect()) as raw:
        raw.socket.settimeout(PATIENCE)
        raw.send(f"{method} {target} HTTP/1.1", "Host: x", *headers, body=body)
        yield raw


def get(server: Server, path: str) -> httpx.Response:
    """The whole response."""
    with server.client() as client:
        client.timeout = PATIENCE
        return client.get(path)


def post(server: Server, path: str, content: bytes | Iterator[bytes]) -> httpx.Response:
    """The whole response, of a connection of its own."""
    with server.client() as client:
        client.timeout = PATIENCE
        return client.post(path, content=content)


def in_good_health(server: Server) -> None:
    assert get(server, "/bridge_good/hello").content == b"hello", "the server answers no more"


def environ_of(server: Server, target: str, *headers: str) -> dict[str, object]:
    with asking(server, target, *headers, "Connection: close") as raw:
        answer = raw.rest()
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]
    return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])


def folder() -> tempfile.TemporaryDirectory[str]:
    """Where an application tells what it does; it may still be at it when the folder goes."""
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


def reset(connection: socket.socket) -> float:
    """Leave without a farewell; the time at which that was."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return time.monotonic()


# What they ask --------------------------------------------------------------------------------------------------------


def close_runs_once(server: Server, path: str) -> None:
    for application in (path, "/bridge_life/failing"):
        with folder() as here:
            with asking(server, f"{application}?{here}", "Connection: close") as raw:
                assert raw.head()[0] == 200
                raw.rest()
            until((Path(here) / "closed").exists, 1, what=f"close() of {application}")
            in_good_health(server)
            assert len((Path(here) / "closed").read_text().splitlines()) == 1, f"close() of {application} ran twice"


def client_leaves(server: Server, path: str) -> None:
    with folder() as here:
        closed = Path(here) / "closed"
        with asking(server, f"{path}?{here}") as raw:
            raw.take(200)
            left = reset(raw.socket)
        until(closed.exists, 3, what="close() after the client had left")
        assert float(closed.read_text().split()[2]) - left < 1.0, "close() ran late"


def headers_wait(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.content) == (503, b"replaced")
    assert ("x-first" in response.headers, "x-second" in response.headers) == (False, True)


def answers_500(server: Server, path: str) -> None:
    response = get(server, path)
    assert response.status_code == 500, f"{response.status_code} {response.content!r}"
    in_good_health(server)


def is_cut(server: Server, path: str) -> None:
    with asking(server, path, "Connection: close") as raw:
        assert raw.head()[0] == 200
        rest = raw.rest()
    assert b"some of it" in rest, rest
    assert not rest.endswith(b"0\r\n\r\n"), f"the response looks whole: {rest!r}"


def write_works(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.content) == (200, b"written, then returned")


def length_is_kept(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.content) == (200, b"01234")


def empty_is_a_response(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.content) == (200, b"")
    assert get(server, "/bridge_good/no_content").status_code == 204


def latin_1(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.headers.get("x-name")) == (200, "J\xfcrgen")


def upload_streams(server: Server, path: str) -> None:
    with asking(server, path, "Content-Length: 10", method="POST", body=b"first") as raw:
        assert raw.head()[0] == 200
        assert raw.chunk() == b"[first]"
        raw.socket.sendall(b" then")
        assert b"".join(iter(raw.chunk, b"")) == b"[ then]"


def upload_is_bounded(server: Server, path: str) -> None:
    in_good_health(server)
    before = server.memory()
    size = 24 * MIB
    with folder() as here, asking(server, f"{path}?{here}", f"Content-Length: {size}", method="POST") as raw:
        for _ in range(size // 65536):
            raw.socket.sendall(bytes(65536))
        until((Path(here) / "held").exists, PATIENCE, what="the end of the upload")
        grown = server.memory() - before
        (Path(here) / "go").touch()
        assert raw.response() == (200, str(size).encode())
    assert grown < 12 * MIB, f"{grown // MIB} MiB for an upload of {size // MIB} MiB"


def cut_upload_is_an_error(server: Server, path: str) -> None:
    with folder() as here:
        reading, read = Path(here) / "reading", Path(here) / "read"
        with (
            asking(server, f"{path}?{here}", "Content-Length: 100", method="POST", body=b"some"),
            contextlib.suppress(AssertionError),
        ):
            until(reading.exists, 1)  # with a bridge that waits for the whole body it never starts: that is right, too
        with contextlib.suppress(AssertionError):
            until(read.exists, 1)
        assert reading.exists() == read.exists(), "read() never ended"
        assert not read.exists() or "bytes" not in read.read_text(), f"read() gave {read.read_text()}"


BODY = b"one\ntwo\n\nthree " + b"x" * 70_000 + b"\nand no end"
CALLS = (
    [["readline", 2], ["readline", 100], ["readline"], ["readline"], ["readline", 20], ["read"], ["read"]],
    [["readlines"], ["readlines"]],
    [["readlines", 5], ["iter"], ["iter"]],
    [["read", 0], ["read", 5], ["readline"], ["read", 1_000_000], ["readline"]],
)


def input_is_a_file(server: Server, path: str) -> None:
    for calls in CALLS:
        response = post(server, f"{path}?{quote(json.dumps(calls))}", BODY)
        expected = repr(perform(io.BytesIO(BODY), calls))
        assert (response.status_code, response.text) == (200, expected), f"{calls}: {response.text[:100]}"


def uploads_in_a_row(server: Server, path: str) -> None:
    body = bytes(range(256)) * 1024
    with server.client() as client:
        client.timeout = PATIENCE
        for number in range(1, 6):
            response = client.post(path, content=body)
            assert response.status_code == 200, f"request {number} of the connection: {response.status_code}"
            assert response.text == hashlib.sha256(body).hexdigest()


def chunked_upload(server: Server, path: str) -> None:
    environ = post(server, path, iter([b"one", b"two"])).json()
    assert environ.get("wsgi.input_terminated") is True, "no wsgi.input_terminated"
    assert "CONTENT_LENGTH" not in environ
    assert post(server, "/bridge_good/echo", iter([b"one", b"two"])).content == b"onetwo"


def reader_stalls(server: Server, path: str) -> None:
    with folder() as here, socket.socket() as connection:
        file = Path(here) / "produced"

        def produced() -> int:
            return int((file.read_text() if file.exists() else "") or 0) * 65536

        def at_rest() -> bool:
            before = produced()
            return before > 0 and not select.select([], [], [], 0.3)[0] and produced() == before

        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect(("127.0.0.1", server.port))
        raw = Raw(connection)
        raw.send(f"GET {path}?{here} HTTP/1.1", "Host: x")
        until(at_rest, PATIENCE, what="the application's rest")
        assert produced() < 16 * MIB, f"{produced() // MIB} MiB for a client that takes none"


def websocket_is_refused(server: Server, path: str) -> None:
    with asking(
        server,
        path,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ) as raw:
        status = raw.head()[0]
    assert status == 403, status


def path_is_bytes(server: Server, path: str) -> None:
    environ = environ_of(server, f"{path}/%FF/caf%C3%A9")
    assert str(environ["PATH_INFO"]).endswith("/\xff/caf\xc3\xa9"), environ["PATH_INFO"]


def cookies(server: Server, path: str) -> None:
    environ = environ_of(server, path, "Cookie: a=1", "Cookie: b=2")
    assert environ["HTTP_COOKIE"] == "a=1; b=2", environ["HTTP_COOKIE"]


def nobody_is_impersonated(server: Server, path: str) -> None:
    environ = environ_of(server, path, "X_Forwarded_For: spoof", "X-Forwarded-For: proxy", "Proxy: http://evil.example")
    assert environ["HTTP_X_FORWARDED_FOR"] == "proxy", environ["HTTP_X_FORWARDED_FOR"]
    assert "HTTP_PROXY" not in environ, "HTTP_PROXY is the client's"


def variables_are_text(server: Server, path: str) -> None:
    environ = environ_of(server, path)
    wrong = {name: value for name, value in environ.items() if name.isupper() and type(value) is not str}
    assert not wrong, wrong


def side_by_side(server: Server, path: str) -> None:
    with folder() as here, asking(server, f"{path}?{here}") as raw:
        until((Path(here) / "held").exists, PATIENCE, what="the first application")
        try:
            in_good_health(server)
        finally:
            (Path(here) / "go").touch()
        assert raw.response() == (200, b"let go")


PROBES: tuple[Probe, ...] = (
    Probe(
        "close-once",
        "`close()` of the response runs exactly once, also when the application fails in mid-stream",
        "bridge_life:pieces",
        close_runs_once,
    ),
    Probe(
        "close-client-leaves",
        "a client that leaves in mid-stream ends the application: `close()` runs within a second",
        "bridge_life:endless_drops",
        client_leaves,
    ),
    Probe(
        "headers-wait",
        "headers wait for the first byte of body: until then `exc_info` replaces them",
        "bridge_good:exc_info_replaces_in_generator",
        headers_wait,
    ),
    Probe(
        "error-is-500",
        "an exception after `start_response()`, but before any body, is a 500",
        "bridge_bad:raises_after_start",
        answers_500,
    ),
    Probe(
        "exc-info-cuts",
        "`exc_info` after the headers re-raises: the client sees a response that is cut, not one that is whole",
        "bridge_bad:exc_info_in_mid_stream",
        is_cut,
    ),
    Probe(
        "start-response-once",
        "a second `start_response()` without `exc_info` is an error",
        "bridge_bad:starts_twice",
        answers_500,
    ),
    Probe("write", "`start_response()` returns a `write()` that works", "bridge_good:write_and_iterate", write_works),
    Probe(
        "content-length",
        "no more than Content-Length goes out, and the response is whole",
        "bridge_bad:list_beyond_its_length",
        length_is_kept,
    ),
    Probe("empty-response", "a response without a body is a response", "bridge_good:empty_list", empty_is_a_response),
    Probe("latin-1-headers", "response headers may be latin-1, as PEP 3333 says", "bridge_good:latin_1", latin_1),
    Probe(
        "upload-streams",
        "the application starts with the first bytes of the request's body, not with the last",
        "bridge_life:answers_then_reads",
        upload_streams,
    ),
    Probe(
        "upload-memory",
        "an upload of 24 MiB is taken, and takes no memory",
        "bridge_probes:counts_and_holds",
        upload_is_bounded,
    ),
    Probe(
        "upload-cut",
        "an upload that the client breaks off never looks whole: `read()` raises",
        "bridge_life:reads_on",
        cut_upload_is_an_error,
    ),
    Probe(
        "input-is-a-file",
        "`readline(n)`, `readlines()`, iteration and short reads of `wsgi.input` give what a file gives",
        "bridge_input:application",
        input_is_a_file,
    ),
    Probe(
        "uploads-in-a-row",
        "a connection takes one upload after the other",
        "bridge_good:digest",
        uploads_in_a_row,
    ),
    Probe(
        "chunked-upload",
        "`wsgi.input_terminated`: without it Flask and Werkzeug take a chunked upload for empty",
        "bridge_good:environ",
        chunked_upload,
    ),
    Probe(
        "backpressure",
        "a client that does not read stops the application after a bounded number of bytes",
        "bridge_probes:much",
        reader_stalls,
    ),
    Probe("side-by-side", "two requests run at once", "bridge_life:holds", side_by_side),
    Probe(
        "system-exit",
        "`sys.exit()` in an application is a 500, and the server lives on",
        "bridge_bad:raises_system_exit",
        answers_500,
    ),
    Probe("path-bytes", "PATH_INFO has the bytes of the request, `%FF` too", "bridge_good:environ", path_is_bytes),
    Probe(
        "cookies", "several Cookie headers, as HTTP/2 sends them, are joined with `; `", "bridge_good:environ", cookies
    ),
    Probe(
        "no-impostor",
        "`X_Forwarded_For` is not `X-Forwarded-For`, and `Proxy` is not HTTP_PROXY (CVE-2016-5385)",
        "bridge_good:environ",
        nobody_is_impersonated,
    ),
    Probe(
        "text-variables", "every CGI variable is a `str`, SERVER_PORT too", "bridge_good:environ", variables_are_text
    ),
    Probe("websocket", "a WebSocket handshake is refused with 403", "bridge_good:hello", websocket_is_refused),
)
