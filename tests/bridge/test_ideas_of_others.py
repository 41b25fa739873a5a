"""What the tests and the issues of other bridges made us think of, beyond what this room had.

Whose idea it was, and where ours is, if not here:

- a2wsgi, tests/test_wsgi.py: ``wsgi.input`` (``test_request_bodies``); exc_info in the first call, and by keyword
  (``test_applications``); environ (``test_environ``); SCRIPT_NAME of the process's environment.
- a2wsgi #42, asgiref #587, hypercorn #154: close() (``test_life_of_an_exchange``), and the ``finally`` of a generator.
- a2wsgi #45, #48: behind ASGI middleware, and behind one that raises. #49: what clients that leave cost.
- a2wsgi #21: Content-Length said twice (``test_environ``). #31: context variables cannot be had in another interpreter;
  ``scope["asyncgroups"]["env"]`` is for that (``test_asgi``).
- asgiref, tests/test_wsgi.py: headers as lists, a Content-Length that was replaced, a body that goes on beyond its
  Content-Length, empty bodies (``test_applications``). #115, #442: several events of body, root_path (``test_asgi``).
- starlette and uvicorn, tests/middleware/test_wsgi.py: as a2wsgi's; a path beyond ASCII (``test_environ``).
- uvicorn #371, #708, starlette #2450: uploads and responses in memory (``tests/serve/test_memory``).
- hypercorn, tests/test_app_wrappers.py: a body over the limit (``test_request_bodies``), no start_response, trio
  (``test_applications``, ``test_asgi``). #98: str to ``wsgi.errors`` (``test_environ``). #320, #331: start_response in
  a generator, an empty one too, exc_info before and after the first piece (``test_applications``).
- waitress #236, aiohttp-wsgi #4: an application that goes on for a client that left (``test_life_of_an_exchange``).
- concurrent.futures: no future takes a StopIteration (``test_applications``).
"""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.site import Log, Raw
from tests.serving import Server, serving, until

UPLOAD = bytes(range(256)) * 1024


# Generators -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["comes", "fails", "goes on"])
def test_generator_tidies_up(server: Server, group: str, tmp_path: Path, end: str) -> None:
    """The ``finally`` of a generator runs once and in its thread: at its end, when it fails, when its client leaves."""
    with Raw(server.connect()) as raw:
        length = f"Content-Length: {len(end)}"
        raw.send(f"POST /{group}/tidies?{tmp_path} HTTP/1.1", "Host: x", length, "Connection: close", body=end.encode())
        if end == "goes on":
            raw.take(1000)
        else:
            assert raw.rest().endswith(b"0\r\n\r\n") == (end == "comes")
    thread = server.get(f"/{group}/thread").text
    (line,) = (tmp_path / "closed").read_text().splitlines()
    assert line.split()[:2] == [thread, thread]


# Clients that leave ---------------------------------------------------------------------------------------------------


def test_clients_that_leave_cost_nothing(server: Server, log: Log, group: str, tmp_path: Path) -> None:
    """After many of them, in every phase, the only worker is free, and no descriptor is left behind."""
    assert server.get(f"/{group}/hello").content == b"hello"
    before = server.descriptors()
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Raw(server.connect()) as raw:
            raw.send(f"GET /{group}/endless?{folder} HTTP/1.1", "Host: x")
            raw.take(1000)
        with Raw(server.connect()) as raw:
            raw.send(f"POST /{group}/reads_on?{folder} HTTP/1.1", "Host: x", "Content-Length: 10", body=b"1")
            until((folder / "reading").exists, what="the application")
        with Raw(server.connect()) as raw:
            raw.send(f"GET /{group}/hello HTTP/1.1", "Host: x")
    assert server.get(f"/{group}/hello", timeout=2).content == b"hello"
    # Some of hypercorn's connections stay for some seconds.
    until(lambda: server.descriptors() < before + 8, 8, what="the end of the descriptors")
    assert "Traceback" not in str(log)


# Frameworks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/flask/", "/daemon-flask/"])
def test_framework_reads_an_upload(server: Server, path: str, chunked: bool) -> None:
    """Flask takes a body without a length for empty, unless it is told that the body has an end."""
    with server.client() as client:
        for _ in range(3):
            response = client.post(path, content=iter([UPLOAD, b"end"]) if chunked else UPLOAD + b"end")
            assert (response.status_code, response.content) == (200, UPLOAD + b"end")


# Behind ASGI middleware -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outer(configuration: Path) -> Iterator[Server]:
    command = ["-m", "uvicorn", "--port", "0", "--lifespan", "on", "bridge_outer:application"]
    with serving(command, environ={"ASYNCGROUPS_CONFIG": str(configuration), "SCRIPT_NAME": "/prefix"}) as server:
        yield server


def test_script_name_of_the_process(outer: Server, group: str) -> None:
    """What the environment of the process says of SCRIPT_NAME is none of a request's business."""
    environ = outer.get(f"/{group}/environ/x").json()
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (f"/{group}/environ", "/x")


def test_behind_base_http_middleware(outer: Server, group: str) -> None:
    """Starlette's middleware has ``receive`` and ``send`` of its own: bodies of both directions come through whole."""
    with outer.client(headers={"X-Outer": "base"}) as client:
        for _ in range(2):
            response = client.post(f"/{group}/digest", content=UPLOAD)
            assert response.headers["x-dispatched"] == "yes"
            assert response.text == hashlib.sha256(UPLOAD).hexdigest()
            assert client.post(f"/{group}/echo", content=iter([b"one ", b"two"])).content == b"one two"
            assert client.get(f"/{group}/generator").content == b"one two three"
            assert client.head(f"/{group}/hello").content == b""
            assert client.get(f"/{group}/no_content").status_code == 204
            assert client.get(f"/{group}/raises_at_once").status_code == 500


def test_client_leaves_behind_base_http_middleware(outer: Server, group: str, tmp_path: Path) -> None:
    """The application that streams, or reads, ends there as well, and its worker is free."""
    for name in ("endless", "reads_on"):
        with Raw(outer.connect()) as raw:
            head = [f"POST /{group}/{name}?{tmp_path} HTTP/1.1", "Host: x", "X-Outer: base"]
            if name == "endless":
                raw.send(*head, "Content-Length: 1", body=b"1")
                raw.take(1000)
            else:
                raw.send(*head, "Content-Length: 10", body=b"1")
                until((tmp_path / "reading").exists, what="the application")
        assert outer.get(f"/{group}/hello", timeout=3).content == b"hello"
    assert (tmp_path / "read").read_text() == "ClientDisconnected\n"


@pytest.mark.parametrize(
    ("front", "name", "whole"),
    [
        ("", "raises_in_mid_stream", False),
        ("gzip", "raises_in_mid_stream", False),
        ("base", "generator_short_of_its_length", False),
        ("base", "raises_in_mid_stream", True),
    ],
)
def test_cut_behind_middleware(outer: Server, group: str, front: str, name: str, whole: bool) -> None:
    """A response that is cut is cut for the client as well; an exception is Starlette's: it ends what has no length."""
    with Raw(outer.connect()) as raw:
        raw.send(f"GET /{group}/{name} HTTP/1.1", "Host: x", f"X-Outer: {front}", "Connection: close")
        assert raw.head()[0] == 200
        rest = raw.rest()
    assert b"some of it" in rest
    assert rest.endswith(b"0\r\n\r\n") == whole
    assert outer.get(f"/{group}/hello", timeout=2).content == b"hello"


def test_middleware_that_packs(outer: Server, group: str) -> None:
    """A body that is packed on its way has the length that the packer gives it."""
    with outer.client(headers={"X-Outer": "gzip", "Accept-Encoding": "gzip"}) as client:
        for name, body in (("hello", b"hello"), ("generator", b"one two three"), ("write_only", b"written twice")):
            with client.stream("GET", f"/{group}/{name}") as response:
                assert response.headers["content-encoding"] == "gzip"
                assert gzip.decompress(b"".join(response.iter_raw())) == body


@pytest.mark.parametrize("name", ["hello", "many_pieces", "file"])
def test_middleware_that_raises(outer: Server, group: str, name: str) -> None:
    """What fails on the way out is a 500 of the server's; its worker is free."""
    with outer.client() as client:
        for _ in range(3):
            assert client.get(f"/{group}/{name}", headers={"X-Outer": "raises"}).status_code == 500
            assert client.get(f"/{group}/hello", timeout=2).content == b"hello"
