"""One server of each kind for this whole room."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bridge.site import GROUPS, Log, Raw, toml
from tests.serving import KINDS, Server, serving


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bridge") / "asyncgroups.toml"
    file.write_text(toml(), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def started(configuration: Path) -> Iterator[Callable[[str], Server]]:
    """The server of a kind. What has started once stays: a file's tests change the kind, and so does the next file."""
    servers: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def start(kind: str) -> Server:
            if kind not in servers:
                servers[kind] = stack.enter_context(serving(configuration, kind=kind))
            return servers[kind]

        yield start


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, started: Callable[[str], Server]) -> Server:
    return started(request.param)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the server."""
    return request.node.callspec.params["server"]


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> str:
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a daemon process does is shown under ``serve``: the other servers have no part in it."""

    def is_wanted(item: pytest.Item) -> bool:
        chosen = getattr(getattr(item, "callspec", None), "params", {})
        return chosen.get("server") != "uvicorn" or not str(chosen.get("group")).startswith("daemon")

    items[:] = filter(is_wanted, items)


@pytest.fixture
def log(server: Server) -> Log:
    return Log(server)


@pytest.fixture
def raw(server: Server) -> Iterator[Raw]:
    with Raw(server.connect()) as client:
        yield client
