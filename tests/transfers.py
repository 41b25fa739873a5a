"""Moves large bodies through a server that runs ``apps/memory_moves.py``, and watches its memory meanwhile."""

import contextlib
import threading
from collections.abc import Iterator

from tests.serving import Server

__all__ = ["GIB", "MIB", "PIECE", "Growth", "download", "growth", "upload"]

GIB = 1024**3
MIB = 1024**2
PIECE = bytes(256 * 1024)


def upload(server: Server, path: str, length: int) -> None:
    """Send ``length`` bytes, a multiple of 256 KiB, and hold the application's count against it."""
    with server.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        for _ in range(length // len(PIECE)):
            connection.sendall(PIECE)
        answer = b""
        while not answer.endswith(str(length).encode()) and (more := connection.recv(4096)):
            answer += more
        assert str(length).encode() in answer, answer


def download(server: Server, path: str, length: int) -> None:
    """Receive a body of ``length`` bytes."""
    with server.connect() as connection:
        connection.sendall(f"GET {path}?{length} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received, buffer = 0, bytearray(MIB)
        while count := connection.recv_into(buffer):
            received += count
        assert length < received < length + 4096


class Growth:
    """By how many bytes the server's process tree has grown at most: ``most``, once the block of ``growth`` is over."""

    most = 0


@contextlib.contextmanager
def growth(server: Server) -> Iterator[Growth]:
    """Watch the memory of the server's whole process tree inside the block."""
    found, over = Growth(), threading.Event()
    before = server.memory()

    def watch() -> None:
        while not over.wait(0.05):
            found.most = max(found.most, server.memory() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()
        found.most = max(found.most, server.memory() - before)
