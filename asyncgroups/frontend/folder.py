"""The private folder of the sockets of a process group. Standard library.

Guarantees:

- Nobody but the server's user gets into it (mode 0700).
- It goes with the server, or with its last daemon process where the server was killed. Where those could not, since
  they were killed as well, are another user's or an old Python, it goes as soon as a server of the same user makes
  another one: as long as its own server lives it is locked, so that no other takes it for one that was left behind.
- Several threads may remove it, at once as well: the server's end and the end of the last process meet here. Each of
  them returns when it has gone, and its descriptor is closed once.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import threading
import time
from contextlib import suppress

__all__ = ["Folder"]

_PREFIX = "asyncgroups-run-"
_LONGEST = 95
"""Bytes of its path: with a socket's name behind it there may be 107 on Linux, 103 on macOS (``man 7 unix``)."""

_YOUNG_SECONDS = 60.0
"""An empty folder of this age may be about to be locked."""


class Folder:
    """A new one; its path. Raises OSError."""

    def __init__(self) -> None:
        with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
            for entry in entries:
                if entry.name.startswith(_PREFIX):
                    _sweep(entry)
        self.path: str = tempfile.mkdtemp(prefix=_PREFIX)
        if len(os.fsencode(self.path)) > _LONGEST:
            os.rmdir(self.path)
            raise OSError(f"the path of a socket in {self.path!r} would be too long: TMPDIR should name another folder")
        self._removing = threading.Lock()
        try:
            self._locked: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            os.rmdir(self.path)
            raise
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._locked, fcntl.LOCK_EX)

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    def remove(self) -> None:
        """With all that is in it. In any thread; once it has gone it stays so."""
        with self._removing:
            if self._locked is None:
                return
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._locked)
            self._locked = None


def _sweep(entry: os.DirEntry[str]) -> None:
    """Remove a folder whose server is dead."""
    with suppress(OSError):  # it has gone, or is locked
        found = entry.stat(follow_symlinks=False)
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not is_ours or time.time() - found.st_mtime < _YOUNG_SECONDS:
            return
        folder = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(folder):
                if name.endswith(".sock"):
                    os.unlink(name, dir_fd=folder)
            os.rmdir(entry.path)
        finally:
            os.close(folder)
