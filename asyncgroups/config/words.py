"""What the places and problems of a configuration are called: in the words of a TOML file, or in those of Python.

Law: pure. A ``Loc`` is one and the same for both kinds; only what is said about it differs.
May import pydantic, ``config.model`` and ``config.values``.
"""

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import MappingProxyType

from pydantic_core import ErrorDetails

from asyncgroups.config.model import (
    PROCESS_GROUPS,
    AliasSection,
    ConditionSection,
    DirectorySection,
    Document,
    FileSettings,
    GlobalSection,
    Limits,
    MountSection,
    ProcessGroupSection,
    RewriteSection,
    Section,
    Timeouts,
    UserdirSection,
    VirtualHostSection,
)
from asyncgroups.config.values import SHOWN_CHARACTERS, shown

__all__ = ["ARRAYS", "VARIABLES", "FileWords", "Loc", "PythonWords", "Raised", "Words", "as_written", "quoted"]

type Loc = tuple[int | str, ...]
"""Where a value stands: keys, and indices into arrays; ("mount", 0, "threads")."""

ABOUT_FILES: Mapping[tuple[str, ...], type[Section]] = MappingProxyType(
    {
        ("mount",): MountSection,
        ("alias",): AliasSection,
        ("userdir",): UserdirSection,
        ("directory",): DirectorySection,
        ("rewrite",): RewriteSection,
        ("rewrite", "condition"): ConditionSection,
    }
)
TABLES: Mapping[tuple[str, ...], type[Section]] = MappingProxyType(
    {
        (): Document,
        ("virtual_host",): VirtualHostSection,
        **ABOUT_FILES,
        **{("virtual_host", *names): section for names, section in ABOUT_FILES.items()},
        ("global",): GlobalSection,
        ("limits",): Limits,
        ("timeouts",): Timeouts,
        (PROCESS_GROUPS,): ProcessGroupSection,
    }
)
ARRAYS: Mapping[str, str] = MappingProxyType(
    {
        "mount": "mounts",
        "virtual_host": "virtual_hosts",
        "alias": "aliases",
        "directory": "directories",
        "rewrite": "rewrites",
        "condition": "condition",
    }
)
"""The arrays of tables, and what they are called in Python. An alias has a ``directory`` as well, which is none."""
CLASSES: Mapping[int | str, str] = MappingProxyType({"mount": "Mount", "virtual_host": "VirtualHost"})
"""What in Python is an object of a class; other tables are dicts."""
SECRET = "process_env"
"""The table whose values are never shown: people keep their passwords there."""
VARIABLES = frozenset({"env", SECRET})

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def quoted(key: str) -> str:
    """A key as a place has it: in quotes where TOML needs them, one line, never long."""
    if len(key) > SHOWN_CHARACTERS:
        return f'"{ascii(key[: SHOWN_CHARACTERS - 1])[1:-1]}…"'
    return key if _BARE_KEY.fullmatch(key) else f'"{ascii(key)[1:-1]}"'


class Raised:
    """Stands for a value that could not be taken: it raised ``error`` when it was gone through."""

    def __init__(self, error: Exception) -> None:
        self._kind = type(error).__name__

    def __str__(self) -> str:
        return f"one that raises {self._kind}"


class Words(ABC):
    """The words of one kind of configuration.

    nothing_mounted: sentence for one that mounts nothing. nothing_runs: for one that leads to files, none of which is
    a script. global_threads: where the threads of GLOBAL are set.
    no_process_groups: what to do where there are none.
    host_path_first: whether the main interpreter's own ``sys.path`` comes before an ``app_dir`` that nobody has given.
    goes_without: whether a script or a directory may be missing, as for Apache: one site is no reason to stop all.
    """

    nothing_mounted: str
    nothing_runs: str
    global_threads: str
    no_process_groups: str
    host_path_first: bool
    goes_without: bool = False

    def place(self, loc: Loc) -> str:
        """What the place is called: ``virtual_host[0].mount[1].path``."""
        text = ""
        for part in as_written(loc):
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                text += ("." if text else "") + quoted(part)
        return text

    def sentence(self, error: ErrorDetails) -> str:
        """An error of pydantic's in these words; ``values`` has the sentences about single values."""
        value = error["input"]
        match error["type"]:
            case "invalid_key":
                return "a key must be a string"
            case "extra_forbidden" if _names(error["loc"])[-2:] == ("directory", "preload"):
                return "unknown key here; what a directory holds is known with the first request for it only"
            case "extra_forbidden":
                return self._unknown(error["loc"])
            case "missing":
                return "is missing"
            case "model_type" | "dict_type":
                return self._no_table(error)
            case "refused" if error["loc"][-1] == "app" and not issubclass(type(value), str):
                return self._no_application(error)
            case "tuple_type" if _names(error["loc"]) in TABLES:
                return self._no_array(error)
            case "tuple_type":
                return f"must be a list of strings, not {shown(value)}" + (
                    f"; write [{shown(value)}]" if isinstance(value, str) else ""
                )
            case _ if not isinstance(value, str) and error["loc"][-2:-1] and error["loc"][-2] in VARIABLES:
                return self._no_variable(error)
            case _:
                return error["msg"]

    @abstractmethod
    def _unknown(self, loc: Loc) -> str:
        """What to say of a key that its table does not have."""

    @abstractmethod
    def _no_table(self, error: ErrorDetails) -> str:
        """What to say where one table should be, and something else is."""

    @abstractmethod
    def _no_array(self, error: ErrorDetails) -> str:
        """What to say where an array of tables should be, and something else is."""

    def _no_application(self, error: ErrorDetails) -> str:
        """What to say of an application that is no string."""
        return error["msg"]

    def _no_variable(self, error: ErrorDetails) -> str:
        """What to say of a variable whose value is no string."""
        return error["msg"]


class FileWords(Words):
    """The words of a TOML file, and of the command line, which says what could stand in one."""

    nothing_mounted = "nothing is mounted; add a [[mount]] with a path and an app"
    nothing_runs = 'nothing is mounted, and no file is a script; a [[directory]] with handler = "wsgi-script" has some'
    global_threads = "in [global] threads"
    no_process_groups = "describe it in a [process_group.NAME]"
    host_path_first = False

    def _unknown(self, loc: Loc) -> str:
        """Where the key belongs, or which one it resembles."""
        *here, key = _names(loc)
        table = tuple(here)
        homes = [names for names, section in TABLES.items() if key in _keys(section)]
        if homes:
            home = min(homes, key=lambda names: (names[: len(table)] != table, len(names)))
            if not home:
                return "unknown key here; it belongs to the top level, above the first [table]"
            header = ".".join(home)
            return f"unknown key here; it belongs to {f'[[{header}]]' if home[-1] in ARRAYS else f'[{header}]'}"
        return "unknown key" + _resembling(key, _keys(TABLES[table]))

    def _no_table(self, error: ErrorDetails) -> str:
        name, value = str(error["loc"][-1]), error["input"]
        header = ".".join(quoted(part) for part in as_written(error["loc"]) if isinstance(part, str))
        return (
            "must be one table"
            + _unless_secret(name, value)
            + (
                f"; write [{header}], not [[{header}]]"
                if isinstance(value, list) and value and isinstance(value[0], dict)
                else ""
            )
        )

    def _no_array(self, error: ErrorDetails) -> str:
        header, value = ".".join(_names(error["loc"])), error["input"]
        return f"there can be several of them: write [[{header}]], not " + (
            f"[{header}]" if isinstance(value, dict) else shown(value)
        )

    def _no_variable(self, error: ErrorDetails) -> str:
        # In TOML every key below [env] is env's: the rest of the top level has to stand above it.
        name = str(error["loc"][-1])
        return error["msg"] + (
            f"; the key {name} of the top level stands above the first [table]" if name in _keys(Document) else ""
        )


class PythonWords(Words):
    """The words of a call of ``ApplicationGroups``.

    single: whether the one mount is not written as such, since the call is about nothing else.
    """

    nothing_mounted = "nothing is mounted; give mounts=[Mount(path, app)]"
    nothing_runs = "nothing is mounted, and no file is a script; one of directories needs handler='wsgi-script'"
    global_threads = "with global_threads"
    no_process_groups = "describe it in process_groups"
    host_path_first = True

    def __init__(self, *, single: bool) -> None:
        self._single = single

    def place(self, loc: Loc) -> str:
        """``virtual_hosts[0].mounts[1].path``."""
        if loc[:2] == ("global", "threads"):
            return "global_threads"
        if self._single and loc[:2] == ("mount", 0):
            loc = loc[2:] or ("app",)
        if loc[:1] == (PROCESS_GROUPS,):
            return super().place(("process_groups", *loc[1:]))
        return super().place(
            tuple(
                ARRAYS[part] if isinstance(part, str) and part in ARRAYS and _names(loc[: at + 1]) in TABLES else part
                for at, part in enumerate(loc)
            )
        )

    def sentence(self, error: ErrorDetails) -> str:
        """As for a file, with Python's True and False."""
        text = super().sentence(error).replace("must be true or false", "must be True or False")
        value = error["input"]
        # isinstance would ask a proxy for its object.
        return text.replace(shown(value), str(value)) if type(value) is bool else text

    def unknown_argument(self, name: str, known: Collection[str]) -> str:
        """What to say of a keyword argument that there is not; ``known`` are those that there are."""
        if self._single and name in ("aliases", "directories", "mounts", "virtual_hosts"):
            return f"unknown argument; single() is about one application: write ApplicationGroups({name}=[...])"
        if name in _keys(Document) and name not in {*_keys(FileSettings), "virtual_host", "global"}:
            return "belongs to the server around this application: give it there"
        return "unknown argument" + _resembling(name, known)

    def _unknown(self, loc: Loc) -> str:
        *here, key = _names(loc)
        return "unknown key" + _resembling(key, _keys(TABLES[tuple(here)]))

    def _no_table(self, error: ErrorDetails) -> str:
        name = _names(error["loc"])[-1]
        return (
            f"must be a {CLASSES[name]}" if name in CLASSES else "must be a dict" + _unless_secret(name, error["input"])
        )

    def _no_array(self, error: ErrorDetails) -> str:
        name = error["loc"][-1]
        kind = f"{CLASSES[name]} objects" if name in CLASSES else "dicts"
        return f"must be a list of {kind}" + (
            f", not {shown(error['input'])}" if isinstance(error["input"], Raised) else ""
        )

    def _no_application(self, error: ErrorDetails) -> str:
        if callable(error["input"]):
            return error["msg"]
        kind = type(error["input"]).__name__
        return f'must be an import string such as "shop.wsgi:application", or a callable object, not {kind}'


def _unless_secret(name: str, value: object) -> str:
    return "" if name == SECRET else f", not {shown(value)}"


def as_written(loc: Loc) -> Loc:
    """The place as a file has it: [process_group.NAME] begins with the key of a setting."""
    return ("process_group", *loc[1:]) if loc[:1] == (PROCESS_GROUPS,) else loc


def _names(loc: Loc) -> tuple[str, ...]:
    """The keys on the way to a place; names that somebody has made up are none."""
    made_up = 1 if loc[:1] == (PROCESS_GROUPS,) else -1
    return tuple(part for at, part in enumerate(loc) if isinstance(part, str) and at != made_up)


def _keys(table: type[Section]) -> list[str]:
    return [field.alias or name for name, field in table.model_fields.items()]


def _resembling(key: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(key.replace("-", "_").lower(), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
