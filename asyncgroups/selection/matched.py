"""A regular expression on a URL path -> the script that its groups name.

Law: pure. Names of files come out, and nobody looks whether there are such files.
Imports the standard library, ``asyncgroups.errors``, ``selection.names``, ``selection.patterns``,
``selection.prefixes`` and ``selection.trees``.

    target    = "/" component *( "/" component )
    component = 1*( "\\" DIGIT / character )          ; no other backslash; not "." or ".."

What a group has caught is put where its number stands. It may be several names, with slashes between them; each name
that comes of it has to be one that a client may ask for (``trees.why_no_name``), or there is no script. What stands
before the first group is the configuration's own, and may be a symbolic link.
Source: Apache's WSGIScriptAliasMatch.
"""

import re
from dataclasses import dataclass, field

from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.names import FORBIDDEN
from asyncgroups.selection.patterns import Groups, Pattern
from asyncgroups.selection.prefixes import SEGMENT
from asyncgroups.selection.trees import Candidate, Kind, why_no_name

__all__ = ["ScriptMatch", "ScriptTarget"]

_GROUP = re.compile(r"\\([0-9])")
_STRAY = re.compile(r"\\(?![0-9])")


@dataclass(frozen=True, slots=True)
class ScriptTarget:
    """The path of a script, with the groups of an expression in it.

    text: as written, absolute: ``/srv/\\1/app.wsgi``. Raises PatternSyntaxError where it is no such path.
    base: the directory that is named before any group; without one the script itself.
    below: the components after it, with their groups.
    """

    text: str
    base: str = field(init=False, compare=False)
    below: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.text.startswith("/"):
            raise PatternSyntaxError(self.text, (0, 1), "the path of a script is absolute: it begins with '/'")
        if stray := _STRAY.search(self.text):
            raise PatternSyntaxError(self.text, stray.span(), "a backslash stands before the number of a group")
        names = [name for name in self.text.split("/") if name]
        first = next((at for at, name in enumerate(names) if _GROUP.search(name)), len(names))
        for name in names:
            if name in (".", ".."):
                at = self.text.index(f"/{name}") + 1
                raise PatternSyntaxError(self.text, (at, at + len(name)), f"the path of a script has no {name!r} in it")
        object.__setattr__(self, "base", "/" + "/".join(names[:first]))
        object.__setattr__(self, "below", tuple(names[first:]))

    def __str__(self) -> str:
        return self.text

    def names(self, groups: Groups) -> tuple[str, ...] | None:
        """The names below ``base`` for what has been caught; None where one is not for a client to ask for."""
        found: list[str] = []
        for component in self.below:
            text = _GROUP.sub(lambda number: _group(groups, int(number[1])), component)
            # Several names, where a group has caught a slash; an empty one is none, and so nothing begins at the root.
            names = text.split("/")
            if any(why_no_name(name) for name in names):
                return None
            found += names
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptMatch:
    """A mount by pattern.

    pattern: searched for in the path; it has to match from its beginning (``^``) and to the end of a segment.
    target: the script. place: where it stands in the configuration, for messages: ``mount[0]``.
    Source: WSGIScriptAliasMatch.
    """

    pattern: Pattern
    target: ScriptTarget
    place: str

    @property
    def script(self) -> str | None:
        """The path of its script; None where that depends on the URL."""
        return None if self.target.below else self.target.base

    def locate(self, path: str, raw_path: bytes) -> tuple[Candidate, ...] | None:
        """Where the script for a path lies; nowhere, where a name is none; None where the pattern does not match.

        path, raw_path: the same path, as ``rewrite.path_of`` gives it, and percent-encoded bytes as it came.
        Raises PatternTooSlow.
        """
        groups = self.pattern.search(path)
        if groups is None:
            return None
        url = (groups[0] or "").rstrip("/")
        if not path.startswith(url) or path[len(url) :][:1] not in ("", "/"):
            return None
        names = self.target.names(groups)
        # What stands in the URL and in no name of a file becomes SCRIPT_NAME all the same, and maybe a group's name.
        if names is None or FORBIDDEN.search(url):
            return ()
        depth = url.count("/")
        rest = raw_path[_end_of(raw_path, depth) :]
        return (Candidate(url, depth, self.target.base, names, rest, self.place, Kind.MATCH),)


def _end_of(raw_path: bytes, depth: int) -> int:
    """Where the segment of this number ends in a path; ``path_of`` has left each segment one."""
    end = 0
    for _ in range(depth):
        segment = SEGMENT.match(raw_path, end)
        assert segment is not None
        end = segment.end()
    return end


def _group(groups: Groups, number: int) -> str:
    return (groups[number] or "") if number < len(groups) else ""
