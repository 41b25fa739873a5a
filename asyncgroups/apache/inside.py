"""Rules that stand in a <Directory> -> rules for the URLs that lead there.

Law: pure. Imports the standard library and the modules of this room.

In Apache such a rule sees the path of the file, below its directory. Here rules come before any file is looked for: so
one is told as a rule for the URLs of that directory, where these are known.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.rewriting import Rewriting
from asyncgroups.apache.sections import Section
from asyncgroups.apache.tables import Table

__all__ = ["Inside"]

ANYTHING = frozenset({"", ".", ".*", "^", "^.*", "^.*$"})
"""Patterns that every path matches."""

NO_URL = "which URLs lead there is not known, or not all that it asks can be asked of a URL: it was left out"
FOR_AUTHORIZATION = "%{HTTP:Authorization}"


class _Prefix(NamedTuple):
    """pattern: a regular expression of URL paths. is_mount: whether it is a script's, whose name a rule would see."""

    pattern: str
    is_mount: bool


class Inside:
    """The rules in directories of a configuration; those of the server count in virtual hosts as well."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._known: dict[int, list[Table]] = {}
        self._told: set[int] = set()

    def __repr__(self) -> str:
        return f"<Inside: {sum(map(len, self._known.values()))} rules>"

    def rules(self, sections: Iterable[Section], contexts: Sequence[Table]) -> list[Table]:
        """The rules of sections, for the URLs that lead there in one of the contexts."""
        found = []
        for section in sections:
            prefixes = list(dict.fromkeys(prefix for context in contexts for prefix in _prefixes(section, context)))
            for rule in self._read(section):
                told = [one for prefix in prefixes if (one := _told(rule, prefix)) is not None]
                if told and len(told) == len(prefixes):
                    self._told.add(id(rule))
                    found += told
        return found

    def remark(self) -> None:
        """Tell which of them could nowhere be told as rules for URLs."""
        for rules in self._known.values():
            for rule in rules:
                if id(rule) not in self._told:
                    self._remarks.add(rule.made_by, NO_URL)

    def _read(self, section: Section) -> list[Table]:
        if id(section) not in self._known:
            there = Rewriting()
            for statement in section.rules:
                self._remarks.add(statement, there.read(statement))
            there.remark(self._remarks, None)
            # Applications always see the Authorization header.
            self._known[id(section)] = [
                one
                for one in there.rules(None)
                if set(one.get("env", {}).values()) != {FOR_AUTHORIZATION} or "condition" in one
            ]
        return self._known[id(section)]


def _prefixes(section: Section, context: Table) -> Iterator[_Prefix]:
    """The URLs that lead to a directory, or into it."""
    directory = section.table.get("path", "")
    users: list[str] = context.get("userdir", {}).get("path", [])
    for pattern in users:
        if directory == pattern or directory.startswith(f"{pattern}/"):
            yield _Prefix(f"/~[^/]+{re.escape(directory.removeprefix(pattern))}", is_mount=False)
    if not directory or re.search(r"[*?\[]", directory):
        return
    folders = [(one["path"], one["directory"]) for one in context.get("alias", ())]
    if "document_root" in context:
        folders.append(("/", context["document_root"]))
    for path, folder in folders:
        url = path.rstrip("/")
        if directory == folder or directory.startswith(f"{folder.rstrip('/')}/"):
            yield _Prefix(re.escape(url + directory.removeprefix(folder)), is_mount=False)
        elif folder.startswith(f"{directory.rstrip('/')}/"):
            yield _Prefix(re.escape(url), is_mount=True)
    for mount in context.get("mount", ()):
        if "path" in mount and mount["script"].startswith(f"{directory.rstrip('/')}/"):
            yield _Prefix(re.escape(mount["path"].rstrip("/")), is_mount=True)


def _told(rule: Table, prefix: _Prefix) -> Table | None:
    """A rule for the URLs of its directory; None where that cannot be said."""
    copy = Table(rule, made_by=rule.made_by)
    inside = f"^{prefix.pattern}(?:/|$)"
    texts = [*rule.get("env", {}).values(), *(one["test"] for one in rule.get("condition", ()))]
    groups = set(re.findall(r"(?<!\\)\$[0-9]", " ".join(texts)))
    if rule.get("match") in ANYTHING and not groups:
        copy["match"] = inside
        return copy
    if prefix.is_mount or "$0" in groups:
        return None
    key = "match" if "match" in rule else "not_match"
    if (below := _below(prefix.pattern, rule[key])) is None:
        return None
    copy[key] = below
    if key == "not_match":
        where = Table({"test": "%{REQUEST_URI}", "match": inside}, made_by=rule.made_by)
        copy["condition"] = [where, *rule.get("condition", ())]
    return copy


def _below(prefix: str, pattern: str) -> str | None:
    """A pattern for what comes after the prefix and a slash; None where its beginning is one of several."""
    is_begun = pattern.startswith("^")
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern.removeprefix("^"))
    while (shorter := re.sub(r"\([^()]*\)", "", plain)) != plain:
        plain = shorter
    if is_begun and "|" in plain:
        return None
    return f"^{prefix}/{pattern[1:]}" if is_begun else f"^{prefix}/.*?(?:{pattern})"
