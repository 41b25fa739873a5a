"""Path -> mount, and what is left of the path for PATH_INFO.

Law: pure. A table is built once and never changes; no I/O, no clock.
Imports the standard library, ``selection.names`` and ``selection.prefixes``, which says how paths are compared. What is
left of a path stays as the client wrote it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from asyncgroups.selection.names import GroupName, parse
from asyncgroups.selection.prefixes import PrefixTable

__all__ = ["GroupSettings", "Mount", "MountTable", "Version", "normalise_path"]

EMBEDDED = parse("")

type Version = tuple[int, int, int, int]
"""What tells a script file from another one, or from itself before it was changed: number of its device, its inode,
bytes, time of its last change in nanoseconds (st_dev, st_ino, st_size, st_mtime_ns)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """The settings that belong to the application group and not to one mount: its mounts have to agree on them.

    threads: number of OS threads that live in the group's interpreter.
    isolation: "interpreter", "process" or "auto"; says nothing about GLOBAL.
    app_dir: path of the folder that comes first in ``sys.path``.
    python_path: paths of further folders, in order.
    process_env: variables of the group's own ``os.environ``, (name, value), sorted by name.
    host_path_first: whether in GLOBAL the main interpreter's own ``sys.path`` comes before app_dir.
    """

    threads: int = 1
    isolation: str = "auto"
    app_dir: str
    python_path: tuple[str, ...] = ()
    process_env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    host_path_first: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A URL path bound to an application, with all settings merged from server, virtual host and mount.

    path: text, as ``normalise_path`` gives it: empty for the root, else ``/shop``. Raises ValueError for any other.
    application: ``module:attribute``, or the name of a callable object; for a script ``/path/app.wsgi:callable``.
    application_group: the setting; expanded for each request.
    process_group: the setting; expanded for each request, to the empty name for embedded mode.
    env: the request's environment as configured, text to text.
    preload: whether the application is loaded before the first request.
    settings: what belongs to the group.
    script: absolute path of the script file; None where the application is no script.
    script_reloading: whether a script is loaded anew when its file has changed (WSGIScriptReloading).
    place: where the mount stands in the configuration, for messages: ``mount[0]``.
    origins: for ``path``, ``application_group``, ``process_group``, ``isolation``, ``env`` and ``process_group.env``
    (the variables that the groups' names depend on) the place where that was written,
    ``virtual_host[0].application_group``; a default has none.
    Source: WSGIScriptAlias.
    """

    path: str
    application: str
    application_group: GroupName
    process_group: GroupName = EMBEDDED
    env: Mapping[str, str] = field(hash=False, repr=False)
    preload: bool = False
    settings: GroupSettings
    script: str | None = None
    script_reloading: bool = True
    place: str
    origins: Mapping[str, str] = field(default=MappingProxyType({}), hash=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Names are made of this path: written in two ways it would name two groups.
        if self.path != normalise_path(self.path):
            raise ValueError(f"{self.place}: {self.path!r} should be {normalise_path(self.path)!r}")


def normalise_path(path: str) -> str:
    """A mount's path in its one spelling: runs of ``/`` are one, none at the end; empty for the root, or ``/shop``."""
    return "".join(f"/{segment}" for segment in path.split("/") if segment)


class MountTable:
    """The mounts of one context; finds the longest that covers a path.

    A look-up costs as much as the path shares segments with a mount, however many mounts there are.
    Raises ValueError where two mounts have one path; the message names both places.
    """

    __slots__ = ("_mounts", "_table")

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounts = tuple(mounts)
        self._table = PrefixTable[Mount]()
        for mount in self._mounts:
            if (other := self._table.put(mount.path, mount)) is not None:
                raise ValueError(f"{other.place} and {mount.place} have one path: {mount.path or '/'}")

    def __iter__(self) -> Iterator[Mount]:
        return iter(self._mounts)

    def __len__(self) -> int:
        return len(self._mounts)

    def __repr__(self) -> str:
        return f"<MountTable: {', '.join(mount.path or '/' for mount in self._mounts) or 'empty'}>"

    def match(self, raw_path: bytes) -> tuple[Mount, bytes] | None:
        """The mount with the longest path that covers ``raw_path``, and the rest of ``raw_path``; None without one.

        raw_path: percent-encoded bytes, without a query. Only a root mount covers one that does not begin with ``/``
        (``*``, an authority, nothing). The rest is percent-encoded as it came, and empty or begins with ``/`` if
        raw_path does.
        Source: WSGIScriptAlias ("the first match on a path-component boundary"); here the longest.
        """
        covered = self._table.match(raw_path)
        if covered is None:
            return None
        mount, _, end = covered
        return mount, raw_path[end:]
