"""What a daemon process says is checked: it may run as another user, and an application in it says what it likes."""

import logging
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.errors import ProtocolError
from asyncgroups.frontend.isolation import Isolation
from asyncgroups.frontend.process import DaemonInterpreter
from asyncgroups.host import daemon
from asyncgroups.host.group import State
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import messages
from tests.serving import until

PATIENCE = 20.0

BOOTSTRAP = Bootstrap(
    process_group="back",
    application_group="shop",
    threads=2,
    path=("/one", "/tw\udcff"),
    environ=((b"A", b""), (b"B", b"\xff\n=")),
    processes=3,
)


class Liar:
    """In place of a daemon process: takes one connection, and says what the test says."""

    def __init__(self, folder: Path) -> None:
        self.reaper = Reaper()
        self.ends: queue.SimpleQueue[State] = queue.SimpleQueue()
        self.was_ready = 0
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "sock"))
            listener.listen()
            self.interpreter = DaemonInterpreter(
                BOOTSTRAP,
                address=str(folder / "sock"),
                reaper=self.reaper,
                on_ready=self._count,
                on_pong=lambda: None,
                on_end=lambda interpreter: self.ends.put(interpreter.state),
                on_refusal=Isolation().go_without,
            )
            self.interpreter.start()
            self.connection, _ = listener.accept()
        self.connection.settimeout(PATIENCE)

    def _count(self) -> None:
        self.was_ready += 1

    def close(self) -> None:
        self.connection.close()
        assert self.interpreter.join(PATIENCE)
        self.reaper.end()


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Liar]:
    liar = Liar(tmp_path)
    yield liar
    liar.close()


@pytest.mark.parametrize("bootstrap", [BOOTSTRAP, replace(BOOTSTRAP, environ=None)], ids=["group", "GLOBAL"])
def test_open(bootstrap: Bootstrap) -> None:
    """What an interpreter is told at its start crosses unchanged."""
    frame = daemon.open_frame(bootstrap)
    assert frame[0] == messages.OPEN
    assert daemon.parse_open(frame[messages.FRAME_HEADER :]) == bootstrap


@pytest.mark.parametrize(
    "values",
    [(), (b"",) * 5, (b"a", b"b", b"x", b"", b"", b"0"), (b"a", b"b", b"1", b"", b"", b"0", b"A")],
    ids=["nothing", "too little", "no number", "half a variable"],
)
def test_a_malformed_open(values: tuple[bytes, ...]) -> None:
    """The daemon process checks as well."""
    with pytest.raises(ProtocolError):
        daemon.parse_open(messages.blobs(messages.OPEN, *values)[messages.FRAME_HEADER :])


NONSENSE: dict[str, bytes] = {
    "a frame that is too large": b"\x31\xff\xff\xff\xff",
    "a record without its level": messages.frame(messages.RECORD, b"x"),
    "a record of no level": messages.record(255, 0, "text"),
    "too few texts": messages.texts(messages.REFUSED, "one"),
    "too few numbers": messages.frame(messages.STOPPED, b"1"),
    "half a message": messages.record(20, 0, "text")[:-1],
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_nonsense(liar: Liar, said: bytes) -> None:
    """Its interpreter has failed, once, and its connection is closed."""
    liar.connection.sendall(said)
    if len(said) > messages.FRAME_HEADER and said == NONSENSE["half a message"]:
        liar.connection.shutdown(socket.SHUT_WR)
    assert liar.ends.get(timeout=PATIENCE) is State.FAILED
    liar.interpreter.join(PATIENCE)
    assert liar.ends.empty()
    liar.interpreter.stop(0)  # and nothing happens
    liar.interpreter.interrupt(1, 1)


def test_descriptors_that_nobody_asked_for(liar: Liar) -> None:
    """They are closed, and the connection with them."""
    before = len(os.listdir("/proc/self/fd"))
    with open(os.devnull) as file:
        for _ in range(200):
            try:
                socket.send_fds(liar.connection, [messages.record(20, 0, "text")], [file.fileno()])
            except OSError:
                break
    assert liar.ends.get(timeout=PATIENCE) is State.FAILED
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, what="the end of the descriptors")


SPOKEN: dict[str, Callable[[str], bytes]] = {
    "RECORD": lambda text: messages.record(20, 7, text),
    "REFUSED": lambda text: messages.texts(messages.REFUSED, "a:b", text, text),
    "BROKEN": lambda text: messages.texts(messages.BROKEN, text),
    "ALONE": lambda text: messages.texts(messages.ALONE, text),
}


@pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
def test_lines_that_would_be_anothers(
    liar: Liar, spoken: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it says, no line of the log looks like another group's, and a terminal obeys none of it."""
    with caplog.at_level(logging.INFO, "asyncgroups"):
        liar.connection.sendall(spoken("one\n[other #1] two\x1b[2J"))
        liar.connection.shutdown(socket.SHUT_WR)
        assert liar.ends.get(timeout=PATIENCE) is State.FAILED
    lines = [line for record in caplog.records for line in record.getMessage().splitlines()]
    assert [line for line in lines if "other #1" in line] != []
    assert [line for line in lines if line.startswith("[other")] == []
    assert "\x1b" not in caplog.text


def test_the_reason_that_requests_meet(liar: Liar) -> None:
    """Why it failed may be quoted in the record of a request: no line of it looks like another group's there either."""
    liar.connection.sendall(messages.texts(messages.BROKEN, "one\n[other #1] two\x1b[2J"))
    liar.connection.shutdown(socket.SHUT_WR)
    assert liar.ends.get(timeout=PATIENCE) is State.FAILED
    assert liar.interpreter.failure == "one\n  [other #1] two\\x1b[2J"


def test_ready_again(liar: Liar) -> None:
    """It takes requests once, however often it says that it is ready."""
    liar.connection.sendall(messages.frame(messages.READY) * 3)
    liar.connection.shutdown(socket.SHUT_WR)
    assert liar.ends.get(timeout=PATIENCE) is State.FAILED
    assert liar.was_ready == 1


def test_a_connection_of_another_user(tmp_path: Path) -> None:
    """A daemon process takes connections from its server's user alone."""
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener, ours, theirs:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        arguments: list[Any] = ["name", listener.fileno(), theirs.fileno(), os.getuid() + 1, tmp_path, 0]
        process = subprocess.Popen(
            [sys.executable, "-P", daemon.__file__, *map(str, arguments)],
            pass_fds=(listener.fileno(), theirs.fileno()),
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(tmp_path / "sock"))
                connection.sendall(daemon.open_frame(BOOTSTRAP))
                try:
                    assert connection.recv(1) == b""
                except ConnectionResetError:
                    pass
        finally:
            ours.close()  # its lifeline
            assert process.wait(PATIENCE) == 1
