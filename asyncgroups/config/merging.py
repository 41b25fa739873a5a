"""The settings of all contexts that one application stands in, merged.

Law: pure, and the one place where settings are merged: for the mounts of a configuration, and for the scripts that
requests lead to (``selection.files.Files.merge``). What may not stand together is ``contexts``' to say.
May import ``selection``, ``config.model``, ``config.values`` and ``config.words``.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from asyncgroups.config.model import GLOBAL_THREADS, PROCESS_GROUPS, Document, Section
from asyncgroups.config.words import Loc
from asyncgroups.selection.mounts import GroupSettings, Mount
from asyncgroups.selection.names import Facts, GroupName, parse

__all__ = ["DEFAULTS", "GLOBAL", "Context", "Merging", "Placed", "Setting", "literal", "numbered"]

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "application_group": "%{RESOURCE}",
        "process_group": "",
        "isolation": "auto",
        "threads": 1,
        "preload": False,
        "callable": "application",
        "script_reloading": True,
        "python_path": (),
        "app_dir": ".",
    }
)
NOWHERE = Facts(server_name="", port=None, script="", env={}, process_env={})  # a literal name needs no facts
GLOBAL = ""
"""The name of the application group that is the main interpreter."""


class Context[Keys: Section](NamedTuple):
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
    """A merged mount.

    loc: where it was written. origins: where its group's settings come from. group, process_group: the same of the
    names. callable: of the application in a script.
    """

    mount: Mount
    loc: Loc
    origins: Mapping[str, Setting]
    group: Setting
    process_group: Setting
    callable: str


class Merging:
    """Merges settings as one document has them.

    base: absolute path of the folder that relative paths start from. origin: what the place of a setting is called.
    host_path_first: whether the main interpreter's own ``sys.path`` comes before an ``app_dir`` that nobody has given.
    """

    def __init__(
        self, document: Document, *, base: Path, origin: Callable[[Loc], str], host_path_first: bool = False
    ) -> None:
        self._sections = document.process_groups or {}
        self._default = next((name for name, section in self._sections.items() if section.default), None)
        self._global_threads = document.global_.threads
        self._base = base
        self._origin = origin
        self._host_path_first = host_path_first

    def resolve(self, path: str) -> str:
        """A path, absolute."""
        return str(self._base / path)

    def merge(
        self,
        contexts: Sequence[Context[Any]],
        *,
        place: str,
        path: str = "",
        application: str = "",
        script: str | None = None,
        written: Mapping[str, Loc | None] = MappingProxyType({}),
    ) -> Placed:
        """The settings of an application.

        contexts: all that it stands in, the most specific first, the server configuration last. place: its own, for
        messages. path, script: as ``Mount`` has them. application: as well; for a script it is made of that and
        ``callable``. written: where path and script were written.
        """
        group, process_group = _chosen("application_group", contexts), self._process_group(contexts)
        name, process_group_name = parse(group.value), parse(process_group.value)
        python_path, app_dir = _chosen("python_path", contexts), _chosen("app_dir", contexts)
        isolation, process_env = _chosen("isolation", contexts), _merged("process_env", contexts)
        callable_ = _chosen("callable", contexts)
        if literal(name) == GLOBAL:
            isolation, process_env = Setting(DEFAULTS["isolation"], None, 0), {}
        origins = {
            "threads": self._threads(contexts, process_group.value, is_global=literal(name) == GLOBAL),
            "isolation": isolation,
            "app_dir": app_dir._replace(value=self.resolve(app_dir.value)),
            "python_path": python_path._replace(value=tuple(map(self.resolve, python_path.value))),
            "process_env": Setting(tuple(sorted(process_env.items())), None, 0),
        }
        locs = {
            **written,
            "application_group": group.loc,
            "process_group": process_group.loc,
            "isolation": isolation.loc,
            "env": _variable_loc(name.variable, contexts),
            "process_group.env": _variable_loc(process_group_name.variable, contexts),
        }
        mount = Mount(
            path=path,
            application=application if script is None else f"{script}:{callable_.value}",
            application_group=name,
            process_group=process_group_name,
            env=MappingProxyType(_merged("env", contexts)),
            preload=_chosen("preload", contexts).value,
            settings=GroupSettings(
                **{key: setting.value for key, setting in origins.items()},
                host_path_first=app_dir.loc is None and self._host_path_first,
            ),
            script=script,
            script_reloading=_chosen("script_reloading", contexts).value,
            place=place,
            origins=MappingProxyType({key: self._origin(loc) for key, loc in locs.items() if loc is not None}),
        )
        return Placed(mount, contexts[0].loc, origins, group, process_group, callable_.value)

    def _process_group(self, contexts: Sequence[Context[Any]]) -> Setting:
        """The process group as written, else the default one."""
        setting = _chosen("process_group", contexts)
        if setting.loc is None and self._default is not None:
            return Setting(self._default, (PROCESS_GROUPS, self._default, "default"), setting.depth)
        return setting

    def _threads(self, contexts: Sequence[Context[Any]], process_group: str, *, is_global: bool) -> Setting:
        """A mount's or a virtual host's, else the process group's, else the server's; GLOBAL's are its process's."""
        section = self._sections.get(process_group)
        if section is None and is_global:
            return Setting(self._global_threads, ("global", "threads"), 0)
        setting = _chosen("threads", contexts)
        own = section.threads if section is not None else None
        if is_global or (own is not None and setting.depth >= len(contexts) - 1):
            return Setting(own or GLOBAL_THREADS, (PROCESS_GROUPS, process_group, "threads"), 0)
        return setting


def numbered[Keys: Section](loc: Loc, sections: Sequence[Keys], *, dropped: Collection[Loc]) -> Iterator[Context[Keys]]:
    """The elements of the array of tables at ``loc`` with the numbers they have in the file.

    dropped: places of those that were wrong and are missing from ``sections``.
    """
    left = (index for index in itertools.count() if (*loc, index) not in dropped)
    for index, section in zip(left, sections, strict=False):
        yield Context((*loc, index), section)


def literal(name: GroupName) -> str | None:
    """The name of the group, if it is the same for every request."""
    return name.expand(NOWHERE) if name.is_literal else None


def _chosen(key: str, contexts: Sequence[Context[Any]]) -> Setting:
    """The setting as the most specific of the contexts has it."""
    for depth, context in enumerate(contexts):
        # A directory has not all of them: what is found there is loaded with its first request.
        value = getattr(context.section, key, None)
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
