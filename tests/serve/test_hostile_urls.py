"""URLs that no client library would send, over sockets: servers and frameworks have a part in what a path is."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
import pytest

from tests.bridge.site import Raw
from tests.serve.urls import NOT_FOUND, SERVED, W, group_of, make
from tests.serving import Server, serving

NO_ASCII = [
    b"/~alice\xff/wsgi-scripts/app.wsgi",
    b"/~alice/wsgi-scripts/\xc0\xae\xc0\xae/secret.wsgi",
    b"/~alice/wsgi-scripts/e\xcc\x81.wsgi",
]
OTHER = [
    *NO_ASCII,
    # what some take for the end of a path, or for its beginning
    W + b"?/../../secret.wsgi",
    W + b"#/app.wsgi",
    b"/~alice?/../~bob/wsgi-scripts/app.wsgi",
    b"/~alice#/../~bob/wsgi-scripts/app.wsgi",
    b"/~alice%3f/wsgi-scripts/app.wsgi",
    b"/~alice%23/wsgi-scripts/app.wsgi",
    b"/~alice;/wsgi-scripts/app.wsgi",
    b"http://~bob/wsgi-scripts/app.wsgi",
    b"http://www.example.com/~alice/../~bob/wsgi-scripts/app.wsgi",
    b"~alice/wsgi-scripts/app.wsgi",
    # what is decoded once, twice, or otherwise
    b"/%2f~bob/wsgi-scripts/app.wsgi",
    b"/~alice%252f..%252f~bob/wsgi-scripts/app.wsgi",
    b"/~alice%2fwsgi-scripts/app.wsgi",
    b"/~bob%00/wsgi-scripts/app.wsgi",
    b"/~bob%0d%0ax: y/wsgi-scripts/app.wsgi",
    b"/~alice%ff/wsgi-scripts/app.wsgi",
    b"/~alice/wsgi-scripts%c0%afapp.wsgi",
    W + b"/app.wsgi%5c..%5cfoo",
    W + b"/app.wsgi%ef%bc%8e",
    b"/sites/red%2f..%2fblue",
    b"/%",
    # root paths and the paths of mounts, once more
    b"/outer/../~bob/wsgi-scripts/app.wsgi",
    b"/outer/~bob/wsgi-scripts/app.wsgi",
    b"/../outer/~bob/wsgi-scripts/app.wsgi",
    b"/%2e%2e%2f~bob/wsgi-scripts/app.wsgi",
]


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    said: str
    body: bytes


type Ask = Callable[[Server, Iterable[bytes]], list[Answer]]


def over_http_1(server: Server, targets: Iterable[bytes]) -> list[Answer]:
    """The answers to targets that go out as they are; on one connection, as long as the server keeps it."""
    answers: list[Answer] = []
    raw = Raw(server.connect())
    for target in targets:
        raw.socket.sendall(b"GET %b HTTP/1.1\r\nHost: www.example.com\r\n\r\n" % target)
        status, headers = raw.head()
        length = headers.get("content-length")
        body = raw.take(int(length)) if length else raw.rest() if status == 400 else b"".join(iter(raw.chunk, b""))
        answers.append(Answer(status, headers.get("x-said", ""), body))
        if status == 400:  # most servers read no further
            raw.socket.close()
            raw = Raw(server.connect())
    raw.socket.close()
    return answers


def over_http_2(server: Server, targets: Iterable[bytes]) -> list[Answer]:
    """The answers to targets that go out as they are, all of them on one connection."""
    answers: list[Answer] = []
    # Else h2 would correct what goes out, or refuse it.
    loose = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    protocol = h2.connection.H2Connection(loose)
    protocol.initiate_connection()
    with server.connect() as connection:
        for target in targets:
            stream = protocol.get_next_available_stream_id()
            head = [
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"www.example.com"),
                (b":path", target),
            ]
            protocol.send_headers(stream, head, end_stream=True)
            connection.sendall(protocol.data_to_send())
            fields: dict[bytes, bytes] = {}
            body, is_over = b"", False
            while not is_over:
                received = connection.recv(65536)
                assert received, f"the connection has ended at {target!r}"
                for event in protocol.receive_data(received):
                    if isinstance(event, h2.events.ResponseReceived):
                        fields = dict(event.headers)
                    elif isinstance(event, h2.events.DataReceived):
                        body += event.data
                    is_over = is_over or isinstance(event, h2.events.StreamEnded)
                    assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated), target
                connection.sendall(protocol.data_to_send())
            answers.append(Answer(int(fields[b":status"]), fields.get(b"x-said", b"").decode(), body))
    return answers


@dataclass(frozen=True, kw_only=True)
class Host:
    """A server, as ``serving`` knows it, with further options.

    fronts: what its clients write before a path. ask: the protocols that they speak. decodes: whether it ends an
    HTTP/2 connection at a path that is no ASCII.
    """

    kind: str
    options: tuple[str, ...] = ()
    fronts: tuple[bytes, ...] = (b"",)
    ask: tuple[Ask, ...] = (over_http_1,)
    decodes: bool = False


HOSTS = {
    "serve": Host(kind="serve", ask=(over_http_1, over_http_2)),
    "granian": Host(kind="granian"),
    "httptools": Host(kind="uvicorn", options=("--http", "httptools", "--root-path", "/outer")),
    "hypercorn": Host(
        kind="hypercorn", options=("--root-path", "/outer"), fronts=(b"", b"/outer"), ask=(over_http_2,), decodes=True
    ),
    "starlette": Host(
        kind="starlette",
        options=("--http", "h11", "--root-path", "/outer"),
        fronts=(b"/outer", b"/tenants/..", b"/tenants/~bob"),
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration's path; beside it lies the tree."""
    return make(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


@pytest.fixture(scope="module")
def server(host: Host, site: Path) -> Iterator[Server]:
    with serving(site, kind=host.kind, options=host.options) as server:
        yield server


def test_scripts_and_what_is_none(server: Server, host: Host, site: Path) -> None:
    """Whatever way a path takes, each script answers in its own group alone; the rest is 404, or 400 by the server."""
    root = site.parent
    for ask in host.ask:
        for front in host.fronts:
            for (path, group, script, path_info), answer in zip(
                SERVED, ask(server, [front + path for path, *_ in SERVED]), strict=True
            ):
                told = json.loads(answer.said)
                assert (answer.status, told["group"], told["script"], told["path_info"]) == (
                    200,
                    group,
                    f"{root}/{script}",
                    path_info,
                ), front + path
            wrong = {
                front + path: answer.status
                for path, answer in zip(NOT_FOUND, ask(server, [front + path for path in NOT_FOUND]), strict=True)
                if answer.status not in (404, 400) or b"application" in answer.body
            }
            assert wrong == {}


def test_paths_that_servers_see_differently(server: Server, host: Host, site: Path) -> None:
    """What one server cuts off or decodes, and another does not, leads to no script but in the group that it is of."""
    root = site.parent
    for ask in host.ask:
        for front in host.fronts:
            paths = [path for path in OTHER if not host.decodes or path.isascii()]
            for path, answer in zip(paths, ask(server, [front + path for path in paths]), strict=True):
                if answer.status == 200:
                    told = json.loads(answer.said)
                    assert told["group"] == group_of(root, Path(told["script"]).relative_to(root)), front + path
                else:
                    assert answer.status in (404, 400), front + path
                assert b"application" not in answer.body, front + path


@pytest.mark.parametrize("host", ["serve"], indirect=True, scope="module")
def test_http_2_paths_that_are_no_ascii(server: Server) -> None:
    """``serve`` answers them 400, and the connection goes on; hypercorn's own way ends it with a traceback."""
    answers = over_http_2(server, [*NO_ASCII, SERVED[0][0], SERVED[0][0] + b"?\xff"])
    assert [answer.status for answer in answers] == [*[400] * len(NO_ASCII), 200, 200]
    assert "Traceback" not in server.log()
