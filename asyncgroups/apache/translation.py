"""Apache's statements -> a mapping of the shape of ``asyncgroups.toml``, and remarks on what it cannot say.

Law: pure. Nothing is dropped silently: each statement ends in the mapping, in a remark, or it is ``words.NEUTRAL``,
one of those that say nothing about which application answers a request, and how.
Imports the standard library and the modules of this room.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncgroups.apache import aliases as alias_statements
from asyncgroups.apache import rewriting, sections, tls
from asyncgroups.apache.access import is_of_access
from asyncgroups.apache.aliases import Aliases
from asyncgroups.apache.daemons import daemon
from asyncgroups.apache.hosts import is_reached, name, ports_of
from asyncgroups.apache.inside import Inside
from asyncgroups.apache.locations import Locations
from asyncgroups.apache.reading import Reading, Statement, walk
from asyncgroups.apache.remarks import Remark, Remarks, setting
from asyncgroups.apache.rewriting import Rewriting
from asyncgroups.apache.sections import Section, directory, location, read
from asyncgroups.apache.settling import Settling
from asyncgroups.apache.tables import Place, Table, places
from asyncgroups.apache.tls import Secured, secure
from asyncgroups.apache.words import ACCESS, MEANINGS, NEUTRAL, NO_COUNTERPART

__all__ = ["Translation", "translate"]

type Said = str | None
"""What a remark says; None where there is nothing to remark."""


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
    translator.finish(server.table)
    translator.process_groups(server.table)
    _make_absolute(server.table, reading.server_root)
    translator.remark_text(reading.statements)
    order = {statement.place: number for number, statement in enumerate(walk(reading.statements))}
    remarks = sorted(translator.remarks.found, key=lambda remark: order.get(remark.place, -1))
    return Translation(mapping=server.table, remarks=tuple(remarks), places=places(server.table))


@dataclass(slots=True)
class _Context:
    """The server or a virtual host while it is being translated.

    parent: the server, for a virtual host. around: what stands around its sections. sections: its directories.
    locations: its <Location>. aliases: its ``Alias`` statements. folders: that URLs lead to.
    """

    table: Table
    parent: _Context | None = None
    around: Section = field(default_factory=lambda: Section(Table({"path": "/"})))
    sections: list[Section] = field(default_factory=list)
    locations: list[Section] = field(default_factory=list)
    aliases: list[Statement] = field(default_factory=list)
    folders: list[tuple[str, Statement]] = field(default_factory=list)
    rewriting: Rewriting = field(default_factory=Rewriting)
    settling: Settling | None = None
    secured: Secured = field(default_factory=Secured)


class _Translator:
    def __init__(self) -> None:
        self.remarks = Remarks()
        self._inside = Inside(self.remarks)
        self._locations = Locations(self.remarks)
        self._imports: list[Statement] = []
        self._daemons: dict[str, Table] = {}
        self._secured: list[Secured] = []
        self._settlings: list[Settling] = []
        self._listens: dict[str, Statement] = {}
        self._server_keys: Mapping[str, Callable[[_Context, Statement], Said]] = {
            "listen": self._listen,
            "servername": _server_name,
            "serveralias": _server_alias,
            "documentroot": _document_root,
            "userdir": _user_directories,
            "wsgidaemonprocess": self._daemon_process,
            "wsgipythonpath": _python_path,
            "wsgiimportscript": self._import_script,
        }

    def context(self, statements: Sequence[Statement], context: _Context) -> None:
        """The server or a virtual host, but for the virtual hosts in it."""
        parent = context.parent
        aliases = Aliases(context.table, self.remarks, inherited=parent.aliases if parent is not None else ())
        aliases.read(statements)
        context.aliases = aliases.own
        for statement in statements:
            match statement.key:
                case "virtualhost":
                    pass
                case "directory" | "directorymatch":
                    context.sections.append(directory(statement, self.remarks))
                case "location":
                    context.locations.append(location(statement, self.remarks))
                case key if key in sections.KEYS:
                    read(statement, context.around, remarks=self.remarks)
                case key if statement.body is not None:
                    meaning = ACCESS if is_of_access(statement) else MEANINGS.get(key, NO_COUNTERPART)
                    self.remarks.add(statement, meaning)
                case key if key in rewriting.KEYS:
                    self.remarks.add(statement, context.rewriting.read(statement))
                case key if key in tls.KEYS:
                    context.secured.said[key] = statement
                case key if key in self._server_keys:
                    self.remarks.add(statement, self._server_keys[key](context, statement))
                case key if key not in alias_statements.KEYS:
                    setting(statement, context.table, remarks=self.remarks)
        self._secured.append(context.secured)
        if any(one.get("path") == "/" for key in ("mount", "alias") for one in context.table.get(key, ())):
            self._hide(statements, context)
        context.settling = Settling(
            [context.around, *context.sections],
            aliases.forced,
            parent=parent.settling if parent is not None else None,
        )
        self._settlings.append(context.settling)
        tables = context.settling.settle([*context.folders, *aliases.folders], self.remarks)
        if tables:
            context.table["directory"] = tables
        contexts = [context, *([parent] if parent is not None else [])]
        context.rewriting.inside = self._inside.rules(
            [section for one in reversed(contexts) for section in one.sections], [one.table for one in contexts]
        )
        places = [*(parent.locations if parent is not None else ()), *context.locations]
        self._locations.apply(
            places,
            context.table,
            denial=context.settling.denial,
            inherited=parent.table.get("directory", ()) if parent is not None else (),
        )

    def _hide(self, statements: Iterable[Statement], context: _Context) -> None:
        """What is never reached, because an alias of the root comes before it: users, and the document root."""
        context.folders.clear()
        context.table.pop("document_root", None)
        if context.table.pop("userdir", None):
            for statement in statements:
                if statement.key == "userdir":
                    self.remarks.add(statement, "is never reached: an alias of / comes before it")

    def hosts(self, statements: Sequence[Statement], server: _Context) -> None:
        """The virtual hosts, and the rules of all."""
        hosts = [one for one in statements if one.key == "virtualhost"]
        is_open = is_reached(server.table, hosts)
        rules = server.rewriting.rules(None) if is_open else server.rewriting.kept()
        if rules:
            server.table["rewrite"] = rules
        inheritors = int(is_open)
        for section in hosts:
            context = _Context(Table(made_by=section), parent=server, secured=Secured(ports_of(section)))
            self.context(section.body or (), context)
            own = context.rewriting.rules(server.rewriting)
            inheritors += context.rewriting.inherits
            # A virtual host that says nothing of rules has the server's here.
            if own != rules:
                context.table["rewrite"] = own
            context.rewriting.remark(self.remarks, server.rewriting)
            server.table.setdefault("virtual_host", []).append(context.table)
        server.rewriting.remark(self.remarks, None, is_reached=inheritors > 0)
        if hosts:
            name(hosts, server.table, remarks=self.remarks)

    def _listen(self, context: _Context, statement: Statement) -> Said:
        host, _, port = _first(statement).rpartition(":")
        if not port.isdigit():
            return NO_COUNTERPART
        # Without an address Apache listens on all of IPv4 and IPv6.
        host = host if host not in ("", "*") else "0.0.0.0"  # noqa: S104 - it is asked for
        address = f"{host}:{port}"
        context.table.extend("bind", address, by=statement)
        self._listens[address] = statement
        return None

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
        elif chosen:
            meaning = "no WSGIDaemonProcess has this name; what says nothing else runs in the server's own process"
            self.remarks.found.append(Remark("server config", f"WSGIProcessGroup {chosen}", meaning))
        if self._daemons:
            server["process_group"] = self._daemons

    def _import_script(self, context: _Context, statement: Statement) -> Said:
        del context
        self._imports.append(statement)
        return None

    def remark_text(self, statements: Sequence[Statement]) -> None:
        """What stands in arguments that nobody can mean."""
        for statement in walk(statements):
            if statement.key in NEUTRAL or statement.key in MEANINGS:
                continue
            text = " ".join(statement.arguments)
            if names := list(dict.fromkeys(re.findall(r"\$\{[^}:]*\}", text))):
                meaning = f"nothing says what {', '.join(names)} is: -D NAME=VALUE does, or the environment"
                self.remarks.add(statement, meaning)
            if any("\udc80" <= one <= "\udcff" for one in text):
                self.remarks.add(statement, "has bytes in it that are no UTF-8, and that TOML cannot hold")

    def finish(self, server: Table) -> None:
        """What depends on all contexts.

        WSGIImportScript: the mounts of that script are loaded before the first request.
        """
        secure(self._secured, server, listens=self._listens, remarks=self.remarks)
        for settling in self._settlings:
            settling.remark_handlers(self._settlings, self.remarks)
        self._inside.remark()
        self._locations.remark()
        mounts = [mount for table in (server, *server.get("virtual_host", ())) for mount in table.get("mount", ())]
        for statement in self._imports:
            found = [mount for mount in mounts if mount.get("script") == _first(statement)]
            for mount in found:
                mount["preload"] = True
            if not found:
                self.remarks.add(statement, "no mount has this script; what it does when it is imported is not done")


def _make_absolute(server: Table, root: str) -> None:
    """Relative paths start from ServerRoot, wherever the translation is written."""
    for key in ("certfile", "keyfile"):
        if key in server:
            server[key] = _absolute(server[key], root)
    for table in (server, *server.get("process_group", {}).values()):
        for key in ("home", "python"):
            if key in table:
                table[key] = _absolute(table[key], root)
        if "python_path" in table:
            table["python_path"] = [_absolute(one, root) for one in table["python_path"] if one]
    for table in (server, *server.get("virtual_host", ())):
        if "document_root" in table:
            table["document_root"] = _absolute(table["document_root"], root)
        for array, key in (("alias", "directory"), ("directory", "path"), ("mount", "script")):
            for one in table.get(array, ()):
                if key in one:
                    one[key] = _absolute(one[key], root)


def _absolute(path: str, root: str) -> str:
    return path if path.startswith("/") else f"{root.rstrip('/')}/{path}"


def _first(statement: Statement) -> str:
    return statement.arguments[0] if statement.arguments else ""


def _document_root(context: _Context, statement: Statement) -> Said:
    context.table.put("document_root", _first(statement).rstrip("/") or "/", by=statement)
    context.folders.append((_first(statement), statement))
    return None


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
