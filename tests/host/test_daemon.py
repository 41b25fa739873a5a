"""The program of a daemon process, without the process."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.host import daemon
from asyncgroups.host.interpreters import Bootstrap
from tests.serving import ROOT

PATIENCE = 20.0


@pytest.mark.parametrize("is_main", [True, False])
def test_nothing_runs_in_the_main_interpreter_before_it_is_watched(
    monkeypatch: pytest.MonkeyPatch, is_main: bool
) -> None:
    """An application that keeps its GIL from then on keeps no process alive whose server has died."""
    watched, ready = os.pipe()
    readable: list[bool] = []
    wait = select.select

    class Inside:
        def __init__(self, *_: object, **__: object) -> None:
            """It begins with ``live``."""

        def live(self) -> None:
            readable.append(bool(wait([watched], [], [], 0)[0]))

        close = __init__

    def wait_for(*arguments: Any) -> Any:
        os.write(ready, b".")
        return wait(*arguments)

    monkeypatch.setattr(daemon, "_watched", watched)
    monkeypatch.setattr(daemon, "Inside", Inside)
    monkeypatch.setattr(daemon.select, "select", wait_for)
    bootstrap = Bootstrap(process_group="", application_group="", threads=1, path=(), environ=None if is_main else ())
    residence = daemon._Residence(bootstrap)
    daemon._live(residence, -1, socket.socket(socket.AF_UNIX))
    assert readable == [is_main], "the others do not wait for it: they have GILs of their own"
    residence.close()
    os.close(watched)
    os.close(ready)


SERVER = """
import os, socket, subprocess, sys
ours, theirs = socket.socketpair()
numbers = [str(one.fileno()) for one in (ours, theirs)]
subprocess.Popen([sys.executable, "-c", sys.argv[1], *numbers, sys.argv[2], str(os.getpid())], close_fds=False,
                 pass_fds=[ours.fileno(), theirs.fileno()])
sys.stdin.read()
"""

DAEMON = """
import os, select, signal, sys
signal.alarm(30)
from asyncgroups.host.watchdog import outlive
server = os.pidfd_open(int(sys.argv[4]))
print("here", flush=True)
select.select([server], [], [])
outlive(int(sys.argv[2]), sys.argv[3], ready=1)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux has it")
def test_a_server_that_has_ended_before_anybody_watches(tmp_path: Path) -> None:
    """Its process ends all the same, also where a child of the server holds the other end of the lifeline."""
    folder = tmp_path / "folder"
    folder.mkdir()
    program = [sys.executable, "-c", SERVER, DAEMON, str(folder)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"here\n"
        server.stdin.close()
        server.wait(PATIENCE)
        watched, _, _ = select.select([server.stdout], [], [], PATIENCE)
        assert watched
        assert server.stdout.readline() == b".", "it says that it waits, and ends"
    assert not folder.exists()
