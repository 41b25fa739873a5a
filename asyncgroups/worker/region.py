"""Interrupting the application's code in one worker, and nothing else. Standard library.

Guarantees:

- An interrupt names the exchange it is for; it is raised between ``enter`` and ``leave`` of that exchange, once, or
  never.
- ``leave`` returns with nothing pending: the worker loop itself is never hit.
- What is stuck in C code is hit when it comes back to Python.

``PyThreadState_SetAsyncExc`` reaches only threads of the interpreter it is called in: hence the control thread.
"""

import threading

from asyncgroups.errors import RequestInterrupted

__all__ = ["Region"]


class Region:
    """The part of a worker's life in which an application runs. number: of its thread, among those of the crew."""

    def __init__(self, number: int = 1) -> None:
        self.number: int = number
        self._thread = threading.get_ident()
        self._current = 0
        self._aimed = False
        # An RLock, because the interrupt may hit between the acquisition and the next line: leave() then lets go of
        # all.
        self._lock = threading.RLock()

    def enter(self, exchange: int) -> None:
        """From here on ``exchange`` (a number that is never 0) may be interrupted. By the worker."""
        self._current = exchange

    def leave(self) -> bool:
        """From here on nothing is; whether it was. By the worker; also after RequestInterrupted has been caught."""
        hit = False
        while True:
            try:
                self._current = 0
                self._lock.acquire()  # an interrupt that was being aimed has been aimed by now
                if self._aimed:
                    hit = True
                    _raise_in(self._thread, None)
                    self._aimed = False
                while self._lock._is_owned():  # type: ignore[attr-defined]  # private
                    self._lock.release()
            except RequestInterrupted:
                continue  # there is only one
            return hit

    def interrupt(self, exchange: int) -> bool:
        """Raise RequestInterrupted in the worker if it runs ``exchange``; whether it did. By the control thread."""
        with self._lock:
            if self._current != exchange or self._aimed:
                return False
            self._aimed = True
            _raise_in(self._thread, RequestInterrupted)
            return True


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    import ctypes  # noqa: PLC0415 - costs an interpreter that never interrupts anything 5 ms and 1 MB

    argument = ctypes.py_object(exception) if exception is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
