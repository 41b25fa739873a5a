"""What a daemon process writes to stdout and stderr: logged under the name of its process group.

Imports ``host``, ``wire``. Guarantees:

- Lines are logged whole, in bounded pieces, and none of them looks like a line of another group's.
- What children of processes that have ended may still write to holds a bounded number of descriptors.
"""

import logging
import os
from collections.abc import Iterable

from asyncgroups.errors import ChannelClosed
from asyncgroups.host.group import contained
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import messages

__all__ = ["Echoes", "Output"]

_log = logging.getLogger("asyncgroups")

_LONGEST_LINE = 64 * 1024
_MOST_ECHOES = 32


class _Lines:
    """What comes out of a pipe, in pieces of whole lines; in place of a channel."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unfinished = b""
        self._whole = b""

    def fileno(self) -> int:
        return self._descriptor

    def read(self, flags: int = 0) -> bool:  # noqa: ARG002 - as a channel's
        received = os.read(self._descriptor, _LONGEST_LINE)
        text = self._unfinished + received
        end = text.rfind(b"\n") + 1 if received and len(text) < _LONGEST_LINE else len(text)
        self._whole, self._unfinished = text[:end].removesuffix(b"\n"), text[end:]
        if not received and not self._whole:
            raise ChannelClosed("the other side has closed the pipe")
        return True

    def frame(self) -> tuple[int, bytes] | None:
        whole, self._whole = self._whole, b""
        return (messages.RECORD, whole) if whole else None

    def close(self) -> None:
        os.close(self._descriptor)


class Output:
    """See ``reaper.Listener``: what a daemon process writes to stdout or stderr."""

    def __init__(self, descriptor: int, level: int, name: str) -> None:
        self.channel: _Lines = _Lines(descriptor)
        self.is_over: bool = False
        """Whether nobody can write to it any more, or nobody listens."""
        self._level = level
        self._name = name

    def hear(self, _: int, payload: bytes) -> bool:
        """See ``reaper.Listener``."""
        text = payload.decode("utf-8", "backslashreplace")
        _log.log(self._level, "[%s] %s", self._name, contained(text), extra={"process_group": self._name})
        return True

    def finished(self) -> None:
        """See ``reaper.Listener``."""
        self.is_over = True
        self.channel.close()

    def lost(self, _: str) -> None:
        """See ``reaper.Listener``."""
        self.is_over = True
        self.channel.close()


class Echoes:
    """Outputs of processes that have ended, whose children may still write: the latest of them."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._outputs: list[Output] = []

    def __repr__(self) -> str:
        return f"<Echoes of {len(self._outputs)} outputs>"

    def keep(self, outputs: Iterable[Output]) -> None:
        """Listen on to these, and perhaps no more to older ones. Under the caller's lock."""
        self._outputs = [one for one in (*self._outputs, *outputs) if not one.is_over]
        while len(self._outputs) > _MOST_ECHOES:
            self._reaper.dismiss(self._outputs.pop(0))
