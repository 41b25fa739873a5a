"""What all sections together say of scripts: which directories run them, and which mounts Apache refuses.

Law: pure. Imports the standard library and the modules of this room.

In Apache a script needs three things, which may come from different sections: the handler, Options ExecCGI, and that
access is not denied. Here it needs the handler, and nothing else: so a section has the handler where all three come
together, and "none" where one of them goes. Sections count from the shortest to the longest, then those with regular
expressions, of which nobody can say what they cover: they are taken to lie where they plainly begin.
"""

import fnmatch
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.apache.access import Denials, refusing
from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.sections import HANDLER, Section
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import ACCESS, FILES

__all__ = ["Settling"]

_WILDCARD = re.compile(r"[*?\[]")
_POSIX = re.compile(r"\[:([a-z]+):\]")

POSIX: Mapping[str, str] = MappingProxyType(
    {
        "alnum": "a-zA-Z0-9",
        "alpha": "a-zA-Z",
        "blank": r"\ \t",
        "cntrl": r"\x00-\x1f\x7f",
        "digit": "0-9",
        "graph": r"\x21-\x7e",
        "lower": "a-z",
        "print": r"\x20-\x7e",
        "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
        "space": r"\s",
        "upper": "A-Z",
        "word": r"\w",
        "xdigit": "0-9a-fA-F",
    }
)
"""What may stand in brackets in PCRE, and what that is for re."""

NO_EXEC = "without Options ExecCGI Apache answers 403, and no file there is a script here"


type _Given = tuple[str, tuple[str, ...] | None]
"""The handler and its extensions, as a ``[[directory]]`` has them."""

_NONE: _Given = ("none", None)


class _Effect(NamedTuple):
    """What counts somewhere. Source: "How the sections are merged"."""

    handler: str | None = None
    extensions: tuple[str, ...] | None = None
    execs: bool | None = None
    denials: Denials = MappingProxyType({})

    @property
    def for_scripts(self) -> bool:
        # SetHandler none takes back a SetHandler; AddHandler counts then.
        return self.handler == HANDLER or (self.handler in (None, "none") and self.extensions is not None)

    @property
    def runs(self) -> bool:
        return self.for_scripts and self.execs is True and refusing(self.denials) is None

    @property
    def given(self) -> _Given:
        if not self.runs:
            return _NONE
        return HANDLER, None if self.handler == HANDLER else self.extensions

    def under(self, section: Section) -> _Effect:
        """What counts where a further section does."""
        return _Effect(
            section.handler if section.handler is not None else self.handler,
            tuple(section.extensions) if section.extensions is not None else self.extensions,
            section.execs if section.execs is not None else self.execs,
            {**self.denials, **section.denials},
        )


class Settling:
    """The sections of one context with those that it inherits, in the order in which they count.

    own: its own sections. forced: those of folders whose files are all scripts, whatever sections say.
    parent: the server's, for a virtual host.
    """

    def __init__(
        self, own: Sequence[Section], forced: Sequence[Section] = (), *, parent: Settling | None = None
    ) -> None:
        self._own = [*own, *forced]
        self._parent = parent
        self._sections = sorted([*(parent.sections if parent is not None else ()), *self._own], key=_rank)
        self._folders = [one.table["path"] for one in forced] + (parent.folders if parent is not None else [])
        self._given: dict[int, _Given] = dict(parent.given) if parent is not None else {}

    def __repr__(self) -> str:
        return f"<Settling: {len(self._sections)} sections>"

    @property
    def sections(self) -> list[Section]:
        return self._sections

    @property
    def folders(self) -> list[str]:
        return self._folders

    @property
    def given(self) -> dict[int, _Given]:
        return self._given

    def settle(self, folders: Sequence[tuple[str, Statement]], remarks: Remarks) -> list[Table]:
        """The tables of the context's sections, with the handler where they have it.

        folders: that URLs lead to, with the statements that lead there.
        """
        tables = [one.table for one in self._own]
        own = set(map(id, self._own))
        for section in self._sections:
            if not section.says_something:
                continue
            before, after = self._inherited(section), self._effect(section).given
            is_explicit = section.statement is not None and (section.is_assigned or section.denied is True)
            if id(section) not in own:
                if after != self._given.get(id(section), before):
                    where = {key: section.table[key] for key in ("path", "match") if key in section.table}
                    tables.append(_with(Table(where, made_by=section.table.made_by), after, before=before))
                    self._given[id(section)] = after
            elif is_explicit or after != before:
                self._given[id(section)] = after
                _with(section.table, after, before=before)
        tables += self._narrow(own)
        self._remark(folders, remarks)
        return [one for one in tables if not one.keys() <= {"path", "match"}]

    def _narrow(self, own: Collection[int]) -> Iterator[Table]:
        """Where one section has the handler, and a shorter one takes something away from a part of it: that part.

        ``/home/*/scripts`` has it, and ``/home/mallory`` is denied: then ``/home/mallory/scripts`` is not a folder of
        scripts. A regular expression counts after all paths, so there it takes another one.
        """
        for section in self._sections:
            if self._given.get(id(section), _NONE)[0] != HANDLER:
                continue
            for other in self._sections:
                if other is section or "match" in other.table or not (id(section) in own or id(other) in own):
                    continue
                left = {kind: said for kind, said in other.denials.items() if kind not in section.denials}
                if refusing(left) is None and not (other.execs is False and section.execs is None):
                    continue
                if "match" in section.table:
                    if _covers(_where(section), _where(other)):
                        yield Table({"match": _expression(_where(other)), "handler": "none"}, made_by=other.statement)
                elif (path := _meeting(_where(other), _where(section))) is not None:
                    yield Table({"path": path, "handler": "none"}, made_by=other.statement)

    def _remark(self, folders: Sequence[tuple[str, Statement]], remarks: Remarks) -> None:
        runs = [one for one in self._sections if self._given.get(id(one), _NONE)[0] == HANDLER]
        for folder, statement in folders:
            if not any(_may_meet(one, folder) for one in runs):
                remarks.add(statement, FILES)
        for section in self._own:
            where = _where(section)
            for part in section.files:
                if refusing(part.denials) is not None and any(_may_meet(one, where) for one in runs):
                    remarks.add(part.statement, ACCESS)

    def remark_handlers(self, settlings: Iterable[Settling], remarks: Remarks) -> None:
        """Tell which sections give the handler to files that nowhere have ExecCGI. settlings: of all contexts."""
        runs = [
            _where(one)
            for settling in settlings
            for one in settling.sections
            if settling.given.get(id(one), _NONE)[0] == HANDLER
        ]
        for section in self._own:
            effect = self._effect(section)
            is_meant = section.is_assigned and effect.for_scripts and effect.execs is None
            if is_meant and not any(_covers(_where(section), one) for one in runs):
                remarks.add(section.table.set_by.get("handler") or section.statement, NO_EXEC)

    def denial(self, script: str) -> Denials:
        """What is said of access to the file of a mount."""
        directory, _, name = script.rpartition("/")
        effect = _Effect()
        covering = [one for one in self._sections if _covers_file(one, directory or "/", script)]
        for section in covering:
            effect = effect.under(section)
        denials = effect.denials
        for section in covering:
            for part in section.files:
                if part.pattern.search(name):
                    denials = {**denials, **part.denials}
        return denials

    def _effect(self, section: Section) -> _Effect:
        effect = _Effect()
        where = _where(section)
        for one in self._sections:
            if one is section or ("match" not in one.table and _covers(_where(one), where)):
                effect = effect.under(one)
            if one is section:
                break
        if any(_covers(folder, where) for folder in self._folders):
            effect = effect._replace(handler=HANDLER, extensions=None, execs=True)
        return effect

    def _inherited(self, section: Section) -> _Given:
        """What our own sections before this one have given already."""
        found = _NONE
        where = _where(section)
        for one in self._sections:
            if one is section:
                break
            if id(one) in self._given and "match" not in one.table and _covers(_where(one), where):
                found = self._given[id(one)]
        return found


def _with(table: Table, after: _Given, *, before: _Given) -> Table:
    """A table with its handler; an empty list takes back the extensions that a wider section has given."""
    table["handler"], extensions = after
    if extensions is not None or (before[1] is not None and after != _NONE):
        table["extensions"] = list(extensions or ())
    return table


def _rank(section: Section) -> tuple[int, int]:
    """What stands around all sections, directories from the shortest to the longest, regular expressions."""
    if section.statement is None:
        return (0, 0)
    return (2, 0) if "match" in section.table else (1, len(_components(section.table["path"])))


def _where(section: Section) -> str:
    """The path of a section; of one with a regular expression as far as it is plain."""
    if "match" in section.table:
        plain = re.match(r"\^((?:/[\w-]+(?=/|$))*)", section.table["match"])
        return (plain[1] if plain is not None else "") or "/"
    path: str = section.table.get("path", "/")
    return path


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _covers(pattern: str, path: str) -> bool:
    """Whether all that one glob stands for lies in what another one stands for, as far as can be said of globs."""
    wide, narrow = _components(pattern), _components(path)
    return len(wide) <= len(narrow) and all(
        one in ("*", other) or (not _WILDCARD.search(other) and fnmatch.fnmatchcase(other, one))
        for one, other in zip(wide, narrow, strict=False)
    )


def _meeting(wide: str, narrow: str) -> str | None:
    """What both globs stand for, where the first one is the shorter, and stands for less of it; None for nothing."""
    first, second = _components(wide), _components(narrow)
    if len(first) > len(second) or _covers(wide, narrow):
        return None
    met = []
    for one, other in zip(first, second, strict=False):
        if one == other or _covers(one, other):
            met.append(other)
        elif _covers(other, one):
            met.append(one)
        elif _WILDCARD.search(one) and _WILDCARD.search(other):
            met.append(one)  # all that the first one stands for: rather too much
        else:
            return None
    return "/" + "/".join([*met, *second[len(first) :]])


def _expression(glob: str) -> str:
    """A regular expression for the files below a glob."""

    def piece(found: re.Match[str]) -> str:
        escaped, chosen, wildcard, other = found.groups()
        if chosen:
            return "[^" + chosen[2:] if chosen[1] in "!^" else chosen
        return {"*": "[^/]*", "?": "[^/]"}[wildcard] if wildcard else re.escape(escaped or other)

    parts = [re.sub(r"\\(.)|(\[[^\]]+\])|([*?])|(.)", piece, part) for part in _components(glob)]
    return "^" + "".join(f"/{part}" for part in parts) + "/"


def _covers_file(section: Section, directory: str, path: str) -> bool:
    if "match" not in section.table:
        return _covers(_where(section), directory)
    # The engine that reads PCRE is not for this room: what re reads otherwise is put into its words.
    pattern = _POSIX.sub(lambda found: POSIX.get(found[1], found[0]), section.table["match"])
    try:
        with warnings.catch_warnings(action="ignore"):
            return re.search(pattern, path) is not None
    except re.error:
        return section.denied is True  # rather too much is refused than too little


def _may_meet(section: Section, path: str) -> bool:
    """Whether a section and a path may be for the same file: one lies in the other, up to the first wildcard."""
    if "match" in section.table:
        return True
    first, second = (re.split(r"[*?\[]", one)[0].rstrip("/") for one in (_where(section), path))
    return first.startswith(second) or second.startswith(first)
