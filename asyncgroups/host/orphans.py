"""What becomes of a worker whose exchange has lost its task: it is freed as soon as it is done.

Standard library, ``wire``.

The client has left, the task was cancelled, time was up, or the answer was complete before close() had run. Guarantees:

- The worker goes back to its pool with DONE, whatever it says before that.
- With a limit it is interrupted when that has passed, and given up when it has not obeyed in ``patience`` seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from asyncgroups.errors import ProtocolError
from asyncgroups.host.pool import Worker
from asyncgroups.host.reaper import Reaper, Timer
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, discard

__all__ = ["Orphan"]

_log = logging.getLogger("asyncgroups")


class Orphan:
    """A ``reaper.Listener`` for the rest of an exchange."""

    def __init__(
        self,
        worker: Worker,
        *,
        reaper: Reaper,
        limit: float | None,
        patience: float,
        on_stuck: Callable[[Worker], None],
    ) -> None:
        self.channel: Channel = worker.channel
        self._worker = worker
        self._reaper = reaper
        self._patience = patience
        self._on_stuck = on_stuck
        self._limit = limit
        self._timer: Timer | None = None
        reaper.post(self._begin)

    def _begin(self) -> None:
        """In the reaper's thread, as everything from here on: a timer may not run before it is known."""
        if self._limit is not None:
            self._timer = self._reaper.later(self._limit, self._interrupt)
        self._reaper.listen(self)

    def __repr__(self) -> str:
        return f"<Orphan of {self._worker!r}>"

    def hear(self, kind: int, payload: bytes) -> bool:  # noqa: ARG002 - the listener's signature
        """Wait for DONE, and drop the rest: after an ABORT it is bounded by the credit that the worker has left."""
        if kind == messages.FILE:
            if not self.channel.descriptors:
                raise ProtocolError("a file without its descriptor")
            discard(self.channel.descriptors.pop(0))
        return kind != messages.DONE

    def finished(self) -> None:
        """Give the worker back."""
        self._cancel()
        self._worker.pool.release(self._worker)

    def lost(self, reason: str) -> None:
        """The worker has ended."""
        self._cancel()
        _log.error("[%s] a worker was lost: %s", self._worker.label, reason)
        self._worker.pool.lose(self._worker)

    def _interrupt(self) -> None:
        self._worker.interrupt()
        self._timer = self._reaper.later(self._patience, self._give_up)

    def _give_up(self) -> None:
        self._on_stuck(self._worker)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
