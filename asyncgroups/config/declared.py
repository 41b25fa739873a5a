"""The configuration as a program writes it: objects and keyword arguments that become what a file would give.

Law: nothing is judged here; what is given goes to ``reader.from_mapping`` as it is, and is checked there.
May import the rest of ``config``.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from asyncgroups.config.arguments import (
    AliasArguments,
    DirectoryArguments,
    LimitArguments,
    ProcessGroupArguments,
    RewriteArguments,
    TimeoutArguments,
    UserdirArguments,
)
from asyncgroups.config.configuration import Configuration
from asyncgroups.config.model import PROCESS_GROUPS
from asyncgroups.config.problems import Problems
from asyncgroups.config.reader import from_mapping
from asyncgroups.config.values import Isolation, LogLevel, WsgiApplication
from asyncgroups.config.words import ARRAYS, PythonWords, Raised, quoted

__all__ = [
    "Arguments",
    "Mount",
    "Options",
    "VirtualHost",
    "declared",
]


@dataclass(frozen=True, slots=True)
class Mount:
    """A URL path bound to a WSGI application (WSGIScriptAlias).

    path: URL path, decoded text; "/" is the root.
    app: import string ``module:attribute``; in the application group %{GLOBAL} a callable object will do as well.
    match: instead of a path, a regular expression; its groups stand in ``script`` as \\1 to \\9 (WSGIScriptAliasMatch).
    script: instead of an app, the path of a script file.

    The rest as in ``asyncgroups.toml``; None takes what the virtual host or the server configuration says.

    application_group: name of the group, or %{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} (WSGIApplicationGroup).
    process_group: name of one of ``process_groups``; "" for this process (WSGIProcessGroup).
    isolation: what keeps the group apart: "interpreter", "process" (a daemon process of its own), or "auto": an
    interpreter and, for extension modules that refuse to be loaded there, a process.
    threads: number of threads that live in the group's interpreter, at most 1000.
    preload: whether the application is loaded at the start.
    callable: name of the application in a script; "application" where nobody says anything (WSGICallableObject).
    script_reloading: whether a script is loaded anew when its file has changed (WSGIScriptReloading).
    env: variables of each request's environment, name to value (SetEnv).
    process_env: variables of the group's own ``os.environ``, name to value.
    python_path: further folders of the group's ``sys.path``.
    app_dir: its first folder. Relative paths start from the working directory.
    """

    path: str | None = None
    app: str | WsgiApplication | None = None
    _: KW_ONLY
    match: str | None = None
    script: str | os.PathLike[str] | None = None
    application_group: str | None = None
    process_group: str | None = None
    isolation: Isolation | None = None
    threads: int | None = None
    preload: bool | None = None
    callable: str | None = None
    script_reloading: bool | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    process_env: Mapping[str, str] | None = field(default=None, repr=False)
    python_path: Sequence[str | os.PathLike[str]] | None = None
    app_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        _keep(self, "python_path")


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The applications of one server name (<VirtualHost>).

    server_name: host name, text, with a port where it should count (ServerName).
    server_alias: other names of the same host, "*." in front stands for any (ServerAlias).
    default: whether it answers for the names that are nobody's; else the server configuration does.
    mounts: its mounts; the server's come after them.
    aliases, userdir, document_root: directories that URL paths lead to (Alias, UserDir, DocumentRoot).
    directories: what holds for the files in directories (<Directory>).
    follow_symlinks: whether symbolic links are followed where none of these says anything.
    rewrites: rules that set variables, in place of the server's (RewriteRule).

    The rest as for ``Mount``; a mount's own setting beats its virtual host's, and that the server configuration's.
    """

    server_name: str
    _: KW_ONLY
    server_alias: Sequence[str] = ()
    default: bool = False
    mounts: Iterable[Mount] = ()
    aliases: Sequence[AliasArguments] = ()
    userdir: UserdirArguments | None = None
    document_root: str | os.PathLike[str] | None = None
    directories: Sequence[DirectoryArguments] = field(default=(), repr=False)
    follow_symlinks: bool | None = None
    rewrites: Sequence[RewriteArguments] | None = field(default=None, repr=False)
    application_group: str | None = None
    process_group: str | None = None
    isolation: Isolation | None = None
    threads: int | None = None
    preload: bool | None = None
    callable: str | None = None
    script_reloading: bool | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    process_env: Mapping[str, str] | None = field(default=None, repr=False)
    python_path: Sequence[str | os.PathLike[str]] | None = None
    app_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        _keep(self, "server_alias", "mounts", "aliases", "directories", "rewrites", "python_path")


class Options(TypedDict, total=False):
    """The keyword arguments that every way to write a configuration in Python has; as in ``asyncgroups.toml``."""

    application_group: str
    """Name of the application group: %{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} or any other text."""
    process_group: str
    """Name of one of ``process_groups``; "" is this process."""
    isolation: Isolation
    """What keeps groups apart: "interpreter", "process", or "auto", an interpreter where that will do."""
    threads: int
    """Threads that live in each group's interpreter, at most 1000."""
    preload: bool
    """Whether applications are loaded at the start, before the first request."""
    callable: str
    """Name of the application in scripts."""
    script_reloading: bool
    """Whether a script is loaded anew when its file has changed."""
    rewrites: Sequence[RewriteArguments]
    """Rules that set variables of each request's environment."""
    env: Mapping[str, str]
    """Variables of each request's environment."""
    process_env: Mapping[str, str]
    """Variables of os.environ in the interpreters."""
    python_path: Sequence[str | os.PathLike[str]]
    """Further folders of each interpreter's sys.path."""
    app_dir: str | os.PathLike[str]
    """First folder of each interpreter's sys.path; by default the working directory, which in GLOBAL comes last."""
    server_name: str
    """Host name of the server, with a port where names of groups should have one."""
    log_level: LogLevel
    """Least level of what is logged, where the host has set up no logging for ``asyncgroups``."""
    global_threads: int
    """Threads that run the application group %{GLOBAL}, at most 1000."""
    process_groups: Mapping[str, ProcessGroupArguments]
    """Daemon processes, by the name of their group."""
    limits: LimitArguments
    """What a client can make the applications hold."""
    timeouts: TimeoutArguments
    """Seconds."""


class Arguments(Options, total=False):
    """All keyword arguments of ``ApplicationGroups``."""

    mounts: Iterable[Mount]
    """The mounts of the server configuration."""
    virtual_hosts: Iterable[VirtualHost]
    """The virtual hosts, which come before the server configuration."""
    aliases: Sequence[AliasArguments]
    """URL paths bound to directories, in which there may be scripts."""
    userdir: UserdirArguments
    """Users' directories, under /~user."""
    document_root: str | os.PathLike[str]
    """Directory that the root of all URLs stands for, after mounts and aliases."""
    directories: Sequence[DirectoryArguments]
    """What holds for the files in directories."""
    follow_symlinks: bool
    """Whether symbolic links are followed where none of ``directories`` says anything."""


def declared(arguments: Mapping[str, Any], *, source: str, single: Mount | None = None) -> Configuration:
    """Make a configuration of keyword arguments.

    arguments: as ``Arguments`` has them; as ``Options``, where there is a ``single`` mount. source: name for messages,
    text. Relative paths start from the working directory. Raises ConfigurationError, with every problem.
    """
    words = PythonWords(single=single is not None)
    problems = Problems(source, text=None, options={}, words=words)
    known = Arguments.__annotations__ if single is None else Options.__annotations__
    for name in (name for name in arguments if name not in known):
        problems.add((), f"{quoted(name)}: {words.unknown_argument(name, known)}")
    table = _table({name: value for name, value in arguments.items() if name in known})
    if single is not None:
        table["mount"] = [_section(single, Mount)]
    if "global_threads" in table:
        table["global"] = {"threads": table.pop("global_threads")}
    return from_mapping(table, base=Path.cwd(), source=source, problems=problems)


def _keep(section: Mount | VirtualHost, *keys: str) -> None:
    """What can be gone through only once is for every configuration that has the section in it."""
    for key in keys:
        value = getattr(section, key)
        try:
            kept = tuple(value) if _is_several(value) else value
        except Exception as error:  # noqa: BLE001 - as for ``_value``, where it is refused
            kept = Raised(error)
        object.__setattr__(section, key, kept)


def _is_several(value: object) -> bool:
    """Whether it is a sequence of things, or an iterable that gives some."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


_KEYS = {name: key for key, name in ARRAYS.items()} | {"process_groups": PROCESS_GROUPS}
_PATHS = frozenset({"app_dir", "directory", "document_root", "home", "path", "python", "script"})
_SEVERAL_PATHS = frozenset({"path", "python_path"})
_SEVERAL = frozenset({"disabled", "enabled", "extensions", "server_alias", "unset"})
_TABLES = frozenset({"env", "limits", "process_env", "timeouts"})


def _table(given: Mapping[str, Any]) -> dict[str, Any]:
    return {_KEYS.get(key, key): _value(key, value) for key, value in given.items() if value is not None}


def _value(key: str, value: Any) -> Any:
    """A value as TOML's parser gives it; what is nothing of the kind stays as it is, and is refused."""
    try:
        return _taken(key, value)
    except Exception as error:  # noqa: BLE001 - whatever an object of the program's raises
        return Raised(error)


def _taken(key: str, value: Any) -> Any:
    match key, value:
        case "app", _:
            # Nothing is asked of it here: a proxy would look for its object.
            return value
        case "mounts" | "virtual_hosts", _ if _is_several(value):
            return [_section(one, Mount if key == "mounts" else VirtualHost) for one in value]
        case "aliases" | "directories" | "rewrites" | "condition", _ if _is_several(value):
            return [_table(one) if isinstance(one, Mapping) else one for one in value]
        case "process_groups", Mapping():
            return {name: _table(one) if isinstance(one, Mapping) else one for name, one in value.items()}
        case "userdir", Mapping():
            return _table(value)
        case _, os.PathLike() if key in _PATHS:
            return os.fsdecode(value)
        case _ if key in _SEVERAL_PATHS and _is_several(value):
            return [os.fsdecode(one) if isinstance(one, os.PathLike) else one for one in value]
        case _ if key in _SEVERAL and _is_several(value):
            return list(value)
        case _, Mapping() if key in _TABLES:
            return dict(value)
        case _:
            return value


def _section(one: object, kind: type[Mount | VirtualHost]) -> object:
    if isinstance(one, kind):
        return _table({each.name: getattr(one, each.name) for each in fields(one)})
    return list(one.items()) if isinstance(one, dict) else one  # a table is what a file has
