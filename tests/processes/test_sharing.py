"""A daemon process that several front ends have open: one interpreter for each application group, whoever asks."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asyncgroups.frontend.process import DaemonInterpreter
from asyncgroups.host import daemon
from asyncgroups.host.group import State
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel
from tests.serving import until

PATIENCE = 20.0

APP = """
import itertools, threading
lock, running, counter = threading.Lock(), set(), itertools.count(1)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d %d" % (next(counter), threading.get_ident())]
"""


class Daemon:
    """The program of a daemon process, with nobody's server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = str(folder / "sock")
        self.reaper = Reaper()
        (folder / "sharing_app.py").write_text(APP)
        self.lifeline, theirs = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as listener, theirs:
            listener.bind(self.address)
            listener.listen()
            numbers = [listener.fileno(), theirs.fileno()]
            with (folder / "stderr").open("w") as stderr:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", daemon.__file__, "name", *map(str, [*numbers, os.geteuid(), folder, 0])],
                    pass_fds=numbers,
                    stderr=stderr,
                )

    def enter(self, name: str = "shop", threads: int = 1) -> FrontEnd:
        return FrontEnd(self, name, threads)

    def close(self) -> None:
        self.lifeline.close()
        self.process.wait(PATIENCE)
        self.reaper.end()


class FrontEnd:
    """One of its front ends."""

    def __init__(self, of: Daemon, name: str, threads: int) -> None:
        self.ready, self.over = threading.Event(), threading.Event()
        self.interpreter = DaemonInterpreter(
            Bootstrap(
                process_group="back",
                application_group=name,
                threads=threads,
                path=(str(of.folder),),
                environ=((b"A", b"B"),) if name else None,
            ),
            address=of.address,
            reaper=of.reaper,
            on_ready=self.ready.set,
            on_pong=lambda: None,
            on_end=lambda _: self.over.set(),
        )
        self.interpreter.start()
        self.worker = self.interpreter.add_worker(1)

    def ask(self) -> tuple[int, int]:
        """The number of the request in its interpreter, and the thread that has answered. Raises ChannelClosed."""
        parts = ("sharing_app:application", "GET", "http", "1.1", "", "/", "", "/", "localhost", "80", "", "", "0")
        head = messages.request(1, tuple(part.encode() for part in parts), [], [])
        self.worker.say(messages.start(messages.REQUEST, head, b"", complete=True))
        body = b""
        while (frame := heard(self.worker))[0] != messages.DONE:
            if frame[0] == messages.START:
                body = messages.parse_start(frame[1]).body
        number, thread = body.split()
        return int(number), int(thread)

    def stop(self) -> State:
        self.worker.shut()
        self.worker.close()
        self.interpreter.stop(PATIENCE)
        assert self.over.wait(PATIENCE)
        return self.interpreter.state


def heard(channel: Channel) -> tuple[int, bytes]:
    """The next message. Raises ChannelClosed."""
    deadline = time.monotonic() + PATIENCE
    while (frame := channel.receive_nowait()) is None:
        assert select.select([channel.fileno()], [], [], max(0.0, deadline - time.monotonic()))[0]
    return frame


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    shared = Daemon(tmp_path_factory.mktemp("daemon"))
    yield shared
    shared.close()


@pytest.mark.parametrize("name", ["shop", ""], ids=["group", "GLOBAL"])
def test_one_interpreter(shared: Daemon, name: str) -> None:
    """Front ends that open the same group meet in one interpreter, and in its thread; it ends with the last of them."""
    fronts = [shared.enter(name) for _ in range(3)]
    answers = [front.ask() for front in fronts for _ in range(2)]
    assert [number for number, _ in answers] == [1, 2, 3, 4, 5, 6]
    assert len({thread for _, thread in answers}) == 1
    assert fronts[0].stop() is State.CLOSED
    assert fronts[2].ask()[0] == 7
    fronts[1].interpreter.channel.shut()  # it vanishes, and its worker's channel with it
    fronts[1].worker.close()
    assert fronts[1].over.wait(PATIENCE)
    assert fronts[2].ask()[0] == 8
    assert fronts[2].stop() is State.CLOSED
    again = shared.enter(name)
    assert again.ask()[0] == (1 if name else 9)  # GLOBAL is the main interpreter, which stays
    assert again.stop() is State.CLOSED


def test_groups_are_apart(shared: Daemon) -> None:
    """Groups of different names do not meet."""
    fronts = [shared.enter(name) for name in ("one", "two")]
    assert [front.ask()[0] for front in fronts] == [1, 1]
    assert [front.stop() for front in fronts] == [State.CLOSED] * 2


def test_other_settings(shared: Daemon) -> None:
    """The settings of the first one hold, and the log says so."""
    fronts = [shared.enter(threads=1)]
    assert fronts[0].ready.wait(PATIENCE)
    fronts.append(shared.enter(threads=2))
    assert fronts[0].ask()[1] == fronts[1].ask()[1]
    assert [front.stop() for front in fronts] == [State.CLOSED] * 2
    until(lambda: "'shop' is there already" in (shared.folder / "stderr").read_text(), what="the sentence")


def test_coming_and_going(shared: Daemon) -> None:
    """Whoever comes while the last one leaves has an interpreter, this one or the next: nobody is lost at the door."""

    def visit(_: int) -> int:
        front = shared.enter()
        number, _ = front.ask()
        assert front.stop() is State.CLOSED
        return number

    with ThreadPoolExecutor(4) as threads:
        numbers = list(threads.map(visit, range(60)))
    assert min(numbers) == 1
    assert max(numbers) > 1
    assert shared.process.poll() is None


def test_a_crash(tmp_path: Path) -> None:
    """All front ends learn of it."""
    crashing = Daemon(tmp_path)
    fronts = [crashing.enter() for _ in range(2)]
    for front in fronts:
        front.ask()
    os.kill(crashing.process.pid, signal.SIGKILL)
    for front in fronts:
        assert front.over.wait(PATIENCE)
        assert front.interpreter.state is State.FAILED
        front.worker.close()
    crashing.close()
