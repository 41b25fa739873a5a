"""Path -> mount, and what is left of the path for PATH_INFO.

Law: pure. A table is built once and never changes; no I/O, no clock.
Imports the standard library and ``selection.names``.

Paths are compared segment by segment, percent-decoded, as bytes. An encoded slash separates nothing, empty segments
count for nothing, and what is left of a path stays as the client wrote it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from asyncgroups.selection.names import GroupName, parse

__all__ = ["GroupSettings", "Mount", "MountTable", "normalise_path"]

# Possessive: a run of slashes or a long segment is read once, never given back.
_SEGMENT = re.compile(rb"/++([^/]++)")


EMBEDDED = parse("")


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
    application: ``module:attribute``, or the name of a callable object.
    application_group: the setting; expanded for each request.
    process_group: the setting; expanded for each request, to the empty name for embedded mode.
    env: the request's environment as configured, text to text.
    preload: whether the application is loaded before the first request.
    settings: what belongs to the group.
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
    place: str
    origins: Mapping[str, str] = field(default=MappingProxyType({}), hash=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Names are made of this path: written in two ways it would name two groups.
        if self.path != normalise_path(self.path):
            raise ValueError(f"{self.place}: {self.path!r} should be {normalise_path(self.path)!r}")


def normalise_path(path: str) -> str:
    """A mount's path in its one spelling: runs of ``/`` are one, none at the end; empty for the root, or ``/shop``."""
    return "".join(f"/{segment}" for segment in path.split("/") if segment)


class _Node:
    """One segment of the trie: the segments that may follow, and the mount that ends here."""

    __slots__ = ("children", "mount")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.mount: Mount | None = None


class MountTable:
    """The mounts of one context; finds the longest that covers a path.

    A look-up costs as much as the path shares segments with a mount, however many mounts there are.
    Raises ValueError where two mounts have one path; the message names both places.
    """

    __slots__ = ("_longest", "_mounts", "_root")

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounts = tuple(mounts)
        self._root = _Node()
        self._longest = 0  # bytes in the longest segment of any mount, percent-encoded throughout
        for mount in self._mounts:
            node = self._root
            for segment in mount.path.encode().split(b"/")[1:]:
                node = node.children.setdefault(segment, _Node())
                self._longest = max(self._longest, 3 * len(segment))
            if node.mount is not None:
                raise ValueError(f"{node.mount.place} and {mount.place} have one path: {mount.path or '/'}")
            node.mount = mount

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
        node = self._root
        found, end = node.mount, 0
        position = 0
        while node.children:
            segment = _SEGMENT.match(raw_path, position)
            if segment is None:
                break
            name = segment[1]
            if b"%" in name:
                # A longer one is none of ours, and how much is decoded is not for the client to say.
                if len(name) > self._longest:
                    break
                name = unquote_to_bytes(name)
            child = node.children.get(name)
            if child is None:
                break
            node, position = child, segment.end()
            if node.mount is not None:
                found, end = node.mount, position
        return None if found is None else (found, raw_path[end:])
