"""Alias, ScriptAlias, WSGIScriptAlias and their like -> ``[[alias]]``, ``[[mount]]``.

Law: pure. Imports the standard library and the modules of this room.

In Apache the first alias in a file that covers a path counts, and Alias comes before mod_wsgi's, wherever it stands;
here the longest does. The two differ where a shorter one comes first: then the longer one is never reached.
"""

import re
from collections.abc import Iterable, Sequence

from asyncgroups.apache.locations import NOTHING, is_below
from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks, embedded, unknown_group
from asyncgroups.apache.sections import HANDLER, Section
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import MEANINGS, NO_COUNTERPART

__all__ = ["KEYS", "Aliases"]

KEYS = frozenset({"alias", "aliasmatch", "scriptalias", "wsgiscriptalias", "wsgiscriptaliasmatch"})

AFTER_FILE = "a path that leads on behind the script's file is answered 404 here"

_FILE = re.compile(r"\.(?:wsgi|py|cgi|fcgi)/+\Z")
"""The end of a path that is meant as a file, whatever slash comes after it."""

_AFTER_FILE = re.compile(r"(.+\.(?:wsgi|py|cgi|fcgi))(/?)\$([0-9])")

OPTIONS = {"application-group": "application_group", "process-group": "process_group", "callable-object": "callable"}


class Aliases:
    """The aliases of one context.

    inherited: the server's ``Alias`` statements, for a virtual host.
    own: its ``Alias`` statements that count. folders: those that URLs lead to, with the statements that say so.
    forced: sections of folders whose files are all scripts.
    """

    def __init__(self, table: Table, remarks: Remarks, *, inherited: Sequence[Statement] = ()) -> None:
        self.own: list[Statement] = []
        self.folders: list[tuple[str, Statement]] = []
        self.forced: list[Section] = []
        self._inherited = inherited
        self._table = table
        self._remarks = remarks
        self._before: list[tuple[str, Statement]] = []

    def __repr__(self) -> str:
        return f"<Aliases: {', '.join(path for path, _ in self._before) or 'none'}>"

    def read(self, statements: Iterable[Statement]) -> None:
        """All of a context's, in the order in which they count."""
        own = [one for one in statements if one.key in KEYS]
        for statement in own:
            if statement.key in ("alias", "scriptalias"):
                self._alias(statement)
        inherited = [
            one
            for one in self._inherited
            if not any(is_below(_normal(one.arguments[0]), before) for before, _ in self._before)
        ]
        self._before += [(_normal(one.arguments[0]), one) for one in inherited]
        for statement in own:
            if statement.key not in ("alias", "scriptalias"):
                self._other(statement)
        # Alias comes before mod_wsgi's, wherever it stands; what its own mounts cover would be hidden here.
        for statement in inherited:
            path = _normal(statement.arguments[0])
            if any("path" in one and is_below(path, one["path"]) for one in self._table.get("mount", ())):
                self._add("alias", statement, path=path, directory=_target(statement, statement.arguments[1]))

    def _other(self, statement: Statement) -> None:
        match statement.key, statement.arguments:
            case "wsgiscriptalias", (path, target, *options):
                if self._is_reached(statement, path):
                    self._script(statement, _normal(path), target=target, options=options)
            case "wsgiscriptaliasmatch", (pattern, target, *options):
                # It counts from the beginning of the path to the end of the match, wherever that begins.
                pattern, target = _without_rest(pattern, target)
                pattern = pattern if pattern.startswith("^") else f"^.*?(?:{pattern})"
                if _AFTER_FILE.search(target):
                    self._remarks.add(statement, AFTER_FILE)
                script = re.sub(r"\$([0-9])", r"\\\1", target)
                self._settle(statement, self._add("mount", statement, match=pattern, script=script), options)
            case "aliasmatch", (pattern, target) if (plain := _plain(pattern, target)) is not None:
                if self._is_reached(statement, plain[0]):
                    self._folder(statement, *plain)
            case "aliasmatch", _:
                self._remarks.add(statement, MEANINGS["aliasmatch"])
            case _:
                self._remarks.add(statement, NO_COUNTERPART)

    def _alias(self, statement: Statement) -> None:
        match statement.arguments:
            case (path, target):
                if self._is_reached(statement, path):
                    self.own.append(statement)
                    self._folder(statement, path, target)
            case _:
                self._remarks.add(statement, NO_COUNTERPART)

    def _folder(self, statement: Statement, path: str, target: str) -> None:
        if statement.key == "scriptalias":
            self._remarks.add(statement, MEANINGS["scriptalias"])
        else:
            self.folders.append((target, statement))
        self._add("alias", statement, path=_normal(path), directory=_target(statement, target))

    def _script(self, statement: Statement, path: str, *, target: str, options: Sequence[str]) -> None:
        if target.endswith("/") and not _FILE.search(target):
            self._add("alias", statement, path=path, directory=_folder(target))
            table = Table({"path": _folder(target)}, made_by=statement)
            self.forced.append(Section(table, statement, handler=HANDLER, execs=True))
        else:
            for mount in self._table.get("mount", ()):
                if "match" in mount and _may_meet(mount["match"], path):
                    meaning = f"counts before the pattern {mount['match']} here, which comes before it in Apache"
                    self._remarks.add(statement, meaning)
            table = self._add("mount", statement, path=path, script=target.rstrip("/"))
        self._settle(statement, table, options)

    def _add(self, key: str, by: Statement, **content: str) -> Table:
        table = Table(content, made_by=by)
        self._table.setdefault(key, []).append(table)
        return table

    def _is_reached(self, statement: Statement, path: str) -> bool:
        path = _normal(path)
        for before, other in self._before:
            if is_below(path, before):
                self._remarks.add(statement, f"is never reached: {other.place} comes before it")
                return False
        self._before.append((path, statement))
        return True

    def _settle(self, statement: Statement, table: Table, options: Iterable[str]) -> None:
        for option in options:
            name, _, value = option.partition("=")
            if name in OPTIONS:
                table[OPTIONS[name]] = embedded(value) if name == "process-group" else value
                if name == "application-group":
                    self._remarks.add(statement, unknown_group(value))
            elif name != "pass-authorization" or value.lower() != "on":
                self._remarks.add(statement, f"{option} has no counterpart")


def _without_rest(pattern: str, target: str) -> tuple[str, str]:
    """``^/hg(.*)$`` and ``hg.wsgi$1``, where the last group is PATH_INFO, without it."""
    group = re.search(r"(/?)\((/?)\.\*\)(\??)\$?\Z", pattern)
    rest = _AFTER_FILE.fullmatch(target)
    try:
        last = re.compile(pattern).groups
    except re.error:
        return pattern, target
    if group is None or rest is None or int(rest[3]) != last or f"${last}" in rest[1] or (group[1] and not rest[2]):
        return pattern, target
    end = "(?=/)" if group[1] or (group[2] and not group[3]) else "(?=/|$)"
    return pattern[: group.start()] + end, rest[1]


def _may_meet(pattern: str, path: str) -> bool:
    """Whether a pattern may match at or below a path: as far as it begins with plain segments these say so."""
    plain = re.match(r"\^((?:/[\w-]+(?=/|$))*)", pattern)
    begins = plain[1] if plain is not None else ""
    return path != "/" and (f"{begins}/".startswith(f"{path}/") or f"{path}/".startswith(f"{begins}/"))


def _plain(pattern: str, target: str) -> tuple[str, str] | None:
    """The path and the folder of an AliasMatch that says no more than an Alias; None for any other."""
    path = re.fullmatch(r"\^((?:/[\w~-]+)+)/?\(\.\*\)\$?", pattern)
    folder = re.fullmatch(r"([^$\\&]+?)/?\$1", target)
    return (path[1], folder[1]) if path is not None and folder is not None else None


def _normal(path: str) -> str:
    """A URL path as our mounts have it; Apache's ``/x/`` is told from ``/x``, ours is not."""
    return "".join(f"/{part}" for part in path.split("/") if part) or "/"


def _target(statement: Statement, folder: str) -> str:
    """What a ScriptAlias leads to are no scripts of ours, whatever sections say."""
    return NOTHING if statement.key == "scriptalias" else _folder(folder)


def _folder(path: str) -> str:
    return path.rstrip("/") or "/"
