"""Apache's statements -> a mapping of the shape of ``asyncgroups.toml``, and remarks on what it cannot say.

Law: pure. Nothing is dropped silently: each statement ends in the mapping, in a remark, or it is ``words.NEUTRAL``,
one of those that say nothing about which application answers a request, and how.
Imports the standard library and the modules of this room.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncgroups.apache.aliases import Aliases
from asyncgroups.apache.daemons import daemon
from asyncgroups.apache.hosts import is_reached, name
from asyncgroups.apache.reading import Reading, Statement, walk
from asyncgroups.apache.remarks import Remark, Remarks, setting
from asyncgroups.apache.rules import condition, rule
from asyncgroups.apache.sections import directory, location, scripts
from asyncgroups.apache.tables import Place, Table, places
from asyncgroups.apache.words import MEANINGS, NO_COUNTERPART

__all__ = ["Translation", "translate"]

type Said = str | None
"""What a remark says; None where there is nothing to remark."""

ALIASES = frozenset({"alias", "wsgiscriptalias", "wsgiscriptaliasmatch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A configuration in our words.

    mapping: as ``tomllib`` would give it. remarks: in the order of the statements.
    places: which statement each of its tables and keys comes from, as far as one does.
    """

    mapping: Mapping[str, Any]
    remarks: tuple[Remark, ...]
    places: Mapping[Place, Statement]


def translate(reading: Reading) -> Translation:
    """Tell a configuration in our words."""
    translator = _Translator()
    for skipped in reading.assumed:
        translator.remarks.add(skipped.statement, f"{skipped.reason}: taken to")
    # Links are followed unless something says otherwise: Options FollowSymLinks is the default.
    server = _Context(Table({"follow_symlinks": True}))
    translator.context(reading.statements, server)
    translator.hosts(reading.statements, server)
    translator.imports(server.table)
    translator.process_groups(server.table)
    order = {statement.place: number for number, statement in enumerate(walk(reading.statements))}
    remarks = sorted(translator.remarks.found, key=lambda remark: order.get(remark.place, -1))
    return Translation(mapping=server.table, remarks=tuple(remarks), places=places(server.table))


@dataclass(slots=True)
class _Context:
    """The server or a virtual host while it is being translated."""

    table: Table
    conditions: list[tuple[Statement, Table]] = field(default_factory=list)
    folders: list[tuple[str, Statement]] = field(default_factory=list)  # that URLs lead to
    rules_count: bool = False  # RewriteEngine On
    inherits: str = ""  # RewriteOptions Inherit, InheritBefore


class _Translator:
    def __init__(self) -> None:
        self.remarks = Remarks()
        self._imports: list[Statement] = []
        self._daemons: dict[str, Table] = {}
        self._server_keys: Mapping[str, Callable[[_Context, Statement], Said]] = {
            "listen": _listen,
            "servername": _server_name,
            "serveralias": _server_alias,
            "documentroot": _document_root,
            "userdir": _user_directories,
            "wsgidaemonprocess": self._daemon_process,
            "wsgipythonpath": _python_path,
            "wsgiimportscript": self._import_script,
            "rewriteengine": _rewrite_engine,
            "rewriteoptions": _rewrite_options,
            "rewritecond": _rewrite_condition,
            "rewriterule": _rewrite_rule,
        }

    def context(self, statements: Sequence[Statement], context: _Context) -> None:
        """The server or a virtual host, but for the virtual hosts in it."""
        aliases = Aliases(context.table, self.remarks)
        aliases.read(statements)
        runs = []
        for statement in statements:
            match statement.key:
                case "virtualhost":
                    pass
                case "directory" | "directorymatch":
                    table = directory(statement, self.remarks)
                    context.table.setdefault("directory", []).append(table)
                    if table.get("handler") == "wsgi-script":
                        runs.append((statement, table))
                case "location":
                    location(statement, context.table, remarks=self.remarks)
                case key if statement.body is not None:
                    self.remarks.add(statement, MEANINGS.get(key, NO_COUNTERPART))
                case key if key in self._server_keys:
                    self.remarks.add(statement, self._server_keys[key](context, statement))
                case key if key not in ALIASES:
                    setting(statement, context.table, remarks=self.remarks)
        for one, _ in context.conditions:
            self.remarks.add(one, "no RewriteRule follows it")
        if not context.rules_count and context.table.pop("rewrite", None):
            self._remark_rules(statements, "without RewriteEngine On it does not count")
        if any(one.get("path") == "/" for key in ("mount", "alias") for one in context.table.get(key, ())):
            self._hide(statements, context)
        scripts(context.table, [*context.folders, *aliases.folders], runs=runs, remarks=self.remarks)

    def _hide(self, statements: Iterable[Statement], context: _Context) -> None:
        """What is never reached, because an alias of the root comes before it: users, and the document root."""
        context.folders.clear()
        context.table.pop("document_root", None)
        if context.table.pop("userdir", None):
            for statement in statements:
                if statement.key == "userdir":
                    self.remarks.add(statement, "is never reached: an alias of / comes before it")

    def _remark_rules(self, statements: Iterable[Statement], meaning: str) -> None:
        for statement in statements:
            if statement.key == "rewriterule":
                self.remarks.add(statement, meaning)

    def hosts(self, statements: Sequence[Statement], server: _Context) -> None:
        """The virtual hosts. One has the server's rules only if it asks for them."""
        sections = [one for one in statements if one.key == "virtualhost"]
        rules = server.table.get("rewrite", [])
        inheritors = 0
        for section in sections:
            context = _Context(Table(made_by=section))
            self.context(section.body or (), context)
            if context.rules_count and context.inherits:
                own = context.table.get("rewrite", [])
                context.table["rewrite"] = rules + own if context.inherits == "inheritbefore" else own + rules
                inheritors += 1
            server.table.setdefault("virtual_host", []).append(context.table)
        if not is_reached(server.table, sections):
            server.table.pop("rewrite", None)
            if rules and inheritors < len(sections):
                self._remark_rules(statements, "counts in no virtual host without RewriteOptions Inherit")
        if sections:
            name(sections, server.table, remarks=self.remarks)

    def _daemon_process(self, context: _Context, statement: Statement) -> Said:
        del context  # its names are the whole server's
        group, table, said = daemon(statement)
        self._daemons[group] = table
        return said

    def process_groups(self, server: Table) -> None:
        """In TOML the tables of process groups and the server's own setting have one name; a table says ``default``."""
        chosen = server.pop("process_group", "")
        if chosen in self._daemons:
            self._daemons[chosen]["default"] = True
        elif chosen not in ("", "%{GLOBAL}"):
            meaning = "no WSGIDaemonProcess has this name; what says nothing else runs in the server's own process"
            self.remarks.found.append(Remark("server config", f"WSGIProcessGroup {chosen}", meaning))
        if self._daemons:
            server["process_group"] = self._daemons

    def _import_script(self, context: _Context, statement: Statement) -> Said:
        del context
        self._imports.append(statement)
        return None

    def imports(self, server: Table) -> None:
        """WSGIImportScript: the mounts of that script are loaded before the first request."""
        mounts = [mount for table in (server, *server.get("virtual_host", ())) for mount in table.get("mount", ())]
        for statement in self._imports:
            found = [mount for mount in mounts if mount.get("script") == _first(statement)]
            for mount in found:
                mount["preload"] = True
            if not found:
                self.remarks.add(statement, "no mount has this script; what it does when it is imported is not done")


def _first(statement: Statement) -> str:
    return statement.arguments[0] if statement.arguments else ""


def _document_root(context: _Context, statement: Statement) -> Said:
    context.table.put("document_root", _first(statement).rstrip("/") or "/", by=statement)
    context.folders.append((_first(statement), statement))
    return None


def _listen(context: _Context, statement: Statement) -> Said:
    host, _, port = _first(statement).rpartition(":")
    if not port.isdigit():
        return NO_COUNTERPART
    # Without an address Apache listens on all of IPv4 and IPv6.
    context.table.extend("bind", f"{host or '0.0.0.0'}:{port}", by=statement)  # noqa: S104 - it is asked for
    return "TLS needs certfile and keyfile" if statement.arguments[1:2] == ("https",) else None


def _server_name(context: _Context, statement: Statement) -> Said:
    context.table.put("server_name", re.sub(r"^https?://", "", _first(statement)), by=statement)
    return None


def _server_alias(context: _Context, statement: Statement) -> Said:
    fitting = [name for name in statement.arguments if not {"*", "?"} & set(name.removeprefix("*."))]
    context.table.extend("server_alias", *fitting, by=statement)
    others = [name for name in statement.arguments if name not in fitting]
    return f"{', '.join(others)}: only '*.' at the beginning stands for other names" if others else None


def _user_directories(context: _Context, statement: Statement) -> Said:
    table = context.table.table("userdir", by=statement)
    match statement.arguments:
        case [("disabled" | "enabled") as key, *users]:
            # "disabled" alone is all but those that are enabled.
            table.extend(key if users else "enabled", *users, by=statement)
            return None
        case words:
            absolute = [word for word in words if word.startswith("/")]
            relative = [f"/home/*/{word}" for word in words if not word.startswith("/") and "://" not in word]
            table.extend("path", *absolute, *relative, by=statement)
            if any("://" in word for word in words):
                return "what redirects elsewhere was left out"
            return "home directories are taken to be /home/*" if relative else None


def _python_path(context: _Context, statement: Statement) -> Said:
    context.table.put("python_path", _first(statement).split(":"), by=statement)
    return None


def _rewrite_engine(context: _Context, statement: Statement) -> Said:
    context.rules_count = _first(statement).lower() == "on"
    return None


def _rewrite_options(context: _Context, statement: Statement) -> Said:
    for word in statement.arguments:
        if word.lower() in ("inherit", "inheritbefore"):
            context.inherits = word.lower()
        elif word.lower().startswith("inheritdown"):
            return "was not followed: write RewriteOptions Inherit into the virtual hosts"
    return None


def _rewrite_condition(context: _Context, statement: Statement) -> Said:
    table, said = condition(statement)
    if table is not None:
        context.conditions.append((statement, table))
    return said


def _rewrite_rule(context: _Context, statement: Statement) -> Said:
    conditions = [table for _, table in context.conditions]
    context.conditions.clear()
    table, said = rule(statement, conditions)
    if table is not None:
        context.table.setdefault("rewrite", []).append(table)
    return said
