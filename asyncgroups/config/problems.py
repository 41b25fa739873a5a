"""What is wrong with one configuration, and where in its file that stands.

Law: pure; the text of the file comes in as it was read. Finding lines is put off until there is a problem to report.
May import pydantic and ``config.words``.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from asyncgroups.config.words import VARIABLES, Loc, Words, as_written

__all__ = ["Problems", "lines_of", "loc_of", "without"]

# Of TOML's tokens (section "String") only those that hide or end a line; a multi-line string may end in five quotes.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5} | \'{3}.*?\'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' | \#[^\n]*'''
    r"""| [\[\]{}=\n] | [^"'#\[\]{}=\n]+ | .""",
    re.DOTALL | re.VERBOSE,
)


class Problems:
    """What is wrong with one configuration, each problem once, in the order of the file.

    source: name of the file, text. text: its content; None where there is no file.
    options: key at the top level -> the command-line option that set it, which is then the place of its errors.
    words: what its places and problems are called.
    """

    def __init__(self, source: str, *, text: str | None, options: Mapping[str, str], words: Words) -> None:
        self.words = words
        self._source = source
        self.text = text
        self._options = options
        self._found: dict[tuple[Loc, str], None] = {}
        self._missing: dict[tuple[Loc, str], None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __repr__(self) -> str:
        return f"<Problems: {len(self._found)} in {self._source}>"

    def origin(self, loc: Loc) -> str:
        """The place of what stands at ``loc``, or the command-line option that was given instead."""
        return self._options.get(str(loc[0])) or self.words.place(loc)

    def add(self, loc: Loc, sentence: str) -> None:
        """Note a problem; ``loc`` is empty for one of the whole file."""
        self._found[loc, sentence] = None

    def miss(self, loc: Loc, sentence: str) -> None:
        """Note that a file or folder is not there: a problem, but where what needs it is answered 404, as by Apache."""
        (self._missing if self.words.goes_without else self._found)[loc, sentence] = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not there, and is no problem: a line each."""
        return tuple(f"{self.words.place(loc)}: {text}; it is answered 404" for loc, text in self._missing)

    def sentences(self) -> list[str]:
        """Every problem, ``file:line: place: sentence``; the file and line where they are known."""
        lines = lines_of(self.text) if self.text is not None else {}
        rendered = []
        for loc, text in self._found:
            if loc and (option := self._options.get(str(loc[0]))):
                rendered.append((0, f"{option}: {text}"))
                continue
            written = as_written(loc)
            line = next((lines[written[:end]] for end in range(len(loc), 0, -1) if written[:end] in lines), 0)
            before = f"{self._source}:{line}: " if line else ""
            rendered.append((line, before + (f"{self.words.place(loc)}: " if loc else "") + text))
        return [text for _, text in sorted(rendered, key=lambda item: item[0])]


def loc_of(error: ErrorDetails) -> Loc:
    """The place of an error of pydantic's; for a wrong key of a table of variables that of its value."""
    loc = error["loc"]
    if len(loc) > 2 and loc[-1] == "[key]" and loc[-2] not in VARIABLES:
        return loc[:-1]
    return loc


def without(table: Mapping[str, Any], dropped: Iterable[Loc]) -> dict[str, Any]:
    """A copy of ``table`` that lacks the values at these places, so that what is left can be checked as well."""
    gone = frozenset(dropped)

    def copy(value: Any, loc: Loc) -> Any:
        if isinstance(value, dict):
            return {key: copy(item, (*loc, key)) for key, item in value.items() if (*loc, key) not in gone}
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
