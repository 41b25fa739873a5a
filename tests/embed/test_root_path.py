"""SCRIPT_NAME and PATH_INFO inside the hosts that there are, whatever they do to path, raw_path and root_path."""

import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

import anyio
import pytest
from fastapi import FastAPI
from hypercorn.middleware import DispatcherMiddleware
from starlette.applications import Starlette
from starlette.routing import Mount as Route

from asyncgroups import ApplicationGroups, Mount

pytestmark = pytest.mark.anyio

type Application = Callable[[Any, Any, Any], Awaitable[None]]


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"]]).encode()]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def groups(anyio_backend: str) -> AsyncIterator[ApplicationGroups]:
    """At the root, and at /in."""
    groups = ApplicationGroups(mounts=[Mount("/", wsgi), Mount("/in", wsgi)], application_group="%{GLOBAL}")
    async with groups.running():
        yield groups


def fastapi(groups: ApplicationGroups, **options: Any) -> Application:
    with warnings.catch_warnings(action="ignore"):  # root_path is an option that goes
        application = FastAPI(**options)
    application.mount("/old", groups)
    return application


def within(groups: ApplicationGroups) -> Application:
    outer = FastAPI()
    outer.mount("/a", fastapi(groups))
    return outer


def unchanged(groups: ApplicationGroups) -> Application:
    """As in Django's documentation: a function that chooses by scope["path"]."""

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        await groups(scope, receive, send)

    return dispatch


def extended(groups: ApplicationGroups, *, cut: bool) -> Application:
    """As the specification has it since version 2.4 of HTTP, where path begins with root_path; or as it was before."""

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        path, root = scope["path"], scope["root_path"] + "/old"
        assert path.removeprefix(scope["root_path"]).startswith("/old")
        if cut:
            path = path.removeprefix(scope["root_path"]).removeprefix("/old")
        await groups({**scope, "root_path": root, "path": path}, receive, send)

    return dispatch


HOSTS: dict[str, tuple[Callable[[ApplicationGroups], Application], str]] = {
    "starlette": (lambda groups: Starlette(routes=[Route("/old", groups)]), "/old"),
    "starlette-twice": (lambda groups: Starlette(routes=[Route("/a", routes=[Route("/old", groups)])]), "/a/old"),
    "starlette-name": (lambda groups: Starlette(routes=[Route("/{name}", groups)]), "/caf%C3%A9"),
    "fastapi": (fastapi, "/old"),
    "fastapi-twice": (within, "/a/old"),
    "hypercorn": (lambda groups: DispatcherMiddleware({"/old": groups}), "/old"),  # type: ignore[dict-item]
    "dispatcher": (unchanged, ""),
    "dispatcher-extended": (lambda groups: extended(groups, cut=False), "/old"),
    "dispatcher-cut": (lambda groups: extended(groups, cut=True), "/old"),
}

SERVERS = {
    "plain": ("", False),
    "uvicorn-root-path": ("/api", True),  # whose path begins with root_path
    "hypercorn-root-path": ("/api", False),  # whose path is what a proxy left of it
}

UNTOLD: dict[str, set[str]] = {
    "plain": set(),
    # What no scope tells is not tested: with a root_path that path lacks, Starlette finds no inner mounts; and who
    # extends root_path by hand does not say which part of it path still has.
    "hypercorn-root-path": {"starlette-twice", "fastapi-twice", "hypercorn", "dispatcher-extended"},
    # Its Dispatcher compares path without root_path.
    "uvicorn-root-path": {"hypercorn"},
}

PATHS = ["/", "/x", "/x/", "/x%2Fy", "/old/x", "//x", "/%C3%A9", "/%FF", "/in", "/in/x", "/in%2Fx"]


async def answer(application: Application, target: str, root: str, *, raw: bool) -> list[str]:
    """What the application says of a request as a server passes it on."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(target),
        "root_path": root,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "server": ("localhost", 80),
        "client": ("192.0.2.1", 40000),
    }
    with anyio.fail_after(10):
        await application(scope | ({"raw_path": target.encode()} if raw else {}), receive, send)
    assert sent[0]["status"] == 200, sent
    said: list[str] = json.loads(sent[1]["body"])
    return said


def native(text: str, *, errors: str = "surrogateescape") -> str:
    """As PEP 3333 wants strings: bytes as latin-1."""
    return unquote(text, errors=errors).encode("utf-8", "surrogateescape").decode("latin-1")


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "decoded"])
@pytest.mark.parametrize(
    ("host", "server"), [(host, server) for host in HOSTS for server in SERVERS if host not in UNTOLD[server]]
)
async def test_script_name_and_path_info(groups: ApplicationGroups, host: str, server: str, raw: bool) -> None:
    """SCRIPT_NAME is all that stands before the application, PATH_INFO what the client wrote behind it."""
    make, prefix = HOSTS[host]
    root, begins = SERVERS[server]
    application = make(groups)
    for path in PATHS:
        if not raw and path in ("/in%2Fx", "/old/x"):
            continue  # nothing but raw_path tells them from /in/x, and from /x where path was cut
        target = (root if begins else "") + prefix + path
        inside = "/in" if path in ("/in", "/in/x") else ""
        expected = [
            native(root + prefix + inside),
            native(path.removeprefix(inside), errors="surrogateescape" if raw else "replace"),
        ]
        assert await answer(application, target, root, raw=raw) == expected, path


@pytest.mark.parametrize(("root", "target"), [("/api", "/old/x"), ("/api", "/api/old/x")])
async def test_root_path_of_fastapi(groups: ApplicationGroups, root: str, target: str) -> None:
    """FastAPI's own root_path is in front of its mounts, whether or not the proxy has taken it off."""
    application = fastapi(groups, root_path=root)
    assert await answer(application, target, "", raw=True) == ["/api/old", "/x"]
