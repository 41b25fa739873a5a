"""A wrong value's place in the file, and a sentence about it.

Law: pure; the text of the file comes in as it was read. Finding lines is put off until there is a problem to report.
May import pydantic, ``config.model`` and ``config.values``.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic_core import ErrorDetails

from asyncgroups.config.model import (
    Document,
    GlobalSection,
    Limits,
    MountSection,
    Section,
    Timeouts,
    VirtualHostSection,
)
from asyncgroups.config.values import shown

__all__ = ["ARRAYS", "Loc", "Problems", "lines_of", "loc_of", "place", "sentence", "without"]

type Loc = tuple[int | str, ...]
"""Where a value stands: keys, and indices into arrays; ("mount", 0, "threads")."""

TABLES: Mapping[tuple[str, ...], type[Section]] = MappingProxyType(
    {
        (): Document,
        ("mount",): MountSection,
        ("virtual_host",): VirtualHostSection,
        ("virtual_host", "mount"): MountSection,
        ("global",): GlobalSection,
        ("limits",): Limits,
        ("timeouts",): Timeouts,
    }
)
STAND_IN = "stand:in"
ARRAYS = frozenset({"mount", "virtual_host"})
VARIABLES = frozenset({"env", "process_env"})

# Of TOML's tokens (section "String") only those that hide or end a line; a multi-line string may end in five quotes.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5} | \'{3}.*?\'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' | \#[^\n]*'''
    r"""| [\[\]{}=\n] | [^"'#\[\]{}=\n]+ | .""",
    re.DOTALL | re.VERBOSE,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def place(loc: Loc) -> str:
    """A place in TOML's own words: ``virtual_host[0].mount[1].path``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else f'"{ascii(part)[1:-1]}"')
    return text


class Problems:
    """What is wrong with one configuration, each problem once, in the order of the file.

    source: name of the file, text. text: its content; None where there is no file.
    options: key at the top level -> the command-line option that set it, which is then the place of its errors.
    """

    def __init__(self, source: str, *, text: str | None, options: Mapping[str, str]) -> None:
        self._source = source
        self._text = text
        self._options = options
        self._found: dict[tuple[Loc, str], None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __repr__(self) -> str:
        return f"<Problems: {len(self._found)} in {self._source}>"

    def add(self, loc: Loc, sentence: str) -> None:
        """Note a problem; ``loc`` is empty for one of the whole file."""
        self._found[loc, sentence] = None

    def sentences(self) -> list[str]:
        """Every problem, ``file:line: place: sentence``; the file and line where they are known."""
        lines = lines_of(self._text) if self._text is not None else {}
        rendered = []
        for loc, text in self._found:
            if loc and (option := self._options.get(str(loc[0]))):
                rendered.append((0, f"{option}: {text}"))
                continue
            line = next((lines[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in lines), 0)
            before = f"{self._source}:{line}: " if line else ""
            rendered.append((line, before + (f"{place(loc)}: " if loc else "") + text))
        return [text for _, text in sorted(rendered, key=lambda item: item[0])]


def loc_of(error: ErrorDetails) -> Loc:
    """The place of an error of pydantic's; for a wrong key of a table of variables that of its value."""
    loc = error["loc"]
    if len(loc) > 2 and loc[-1] == "[key]" and loc[-2] not in VARIABLES:
        return loc[:-1]
    return loc


def sentence(error: ErrorDetails) -> str:
    """An error of pydantic's in the words of the file; ``values`` has the sentences about single values."""
    name, value = str(error["loc"][-1]) if error["loc"] else "", error["input"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(error["loc"])
        case "missing":
            return "is missing"
        case "model_type" | "dict_type":
            return f"must be one table, not {shown(value)}" + (
                f"; write [{name}], not [[{name}]]"
                if isinstance(value, list) and value and isinstance(value[0], dict)
                else ""
            )
        case "tuple_type" if name in ARRAYS:
            header = ".".join(_names(error["loc"]))
            return f"there can be several of them: write [[{header}]], not " + (
                f"[{header}]" if isinstance(value, dict) else shown(value)
            )
        case "tuple_type":
            return f"must be a list of strings, not {shown(value)}" + (
                f"; write [{shown(value)}]" if isinstance(value, str) else ""
            )
        case _ if not isinstance(value, str) and error["loc"][-2:-1] and error["loc"][-2] in VARIABLES:
            # In TOML every key below [env] is env's: the rest of the top level has to stand above it.
            return error["msg"] + (
                f"; the key {name} of the top level stands above the first [table]" if name in _keys(Document) else ""
            )
        case _:
            return error["msg"]


def without(table: Mapping[str, Any], dropped: Iterable[Loc]) -> dict[str, Any]:
    """A copy of ``table`` that lacks the values at these places, so that what is left can be checked as well.

    A mount keeps an ``app``: no rule asks which, and the mount's other keys are worth checking.
    """
    gone = frozenset(dropped)

    def copy(value: Any, loc: Loc) -> Any:
        if isinstance(value, dict):
            left = {key: copy(item, (*loc, key)) for key, item in value.items() if (*loc, key) not in gone}
            return left | ({"app": STAND_IN} if loc[-2:-1] == ("mount",) and (*loc, "app") in gone else {})
        if isinstance(value, list | tuple):
            return [copy(item, (*loc, index)) for index, item in enumerate(value) if (*loc, index) not in gone]
        return value

    result: dict[str, Any] = copy(dict(table), ())
    return result


def lines_of(text: str) -> dict[Loc, int]:
    """The line, from 1, on which each table and key of a TOML document begins; what stands inside a value has none."""
    lines: dict[Loc, int] = {}
    last: dict[Loc, int] = {}  # array of tables -> the index of its last one so far
    table: Loc = ()
    for line, statement, is_header in _statements(text):
        if not is_header:
            loc = table
            for name in _names_in(f"{statement} = 0"):
                loc = (*loc, name)
                lines.setdefault(loc, line)
            continue
        names = _names_in(statement)
        table = ()
        for position, name in enumerate(names, start=1):
            table = (*table, name)
            lines.setdefault(table, line)
            if position == len(names) and statement.startswith("[["):
                last[table] = last.get(table, -1) + 1
            if table in last:
                table = (*table, last[table])
                lines.setdefault(table, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, what stands before the "=", whether it is a table's header) for each statement of a TOML document."""
    line, begun, before, in_value, depth = 1, 1, "", False, 0
    for token in (match[0] for match in _TOKEN.finditer(text + "\n")):
        if token == "\n" and depth == 0:
            if not in_value and before.strip():
                yield begun, before.strip(), True
            before, in_value = "", False
        elif token == "=" and not in_value:
            yield begun, before.strip(), False
            in_value = True
        elif in_value:
            depth += (token in "[{") - (token in "]}")
        elif not token.startswith("#"):
            begun = begun if before.strip() else line
            before += token
        line += token.count("\n")


def _names_in(statement: str) -> list[str]:
    """The parts of a key or header; TOML's own parser reads the quotes and dots in it."""
    names = []
    table: Any = tomllib.loads(statement)
    while table:
        table = table[0] if isinstance(table, list) else table
        if not isinstance(table, dict) or not table:
            break
        ((name, table),) = table.items()
        names.append(name)
    return names


def _names(loc: Loc) -> tuple[str, ...]:
    return tuple(part for part in loc if isinstance(part, str))


def _keys(table: type[Section]) -> list[str]:
    return [field.alias or name for name, field in table.model_fields.items()]


def _unknown_key(loc: Loc) -> str:
    """What to say of a key that its table does not have: where it belongs, or which one it resembles."""
    *here, key = _names(loc)
    table = tuple(here)
    homes = [names for names, section in TABLES.items() if key in _keys(section)]
    if homes:
        home = min(homes, key=lambda names: (names[: len(table)] != table, len(names)))
        if not home:
            return "unknown key here; it belongs to the top level, above the first [table]"
        header = ".".join(home)
        return f"unknown key here; it belongs to {f'[[{header}]]' if home[-1] in ARRAYS else f'[{header}]'}"
    close = difflib.get_close_matches(key.replace("-", "_").lower(), _keys(TABLES[table]), n=1)
    return f"unknown key; did you mean {close[0]}?" if close else "unknown key"
