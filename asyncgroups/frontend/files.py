"""A response's body that is a file: read by the front end, in a thread. Imports ``lease``. Guarantees:

- A descriptor is closed once, by whoever uses it last; a cancelled task does not wait for the thread that reads.
"""

import os
import stat
import threading

import anyio.to_thread

from asyncgroups.errors import ApplicationFailed

__all__ = ["ResponseFile", "is_regular"]

_BLOCK = 256 * 1024


def is_regular(descriptor: int) -> bool:
    """Whether it is a regular file: to read from a pipe or a device could last for ever."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


class ResponseFile:
    """The file of a FILE message: read in a thread, and closed by whoever uses it last.

    A cancelled task does not wait for its thread; a descriptor that is closed meanwhile may be another connection's
    when the thread comes to read it.
    """

    def __init__(self, descriptor: int, length: int) -> None:
        self.rest: int = length
        """Bytes that have not been read."""
        self._descriptor = descriptor
        self._at = os.lseek(descriptor, 0, os.SEEK_CUR)
        self._lock = threading.Lock()
        self._abandoned = False

    async def block(self) -> bytes:
        """The next block. Raises ApplicationFailed."""
        try:
            block = await anyio.to_thread.run_sync(self._read)
        except OSError as error:
            raise ApplicationFailed(f"a file that cannot be read: {error.strerror}") from error
        if not block:
            raise ApplicationFailed("a file became shorter while it was sent")
        return block

    def _read(self) -> bytes:
        """The next block; empty at a premature end. In a thread."""
        with self._lock:
            if self._abandoned:
                self._close()
                return b""
            # pread: the position is shared with the application's own descriptor.
            block = os.pread(self._descriptor, min(self.rest, _BLOCK), self._at)
            self._at += len(block)
            self.rest -= len(block)
            if self._abandoned:
                self._close()
            return block

    def close(self) -> None:
        """Close it, or leave that to the thread that is reading. Does not wait."""
        self._abandoned = True
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
