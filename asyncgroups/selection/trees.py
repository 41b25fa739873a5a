"""URL path -> where in the file system a script may lie: the document root, an alias, a user's directory.

Law: pure. Names of files come out, and nobody looks whether there are such files (``frontend.scripts`` does).
Imports the standard library, ``selection.names`` and ``selection.prefixes``.

A segment of a URL path is the name of a file or it is nothing: never two names, never ``.`` or ``..``, never a path.
Segments are read one at a time, for what comes after a script is its PATH_INFO and no name of a file. So nothing that a
client writes is ever part of a path but one name, of which ``Step`` says what it may be.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from asyncgroups.selection.names import FORBIDDEN
from asyncgroups.selection.prefixes import SEGMENT, PrefixTable

__all__ = ["Alias", "Candidate", "Kind", "Matching", "Step", "Trees", "UserDirectories", "steps", "why_no_name"]

LONGEST_NAME = 255
"""Bytes in the name of a file (NAME_MAX of the usual file systems)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A URL path bound to a directory, or to a file in one.

    path: text, a URL path as ``mounts.normalise_path`` gives it: empty for the root, else ``/cgi``.
    target: absolute path of the directory.
    place: where it stands in the configuration, for messages: ``alias[0]``.
    Source: Alias; DocumentRoot is one of the root, after all others.
    """

    path: str
    target: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDirectories:
    """``/~user`` bound to a directory of that user's.

    patterns: absolute paths. The first ``*`` is the user's name: ``/home/*/public_html``; without one the name comes at
    the end. Where there are several, the first that exists counts.
    enabled: the only names that there are; None for any.
    disabled: names that there are not.
    place: where it stands in the configuration, for messages: ``userdir``.
    Source: UserDir, also with ``enabled`` and ``disabled``.
    """

    patterns: tuple[str, ...]
    enabled: frozenset[str] | None = None
    disabled: frozenset[str] = frozenset()
    place: str

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            if not pattern.startswith("/"):
                raise ValueError(f"{self.place}: {pattern!r} is no absolute path")

    def has(self, user: str) -> bool:
        """Whether a user of this name may have a directory."""
        return user not in self.disabled and (self.enabled is None or user in self.enabled)


class Kind(enum.Enum):
    """What has led to a candidate."""

    ALIAS = "an alias, or the document root"
    USER = "a user's directory"
    MATCH = "a mount by pattern"


class Candidate(NamedTuple):
    """A place where a script may lie.

    url: text, the URL path of ``base`` and ``below`` together, decoded: empty for the root, else ``/~alice``.
    depth: number of segments in ``url``.
    base: absolute path of a directory (or a file) that the configuration names.
    below: names that lead from there to what ``url`` stands for; the user's is one of them.
    rest: what is left of the path, percent-encoded bytes as the client wrote it.
    place: of what has led here: ``alias[0]``. kind: what that is. A mount's script runs without a handler; in a user's
    directory links are followed only where a section says so.
    """

    url: str
    depth: int
    base: str
    below: tuple[str, ...]
    rest: bytes
    place: str
    kind: Kind = Kind.ALIAS


class Step(NamedTuple):
    """One segment of a path.

    name: the name of a file, text; empty where the segment cannot be one.
    reason: why it cannot: what stands after "it".
    end: number of bytes of the path up to the end of the segment.
    """

    name: str
    reason: str
    end: int


class Matching(Protocol):
    """A mount by pattern: ``matched.ScriptMatch``."""

    @property
    def place(self) -> str:
        """Where it stands in the configuration, for messages: ``mount[0]``."""

    @property
    def script(self) -> str | None:
        """The path of its script; None where that depends on the URL."""

    def locate(self, path: str, raw_path: bytes) -> tuple[Candidate, ...] | None:
        """Where the script for a path lies; nowhere; or None where the pattern is not for this path."""


class Trees:
    """All that leads from URL paths to files in one context.

    The longest alias counts, if no mount is longer. Then come mounts by pattern, in their order; then ``/~user``; then
    an alias of the root, a mount of the root, and the document root, whichever is the first that there is.
    Raises ValueError where two aliases have one path; the message names both places.
    Source: the order of mod_alias, mod_wsgi and mod_userdir, but that the longest counts, and patterns after it.
    """

    __slots__ = ("_aliases", "_document_root", "_matches", "_table", "_users")

    def __init__(
        self,
        aliases: Iterable[Alias] = (),
        users: UserDirectories | None = None,
        *,
        document_root: Alias | None = None,
        matches: Iterable[Matching] = (),
    ) -> None:
        self._aliases = tuple(aliases)
        self._users = users
        self._document_root = document_root
        self._matches = tuple(matches)
        self._table = PrefixTable[Alias]()
        for alias in self._aliases:
            if (other := self._table.put(alias.path, alias)) is not None:
                raise ValueError(f"{other.place} and {alias.place} have one path: {alias.path or '/'}")

    def __repr__(self) -> str:
        names = [alias.path or "/" for alias in self._aliases] + ["/~"] * (self._users is not None)
        return f"<Trees: {', '.join(names) or 'none'}>"

    @property
    def places(self) -> tuple[str, ...]:
        """Where all that leads to files stands in the configuration, mounts by pattern apart."""
        return tuple(one.place for one in (*self._aliases, self._users, self._document_root) if one is not None)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Where the mounts by pattern stand in the configuration, in their order."""
        return tuple(one.place for one in self._matches)

    @property
    def fixed(self) -> tuple[tuple[str, str], ...]:
        """The mounts by pattern that have one script for all URLs: their places, and its path."""
        return tuple((one.place, one.script) for one in self._matches if one.script is not None)

    def locate(self, raw_path: bytes, path: str, *, mounted: int = -1) -> tuple[Candidate, ...] | None:
        """Where the script for a path may lie: in one place, in the first of several that exists, or nowhere.

        raw_path, path: the same, percent-encoded bytes without a query, and as ``rewrite.path_of`` gives it.
        mounted: number of segments in the path of the mount that covers it; -1 where none does.
        None where it is the mount's, or nobody's. Raises PatternTooSlow.
        """
        if not raw_path.startswith(b"/"):
            return None
        covered = self._table.match(raw_path)
        if covered is not None and covered[1] > 0 and covered[1] >= mounted:
            return (_candidate(*covered, raw_path=raw_path),)
        if mounted > 0:
            return None
        for match in self._matches:
            if (found := match.locate(path, raw_path)) is not None:
                return found
        if self._users is not None and (found := self._user_directories(raw_path, self._users)) is not None:
            return found
        if covered is not None:
            return (_candidate(*covered, raw_path=raw_path),)
        if mounted == 0 or self._document_root is None:
            return None
        return (_candidate(self._document_root, 0, 0, raw_path=raw_path),)

    def _user_directories(self, raw_path: bytes, users: UserDirectories) -> tuple[Candidate, ...] | None:
        """The places for ``/~user``; None for a path that is none of these."""
        step = next(steps(raw_path), None)
        if step is None:
            return None
        user = step.name.removeprefix("~")
        if step.name == user:
            return None
        # A name that begins with a dot would be a hidden directory, or none of the users' at all.
        if not user or user.startswith(".") or not users.has(user):
            return ()
        rest = raw_path[step.end :]
        return tuple(
            Candidate(f"/~{user}", 1, base, below, rest, users.place, Kind.USER)
            for base, below in (_split(pattern, user) for pattern in users.patterns)
        )


def _candidate(alias: Alias, depth: int, end: int, *, raw_path: bytes) -> Candidate:
    return Candidate(alias.path, depth, alias.target, (), raw_path[end:], alias.place)


def _split(pattern: str, user: str) -> tuple[str, tuple[str, ...]]:
    """A pattern for a user: the directory that contains no name of a user yet, and the names that lead on."""
    names = [name for name in pattern.split("/") if name]
    position = next((at for at, name in enumerate(names) if "*" in name), None)
    if position is None:
        return pattern, (user,)
    own = names[position].replace("*", user, 1)
    return "/" + "/".join(names[:position]), (own, *names[position + 1 :])


def steps(raw_path: bytes) -> Iterator[Step]:
    """The segments of a path as names of files, one at a time; the first that is none is the last.

    raw_path: percent-encoded bytes. Empty segments count for nothing.
    """
    position = 0
    while (segment := SEGMENT.match(raw_path, position)) is not None:
        position = segment.end()
        step = _step(segment[1], position)
        yield step
        if not step.name:
            return


def _step(segment: bytes, end: int) -> Step:
    # How much is decoded is not for the client to say.
    if len(segment) > 3 * LONGEST_NAME:
        return Step("", "is too long", end)
    try:
        name = (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
    except UnicodeDecodeError:
        return Step("", "is no UTF-8", end)
    reason = why_no_name(name)
    return Step("" if reason else name, reason, end)


def why_no_name(name: str) -> str:
    """Why a text that a client chose is not the name of a file that it may ask for; empty where it may be."""
    # "." and "..", and what people hide: .git, .htpasswd, .wsgi.py.swp.
    if name.startswith("."):
        return "begins with a dot"
    if "/" in name:
        return "has an encoded slash in it"
    if "\\" in name:
        return "has a backslash in it"
    # A script's URL may become the name of a group.
    if FORBIDDEN.search(name):
        return "has a control character in it"
    if len(name.encode()) > LONGEST_NAME:
        return "is too long"
    return "" if name else "is empty"
