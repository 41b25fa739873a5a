"""Closes the interpreters of a process that comes to its end without anybody's having said so. Imports ``host``.

A server that is not ours may never say lifespan.shutdown; the interpreters have to be closed all the same. ``atexit``
would be too late: it runs after all threads have been joined, the interpreters' own among them. Guarantees:

- Whoever was ``cast`` for is drained and stopped before the process ends, all of them within the time of one.
- Where something is left then the process ends by force.
"""

import logging
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from asyncgroups.errors import ShuttingDown
from asyncgroups.host.ending import end

__all__ = ["Stoppable", "cast"]

_log = logging.getLogger("asyncgroups")


class Stoppable(Protocol):
    """What has interpreters: a supervisor."""

    def drain(self) -> None:
        """Start the clock."""

    def stop(self) -> list[str]:
        """Close all interpreters within their time; the labels of what is left."""


_stoppables: weakref.WeakSet[Stoppable] = weakref.WeakSet()
_net_lock = threading.Lock()


def cast(one: Stoppable) -> None:
    """Raises ShuttingDown when it is too late."""
    with _net_lock:
        if one in _stoppables:
            return
        # Private, and the only hook that runs before the threads are joined.
        register: Callable[[Callable[[], None]], None] = threading._register_atexit  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        try:
            register(_net)  # for each anew: it refuses as soon as the exit has begun
        except RuntimeError as error:
            raise ShuttingDown("the process comes to its end") from error
        _stoppables.add(one)


def _net() -> None:
    # Threads inside interpreters that are left would hang any other exit, or find a finalized runtime.
    try:
        with _net_lock:
            everyone = list(_stoppables)
        for one in everyone:
            one.drain()  # all clocks at once: several take no longer than one
        left = [label for one in everyone for label in one.stop()]
        if left:
            end(1)
    except KeyboardInterrupt:
        end(128 + signal.SIGINT)  # as shells say it; who waits has seen enough
    except BaseException:  # noqa: BLE001 - whatever it is: SystemExit out of a signal handler, no thread for a clock
        _log.critical("the application groups cannot be closed", exc_info=True)
        end(1)
