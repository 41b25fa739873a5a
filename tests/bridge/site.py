"""What the servers of this room serve, and a client that speaks to them byte by byte.

The named group and GLOBAL have one worker each: one that an application keeps is missed by the next test at the latest.
"""

import json
import re
import socket
import struct
import time
from pathlib import Path
from typing import Self

from tests.serving import APPS, Server, until

__all__ = [
    "BODY_LIMIT",
    "GOOD",
    "GROUPS",
    "LABELS",
    "NAMES",
    "Log",
    "Raw",
    "closed_within_a_second",
    "closes",
    "leave",
    "names",
    "toml",
]

GROUPS = ("named", "global", "daemon", "daemon-global")
"""Each application is mounted in each: at ``/named/...`` in an interpreter of its own, at ``/global/...`` in GLOBAL, at
``/daemon/...`` in an interpreter of a daemon process, at ``/daemon-global/...`` in that process's GLOBAL."""

NAMES = {"named": "bridge", "global": "%{GLOBAL}", "daemon": "bridge", "daemon-global": "%{GLOBAL}"}
"""Their application groups."""

LABELS = {
    "named": "bridge",
    "global": "%{GLOBAL}",
    "daemon": "back:bridge",
    "daemon-global": "back:%{GLOBAL}",
}
"""What the log calls them."""

BODY_LIMIT = 16 * 1024 * 1024

_APPLICATION = re.compile(r"^(?:def (\w+)\(environ, start_response\)|([a-z]\w*) = )", re.MULTILINE)


def names(module: str) -> list[str]:
    """The applications in a module of ``tests/apps``."""
    return [match[1] or match[2] for match in _APPLICATION.finditer((APPS / f"{module}.py").read_text())]


GOOD = names("bridge_good")


def toml(extra: str = "") -> str:
    """The configuration of the servers of this room; ``extra`` are further top-level lines."""
    lines = [
        f"app_dir = {json.dumps(str(APPS))}",
        'server_name = "bridge.example"',
        extra,
        "[global]",
        "threads = 1",
        "[process_group.back]",
        "threads = 1",
        "[limits]",
        f"request_body = {BODY_LIMIT}",
    ]

    def mount(path: str, application: str, group: str, threads: int | None = None) -> None:
        lines.extend(["[[mount]]", f'path = "{path}"', f'app = "{application}"', f'application_group = "{group}"'])
        if path.startswith("/daemon"):
            lines.append('process_group = "back"')
        if threads is not None:
            lines.append(f"threads = {threads}")

    for group, name_of_group in NAMES.items():
        for module in ("bridge_good", "bridge_bad", "bridge_life", "bridge_input"):
            for name in names(module):
                mount(f"/{group}/{name}", f"{module}:{name}", name_of_group)
        for name in GOOD:
            mount(f"/{group}/validated/{name}", f"bridge_validated:{name}", name_of_group)
    mount("/other", "bridge_good:hello", "other")
    mount("/many", "bridge_good:environ", "many", 4)
    for path in ("/flask", "/daemon-flask"):
        mount(path, "bridge_flask:application", "flask")
    mount("/r\u00e9sum\u00e9 x", "bridge_good:environ", "r\u00e9sum\u00e9")
    return "\n".join(lines) + "\n"


class Log:
    """What a server has logged since the test began."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begin = server.logged()

    def __str__(self) -> str:
        return self._server.log(self._begin)

    def wait_for(self, text: str, seconds: float = 10) -> str:
        """The log, once ``text`` is in it."""
        until(lambda: text in str(self), seconds, what=f"{text!r} in the log")
        return str(self)


class Raw:
    """A client that speaks HTTP/1 byte by byte."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(10)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *lines: str, body: bytes = b"") -> None:
        """A request's head, its lines without their ends; and the first bytes of its body."""
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def until(self, end: bytes) -> bytes:
        """What comes up to ``end``, which it ends with."""
        while end not in self._received:
            self._receive()
        return self.take(self._received.index(end) + len(end))

    def take(self, length: int) -> bytes:
        """Exactly ``length`` bytes."""
        while len(self._received) < length:
            self._receive()
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next response."""
        status, *lines = self.until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), headers

    def chunk(self) -> bytes:
        """The next chunk; empty for the last one."""
        size = int(self.until(b"\r\n"), 16)
        return self.take(size + 2)[:-2]

    def response(self) -> tuple[int, bytes]:
        """The next response, whose end its head or its chunks tell."""
        status, headers = self.head()
        if "content-length" in headers:
            return status, self.take(int(headers["content-length"]))
        return status, b"".join(iter(self.chunk, b""))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while received := self.socket.recv(65536):
                self._received += received
        except ConnectionError:
            pass  # an end, too
        return self.take(len(self._received))

    def _receive(self) -> None:
        if not (received := self.socket.recv(65536)):
            raise AssertionError(f"the connection has ended after {self._received!r}")
        self._received += received


def closes(folder: Path) -> list[str]:
    """What the applications of ``bridge_life`` have noted of close(), a line for each."""
    file = folder / "closed"
    return file.read_text().splitlines() if file.exists() else []


def leave(connection: socket.socket, *, reset: bool) -> float:
    """Close a connection, with a reset at once or in order; the time at which that was."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        connection.shutdown(socket.SHUT_WR)
    connection.close()
    return time.monotonic()


def closed_within_a_second(folder: Path, left: float) -> None:
    """Wait for the first close(), and see that it was no later."""
    until(lambda: closes(folder), 3, what="close()")
    assert float(closes(folder)[0].split()[2]) - left < 1.0
