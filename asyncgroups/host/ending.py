"""How a process that holds interpreters comes to its end, whatever is stuck inside it. Standard library, ``worker``.

Guarantees:

- ``end`` does not return, and waits for no thread: threads that are stuck inside interpreters would hang any other end.
  Where several threads call it the first one ends the process: none cuts short what runs at the end.
- A deadline holds even while an application keeps the main interpreter's GIL: an interpreter of its own watches it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import NoReturn

from asyncgroups.host.interpreters import run_apart
from asyncgroups.worker import module

__all__ = ["deadline", "end", "watch_signals"]

_WATCH = "from asyncgroups.host.watchdog import watch\nwatch(descriptor, seconds, signals, status)"
_EXPIRE = "from asyncgroups.host.watchdog import expire\nexpire(descriptor, seconds, status, words)"
_START_SECONDS = 10.0

_ending = threading.RLock()
"""Whoever has it ends the process; an RLock, because a signal handler may do so in the same thread."""


def watch_signals(numbers: Iterable[int], *, seconds: float, status: int) -> None:
    """End the process with ``status``, ``seconds`` after the first of these signals, and at once with the second.

    The signals need handlers that Python knows. For the main thread, once.
    """
    reading, writing = socket.socketpair()
    signals = tuple(int(number) for number in numbers)
    run_apart(_WATCH, descriptor=reading.detach(), seconds=seconds, signals=signals, status=status)
    writing.settimeout(_START_SECONDS)
    with contextlib.suppress(OSError):
        writing.recv(1)  # it watches: from here on an application may keep the GIL that it needs for its start
    writing.setblocking(False)  # noqa: FBT003 - the standard library's signature
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)


@contextlib.contextmanager
def deadline(seconds: float, *, status: int, words: str) -> Iterator[None]:
    """End the process with ``status`` when the block takes longer than ``seconds``; ``words`` go to stderr.

    For a block in which an application may keep the main interpreter's GIL. Where nobody can watch, a record says so.
    """
    reading, writing = socket.socketpair()
    with writing:
        run_apart(_EXPIRE, descriptor=reading.detach(), seconds=seconds, status=status, words=words)
        writing.settimeout(_START_SECONDS)
        with contextlib.suppress(OSError):
            writing.recv(1)  # it watches
        yield


def end(status: int) -> NoReturn:
    """Run the main interpreter's atexit functions, which nothing bounds, and end the process with ``status``."""
    try:
        _ending.acquire()
        module.stop()
        # os._exit runs none, and GLOBAL's applications may have registered some.
        atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
        with contextlib.suppress(Exception):
            logging.shutdown()
        for name in ("stdout", "stderr"):
            with contextlib.suppress(Exception):  # it may be None, broken, or what an application has put there
                getattr(sys, name).flush()
    finally:
        os._exit(status)
