"""Runs in a child process what may end its process, and tells what it was doing then. Standard library.

Guarantees:

- Whatever ends the child, a crash or ``os._exit`` of an application, its parent is told, with the child's last words.
- SIGINT for the parent alone is passed on to the child; one that a terminal has sent to both is not doubled.
- On Linux the child does not outlive its parent.

The child is forked: ``run_in_child`` is for a process that has neither threads nor interpreters yet.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Callable, Collection
from typing import NamedTuple, NoReturn

__all__ = ["Diary", "Ended", "run_in_child"]

_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Diary:
    """What a process says of itself, in memory that its parent shares: a descriptor could be closed."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)  # one more than the status at its end, 0 before; words, which NUL ends

    def __repr__(self) -> str:
        return f"<Diary: {self.words!r}, {self.status}>"

    @property
    def words(self) -> str:
        return self._memory[1:].partition(b"\0")[0].decode("utf-8", "replace")

    @property
    def status(self) -> int | None:
        return self._memory[0] - 1 if self._memory[0] else None

    def write(self, words: str) -> None:
        """What is done from now on, text."""
        written = words.encode("utf-8", "backslashreplace").replace(b"\0", b"")[: _BYTES - 2] + b"\0"
        self._memory[1 : 1 + len(written)] = written

    def close(self, status: int) -> None:
        """All is done but the end. status: which the process is going to end with, a number from 0 to 254."""
        self._memory[0] = status + 1


class Ended(NamedTuple):
    """How a child process ended.

    status: its exit status; the negative number of the signal that ended it. is_orderly: whether that is the one its
    diary was closed with. words: the last ones of its diary. interrupted: whether SIGINT came.
    """

    status: int
    is_orderly: bool
    words: str
    interrupted: bool


def run_in_child(run: Callable[[Diary], NoReturn]) -> Ended:
    """Let a child process ``run``, which closes its diary and ends the process, and wait for its end."""
    diary = Diary()
    ours = {signal.SIGCHLD}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        ours.add(signal.SIGINT)
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    disposition = signal.signal(signal.SIGCHLD, lambda *_: None)  # one that is ignored does not come
    child = os.fork()
    if child == 0:
        try:
            _end_with(parent)
            signal.signal(signal.SIGCHLD, disposition)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            run(diary)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            diary.close(1)
        finally:
            os._exit(1)
    try:
        return _watch(child, diary, ours)
    finally:
        signal.signal(signal.SIGCHLD, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _watch(child: int, diary: Diary, signals: Collection[int]) -> Ended:
    interrupted = False
    while True:
        came = signal.sigwaitinfo(signals)
        if came.si_signo == signal.SIGINT:
            interrupted = True
            if came.si_code <= 0:  # from a process, sigaction(2); a terminal sends it to the child as well
                os.kill(child, signal.SIGINT)
        pid, code = os.waitpid(child, os.WNOHANG)
        if pid:
            status = os.waitstatus_to_exitcode(code)
            return Ended(status, status == diary.status, diary.words, interrupted)


def _end_with(parent: int) -> None:
    """The end of the parent is the child's as well."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)
