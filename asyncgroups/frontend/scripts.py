"""Finds the script for a request: the first component of a path that is a file.

Law: asks the file system, one component at a time, and reads no file. Blocking: one look takes microseconds on a local
disk, and as long as the network takes elsewhere. Imports the standard library, ``errors`` and ``selection.trees``.

Guarantees:

- What is found lies below the candidate's ``base``: each name is looked up in the directory that was opened before it,
  never in a path, so that whoever moves or replaces directories meanwhile leads nowhere else.
- A symbolic link is followed only where ``may_follow`` says so; ``base`` itself may be one, since the configuration
  names it. No name begins with a dot (``trees.Step``), and there is no way up.
- Where links are followed none leads back to a directory that has been passed: one script has few names, and a client
  makes no others.
- Nothing but a regular file is a script; nothing is opened for reading, so that no fifo or device blocks or wakes.
- Every descriptor is closed again.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from asyncgroups.errors import ScriptNotFound
from asyncgroups.selection.trees import Candidate, steps

__all__ = ["Script", "find", "is_missing", "never"]

# Linux can name a file without opening it. Elsewhere a directory has to be readable, and O_NONBLOCK keeps fifos quiet.
_NAMING: int = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENXIO})
_LINK = frozenset({errno.ELOOP, errno.EMLINK})  # what O_NOFOLLOW says without O_PATH; the latter on BSD


class Script(NamedTuple):
    """A file that may be a script.

    path: its absolute path; symbolic links in it stay as they are.
    script_name: text, its URL path, decoded: what SCRIPT_NAME and %{RESOURCE} are made of.
    path_info: the rest of the path, percent-encoded bytes as the client wrote them.
    status: what ``os.stat`` says of it.
    """

    path: str
    script_name: str
    path_info: bytes
    status: os.stat_result


def never(directory: str) -> bool:
    """Follow no symbolic link, whatever directory it stands in."""
    del directory
    return False


def is_missing(error: OSError) -> bool:
    """Whether the system says that there is no such file for us, and not that it cannot tell."""
    return error.errno in _NOT_THERE or error.errno in _LINK


def find(candidate: Candidate, *, may_follow: Callable[[str], bool] = never) -> Script:
    """The file that a candidate leads to: whether it is a script is for the sections of its directory to say.

    may_follow: whether symbolic links in the directory of this path are followed.
    Raises ScriptNotFound, whose text says why, for the log; OSError where the system itself fails.
    """
    path, script_name, end = candidate.base, candidate.url, 0
    here = _open(path)
    try:
        status = os.fstat(here)
        passed = {(status.st_dev, status.st_ino)}
        for name in candidate.below:
            here, status = _enter(here, name, path=path, may_follow=may_follow)
            path = _below(path, name)
            passed.add((status.st_dev, status.st_ino))
        for step in steps(candidate.rest):
            if not stat.S_ISDIR(status.st_mode):
                break
            if not step.name:
                raise ScriptNotFound(f"what comes after {path!a} {step.reason}")
            here, status = _enter(here, step.name, path=path, may_follow=may_follow)
            path, script_name, end = _below(path, step.name), f"{script_name}/{step.name}", step.end
            if (status.st_dev, status.st_ino) in passed:
                raise ScriptNotFound(f"{path!a} leads back to a directory above it")
            passed.add((status.st_dev, status.st_ino))
    finally:
        os.close(here)
    if not stat.S_ISREG(status.st_mode):
        raise ScriptNotFound(f"{path!a} is {'a directory' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")
    return Script(path, script_name, candidate.rest[end:], status)


def _below(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"


def _enter(here: int, name: str, *, path: str, may_follow: Callable[[str], bool]) -> tuple[int, os.stat_result]:
    """Look ``name`` up in the directory ``here``, which is at ``path``, and close that. If it raises that is open."""
    found = _look_up(here, name, path=path)
    if found is None:
        if not may_follow(path):
            raise ScriptNotFound(f"{_below(path, name)!a} is a symbolic link")
        there = _open(_below(path, name), name, here)
        found = there, _status(there)
    os.close(here)
    return found


def _look_up(here: int, name: str, *, path: str) -> tuple[int, os.stat_result] | None:
    """The file of this name in a directory, and what it is; None for a symbolic link."""
    try:
        there = _open(_below(path, name), name, here, os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _LINK:
            return None
        raise
    status = _status(there)
    if stat.S_ISLNK(status.st_mode):
        os.close(there)
        return None
    return there, status


def _status(descriptor: int) -> os.stat_result:
    """What a file is; closed where the system cannot tell, as a network's may not (ESTALE, EIO)."""
    try:
        return os.fstat(descriptor)
    except OSError:
        os.close(descriptor)
        raise


def _open(path: str, name: str | None = None, directory: int | None = None, flags: int = 0) -> int:
    try:
        return os.open(path if name is None else name, _NAMING | flags, dir_fd=directory)
    except OSError as error:
        if error.errno in _NOT_THERE or (error.errno in _LINK and not flags):
            raise ScriptNotFound(f"{path!a}: {error.strerror}") from None
        raise
