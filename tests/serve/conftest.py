"""What the tests of ``serve`` share: a folder with a configuration file, and raw connections."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import APPS, Server

type Site = Callable[..., Path]
type Ask = Callable[..., socket.socket]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Writes a configuration into a folder of its own, whose modules come before those of ``tests/apps``."""

    def write(text: str, **modules: str) -> Path:
        folder = tmp_path_factory.mktemp("site")
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        path = folder / "asyncgroups.toml"
        path.write_text(f'python_path = ["{APPS}"]\n{text}')
        return path

    return write


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Sends a request over a connection of its own, and does not wait for the answer."""
    with contextlib.ExitStack() as stack:

        def send(server: Server, path: str, *, body: bytes = b"", headers: str = "") -> socket.socket:
            connection = stack.enter_context(server.connect())
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            connection.sendall(head.encode() + (b"" if "100-continue" in headers else body))
            return connection

        yield send
