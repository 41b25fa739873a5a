"""The sections of directories: which of them a file falls into, and what they settle for it.

Law: pure. Paths are text, and nobody looks whether there is such a file; the only state is a bounded table of answers.
Imports the standard library, ``asyncgroups.errors`` and ``selection.patterns``.

    glob      = "/" / 1*( "/" component ) [ "/" ]
    component = 1*( "*" / "?" / set / "\\" character / character )      ; not "." or ".."
    set       = "[" [ "!" / "^" ] 1*( range / character ) "]"          ; a "]" that comes first is a character
    range     = character "-" character

A section covers the directory that its glob names and all below it; no wildcard stands for ``/``. A section with a
regular expression is asked about the whole path of the file. Sections count from the shortest to the longest glob,
those of one length in the order of the configuration, then the regular expressions in that order: the last one wins.
Source: Apache's ``<Directory>``, ``<DirectoryMatch>`` and "How the sections are merged".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.patterns import Pattern

__all__ = ["WSGI_SCRIPT", "Glob", "Section", "Sections", "Settled"]

WSGI_SCRIPT = "wsgi-script"
"""The handler that makes a file a script (SetHandler wsgi-script)."""

TABLES = frozenset({"env", "process_env"})
"""Settings that are merged name by name."""

KNOWN_PATHS = 4096
"""Paths whose sections are kept, at most; those beyond are looked through for each request."""

_WHAT_ENDS_A_COMPONENT = r"(?=/|\Z)"


@dataclass(frozen=True, slots=True)
class Glob:
    """A directory, or many by ``*``, ``?`` and ``[]``.

    text: as written, an absolute path. Raises PatternSyntaxError where it is none.
    depth: number of its components; 0 for ``/``.
    """

    text: str
    depth: int = field(init=False, compare=False)
    _covers: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.text.startswith("/"):
            raise PatternSyntaxError(self.text, (0, 1), "a directory is an absolute path, which begins with '/'")
        components = list(_components(self.text))
        object.__setattr__(self, "depth", len(components))
        object.__setattr__(self, "_covers", re.compile("".join(f"/{one}" for one in components), re.DOTALL))

    def __str__(self) -> str:
        return self.text

    def covers(self, directory: str) -> bool:
        """Whether ``directory``, an absolute path without a slash at its end, is one of these or lies below one."""
        return self._covers.match(directory) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A ``[[directory]]``.

    where: a glob, or a regular expression that is searched for in the whole path of a file.
    settings: key to value, of the keys that it sets; ``env`` and ``process_env`` are mappings.
    place: where it stands in the configuration, for messages: ``directory[0]``.
    Source: <Directory>, <DirectoryMatch>.
    """

    where: Glob | Pattern
    settings: Mapping[str, object] = field(hash=False)
    place: str

    def covers(self, directory: str, path: str) -> bool:
        """Whether the file ``path`` in ``directory`` falls into this section. Raises PatternTooSlow."""
        if isinstance(self.where, Glob):
            return self.where.covers(directory)
        return self.where.search(path) is not None


class Settled(NamedTuple):
    """What several contexts settle together.

    values: key to value; the most specific context's, tables merged name by name.
    places: key to the place of the context that said so last.
    """

    values: Mapping[str, object]
    places: Mapping[str, str]

    def runs(self, name: str) -> bool:
        """Whether a file of this name is a script: it has the handler, and one of the extensions where there are any.

        No extensions at all are those of a section that takes back what a wider one has said.
        Source: SetHandler, AddHandler. Only the end of the name counts: ``app.wsgi.bak`` is no ``.wsgi``, as it would
        be for AddHandler.
        """
        if self.values.get("handler") != WSGI_SCRIPT:
            return False
        extensions = self.values.get("extensions")
        return not isinstance(extensions, tuple) or not extensions or name.endswith(extensions)


NOTHING = Settled(MappingProxyType({}), MappingProxyType({}))


class Sections:
    """All sections of one context, in the order in which they count."""

    __slots__ = ("_known", "_sections", "_settled")

    def __init__(self, sections: Iterable[Section]) -> None:
        written = tuple(sections)
        globs = [one for one in written if isinstance(one.where, Glob)]
        self._sections = (
            *sorted(globs, key=lambda one: one.where.depth if isinstance(one.where, Glob) else 0),
            *(one for one in written if not isinstance(one.where, Glob)),
        )
        self._known: dict[str, tuple[Section, ...]] = {}
        # By identity, as in ``Selection``: sections live as long as this object does.
        self._settled: dict[tuple[int, ...], Settled] = {(): NOTHING}

    def __iter__(self) -> Iterator[Section]:
        return iter(self._sections)

    def __len__(self) -> int:
        return len(self._sections)

    def __repr__(self) -> str:
        return f"<Sections: {', '.join(str(one.where) for one in self._sections) or 'none'}>"

    def covering(self, path: str) -> tuple[Section, ...]:
        """The sections that a file falls into, the least specific first.

        path: of the file, absolute, without ``.``, ``..`` or empty components; symbolic links in it stay as they are.
        Raises PatternTooSlow.
        """
        found = self._known.get(path)
        if found is None:
            directory = path.rpartition("/")[0]
            found = tuple(one for one in self._sections if one.covers(directory, path))
            if len(self._known) < KNOWN_PATHS:
                self._known[path] = found
        return found

    def settle(self, path: str) -> Settled:
        """What the sections settle for the file ``path``, as for ``covering``. Raises PatternTooSlow."""
        covering = self.covering(path)
        key = tuple(map(id, covering))
        settled = self._settled.get(key)
        if settled is None:
            settled = _merge(covering)
            if len(self._settled) < KNOWN_PATHS:
                self._settled[key] = settled
        return settled


def _merge(sections: Iterable[Section]) -> Settled:
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for section in sections:
        for key, value in section.settings.items():
            values[key] = _over(values.get(key), value) if key in TABLES else value
            places[key] = section.place
    return Settled(MappingProxyType(values), MappingProxyType(places))


def _over(before: object, value: object) -> object:
    """One table over another."""
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return MappingProxyType({**before, **value})
    return value


# One function for each production; each gives the regular expression of what it reads.


def _components(text: str) -> Iterator[str]:
    """glob = "/" / 1*( "/" component ) [ "/" ]"""
    end = 0
    for match in re.finditer(r"/++([^/]++)", text):
        if match[1] in (".", ".."):
            raise PatternSyntaxError(text, match.span(1), f"a directory has no {match[1]!r} in its path")
        end = match.end()
        yield _component(text, match.start(1), end)
    if control := re.search(r"[\x00-\x1f\x7f]", text):
        raise PatternSyntaxError(text, control.span(), "control characters have no place in the path of a directory")


def _component(text: str, start: int, end: int) -> str:
    """component = 1*( "*" / "?" / set / "\\" character / character )"""
    chunks = [""]
    position = start
    while position < end:
        character = text[position]
        if character == "*":
            chunks.append("")
            position += 1
            continue
        if character == "?":
            one, position = "[^/]", position + 1
        elif character == "[":
            one, position = _set(text, position, end)
        elif character == "\\" and position + 1 < end:
            one, position = re.escape(text[position + 1]), position + 2
        else:
            one, position = re.escape(character), position + 1
        chunks[-1] += one
    first, *others = chunks
    if not others:
        return first + _WHAT_ENDS_A_COMPONENT
    # What lies between two asterisks is found where it first can be and stays there: trying further places would help
    # nobody, and take exponential time.
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in others[:-1] if chunk)
    return f"{first}{middle}[^/]*{others[-1]}{_WHAT_ENDS_A_COMPONENT}"


def _set(text: str, start: int, end: int) -> tuple[str, int]:
    """set = "[" [ "!" / "^" ] 1*( range / character ) "]" """
    position = start + 1
    negated = text[position:end].startswith(("!", "^"))
    position += negated
    closing = text.find("]", position + 1, end)
    if closing < 0:
        raise PatternSyntaxError(text, (start, start + 1), "the bracket is not closed")
    members = []
    while position < closing:
        first = last = text[position]
        if text[position + 1 : position + 2] == "-" and position + 2 < closing:
            last = text[position + 2]
            if last < first:
                span = (position, position + 3)
                raise PatternSyntaxError(text, span, f"{first!r} comes after {last!r}")
            position += 2
        members.append(re.escape(first) if first == last else f"{re.escape(first)}-{re.escape(last)}")
        position += 1
    return f"(?!/)[{'^' if negated else ''}{''.join(members)}]", closing + 1
