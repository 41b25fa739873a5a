"""The process groups of one supervisor: those that are configured, and those that one application group has to itself.

Law: for who holds the supervisor's lock, but for what only reads; waits for nothing. Imports ``config``, ``frontend``,
``host``, ``selection``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from asyncgroups.config import ProcessSettings
from asyncgroups.frontend.bootstraps import encoded
from asyncgroups.frontend.isolation import Key
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.host.group import label
from asyncgroups.host.pool import Pool
from asyncgroups.selection.mounts import GroupSettings

__all__ = ["ProcessGroups"]

_log = logging.getLogger("asyncgroups")


class ProcessGroups:
    """See above.

    settings: of those that are configured. environ: the server's environment. make: makes a process group of its
    settings and its ``environ``; it is started here.
    """

    def __init__(
        self,
        settings: Mapping[str, ProcessSettings],
        *,
        environ: Mapping[bytes, bytes],
        make: Callable[..., ProcessGroup],
    ) -> None:
        self._settings = settings
        self._environ = dict(environ)
        self._make = make
        self._shared: dict[str, ProcessGroup] = {}
        self._apart: dict[Key, ProcessGroup] = {}
        """Of application groups with processes of their own."""
        self._beside: list[ProcessGroup] = []
        """Those that are to take such a one's place, and those whose place was taken, until they have ended."""

    def __repr__(self) -> str:
        return f"<ProcessGroups: {self.all!r}>"

    @property
    def all(self) -> list[ProcessGroup]:
        """Those that have processes, or may have some."""
        beside = [group for group in list(self._beside) if group.processes or not group.is_winding_up]
        return [*self._shared.values(), *self._apart.values(), *beside]

    @property
    def pools(self) -> list[Pool]:
        """Of all of them."""
        return [pool for group in self.all for pool in group.pools]

    @property
    def pids(self) -> list[int]:
        """Of their processes."""
        return [process.pid for group in self.all for process in group.processes if process.pid is not None]

    def find(self, key: Key) -> ProcessGroup | None:
        """The one that the application group has to itself."""
        return self._apart.get(key)

    def shared(self, name: str) -> ProcessGroup:
        """The one of this name. Raises OSError."""
        group = self._shared.get(name)
        if group is None:
            settings = self._settings[name]
            group = self._shared[name] = self._start(settings, encoded(settings.process_env.items()))
        return group

    def known(self, name: str) -> ProcessGroup | None:
        """The one of this name, if it has been started."""
        return self._shared.get(name)

    def apart(self, key: Key, settings: GroupSettings) -> ProcessGroup:
        """The one that the application group has to itself. Raises OSError."""
        group = self._apart.get(key)
        if group is None:
            group = self._apart[key] = self._start_apart(key, settings)
        return group

    def another(self, key: Key, settings: GroupSettings) -> ProcessGroup:
        """One like that, for ``replace``; else it is to be wound up. Raises OSError."""
        group = self._start_apart(key, settings)
        self._beside = [one for one in self._beside if one.processes or not one.is_winding_up]
        self._beside.append(group)
        return group

    def _start_apart(self, key: Key, settings: GroupSettings) -> ProcessGroup:
        """With processes as its process group has them."""
        shared = self._settings.get(key[0]) or ProcessSettings(name="")
        own = replace(shared, name=label(key[1], key[0]), threads=settings.threads)
        return self._start(own, encoded(own.process_env.items()) | encoded(settings.process_env))

    def replace(self, key: Key, group: ProcessGroup) -> None:
        """Have ``group``, which is ``another``, in place of the one that there is, which is to be wound up."""
        old = self._apart.get(key)
        self._apart[key] = group
        self._beside.remove(group)
        if old is not None:
            self._beside.append(old)

    def start(self) -> None:
        """Start those that are configured. What cannot be is tried again when it is needed."""
        for name in self._settings:
            try:
                self.shared(name)
            except OSError as error:
                _log.error("[%s] no daemon process can be started: %s", name, error)

    def _start(self, settings: ProcessSettings, process_env: dict[bytes, bytes]) -> ProcessGroup:
        group = self._make(settings, environ=self._environ | process_env)
        group.start()
        return group
