"""The watchdog ends the process while the main interpreter cannot."""

import subprocess
import sys
import time

import pytest

from tests.serving import ROOT

PROGRAM = """
import _socket, array, ctypes, fcntl, os, signal, termios, threading, time
from asyncgroups.host.interpreters import run_apart
from asyncgroups.host.ending import _WATCH

reading, writing = _socket.socketpair()
writing.setblocking(False)
descriptor = reading.detach()
signals = int(signal.SIGTERM), int(signal.SIGINT)
run_apart(_WATCH, descriptor=descriptor, seconds={seconds}, signals=signals, status=5)
writing.send(b"x")
unread = array.array("i", [1])
while unread[0]:  # until it listens: to start, it needs the GIL that will be held
    time.sleep(0.01)
    fcntl.ioctl(descriptor, termios.FIONREAD, unread)
signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
for number in {signals}:
    signal.raise_signal(number)
    time.sleep(0.05 if number == signal.SIGUSR1 else 0)  # one after the other, for longer than the watchdog waits
held = threading.Thread(target=lambda: ctypes.PyDLL(None).usleep({held} * 1000), daemon=True)
held.start()
held.join()
os._exit(7)
"""


@pytest.mark.parametrize(
    ("signals", "seconds", "held", "status", "least", "most"),
    [
        ("[signal.SIGTERM]", 0.5, 60_000, 5, 0.5, 15),
        ("[signal.SIGTERM, signal.SIGINT]", 60, 60_000, 5, 0, 15),
        ("[signal.SIGUSR1]", 0, 400, 7, 0.4, 20),
        ("[]", 0, 400, 7, 0.4, 20),
        ("[signal.SIGTERM, *[signal.SIGUSR1] * 400]", 0.8, 60_000, 5, 0.8, 15),
    ],
    ids=[
        "after its seconds",
        "at once with the second signal",
        "not for another signal",
        "not without a signal",
        "no later for other signals",
    ],
)
def test_the_watchdog(signals: str, seconds: float, held: int, status: int, least: float, most: float) -> None:
    """It acts on the signals it was told of, when their time has come, and on nothing else."""
    program = PROGRAM.format(signals=signals, seconds=seconds, held=held)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=20, check=False)
    assert ended.returncode == status
    assert least <= time.monotonic() - began < most


WORDS = """
import ctypes, os
from asyncgroups.host.ending import deadline

reading, writing = os.pipe()
{before}
with deadline(0.3, status=5, words="the last words"):
    ctypes.PyDLL(None).sleep(60)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", b"the last words\n"),
        ("os.dup2(writing, 2); os.close(writing); os.close(reading)", b""),
        ("os.dup2(writing, 2); os.set_blocking(2, False); os.write(2, bytes(2**20)); os.set_blocking(2, True)", b""),
        ("os.close(2)", b""),
    ],
    ids=["a pipe", "a pipe without a reader", "a pipe that is full", "closed"],
)
def test_a_deadline_and_its_words(before: str, said: bytes) -> None:
    """It holds whatever stderr is, and its words are there where they can be."""
    began = time.monotonic()
    program = [sys.executable, "-c", WORDS.format(before=before)]
    ended = subprocess.run(program, cwd=ROOT, stderr=subprocess.PIPE, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (5, said)
    assert 0.3 <= time.monotonic() - began < 5


WITHOUT = """
import os, resource, time
from asyncgroups.host.ending import deadline

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        last = os.open(os.devnull, os.O_RDONLY)
except OSError:
    os.closerange(last - 1, last + 1)  # enough for a pair, too little for an interpreter
began = time.monotonic()
with deadline(60, status=5, words="the last words"):
    print(time.monotonic() - began < 5, flush=True)
os.close(os.dup(2))  # the pair is closed
os._exit(0)
"""


def test_nobody_can_watch() -> None:
    """What has no watchdog goes on at once, and the log says so."""
    program = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert "nothing watches over the end of this process: InterpreterError" in done.stderr
