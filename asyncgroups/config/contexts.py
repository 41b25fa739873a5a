"""Server configuration -> virtual host -> mount: the settings merged, and the rules between them.

Law: what a single value may be was checked before (``values``); here is what values have to do with each other and with
the folder of the file. Notes every problem and goes on; asks the file system only whether a file or folder exists.
May import ``selection`` and the rest of ``config`` but the reader.
"""

import itertools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from asyncgroups.config.agreement import check_groups
from asyncgroups.config.configuration import Configuration, Tls
from asyncgroups.config.files import TableReader, Tables, files, within
from asyncgroups.config.merging import GLOBAL, Context, Merging, Placed, literal, numbered
from asyncgroups.config.model import (
    PROCESS_GROUPS,
    DirectorySection,
    Document,
    FileSettings,
    MountSection,
    VirtualHostSection,
)
from asyncgroups.config.problems import Problems
from asyncgroups.config.processes import settings_of
from asyncgroups.config.values import WsgiApplication, shown
from asyncgroups.config.words import Loc
from asyncgroups.errors import PatternTooSlow
from asyncgroups.selection.hosts import VirtualHost, split_server_name
from asyncgroups.selection.mounts import MountTable, normalise_path
from asyncgroups.selection.names import parse

__all__ = ["Contexts"]

UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path less its NUL, unix(7)
STAND_IN = "stand:in"  # for an application that was wrong: no rule asks which it is


class Contexts:
    """The contexts of one document.

    base: absolute path of the folder that relative paths start from.
    dropped: places of array elements that were wrong and are missing from ``document``; the others keep their numbers.
    """

    def __init__(self, document: Document, *, base: Path, dropped: Collection[Loc], problems: Problems) -> None:
        self._document = document
        self._dropped = dropped
        self._problems = problems
        self._place = problems.words.place
        self._merging = Merging(
            document, base=base, origin=problems.origin, host_path_first=problems.words.host_path_first
        )
        self._resolve = self._merging.resolve
        self._reader = TableReader(base=base, dropped=dropped, problems=problems)
        self._applications: dict[str, WsgiApplication] = {}
        self._server = Context[FileSettings]((), document)
        self._hosts = list(numbered(("virtual_host",), document.virtual_host, dropped=dropped))
        self._contexts: tuple[Context[Any], ...] = (self._server, *self._hosts)
        self._mounts: dict[Loc, list[Context[MountSection]]] = {
            loc: list(numbered((*loc, "mount"), section.mount, dropped=dropped)) for loc, section in self._contexts
        }

    def configuration(self, source: str) -> Configuration | None:
        """The merged configuration; None where something is wrong, and ``problems`` says what."""
        document = self._document
        self._check_folders()
        bind, tls = self._bind(), self._tls()
        process_groups = settings_of(document.process_groups or {}, resolve=self._resolve, problems=self._problems)
        self._check_host_names()
        default = self._default()
        tables = self._tables()
        own = self._placed(self._server, tables=tables[()])
        inside = {host.loc: self._placed(host, self._server, tables=tables[host.loc]) for host in self._hosts}
        inherited = {host.loc: self._inherited(host, tables[host.loc]) for host in self._hosts}
        everything = [*own, *itertools.chain(*inside.values()), *itertools.chain(*inherited.values())]
        check_groups(everything, limit=document.limits.groups, dropped=self._dropped, problems=self._problems)
        self._check_anything([*everything], list(tables.values()))
        if self._problems:
            return None
        hosts = {
            host.loc: VirtualHost(
                server_name=host.section.server_name,
                server_alias=host.section.server_alias,
                mounts=_table_of(inside[host.loc]),
                inherited=_table_of(inherited[host.loc]),
                files=files(tables[host.loc], (host, self._server), merging=self._merging),
                place=self._place(host.loc),
            )
            for host in self._hosts
        }
        return Configuration(
            source=source,
            text=self._problems.text,
            bind=bind,
            server=VirtualHost(
                server_name=document.server_name,
                mounts=_table_of(own),
                inherited=MountTable(()),
                files=files(tables[()], (self._server,), merging=self._merging),
                place="server config",
            ),
            virtual_hosts=tuple(hosts.values()),
            default=None if default is None else hosts[default.loc],
            global_threads=document.global_.threads,
            log_level=document.log_level,
            limits=document.limits,
            timeouts=document.timeouts,
            tls=tls,
            applications=MappingProxyType(self._applications),
            process_groups=MappingProxyType(process_groups),
        )

    # The contexts

    def _tables(self) -> dict[Loc, Tables]:
        """What each context has of files; a virtual host the server's too."""
        for mount in itertools.chain(*self._mounts.values()):
            self._check_keys(mount)
        own = {context.loc: self._reader.tables(context, self._mounts[context.loc]) for context in self._contexts}
        server = own[()]
        self._reader.check_users((), server, together=server)
        result: dict[Loc, Tables] = {(): server}
        for host in self._hosts:
            result[host.loc] = within(own[host.loc], server)
            self._reader.check_users(host.loc, own[host.loc], together=result[host.loc])
        for context in self._contexts:
            around = (self._server,) if context is self._server else (context, self._server)
            for _, section in own[context.loc].sections:
                self._check_alone(section, *around)
            for _, mount in own[context.loc].matches.values():
                self._check_alone(mount, *around)
        return result

    def _default(self) -> Context[VirtualHostSection] | None:
        """The virtual host that answers for the names that are nobody's; None for the server configuration."""
        flagged = [host for host in self._hosts if host.section.default]
        for host in flagged[1:]:
            self._problems.add((*host.loc, "default"), f"{self._place(flagged[0].loc)} is the default already")
        return flagged[0] if flagged else None

    # Merging

    def _placed(self, context: Context[Any], *around: Context[Any], tables: Tables) -> list[Placed]:
        """The mounts of one context, merged with it and those around it."""
        seen: dict[str, Loc] = {}
        result = []
        for mount in self._mounts[context.loc]:
            if mount.section.path is None:
                continue
            path = normalise_path(mount.section.path)
            if path in seen:
                sentence = f"{shown(path or '/')} is the path of {self._place(seen[path])} already"
                self._problems.add((*mount.loc, "path"), sentence)
                continue
            seen[path] = mount.loc
            result.append(self._merge(mount, context, *around, tables=tables, label=self._place(mount.loc)))
        return result

    def _inherited(self, host: Context[VirtualHostSection], tables: Tables) -> list[Placed]:
        """The server's mounts as a virtual host sees them, but for those that its own cover altogether."""
        result = []
        seen: set[str] = set()
        for mount in self._mounts[()]:
            if mount.section.path is None:
                continue
            path = normalise_path(mount.section.path)
            if path not in seen and not tables.hides(path):
                seen.add(path)
                label = f"{self._place(mount.loc)} in {self._place(host.loc)}"
                result.append(self._merge(mount, host, self._server, tables=tables, label=label))
        return result

    def _merge(self, mount: Context[MountSection], *around: Context[Any], tables: Tables, label: str) -> Placed:
        section = mount.section
        script = None if section.script is None else self._reader.absolute(section.script)
        contexts: tuple[Context[Any], ...] = (mount, *self._covering(mount, script, tables), *around)
        application: str | WsgiApplication = STAND_IN if section.app is None else section.app
        if not isinstance(application, str):
            application = self._named(application, mount.loc)
        placed = self._merging.merge(
            contexts,
            place=label,
            path=normalise_path(section.path or ""),
            application=application,
            script=script,
            written={"path": (*mount.loc, "path"), "script": None if script is None else (*mount.loc, "script")},
        )
        self._check_merged(placed, contexts)
        if section.app is not None and not isinstance(section.app, str):
            self._check_callable_object(placed, contexts)
        is_spoilt = self._is_spoilt("application_group", contexts)
        return placed._replace(
            origins={
                key: setting
                for key, setting in placed.origins.items()
                if not is_spoilt and not self._is_spoilt(key, contexts)
            }
        )

    def _covering(
        self, mount: Context[MountSection], script: str | None, tables: Tables
    ) -> tuple[Context[DirectorySection], ...]:
        """The sections that the script of a mount falls into, the most specific first."""
        if script is None:
            return ()
        if not os.path.isfile(script):
            is_folder = os.path.isdir(script)
            sentence = f"{script!r} is a folder, not a file" if is_folder else f"there is no file {script!r}"
            self._problems.miss((*mount.loc, "script"), sentence)
        try:
            return tables.covering(script)
        except PatternTooSlow as error:
            self._problems.add((*mount.loc, "script"), str(error))
            return ()

    def _is_spoilt(self, key: str, contexts: Sequence[Context[Any]]) -> bool:
        """Whether a wrong value was left out where the setting is merged: one error must not bring about another."""
        return any(
            dropped[: len(context.loc) + 1] == (*context.loc, key) for dropped in self._dropped for context in contexts
        )

    def _named(self, application: WsgiApplication, loc: Loc) -> str:
        """A name for a callable object: no import string, and no other object's."""
        kind = application if hasattr(application, "__qualname__") else type(application)
        text = f"{getattr(kind, '__module__', None)}.{kind.__qualname__}"
        name = f"<{text if text.isprintable() else 'object'}: {self._place((*loc, 'app'))}>"
        self._applications[name] = application
        return name

    def _bind(self) -> tuple[str, ...]:
        result: list[str] = []
        for written in self._document.bind:
            address = written
            if written.startswith("unix:"):
                path = self._resolve(written.removeprefix("unix:"))
                address = f"unix:{path}"
                if len(os.fsencode(path)) > UNIX_PATH_BYTES:
                    sentence = f"{shown(written)}: the path of a unix socket has at most {UNIX_PATH_BYTES} bytes"
                    self._problems.add(("bind",), sentence)
            if address in result:
                self._problems.add(("bind",), f"{shown(address)} is given twice")
            result.append(address)
        if not result and not self._is_spoilt("bind", [self._server]):
            self._problems.add(("bind",), "there is no address to listen on")
        return tuple(result)

    def _tls(self) -> Tls | None:
        keys = ("certfile", "keyfile", "ca_certs")
        files = {key: self._resolve(path) for key in keys if (path := getattr(self._document, key)) is not None}
        for key, path in files.items():
            if not os.path.isfile(path):
                self._problems.add((key,), f"there is no file {path!r}")
        password = self._document.keyfile_password
        for key, needed in (("certfile", "keyfile"), ("keyfile", "certfile"), ("ca_certs", "certfile")):
            if key in files and needed not in files and (needed,) not in self._dropped:
                self._problems.add((key,), f"is of no use without {needed}")
        if password is not None and "keyfile" not in files and ("keyfile",) not in self._dropped:
            self._problems.add(("keyfile_password",), "is of no use without keyfile")
        if not {"certfile", "keyfile"} <= files.keys():
            return None
        return Tls(**files, keyfile_password=password)

    # The rules

    def _check_folders(self) -> None:
        directories = itertools.chain(
            *(
                numbered((*loc, "directory"), section.directory, dropped=self._dropped)
                for loc, section in self._contexts
            )
        )
        mounts = itertools.chain(*self._mounts.values())
        for loc, section in (*self._contexts, *mounts, *directories):
            if section.app_dir is not None and not os.path.isdir(folder := self._resolve(section.app_dir)):
                self._problems.add((*loc, "app_dir"), f"there is no folder {folder!r}")
            for path in map(self._resolve, section.python_path or ()):
                # A zip file is as good as a folder: PEP 273.
                if not os.path.exists(path):
                    self._problems.add((*loc, "python_path"), f"there is no folder {path!r}")

    def _check_keys(self, mount: Context[MountSection]) -> None:
        """A mount has one of path and match, and one of app and script."""
        loc, section = mount
        for first, second in (("path", "match"), ("app", "script")):
            given = [
                key for key in (first, second) if getattr(section, key) is not None or (*loc, key) in self._dropped
            ]
            if len(given) == 2:
                self._problems.add((*loc, second), f"stands beside {first}; there is only one of the two")
            elif not given:
                needed = "script" if section.match is not None and first == "app" else first
                self._problems.add((*loc, needed), "is missing")
        if section.app is not None and section.script is None:
            if section.match is not None:
                self._problems.add((*loc, "app"), "a mount with match has a script")
            if section.callable is not None:
                self._problems.add(
                    (*loc, "callable"), 'is for a script; app has it after the colon: "module:attribute"'
                )
            if section.script_reloading is not None:
                self._problems.add((*loc, "script_reloading"), "is for a script, and this mount has none")
        if section.match is not None and section.preload:
            self._problems.add((*loc, "preload"), "which scripts match is known with their first request only")

    def _check_alone(self, one: Context[Any], *around: Context[Any]) -> None:
        """What a directory or a mount by pattern says itself; what is found there is merged when it is found."""
        contexts = (one, *around)
        placed = self._merging.merge(contexts, place=self._place(one.loc))
        if one.section.process_group is not None or one.section.application_group is not None:
            self._check_merged(placed, contexts)

    def _check_merged(self, placed: Placed, contexts: tuple[Context[Any], ...]) -> None:
        self._check_process_group(placed)
        if literal(placed.mount.application_group) == GLOBAL and not self._is_spoilt("application_group", contexts):
            self._check_global(contexts[: placed.group.depth + 1], placed.process_group.value)

    def _check_process_group(self, placed: Placed) -> None:
        """It has to be one that there is."""
        name, loc, _ = placed.process_group
        known = self._document.process_groups or {}
        if loc is None or name in ("", *known) or not parse(name).is_literal:
            return
        if (PROCESS_GROUPS, name) not in self._dropped:
            there = f"there are {', '.join(map(shown, known))}" if known else self._problems.words.no_process_groups
            self._problems.add(loc, f"there is no process group {shown(name)}; {there}")

    def _check_callable_object(self, placed: Placed, contexts: Sequence[Context[Any]]) -> None:
        process_group = placed.process_group.value
        is_elsewhere = literal(placed.mount.application_group) != GLOBAL or bool(process_group)
        if is_elsewhere and not self._is_spoilt("application_group", contexts):
            where = " of this process" if process_group else ""
            self._problems.add(
                (*placed.loc, "app"),
                f"a callable object lives in the main interpreter{where}, which runs the application group"
                " %{GLOBAL} alone; give an import string such as 'shop.wsgi:application', which each interpreter"
                " imports for itself",
            )

    def _check_anything(self, mounts: Sequence[Placed], tables: Sequence[Tables]) -> None:
        """Something has to answer requests."""
        if mounts or self._dropped or any(one.runs_files for one in tables):
            return
        if any(one.leads_to_files for one in tables):
            self._problems.add((), self._problems.words.nothing_runs)
        else:
            self._problems.add((), self._problems.words.nothing_mounted)

    def _check_host_names(self) -> None:
        """Two virtual hosts must differ in every name, or in the port of their server_name."""
        seen: dict[tuple[str, int | None], Context[VirtualHostSection]] = {}
        for host in self._hosts:
            name, port = split_server_name(host.section.server_name)
            named: list[tuple[Loc, str]] = [((*host.loc, "server_name"), name)]
            named += [((*host.loc, "server_alias"), alias) for alias in host.section.server_alias]
            for loc, text in named:
                first = seen.setdefault((text.lower().removesuffix("."), port), host)
                if first is not host:
                    on = f"on port {port}" if port else "without a port"
                    self._problems.add(loc, f"{shown(text)} {on} is a name of {self._place(first.loc)} already")

    def _check_global(self, contexts: Sequence[Context[Any]], process_group: str) -> None:
        """``contexts``: from the mount to the one that chose GLOBAL; what wider ones say is for other groups."""
        for loc, section in contexts:
            if section.threads is not None:
                where = self._problems.words.global_threads
                if process_group:
                    where = f"in {self._place((PROCESS_GROUPS, process_group))}"
                sentence = f"a mount in %{{GLOBAL}} has the threads of the main interpreter; set them {where}"
                self._problems.add((*loc, "threads"), sentence)
            if section.isolation is not None:
                sentence = (
                    "a mount in %{GLOBAL} runs in the main interpreter of its process; leave this out, or give the"
                    " application group another name"
                )
                self._problems.add((*loc, "isolation"), sentence)
            if section.process_env:
                sentence = (
                    "a mount in %{GLOBAL} has the os.environ of the server; set variables where the server is started,"
                    " or use env for those of the request"
                )
                if process_group:
                    place = self._place((PROCESS_GROUPS, process_group, "process_env"))
                    sentence = (
                        "a mount in %{GLOBAL} has the os.environ of its process; set variables in"
                        f" {place}, or use env for those of the request"
                    )
                self._problems.add((*loc, "process_env"), sentence)


def _table_of(mounts: Sequence[Placed]) -> MountTable:
    return MountTable(placed.mount for placed in mounts)
