"""<Location>: settings of mounts, and URLs that Apache refuses.

Law: pure. Imports the standard library and the modules of this room.

There is no context for a URL path here: what a <Location> sets goes to the mounts at or below its path, over what
directories say, and under the options of the mounts themselves. What is refused gets an alias that leads to nothing.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asyncgroups.apache.access import Denials, refusing
from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.sections import Section
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import ACCESS

__all__ = ["NOTHING", "Locations", "is_below"]

NOTHING = "/dev/null"
"""What an alias leads to below which there is nothing."""

_GROUP = re.compile(r"\\[0-9]")
"""What a client chooses in a mount's script; a wildcard of a section stands for it, and no name."""

LEFT_OUT = "no application is mounted at or below this path; its settings were left out"
PATTERN = "which URLs it is for is not worked out; its settings were left out"
OF_MOUNTS = "counts for mounts alone; directories below this path keep their own settings"
ABOVE = "what lies above it is refused, and so is this here"

type Denial = Callable[[str], Denials]
"""Gives what is said of access to a file."""

NOTHING_SAID: Denials = MappingProxyType({})


def is_below(path: str, other: str) -> bool:
    """Whether a URL path is another one or lies below it."""
    return other in ("/", path) or path.startswith(f"{other}/")


class Locations:
    """All <Location> of a configuration; those of the server count in virtual hosts as well."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._seen: dict[int, Section] = {}
        self._used: set[int] = set()

    def __repr__(self) -> str:
        return f"<Locations: {len(self._seen)}>"

    def apply(
        self, sections: Sequence[Section], context: Table, *, denial: Denial, inherited: Iterable[Table] = ()
    ) -> None:
        """Give mounts what the sections for their paths say, and take away what is refused.

        sections: the server's before a virtual host's. inherited: a virtual host's directories that are the server's.
        """
        seen = set(self._seen)
        self._seen |= {id(one): one for one in sections}
        plain = [(_path(one), one) for one in sections if _is_plain(one)]
        self._refuse(plain, context, denial, seen=seen)
        for mount in context.get("mount", ()):
            self._settle(plain, mount)
        for path, section in plain:
            if path == "/":
                self._used.add(id(section))
                if id(section) not in seen:
                    _override_inherited(section, context, inherited)
                for table in (context, *context.get("directory", ())):
                    _override(section, table, is_context=table is context)
            elif _settings(section) and any(
                is_below(one["path"], path) and one["directory"] != NOTHING for one in context.get("alias", ())
            ):
                self._used.add(id(section))
                self._remarks.add(section.statement, OF_MOUNTS)

    def remark(self) -> None:
        """Tell what has found no use."""
        for section in self._seen.values():
            if not _is_plain(section):
                if section.table or section.says_something:
                    self._remarks.add(section.statement, ACCESS if section.denied else PATTERN)
            elif _settings(section) and id(section) not in self._used:
                self._remarks.add(section.statement, LEFT_OUT)

    def _settle(self, plain: Iterable[tuple[str, Section]], mount: Table) -> None:
        """The last section counts; options that stand beside the mount itself beat them all."""
        merged = Table()
        for path, section in plain:
            if path == "/" or ("path" in mount and is_below(mount["path"], path)):
                self._used.add(id(section))
                _override(section, merged, is_context=True)
        for key, value in merged.items():
            if key not in mount:
                mount[key] = value
                mount.set_by[key] = merged.set_by[key]

    def _refuse(
        self, plain: Sequence[tuple[str, Section]], context: Table, denial: Denial, *, seen: Collection[int]
    ) -> None:
        own = [one["path"] for key in ("mount", "alias") for one in context.get(key, ()) if "path" in one]
        kept: list[Table] = []
        hidden: dict[str, Statement | None] = {}
        for mount in context.pop("mount", []):
            by = _refusal(plain, mount.get("path", "/"), denial(_GROUP.sub("\0", mount["script"])))
            if by is None:
                kept.append(mount)
                continue
            self._remarks.add(mount.made_by, f"is refused by {by.place}, and so answered 404 here")
            if "path" in mount:
                hidden[mount["path"]] = mount.made_by
        for path, section in plain:
            # The server has hidden it already, where nothing of the virtual host's own covers it.
            is_hidden = id(section) in seen and not any(is_below(path, one) for one in own)
            if section.denied and not is_hidden and _refusal(plain, path) is not None:
                hidden.setdefault(path, section.statement)
            elif section.denied is False and any(path != one and is_below(path, one) for one in hidden):
                self._remarks.add(section.statement, ABOVE)
        if kept:
            context["mount"] = kept
        if not hidden:
            return
        kept = [one for one in context.pop("alias", ()) if not _refusal(plain, one["path"])]
        kept = [one for one in kept if one["path"] not in hidden]
        context["alias"] = [
            *kept,
            *(Table({"path": path, "directory": NOTHING}, made_by=by) for path, by in hidden.items()),
        ]
        if "/" in hidden:
            context.pop("userdir", None)
            context.pop("document_root", None)


def _refusal(plain: Iterable[tuple[str, Section]], path: str, before: Denials = NOTHING_SAID) -> Statement | None:
    """Which statement has the last word of a URL path, if that is no; ``before`` is what directories say."""
    said = dict(before)
    for covering, section in plain:
        if is_below(path, covering):
            said |= section.denials
    return refusing(said)


def _settings(section: Section) -> Mapping[str, Any]:
    """What a section sets that a mount can have."""
    return {key: value for key, value in section.table.items() if key != "follow_symlinks"}


def _override(section: Section, table: Table, *, is_context: bool) -> None:
    """Put a section's settings over those of a table; single directories only where they have some."""
    for key, value in _settings(section).items():
        if isinstance(value, dict):
            table[key] = Table({**table.get(key, {}), **value})
        elif is_context or key in table:
            table[key] = value
        table.set_by[key] = section.table.set_by.get(key) or section.statement


def _override_inherited(section: Section, context: Table, inherited: Iterable[Table]) -> None:
    """The same for directories of the server: a virtual host's own of the same place come after them."""
    own = []
    for table in inherited:
        keys = [key for key in _settings(section) if key in table]
        if keys:
            where = {key: value for key, value in table.items() if key in ("path", "match", *keys)}
            own.append(Table(where, made_by=section.statement))
    if own:
        context["directory"] = [*own, *context.get("directory", ())]


def _is_plain(section: Section) -> bool:
    arguments = section.statement.arguments if section.statement is not None else ()
    return len(arguments) == 1 and not {"*", "?", "["} & set(arguments[0])


def _path(section: Section) -> str:
    arguments = section.statement.arguments if section.statement is not None else ()
    return "".join(f"/{part}" for part in arguments[0].split("/") if part) or "/"
