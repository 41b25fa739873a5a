"""Server configuration -> virtual host -> mount: the settings merged, and the rules between them.

Law: what a single value may be was checked before (``values``); here is what values have to do with each other and with
the folder of the file. Notes every problem and goes on; asks the file system only whether a file or folder exists.
May import ``selection`` and the rest of ``config`` but the reader.
"""

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from asyncgroups.config.configuration import Configuration, Tls
from asyncgroups.config.model import (
    GLOBAL_THREADS,
    PROCESS_GROUPS,
    Document,
    MountSection,
    Settings,
    VirtualHostSection,
)
from asyncgroups.config.problems import Problems
from asyncgroups.config.processes import settings_of
from asyncgroups.config.values import WsgiApplication, shown
from asyncgroups.config.words import Loc
from asyncgroups.selection.hosts import VirtualHost, split_server_name
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable, normalise_path
from asyncgroups.selection.names import Facts, GroupName, parse

__all__ = ["DEFAULTS", "Context", "Contexts", "Placed", "Setting"]

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "application_group": "%{RESOURCE}",
        "process_group": "",
        "isolation": "auto",
        "threads": 1,
        "preload": False,
        "python_path": (),
        "app_dir": ".",
    }
)
UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path less its NUL, unix(7)
NOWHERE = Facts(server_name="", port=None, script="", env={}, process_env={})  # a literal name needs no facts
GLOBAL = ""  # the name of the application group that is the main interpreter


class Context[Keys: Settings](NamedTuple):
    """One of the places in which a setting can stand."""

    loc: Loc
    section: Keys


class Setting(NamedTuple):
    """A merged setting: its value, where that was written (None: the default), how many contexts were more specific."""

    value: Any
    loc: Loc | None
    depth: int

    def told(self, expected: Loc, *, place: Callable[[Loc], str]) -> str:
        """The value, and where it was written unless that is at ``expected``; ``place`` says how places are called."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        origin = place(self.loc) if self.loc else "the default"
        return f"{value!r}" if self.loc == expected else f"{value!r} ({origin})"


class Placed(NamedTuple):
    """A merged mount, the place it was written in, and where its group's settings come from, if that is known."""

    mount: Mount
    loc: Loc
    origins: Mapping[str, Setting]


class Contexts:
    """The contexts of one document.

    base: absolute path of the folder that relative paths start from.
    dropped: places of array elements that were wrong and are missing from ``document``; the others keep their numbers.
    """

    def __init__(self, document: Document, *, base: Path, dropped: Collection[Loc], problems: Problems) -> None:
        self._document = document
        self._base = base
        self._dropped = dropped
        self._problems = problems
        self._place = problems.words.place
        self._applications: dict[str, WsgiApplication] = {}
        self._server = Context[Settings]((), document)
        self._mounts = list(self._numbered((), "mount", document.mount))
        self._hosts = list(self._numbered((), "virtual_host", document.virtual_host))

    def configuration(self, source: str) -> Configuration | None:
        """The merged configuration; None where something is wrong, and ``problems`` says what."""
        document = self._document
        self._check_folders()
        bind, tls = self._bind(), self._tls()
        process_groups = settings_of(document.process_groups or {}, resolve=self._resolve, problems=self._problems)
        self._check_host_names()
        own = self._placed(self._mounts, self._server)
        inside = {host.loc: self._placed(self._host_mounts(host), host, self._server) for host in self._hosts}
        inherited = {host.loc: self._inherited(host, inside[host.loc]) for host in self._hosts}
        everything = [*own, *itertools.chain(*inside.values()), *itertools.chain(*inherited.values())]
        self._check_groups(everything)
        if not everything and not self._dropped:
            self._problems.add((), self._problems.words.nothing_mounted)
        if self._problems:
            return None
        return Configuration(
            source=source,
            text=self._problems.text,
            bind=bind,
            server=VirtualHost(
                server_name=document.server_name, mounts=_table_of(own), inherited=MountTable(()), place="server config"
            ),
            virtual_hosts=tuple(
                VirtualHost(
                    server_name=host.section.server_name,
                    server_alias=host.section.server_alias,
                    mounts=_table_of(inside[host.loc]),
                    inherited=_table_of(inherited[host.loc]),
                    place=self._place(host.loc),
                )
                for host in self._hosts
            ),
            global_threads=document.global_.threads,
            log_level=document.log_level,
            limits=document.limits,
            timeouts=document.timeouts,
            tls=tls,
            applications=MappingProxyType(self._applications),
            process_groups=MappingProxyType(process_groups),
        )

    # The contexts

    def _numbered[Keys: Settings](self, loc: Loc, key: str, sections: Sequence[Keys]) -> Iterator[Context[Keys]]:
        """The elements of an array of tables with the numbers they have in the file."""
        left = (index for index in itertools.count() if (*loc, key, index) not in self._dropped)
        for index, section in zip(left, sections, strict=False):
            yield Context((*loc, key, index), section)

    def _host_mounts(self, host: Context[VirtualHostSection]) -> list[Context[MountSection]]:
        return list(self._numbered(host.loc, "mount", host.section.mount))

    # Merging

    def _placed(self, mounts: Sequence[Context[MountSection]], *around: Context[Any]) -> list[Placed]:
        """The mounts of one context, merged with those around it, the most specific first."""
        seen: dict[str, Loc] = {}
        result = []
        for mount in mounts:
            path = normalise_path(mount.section.path)
            if path in seen:
                sentence = f"{shown(path or '/')} is the path of {self._place(seen[path])} already"
                self._problems.add((*mount.loc, "path"), sentence)
                continue
            seen[path] = mount.loc
            result.append(self._merge(mount, *around, label=self._place(mount.loc)))
        return result

    def _inherited(self, host: Context[VirtualHostSection], own: Sequence[Placed]) -> list[Placed]:
        """The server's mounts as a virtual host sees them, but for those that its own cover altogether."""
        result = []
        seen = {placed.mount.path for placed in own}
        for mount in self._mounts:
            path = normalise_path(mount.section.path)
            if not any(path == covered or path.startswith(f"{covered}/") for covered in seen):
                label = f"{self._place(mount.loc)} in {self._place(host.loc)}"
                result.append(self._merge(mount, host, self._server, label=label))
        return result

    def _merge(self, mount: Context[MountSection], *around: Context[Any], label: str) -> Placed:
        contexts: tuple[Context[Any], ...] = (mount, *around)
        group = _chosen("application_group", contexts)
        name = parse(group.value)
        process_group = self._process_group(contexts)
        python_path = _chosen("python_path", contexts)
        threads = self._threads(contexts, process_group.value, is_global=_literal(name) == GLOBAL)
        isolation = _chosen("isolation", contexts)
        app_dir, process_env = _chosen("app_dir", contexts), _merged("process_env", contexts)
        if _literal(name) == GLOBAL:
            if not self._is_spoilt("application_group", contexts):
                self._check_global(contexts[: group.depth + 1], process_group.value)
            process_env = {}
            isolation = Setting(DEFAULTS["isolation"], None, 0)
        app = mount.section.app
        if not isinstance(app, str):
            app = self._named(app, mount.loc)
            is_elsewhere = _literal(name) != GLOBAL or bool(process_group.value)
            if is_elsewhere and not self._is_spoilt("application_group", contexts):
                where = " of this process" if process_group.value else ""
                self._problems.add(
                    (*mount.loc, "app"),
                    f"a callable object lives in the main interpreter{where}, which runs the application group"
                    " %{GLOBAL} alone; give an import string such as 'shop.wsgi:application', which each interpreter"
                    " imports for itself",
                )
        origins = {
            "threads": threads,
            "isolation": isolation,
            "app_dir": app_dir._replace(value=self._resolve(app_dir.value)),
            "python_path": python_path._replace(value=tuple(map(self._resolve, python_path.value))),
            "process_env": Setting(tuple(sorted(process_env.items())), None, 0),
        }
        return Placed(
            Mount(
                path=normalise_path(mount.section.path),
                application=app,
                application_group=name,
                process_group=parse(process_group.value),
                env=MappingProxyType(_merged("env", contexts)),
                preload=_chosen("preload", contexts).value,
                settings=GroupSettings(
                    **{key: setting.value for key, setting in origins.items()},
                    host_path_first=app_dir.loc is None and self._problems.words.host_path_first,
                ),
                place=label,
                origins=self._written(
                    {
                        "path": (*mount.loc, "path"),
                        "application_group": group.loc,
                        "process_group": process_group.loc,
                        "isolation": isolation.loc,
                        "env": _variable_loc(name.variable, contexts),
                        "process_group.env": _variable_loc(parse(process_group.value).variable, contexts),
                    }
                ),
            ),
            mount.loc,
            {
                key: setting
                for key, setting in origins.items()
                if not self._is_spoilt("application_group", contexts) and not self._is_spoilt(key, contexts)
            },
        )

    def _process_group(self, contexts: Sequence[Context[Any]]) -> Setting:
        """The process group, which has to be one that there is."""
        chosen = _chosen("process_group", contexts)
        known = self._document.process_groups or {}
        if chosen.loc is None:
            for name, section in known.items():
                if section.default:
                    return Setting(name, (PROCESS_GROUPS, name, "default"), chosen.depth)
        elif (
            chosen.value not in ("", *known)
            and parse(chosen.value).is_literal
            and (PROCESS_GROUPS, chosen.value) not in self._dropped
        ):
            there = f"there are {', '.join(map(shown, known))}" if known else self._problems.words.no_process_groups
            self._problems.add(chosen.loc, f"there is no process group {shown(chosen.value)}; {there}")
        return chosen

    def _threads(self, contexts: Sequence[Context[Any]], process_group: str, *, is_global: bool) -> Setting:
        """A mount's or a virtual host's, else the process group's, else the server's; GLOBAL's are its process's."""
        section = (self._document.process_groups or {}).get(process_group)
        if section is None and is_global:
            return Setting(self._document.global_.threads, ("global", "threads"), 0)
        chosen = _chosen("threads", contexts)
        own = section.threads if section is not None else None
        if is_global or (own is not None and chosen.depth >= len(contexts) - 1):
            return Setting(own or GLOBAL_THREADS, (PROCESS_GROUPS, process_group, "threads"), 0)
        return chosen

    def _written(self, locs: Mapping[str, Loc | None]) -> Mapping[str, str]:
        return MappingProxyType({key: self._problems.origin(loc) for key, loc in locs.items() if loc is not None})

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

    def _resolve(self, path: str) -> str:
        return str(self._base / path)

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
        mounts = [mount for host in self._hosts for mount in self._host_mounts(host)]
        for loc, section in (self._server, *self._mounts, *self._hosts, *mounts):
            if section.app_dir is not None and not os.path.isdir(folder := self._resolve(section.app_dir)):
                self._problems.add((*loc, "app_dir"), f"there is no folder {folder!r}")
            for path in map(self._resolve, section.python_path or ()):
                # A zip file is as good as a folder: PEP 273.
                if not os.path.exists(path):
                    self._problems.add((*loc, "python_path"), f"there is no folder {path!r}")

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

    def _check_groups(self, mounts: Sequence[Placed]) -> None:
        """Mounts of one group agree about what a group has only once; names that are not literal are unknown yet."""
        first_of: dict[tuple[GroupName, str], Placed] = {}
        known: set[tuple[Loc, str, object]] = set()
        for placed in mounts:
            name = _literal(placed.mount.application_group)
            if name is None:
                continue
            first = first_of.setdefault((placed.mount.process_group, name), placed)
            group = f"application group {shown(name) if name else '%{GLOBAL}'}"
            for key in (key for key in placed.origins if key in first.origins):
                setting, other = placed.origins[key], first.origins[key]
                # What is wrong with a mount of the server's is not told again for each virtual host that inherits it.
                if setting.value == other.value or (placed.loc, key, setting.value) in known:
                    continue
                known.add((placed.loc, key, setting.value))
                if key == "process_env":
                    # By name only: the values are where people keep their passwords.
                    names = sorted({variable for variable, _ in set(setting.value) ^ set(other.value)})
                    said, instead = f"another value of {', '.join(names)}", " than"
                else:
                    said, instead = (
                        setting.told((*placed.loc, key), place=self._place),
                        f", but {other.told((*first.loc, key), place=self._place)}",
                    )
                here = "here" if placed.mount.place == self._place(placed.loc) else f"for {placed.mount.place}"
                sentence = f"{said} {here}{instead} for {first.mount.place}, in one and the same {group}"
                self._problems.add((*placed.loc, key), sentence)
        own = [name for process_group, name in first_of if name != GLOBAL and not process_group.text]
        elsewhere = [f"{group}:{name or '%{GLOBAL}'}" for group, name in first_of if group.text]
        self._check_number([*own, *elsewhere])

    def _check_number(self, names: Sequence[str]) -> None:
        """Interpreters live as long as the server: a group beyond ``limits.groups`` would never have one."""
        limit = self._document.limits.groups
        is_meant = not any(loc in self._dropped for loc in (("limits",), ("limits", "groups")))
        if limit < len(names) and is_meant:
            told = ", ".join(map(shown, names[:5])) + (", …" if len(names) > 5 else "")
            sentence = f"{limit} is less than the {len(names)} application groups that mounts name: {told}"
            self._problems.add(("limits", "groups"), sentence)


def _chosen(key: str, contexts: Sequence[Context[Any]]) -> Setting:
    """The setting as the most specific of the contexts has it."""
    for depth, context in enumerate(contexts):
        value = getattr(context.section, key)
        if value is not None:
            return Setting(value, (*context.loc, key), depth)
    return Setting(DEFAULTS[key], None, len(contexts))


def _merged(key: str, contexts: Sequence[Context[Any]]) -> dict[str, str]:
    """The variables of all contexts, the more specific over the wider."""
    result: dict[str, str] = {}
    for context in reversed(contexts):
        result |= getattr(context.section, key) or {}
    return result


def _variable_loc(variable: str | None, contexts: Sequence[Context[Any]]) -> Loc | None:
    """Where the most specific of the contexts sets the variable of the request's environment."""
    if variable is None:
        return None
    return next(((*loc, "env", variable) for loc, section in contexts if variable in (section.env or ())), None)


def _literal(name: GroupName) -> str | None:
    """The name of the group, if it is the same for every request."""
    return name.expand(NOWHERE) if name.is_literal else None


def _table_of(mounts: Sequence[Placed]) -> MountTable:
    return MountTable(placed.mount for placed in mounts)
