"""Load: wrk for as much as a server can take, and a paced client for how long an answer takes at a fixed rate.

Everything goes to 127.0.0.1, and is bounded in connections and seconds. Guarantees of the paced client:

- Requests have intended times, ``1 / rate`` apart, that no answer moves: a latency is the time from the intended time
  of the request to the last byte of its answer. A server that stalls for a second is seen to have kept a hundred
  requests waiting, not one (what Gil Tene calls coordinated omission).
- At most ``connections`` requests are on their way; those beyond wait in the client, and their time counts.
- An answer that does not come in 30 seconds, or is not 200, ends the measurement with an error.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from tests.serving import Server

__all__ = ["NO_WRK", "LoadFailed", "Rate", "beside", "has_wrk", "paced", "rate", "times"]

NO_WRK = "wrk is missing, the load generator: install Debian's package wrk (apt-get install wrk)."

PATIENCE = 30.0
"""Seconds for one answer."""

TOLERATED = 0.001
"""Share of wrk's requests that may meet a closed connection: a server may close one that waits for the next request."""

MOST = 100_000
"""Requests of one paced measurement."""


class LoadFailed(Exception):
    """Raised where an answer was wrong or did not come: the figure would be that of another thing."""


# As much as it takes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What wrk has seen."""

    per_second: float
    requests: int


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def rate(server: Server, *paths: str, seconds: int, connections: int = 32) -> Rate:
    """The requests that ``connections``, shared among ``paths``, get answered, all together. Raises LoadFailed."""
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(_wrk(server, path, seconds, connections // len(paths))) for path in paths]
        said = [_said(run, seconds) for run in runs]
    return Rate(per_second=sum(one.per_second for one in said), requests=sum(one.requests for one in said))


@contextlib.contextmanager
def beside(server: Server, path: str, *, seconds: int, connections: int) -> Iterator[None]:
    """A load for at most ``seconds``, which ends with the block. Raises LoadFailed when it ended before."""
    with _wrk(server, path, seconds, connections) as run:
        yield
        if run.poll() is not None:
            raise LoadFailed(f"the load on {path} has ended too early: {_said(run, seconds)}")


@contextlib.contextmanager
def _wrk(server: Server, path: str, seconds: int, connections: int) -> Iterator[subprocess.Popen[str]]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE:.0f}s", server.url + path]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


def _said(run: subprocess.Popen[str], seconds: int) -> Rate:
    output, _ = run.communicate(timeout=seconds + PATIENCE)
    found = re.search(r"(\d+) requests in .*Requests/sec:\s+([\d.]+)", output, re.DOTALL)
    if found is None or int(found[1]) == 0:
        raise LoadFailed(f"no answers: {' '.join(output.split())[-200:]}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if refused is not None:
        raise LoadFailed(f"{refused[1]} of {found[1]} answers are errors (status other than 2xx)")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    if errors is not None and sum(int(one) for one in errors.groups()) > int(found[1]) * TOLERATED:
        raise LoadFailed(f"{errors[0]}; of {found[1]} requests")
    return Rate(per_second=float(found[2]), requests=int(found[1]))


# At a fixed rate ------------------------------------------------------------------------------------------------------


def paced(server: Server, path: str, *, per_second: float, seconds: float, connections: int = 16) -> list[float]:
    """Latencies in milliseconds, in the order of the intended times. Raises LoadFailed, ValueError."""
    count = round(per_second * seconds)
    if not 0 < count <= MOST or not 0 < connections <= 256:
        raise ValueError("a paced load is bounded: 1 to 100000 requests, 1 to 256 connections")
    found = [0.0] * count
    failures: list[str] = []
    numbers = iter(range(count))
    turn = threading.Lock()
    connected = threading.Barrier(connections + 1, timeout=PATIENCE)
    begin = 0.0

    def live() -> None:
        with _Connection(server) as connection:
            connected.wait()
            connected.wait()  # until ``begin`` is set
            while not failures:
                with turn:
                    mine = next(numbers, None)
                if mine is None:
                    return
                intended = begin + mine / per_second
                time.sleep(max(0.0, intended - time.perf_counter()))
                connection.get(path)
                found[mine] = (time.perf_counter() - intended) * 1000

    def guarded() -> None:
        try:
            live()
        except (OSError, LoadFailed, threading.BrokenBarrierError) as error:
            failures.append(f"{type(error).__name__}: {error}")
            connected.abort()

    threads = [threading.Thread(target=guarded, name="paced", daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        connected.wait()
        begin = time.perf_counter() + 0.01
        connected.wait()
    for thread in threads:
        thread.join(seconds + 2 * PATIENCE)
    if failures or any(thread.is_alive() for thread in threads):
        raise LoadFailed(f"{path} at {per_second:g} a second: {failures[0] if failures else 'it does not end'}")
    return found


class _Connection:
    """A kept-alive HTTP/1.1 connection for answers with a Content-Length; opened again where the server closes it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open(self) -> socket.socket:
        self._close()
        self._socket = socket.create_connection(("127.0.0.1", self._server.port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def get(self, path: str) -> bytes:
        """The body of an answer. Raises LoadFailed, OSError."""
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._server.port}\r\nAccept: */*\r\n\r\n".encode()
        first = b""
        if self._socket is not None:
            with contextlib.suppress(ConnectionError):  # closed since the last answer, which is the server's right
                self._socket.sendall(request)
                first = self._socket.recv(65536)
        if not first:
            connection = self._open()
            connection.sendall(request)
            first = connection.recv(65536)
        return self._rest(first)

    def _rest(self, received: bytes) -> bytes:
        connection = self._socket
        assert connection is not None
        while b"\r\n\r\n" not in received:
            received += _more(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        lowered = head.lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", lowered)
        if b" 200 " not in head[:15] + b" " or length is None:
            raise LoadFailed(f"the answer was {head[:200]!r}")
        while len(body) < int(length[1]):
            body += _more(connection)
        if b"\r\nconnection: close" in lowered:
            self._close()
        return body


def _more(connection: socket.socket) -> bytes:
    if not (more := connection.recv(65536)):
        raise LoadFailed("the connection was closed in the middle of an answer")
    return more


def times(server: Server, paths: Sequence[str]) -> list[float]:
    """Seconds of one request to each path in turn, over one connection. Raises LoadFailed, OSError."""
    found = []
    with _Connection(server) as connection:
        for path in paths:
            start = time.perf_counter()
            connection.get(path)
            found.append(time.perf_counter() - start)
    return found
