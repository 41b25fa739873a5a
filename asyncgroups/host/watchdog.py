"""Ends the process when nobody else can. Standard library; runs in an interpreter of its own.

An application in GLOBAL that holds the main interpreter's GIL, in a regular expression or an extension module, keeps
every thread of the main interpreter from running: signal handlers and timers among them. The C part of signal
handling still writes to the wake-up descriptor (``signal.set_wakeup_fd``), and an interpreter with its own GIL still
reads it. Guarantees:

- ``watch``: ``seconds`` after the first of ``signals`` the process ends with ``status``, whatever the main interpreter
  does; with the second one at once.
- ``expire``: ``seconds`` after its call the process ends with ``status``, after its last ``words`` where
  stderr takes them at once.
- When the descriptor's other end is closed before, nothing happens.
- ``outlive``: when the descriptor's other end is closed, or the process that has made it has ended, this one ends, and
  its folder with the last one.
"""

import _socket
import math
import os
import select
import sys
import threading
import time

__all__ = ["expire", "outlive", "watch"]

_SPEAKING_SECONDS = 0.5
"""How long the last words may take."""


def watch(descriptor: int, seconds: float, signals: tuple[int, ...], status: int) -> None:
    """Say that it watches on ``descriptor``, which this function owns, and wait for signal numbers there."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    socket.settimeout(None)
    try:
        socket.send(b".")
    except OSError:
        return  # the other end is closed
    heard = 0
    end_at = math.inf
    while heard < 2 and end_at > time.monotonic():
        if heard:
            socket.settimeout(max(end_at - time.monotonic(), 0.001))  # 0 would be: do not wait at all
        try:
            numbers = socket.recv(64)
        except TimeoutError:
            break
        if not numbers:
            return
        came = sum(number in signals for number in numbers)
        if came and not heard:
            end_at = time.monotonic() + seconds
        heard += came
    os._exit(status)


def expire(descriptor: int, seconds: float, status: int, words: str) -> None:
    """Say that it watches on ``descriptor``, which this function owns, and wait for the end of that."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    socket.settimeout(max(seconds, 0.001))
    try:
        socket.send(b".")
        socket.recv(1)
    except TimeoutError:
        try:
            # A thread: stderr may be a pipe that nobody reads, closed, or broken.
            speaking = threading.Thread(target=_say, args=(words,))
            speaking.start()
            speaking.join(_SPEAKING_SECONDS)
        finally:
            os._exit(status)
    except OSError:
        pass  # the other end was closed at once
    socket.close()


def _say(words: str) -> None:
    try:
        os.write(2, words.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass


def outlive(lifeline: int, folder: str, *, ready: int) -> None:
    """Wait for the end of the process at the other end of ``lifeline``, and end with it.

    What it has left in ``folder``, where there are sockets only, goes as well. Says on ``ready`` that it waits.
    """
    ends = select.poll()
    ends.register(lifeline, select.POLLIN)
    has_ended = False
    try:
        ends.register(os.pidfd_open(_maker(lifeline)), select.POLLIN)  # a child of its may hold the other end as well
    except ProcessLookupError:
        has_ended = True
    except (AttributeError, OSError):
        pass  # not a Linux, or an old one
    os.write(ready, b".")
    if not has_ended:
        ends.poll()
    try:
        for name in os.listdir(folder):
            os.unlink(folder + "/" + name)
        os.rmdir(folder)
    except OSError:
        pass  # another process was quicker, or this one is another user's
    os._exit(1)


def _maker(lifeline: int) -> int:
    """The number of the process that has made it, which may have ended (unix(7), SO_PEERCRED); else our parent's."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, lifeline)
    try:
        credentials = socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    finally:
        socket.detach()
    return int.from_bytes(credentials[:4], sys.byteorder) or os.getppid()  # 0 is one of another namespace
