"""Interrupting the application's code in one worker, and nothing else. Standard library.

Guarantees:

- An interrupt names the exchange it is for; it is raised between ``enter`` and ``leave`` of that exchange, once, or
  never.
- ``leave`` returns with nothing pending: the worker loop itself is never hit.
- What is stuck in C code is hit when it comes back to Python.
- Where it hits an import, the import system's locks are free afterwards: else every import of the interpreter, and its
  end, would wait for this thread for ever.
- Where it hits what Python ignores all exceptions of, a ``__del__`` or the callback of a weak reference, as each import
  has them, it is raised again: see ``watch``.

``PyThreadState_SetAsyncExc`` reaches only threads of the interpreter it is called in: hence the control thread.
"""

from __future__ import annotations

import sys
import threading
import time

from asyncgroups.errors import RequestInterrupted

__all__ = ["Region", "watch"]

_MOMENT = 0.001

_regions: dict[int, Region] = {}
"""By the identifiers of their threads."""
_before: Callable[[sys.UnraisableHookArgs], object] | None = None
"""The hook that there was before ours."""
_lock = threading.Lock()
"""Of that: in the main interpreter there may be several GLOBALs that start, one of each ASGI application."""


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
        _regions[self._thread] = self

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
            if hit:
                from asyncgroups.worker import imports  # noqa: PLC0415 - of no use where nothing is interrupted

                imports.let_go(self._thread)
            return hit

    def interrupt(self, exchange: int) -> bool:
        """Raise RequestInterrupted in the worker if it runs ``exchange``; whether it did. By the control thread."""
        with self._lock:
            if self._current != exchange or self._aimed:
                return False
            self._aimed = True
            _raise_in(self._thread, RequestInterrupted)
            return True

    def again(self, exchange: int) -> None:
        """Raise it once more: Python has ignored the one that was to end ``exchange``. By a thread of its own."""
        while _is_noticing(sys._current_frames().get(self._thread)):  # there it would be ignored, and not be noticed
            time.sleep(_MOMENT)
        with self._lock:
            if self._current == exchange and self._aimed:
                _raise_in(self._thread, RequestInterrupted)

    def lose(self) -> None:
        """It has been ignored just now. By the worker."""
        # Not by the worker itself: it would hit before what ignores it has come to its end.
        if self._current and self._aimed:
            threading.Thread(target=self.again, args=[self._current], name="interrupt").start()


def watch() -> None:
    """Learn of interrupts that Python ignores in this interpreter. Once, from whichever thread."""
    global _before
    with _lock:
        if _before is None:
            _before, sys.unraisablehook = sys.unraisablehook, _notice


def _notice(unraisable: sys.UnraisableHookArgs, /) -> None:
    assert _before is not None
    _before(unraisable)
    if unraisable.exc_type is RequestInterrupted and (region := _regions.get(threading.get_ident())) is not None:
        region.lose()


def _is_noticing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _notice.__code__:
        frame = frame.f_back
    return frame is not None


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    import ctypes  # noqa: PLC0415 - costs an interpreter that never interrupts anything 5 ms and 1 MB

    argument = ctypes.py_object(exception) if exception is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
