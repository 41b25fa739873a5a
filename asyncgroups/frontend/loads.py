"""What is being loaded without a request, which the end of the server does not wait for. Imports ``host``.

Guarantees:

- ``forgo`` interrupts each load that has not come to its end, whoever waits for it, or has waited; one that begins
  later is interrupted as it begins.
- What has come to its end is forgotten with the next one that begins.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

from asyncgroups.host.pool import Worker

__all__ = ["Load", "Loads", "WorkerLoad"]


class Load(Protocol):
    """One of them."""

    @property
    def is_over(self) -> bool:
        """Whether its interpreter is rid of it."""

    def interrupt(self) -> None:
        """Have RequestInterrupted raised in what is being loaded, and load nothing more. From any thread."""


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """One that a worker of a pool has in place of a request."""

    worker: Worker
    exchange: int

    @property
    def is_over(self) -> bool:
        """See ``Load``."""
        return self.worker.exchange != self.exchange

    def interrupt(self) -> None:
        """See ``Load``."""
        if not self.is_over:
            self.worker.interrupt()


class Loads:
    """Those of one supervisor. Thread-safe."""

    def __init__(self) -> None:
        self.are_forgone: bool = False
        """Whether the end has begun."""
        self._lock = threading.Lock()
        self._begun: list[Load] = []

    def __repr__(self) -> str:
        return f"<Loads: {len(self._begun)}{' forgone' if self.are_forgone else ''}>"

    def note(self, load: Load) -> None:
        """It begins, or has begun."""
        with self._lock:
            self._begun = [one for one in self._begun if not one.is_over] + [load]
            is_late = self.are_forgone
        if is_late:
            load.interrupt()

    def forgo(self) -> None:
        """The end begins."""
        with self._lock:
            self.are_forgone, begun = True, self._begun
        for load in begun:
            load.interrupt()
