"""The program of a daemon process: takes connections, and has an interpreter live on each.

Standard library, ``wire``, ``worker`` and this room; runs on Python 3.12 and later, with nothing installed. Run as a
script, with what ``main`` takes as its arguments. Guarantees:

- It takes connections of one user only, on a socket that was bound for it.
- An interpreter lives on a connection as one of the server's does on its channel: the same ``worker.main`` serves both.
- An application group has one interpreter of each generation, whoever opens it, with no more threads than the first to
  do so has said. It ends when the last of them has left; who comes during its end gets the next one.
- When the server dies, the process ends at once, also while an application keeps the main interpreter's GIL.
- Signals that a terminal or a service manager sends to everybody do not end it: the server does, in its order.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 12):  # noqa: UP036 - the configuration names any Python; said before what it cannot read
    _this = "{}.{}.{}".format(*sys.version_info[:3])
    sys.exit(f"asyncgroups: a daemon process needs Python 3.12 or later, and {sys.executable} is {_this}")

if __name__ == "__main__":  # the folder of the package is on nobody's path: its parent may hold what is not for us
    from importlib import util
    from pathlib import Path

    _package = Path(__file__).resolve().parents[1]
    _found = util.spec_from_file_location(
        "asyncgroups", _package / "__init__.py", submodule_search_locations=[str(_package)]
    )
    assert _found is not None
    assert _found.loader is not None
    sys.modules["asyncgroups"] = util.module_from_spec(_found)
    _found.loader.exec_module(sys.modules["asyncgroups"])

import contextlib
import faulthandler
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from asyncgroups.errors import InterpreterFailed, MainInterpreterOnly, ProtocolError
from asyncgroups.host.ending import end
from asyncgroups.host.interpreters import Bootstrap, Inside, run_outliving
from asyncgroups.wire import messages

__all__ = ["main", "open_frame", "parse_open"]

_PAUSE = 0.1
"""Seconds until the next try to take a connection."""

_WATCH_SECONDS = 10.0
"""Where nobody watches then, nobody will; the log says why."""

_watched: int | None = None
"""See ``run_outliving``."""

_FIXED = 7
"""Values of OPEN before the folders and the environment."""


def open_frame(bootstrap: Bootstrap) -> bytes:
    """OPEN, for one that another process is to hold."""
    environ = bootstrap.environ or ()
    return messages.blobs(
        messages.OPEN,
        bootstrap.process_group.encode(),
        bootstrap.application_group.encode(),
        b"%d" % bootstrap.threads,
        b"main" if bootstrap.is_main else b"",
        b"%d" % bootstrap.processes,
        b"%d" % bootstrap.generation,
        b"%d" % len(bootstrap.path),
        *map(os.fsencode, bootstrap.path),
        *(part for pair in environ for part in pair),
    )


def parse_open(payload: bytes) -> Bootstrap:
    """What ``open_frame`` says. Raises ProtocolError."""
    values = messages.parse_blobs(payload)
    try:
        process_group, application_group, threads, main_only, processes, generation, folders = values[:_FIXED]
        after = _FIXED + int(folders)
        rest = values[after:]
        return Bootstrap(
            process_group=process_group.decode(),
            application_group=application_group.decode(),
            threads=int(threads),
            path=tuple(map(os.fsdecode, values[_FIXED:after])),
            environ=None if main_only else tuple(zip(rest[::2], rest[1::2], strict=True)),
            processes=int(processes),
            generation=int(generation),
        )
    except ValueError:
        raise ProtocolError("a malformed OPEN") from None


def main(display_name: str, listener: str, lifeline: str, user: str, folder: str, memory: str) -> NoReturn:
    """Run a daemon process until the server ends it.

    display_name: what process lists show. listener, lifeline: numbers of descriptors: a listening socket, and a
    socket whose other end the server holds as long as it lives. user: number of the user that may connect. folder: the
    private folder of the socket, which goes with the last process. memory: bytes that the process may have for its own,
    0 for no limit.
    """
    sys.argv[:] = ["asyncgroups"]
    for number in (int(listener), int(lifeline)):
        os.set_inheritable(number, False)  # noqa: FBT003 - the standard library's signature
    _outlive_no_server(int(lifeline), folder)
    _show(display_name)
    faulthandler.enable()
    if int(memory):
        _limit(int(memory))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # they are text files
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, _nothing)  # and not SIG_IGN, which children of applications would inherit
    with socket.socket(fileno=int(listener)) as door:
        while True:
            try:
                connection, _ = door.accept()
            except OSError as error:  # too many open files, or the like: what goes on inside goes on
                _say(f"no connection can be taken: {error}")
                time.sleep(_PAUSE)
                continue
            if _peer(connection) not in (None, int(user)):
                connection.close()
                continue
            _begin(connection, _serve)


def _limit(memory: int) -> None:
    """Have no more bytes than ``memory``, or than the limit that there is already."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = min(memory, sys.maxsize if hard == resource.RLIM_INFINITY else hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _begin(connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Have ``connection`` served by a thread of its own."""

    def live() -> None:
        try:
            with connection:
                serve(connection)
        except (OSError, ProtocolError) as error:
            _say(f"a connection was refused: {error}")

    try:
        threading.Thread(target=live, name="asyncgroups-connection", daemon=True).start()
    except RuntimeError as error:
        connection.close()
        _say(f"a connection was refused: {error}")


def _serve(connection: socket.socket) -> None:
    kind, payload = _first(connection)
    if kind == messages.QUIT:
        end(0)
    _admit(parse_open(payload), connection)


class _Residence:
    """An application group's interpreter, and the door for further front ends."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        """Raises OSError."""
        self.bootstrap = bootstrap
        self.door, self._knocking = os.pipe()
        os.set_blocking(self.door, False)
        self._guests: dict[int, Bootstrap] = {}

    def knock(self, connection: socket.socket, bootstrap: Bootstrap) -> None:
        """Let one more front end in. Under the lock."""
        descriptor = connection.detach()
        self._guests[descriptor] = bootstrap
        os.write(self._knocking, descriptor.to_bytes(8))
        if bootstrap != self.bootstrap:
            _say(f"{bootstrap.application_group!r} is there already, with other settings: they hold")

    def close(self) -> list[tuple[Bootstrap, socket.socket]]:
        """Who was not let in any more. Under the lock."""
        late = []
        with contextlib.suppress(BlockingIOError):
            while descriptor := int.from_bytes(os.read(self.door, 8)):
                late.append((self._guests[descriptor], socket.socket(fileno=descriptor)))
        os.close(self.door)
        os.close(self._knocking)
        return late


_residences: dict[tuple[str, int], _Residence] = {}
"""By the name of the application group, and the generation."""
_lock = threading.Lock()


def _admit(bootstrap: Bootstrap, connection: socket.socket) -> None:
    """Let a front end into the interpreter of its application group, or be the thread that lives in a new one."""
    with _lock:
        found = _residences.get(_place(bootstrap))
        if found is not None:
            found.knock(connection, bootstrap)
            return
        last_words = connection.dup()
        residence = _residences[_place(bootstrap)] = _Residence(bootstrap)
    _live(residence, connection.detach(), last_words)


def _place(bootstrap: Bootstrap) -> tuple[str, int]:
    return bootstrap.application_group, bootstrap.generation


def _live(residence: _Residence, control: int, last_words: socket.socket) -> None:
    inside = Inside(residence.bootstrap, control, door=residence.door, on_over=partial(_move_out, residence))
    kind, reason = messages.BROKEN, ""
    if residence.bootstrap.is_main:
        _await_watch()
    try:
        inside.live()
    except InterpreterFailed as error:
        kind = messages.ALONE if isinstance(error, MainInterpreterOnly) else messages.BROKEN
        reason = str(error)
    with last_words, contextlib.suppress(OSError):
        if reason:
            last_words.sendall(messages.texts(kind, reason[: messages.HEAD_LIMIT]))
        last_words.shutdown(socket.SHUT_RDWR)
    try:
        inside.close()
    except InterpreterFailed as error:
        _say(str(error))


def _move_out(residence: _Residence) -> None:
    """Who comes from now on gets another interpreter, and who has come too late."""
    with _lock:
        del _residences[_place(residence.bootstrap)]
        late = residence.close()
    for bootstrap, connection in late:
        _begin(connection, partial(_admit, bootstrap))


def _say(text: str) -> None:
    print(f"asyncgroups: {text}", file=sys.stderr)  # noqa: T201 - it goes into the log


def _first(connection: socket.socket) -> tuple[int, bytes]:
    """The first message, and not a byte more: descriptors travel with the next. Raises OSError, ProtocolError."""
    header = connection.recv(messages.FRAME_HEADER, socket.MSG_WAITALL)
    length = int.from_bytes(header[1:])
    if len(header) < messages.FRAME_HEADER or length > messages.LARGEST_FRAME:
        raise ProtocolError("no message, or one that is too large")
    payload = b""
    while len(payload) < length:
        received = connection.recv(length - len(payload), socket.MSG_WAITALL)
        if not received:
            raise ProtocolError("a message that ends too early")
        payload += received
    return header[0], payload


def _peer(connection: socket.socket) -> int | None:
    """The user at the other end (SO_PEERCRED, unix(7)); None where the system does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None  # the folder keeps others out
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user: int = struct.unpack("3i", credentials)[1]
    return user


def _outlive_no_server(lifeline: int, folder: str) -> None:
    """End with the server: an interpreter of its own sees to it, or, in a Python without one, the kernel."""
    global _watched  # noqa: PLW0603 - of the process, as what it says
    _watched = run_outliving(lifeline, folder)
    if _watched is not None:
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)  # else SIGIO, which ends a process as well
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    with socket.socket(fileno=os.dup(lifeline)) as other:
        other.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with contextlib.suppress(BlockingIOError):
            if not other.recv(1):
                os._exit(1)  # the server has died before anybody watched


def _await_watch() -> None:
    """What runs in the main interpreter may keep its GIL for ever: not before the process ends with the server."""
    if _watched is not None:
        select.select([_watched], [], [], _WATCH_SECONDS)


def _show(display_name: str) -> None:
    """What ``top`` and ``ps -o comm`` show; ``ps`` shows the command line, whose first word after the script is it."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as comm:
        comm.write(display_name)


def _nothing(*_: object) -> None:
    """The server gets the same signal, and ends this process in its order."""


if __name__ == "__main__":
    main(*sys.argv[1:])
