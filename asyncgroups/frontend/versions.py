"""An application group in the supervisor's table, and its scripts as they were when it was asked to load them.

Imports ``frontend``, ``host``, ``selection``. Law: decides, and asks no file system but in ``look``. Reads and writes
are single steps of a dictionary: any thread may do them; what begins and ends a reload is for the thread that has it.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from asyncgroups.errors import ScriptNotFound
from asyncgroups.frontend.choosing import version_of
from asyncgroups.frontend.delay import Delay
from asyncgroups.frontend.isolation import Key, Place
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.host.pool import Pool
from asyncgroups.selection.mounts import GroupSettings, Version

__all__ = ["FAILING", "RELOADS", "Entry", "Reloads", "Versions", "look"]

RELOADS = 4
"""Reloads at once, and interpreters beyond ``limits.groups`` that they may need."""

FAILING = 2
"""Reloads at once with which one begins of a group whose last one has failed, it included."""

_LONGEST_DELAY = 60.0
_LATE = 1.0
"""Seconds after which a version that had passed already may be the file's again."""


def look(application: str) -> Version | None:
    """What the file of ``/path/app.wsgi:callable`` is now; None where there is none. Blocking."""
    try:
        return version_of(_path(application))
    except ScriptNotFound, OSError:
        return None


def _path(application: str) -> str:
    return application.rpartition(":")[0]


class Versions:
    """Of the scripts of one pool."""

    __slots__ = ("_delay", "_late", "_late_until", "_tried", "is_reloading", "known")

    def __init__(self, known: Mapping[str, Version] | None = None) -> None:
        self.known: dict[str, Version] = dict(known or {})
        """Each ``/path/app.wsgi:callable``."""
        self.is_reloading: bool = False
        """Whether a thread is about to have another version loaded."""
        self._tried: dict[str, Version] = {}
        self._delay = Delay(longest=_LONGEST_DELAY)
        self._late: tuple[str, Version] | None = None
        self._late_until = 0.0

    def __repr__(self) -> str:
        return f"<Versions of {len(self.known)} scripts{', reloading' if self.is_reloading else ''}>"

    @property
    def has_failed(self) -> bool:
        """Whether the last reload has."""
        return self._delay.seconds > 0

    def is_due(self, application: str, version: Version) -> bool:
        """Whether a request has found another version than the known one, which is to be loaded now.

        The first version of a script is known from here on.
        """
        known = self.known.get(application)
        if known is None:
            known = self.known[application] = self._of_script(application, version)
        if known == version or self.is_reloading:
            return False
        if self._late == (application, version):
            return time.monotonic() >= self._late_until
        return self._tried.get(application) != version or self._delay.is_over

    def _of_script(self, application: str, version: Version) -> Version:
        """What is known of the same script by another callable, which was loaded with it; else ``version``."""
        path = _path(application)
        return next((one for name, one in [*self.known.items()] if _path(name) == path), version)

    def come_late(self, application: str, version: Version) -> None:
        """What a request has found was no news: the file had changed again, and that is known."""
        self._late, self._late_until = (application, version), time.monotonic() + _LATE

    def succeed(self, application: str, version: Version) -> None:
        """The script was executed again, with all its callables; what fails from now on fails for the first time."""
        for one in {application, *self.known}:
            if _path(one) == _path(application):
                self.known[one] = version
                self._tried.pop(one, None)
        self._delay.begin(failed=False)

    def fail(self, tried: Mapping[str, Version]) -> float:
        """These do not load together: again after a delay, or when one of them changes. Returns seconds."""
        self._tried.update(tried)  # two that fail apart from each other must not make room for each other's next try
        self._delay.begin(failed=True)
        return self._delay.seconds


class Entry(NamedTuple):
    """An application group.

    key: names of process group and application group. settings: of the first mount that was asked for. group: its
    daemon processes; None for embedded mode. place: where it is. versions: of its scripts.
    """

    key: Key
    pool: Pool
    settings: GroupSettings
    group: ProcessGroup | None
    place: Place
    versions: Versions


class Reloads(Protocol):
    """``reloading.Reloading``, as the supervisor knows it."""

    def begin(self, entry: Entry, application: str, *, version: Version) -> None:
        """A request for ``application`` has found another ``version`` than ``entry`` has. From any thread."""

    def join(self, until: float) -> None:
        """Wait for the threads, until ``until`` by the monotonic clock."""
