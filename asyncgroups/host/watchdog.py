"""Ends the process when nobody else can. Standard library; runs in an interpreter of its own.

An application in GLOBAL that holds the main interpreter's GIL, in a regular expression or an extension module, keeps
every thread of the main interpreter from running: signal handlers and timers among them. The C part of signal
handling still writes to the wake-up descriptor (``signal.set_wakeup_fd``), and an interpreter with its own GIL still
reads it. Guarantees:

- ``seconds`` after the first of ``signals`` the process ends with status 0, whatever the main interpreter does.
- With the second one it ends at once.
- When the descriptor's other end is closed before, nothing happens.
"""

import _socket
import os

__all__ = ["watch"]


def watch(descriptor: int, seconds: float, signals: tuple[int, ...]) -> None:
    """Wait for signal numbers on ``descriptor``, which this function owns."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    socket.settimeout(None)
    heard = 0
    while heard < 2:
        try:
            numbers = socket.recv(64)
        except TimeoutError:
            break
        if not numbers:
            return
        came = sum(number in signals for number in numbers)
        if came and not heard:
            socket.settimeout(max(seconds, 0.001))  # 0 would be: do not wait at all
        heard += came
    os._exit(0)
