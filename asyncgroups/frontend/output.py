"""What a daemon process writes to stdout and stderr: logged under the name of its process group.

Imports ``host``, ``wire``. Guarantees:

- Lines are logged whole, in bounded pieces, and none of them looks like a line of another group's.
"""

import logging
import os

from asyncgroups.errors import ChannelClosed
from asyncgroups.host.group import contained
from asyncgroups.wire import messages

__all__ = ["Output"]

_log = logging.getLogger("asyncgroups")

_LONGEST_LINE = 64 * 1024


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
