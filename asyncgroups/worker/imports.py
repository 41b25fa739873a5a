"""The locks of Python's import system, which an interrupt may leave behind. Standard library.

importlib takes each of them in a call of its own before the block that gives it back, and an exception that another
thread raises may hit between the two. With the import lock taken for ever no import of the interpreter goes on, and
neither does its end; with a module's lock, no import of that module.

They are private to importlib, hence the care: what a Python does not have is left alone.
"""

import _frozen_importlib
import _imp

__all__ = ["let_go"]


def let_go(thread: int) -> None:
    """Give back what this ``thread``, of the identifier ``thread``, holds of it. It must not be importing anything."""
    try:
        while True:
            _imp.release_lock()
    except RuntimeError:
        pass  # it is another thread's, or nobody's
    for reference in list(getattr(_frozen_importlib, "_module_locks", {}).values()):
        lock = reference()
        while getattr(getattr(lock, "lock", None), "_is_owned", bool)():  # before 3.15 a with statement can leave it
            lock.lock.release()
        if getattr(lock, "owner", None) == thread:
            lock.acquire()  # at once: it is ours. Its release() may have been hit with the count at 0 already
            while lock.owner == thread:
                lock.release()
