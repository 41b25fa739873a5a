"""The tables [process_group.NAME] -> the settings of daemon processes.

Law: as for ``contexts``: notes every problem and goes on; asks the file system whether something exists, and the user
database who somebody is. May import the rest of ``config`` but ``contexts`` and the reader.
"""

import grp
import os
import pwd
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from asyncgroups.config.configuration import ProcessSettings
from asyncgroups.config.model import GLOBAL_THREADS, PROCESS_GROUPS, ProcessGroupSection
from asyncgroups.config.problems import Problems
from asyncgroups.config.values import shown
from asyncgroups.config.words import Loc

__all__ = ["settings_of"]


def settings_of(
    sections: Mapping[str, ProcessGroupSection], *, resolve: Callable[[str], str], problems: Problems
) -> dict[str, ProcessSettings]:
    """The settings of each process group, by its name. resolve: makes a path absolute."""
    result: dict[str, ProcessSettings] = {}
    default: str | None = None
    for name, section in sections.items():
        loc = (PROCESS_GROUPS, name)
        if section.default and default is not None:
            problems.add((*loc, "default"), f"{problems.words.place((PROCESS_GROUPS, default))} is the default already")
        default = name if section.default else default
        result[name] = ProcessSettings(
            name=name,
            **_paths(loc, section, resolve=resolve, problems=problems),
            **_identity(loc, section, problems),
            process_env=MappingProxyType({**_login(section), **(section.process_env or {})}),
            threads=section.threads or GLOBAL_THREADS,
            umask=int(section.umask, 8) if section.umask is not None else None,
            **{key: getattr(section, key) for key in _AS_WRITTEN},
        )
    return result


_AS_WRITTEN = (
    "sticky",
    "processes",
    "display_name",
    "cpu_priority",
    "memory_limit",
    "startup_timeout",
    "maximum_requests",
    "restart_interval",
    "inactivity_timeout",
    "request_timeout",
    "graceful_timeout",
    "shutdown_timeout",
)


def _paths(
    loc: Loc, section: ProcessGroupSection, *, resolve: Callable[[str], str], problems: Problems
) -> dict[str, Any]:
    python = resolve(section.python) if section.python is not None else None
    if python is not None and not (os.path.isfile(python) and os.access(python, os.X_OK)):
        problems.add((*loc, "python"), f"there is no program {python!r}")
    home = resolve(section.home) if section.home is not None else None
    if home is not None and not os.path.isdir(home):
        problems.add((*loc, "home"), f"there is no folder {home!r}")
    python_path = tuple(map(resolve, section.python_path))
    for path in python_path:
        if not os.path.exists(path):  # a zip file is as good as a folder: PEP 273
            problems.add((*loc, "python_path"), f"there is no folder {path!r}")
    return {"python": python, "home": home, "python_path": python_path}


def _identity(loc: Loc, section: ProcessGroupSection, problems: Problems) -> dict[str, Any]:
    """The numbers of user and groups."""
    identity: dict[str, Any] = {}
    entry: pwd.struct_passwd | None = None
    if section.user is not None:
        try:
            entry = _user_of(section.user)
        except LookupError:
            problems.add((*loc, "user"), f"there is no user {shown(section.user)}")
        else:
            identity |= {"user": entry.pw_uid, "group": entry.pw_gid}
    if section.group is not None:
        try:
            identity["group"] = _group_of(section.group)
        except LookupError:
            problems.add((*loc, "group"), f"there is no group {shown(section.group)}")
    if entry is not None:  # with the group in place of the user's own, as initgroups(3) has it
        identity["groups"] = tuple(os.getgrouplist(entry.pw_name, identity["group"]))
    return identity


def _login(section: ProcessGroupSection) -> dict[str, str]:
    """The variables that a login of the user would set."""
    try:
        entry = _user_of(section.user) if section.user is not None else None
    except LookupError:
        entry = None
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name} if entry is not None else {}


def _user_of(text: str) -> pwd.struct_passwd:
    """Raises LookupError."""
    return pwd.getpwuid(int(text)) if _is_number(text) else pwd.getpwnam(text)


def _group_of(text: str) -> int:
    """Raises LookupError."""
    try:
        return grp.getgrgid(int(text)).gr_gid if _is_number(text) else grp.getgrnam(text).gr_gid
    except OverflowError as error:
        raise LookupError(str(error)) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
