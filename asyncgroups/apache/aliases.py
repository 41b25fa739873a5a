"""Alias, WSGIScriptAlias, WSGIScriptAliasMatch -> ``[[alias]]``, ``[[mount]]``.

Law: pure. Imports the standard library and the modules of this room.

In Apache the first alias in a file that covers a path counts, and Alias comes before mod_wsgi's, wherever it stands;
here the longest does. The two differ where a shorter one comes first: then the longer one is never reached.
"""

import re
from collections.abc import Iterable, Sequence

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import NO_COUNTERPART

__all__ = ["Aliases"]

KEYS = {"application-group": "application_group", "process-group": "process_group", "callable-object": "callable"}


class Aliases:
    """The aliases of one context.

    folders: those that URLs lead to, with the statements that say so. runs: the sections that were made for scripts.
    """

    def __init__(self, table: Table, remarks: Remarks) -> None:
        self.folders: list[tuple[str, Statement]] = []
        self._table = table
        self._remarks = remarks
        self._before: list[tuple[str, Statement]] = []

    def __repr__(self) -> str:
        return f"<Aliases: {', '.join(path for path, _ in self._before) or 'none'}>"

    def read(self, statements: Iterable[Statement]) -> None:
        """All of a context's, in the order in which they count."""
        own = [one for one in statements if one.key in ("alias", "wsgiscriptalias", "wsgiscriptaliasmatch")]
        for statement in sorted(own, key=lambda one: one.key != "alias"):
            match statement.key, statement.arguments:
                case "alias", (path, target) if self._is_reached(statement, path):
                    self.folders.append((target, statement))
                    self._add("alias", statement, path=_normal(path), directory=_folder(target))
                case "wsgiscriptalias", (path, target, *options) if self._is_reached(statement, path):
                    self._script(statement, _normal(path), target=target, options=options)
                case "wsgiscriptaliasmatch", (pattern, target, *options):
                    # It counts from the beginning of the path to the end of the match, wherever that begins.
                    pattern = pattern if pattern.startswith("^") else f"^.*?(?:{pattern})"
                    script = re.sub(r"\$([0-9])", r"\\\1", target)
                    self._settle(statement, self._add("mount", statement, match=pattern, script=script), options)
                case _, arguments if len(arguments) < 2:
                    self._remarks.add(statement, NO_COUNTERPART)

    def _script(self, statement: Statement, path: str, *, target: str, options: Sequence[str]) -> None:
        if target.endswith("/"):
            self._add("alias", statement, path=path, directory=_folder(target))
            table = self._add("directory", statement, path=_folder(target), handler="wsgi-script")
        else:
            for mount in self._table.get("mount", ()):
                if "match" in mount and _may_meet(mount["match"], path):
                    meaning = f"counts before the pattern {mount['match']} here, which comes before it in Apache"
                    self._remarks.add(statement, meaning)
            table = self._add("mount", statement, path=path, script=target)
        self._settle(statement, table, options)

    def _add(self, key: str, by: Statement, **content: str) -> Table:
        table = Table(content, made_by=by)
        self._table.setdefault(key, []).append(table)
        return table

    def _is_reached(self, statement: Statement, path: str) -> bool:
        path = _normal(path)
        for before, other in self._before:
            if before in ("/", path) or path.startswith(f"{before}/"):
                self._remarks.add(statement, f"is never reached: {other.place} comes before it")
                return False
        self._before.append((path, statement))
        return True

    def _settle(self, statement: Statement, table: Table, options: Iterable[str]) -> None:
        for option in options:
            name, _, value = option.partition("=")
            if name in KEYS:
                table[KEYS[name]] = value
            elif name != "pass-authorization" or value.lower() != "on":
                self._remarks.add(statement, f"{option} has no counterpart")


def _may_meet(pattern: str, path: str) -> bool:
    """Whether a pattern may match at or below a path: as far as it begins with plain segments these say so."""
    plain = re.match(r"\^((?:/[\w-]+(?=/|$))*)", pattern)
    begins = plain[1] if plain is not None else ""
    return path != "/" and (f"{begins}/".startswith(f"{path}/") or f"{path}/".startswith(f"{begins}/"))


def _normal(path: str) -> str:
    """A URL path as our mounts have it; Apache's ``/x/`` is told from ``/x``, ours is not."""
    return "".join(f"/{part}" for part in path.split("/") if part) or "/"


def _folder(path: str) -> str:
    return path.rstrip("/") or "/"
