"""Memory, descriptors and threads stay flat, whatever goes through the server and however clients leave."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.serve.conftest import Site
from tests.serving import KINDS, Server, serving, until
from tests.transfers import GIB, MIB, PIECE, download, growth, upload

ROOM = 16 * MIB
THREADS = 4


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    text = f"[global]\nthreads = {THREADS}\n" + "".join(
        f'[[mount]]\npath = "/{name}"\napp = "memory_moves:application"\napplication_group = "{group}"\n{threads}'
        for name, group, threads in (("group", "moves", f"threads = {THREADS}\n"), ("global", "%{GLOBAL}", ""))
    )
    with serving(site(text), kind=request.param) as server:
        yield server


@pytest.mark.parametrize("server", ["serve"], indirect=True)
@pytest.mark.parametrize("move", [upload, download])
def test_a_gibibyte(server: Server, move: Callable[[Server, str, int], None]) -> None:
    """1 GiB goes through while the memory of the whole process tree grows by less than 16 MiB."""
    move(server, "/group", 32 * MIB)
    with growth(server) as grown:
        move(server, "/group", GIB)
    assert grown.most < ROOM


@pytest.mark.parametrize(
    ("server", "path"), [("serve", "/group"), ("serve", "/global"), ("uvicorn", "/group")], indirect=["server"]
)
def test_two_hundred_clients_that_leave(server: Server, path: str) -> None:
    """After clients that left in the middle of an upload, a download or the head, all is as it was before."""

    def leave(number: int) -> None:
        with server.connect() as connection:
            match number % 4:
                case 0:
                    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".encode())
                    connection.sendall(PIECE)
                case 1:
                    connection.sendall(f"GET {path}?{GIB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    assert connection.recv(65536)
                case 2:
                    connection.sendall(f"GET {path}?{GIB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                case 3:
                    connection.sendall(f"GET {path} HTTP/1.1\r\nHo".encode())

    with contextlib.ExitStack() as stack:
        for _ in range(THREADS):  # all at once, or there would be fewer threads than there may be
            connection = stack.enter_context(server.connect())
            connection.sendall(f"GET {path}?{GIB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(65536)
    for number in range(40):
        leave(number)
    until(lambda: idle(server, path))
    descriptors, threads = server.descriptors(), server.threads()
    for number in range(200):
        leave(number)
    until(lambda: idle(server, path))
    until(lambda: server.descriptors() <= descriptors, what=f"no more than {descriptors} descriptors")
    assert server.threads() <= threads
    assert not [line for line in server.log().splitlines() if "ERROR" in line or "Traceback" in line]


def idle(server: Server, path: str) -> bool:
    """Whether the group answers: no worker was lost."""
    return server.get(f"{path}?4", headers={"Connection": "close"}).content == bytes(4)
