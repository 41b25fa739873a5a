"""A mapping of the shape of ``asyncgroups.toml`` -> the text of such a file.

Law: pure. Imports the standard library and ``apache.tables``.

The standard library reads TOML and does not write it. Written is what ``translation`` makes: text, numbers, truth
values, lists, tables; ``tomllib`` gives the same mapping back.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeIs

from asyncgroups.apache.tables import Table

__all__ = ["toml"]

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
ESCAPED = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
LONGEST_LINE = 100
ARRAYS = frozenset({"virtual_host", "mount", "alias", "directory", "rewrite"})
TABLES = frozenset({"userdir", "process_group"})
"""Keys whose values have headers of their own; other tables stand on one line."""


def toml(mapping: Mapping[str, object], *, heading: str = "") -> str:
    """The text of a file that holds ``mapping``; a comment beside the header of a table says where that comes from.

    heading: what a comment at its beginning says, of one line or several.
    Raises TypeError for what TOML has no value for.
    """
    comment = "".join(f"{_comment(line)}\n" for line in heading.splitlines())
    return f"{comment}\n".lstrip() + "\n".join(_table(mapping, "")).strip() + "\n"


def _comment(text: str) -> str:
    return "# " + "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _header(name: str, table: Mapping[str, object]) -> str:
    by = table.made_by if isinstance(table, Table) else None
    return f"{name}  {_comment(by.place)}" if by is not None else name


def _table(mapping: Mapping[str, object], header: str) -> Iterator[str]:
    """The lines of a table: first its own keys, then those that have headers."""
    below: list[tuple[str, Mapping[str, object], bool]] = []
    for key, value in mapping.items():
        name = f"{header}{_key(key)}"
        if key in ARRAYS and _is_array_of_tables(value):
            below += [(name, one, True) for one in value]
        elif key == "process_group" and isinstance(value, Mapping) and _is_array_of_tables([*value.values()]):
            below += [(f"{name}.{_key(group)}", table, False) for group, table in value.items()]
        elif key in TABLES and isinstance(value, Mapping):
            below.append((name, value, False))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for name, table, is_array in below:
        yield ""
        yield _header(f"[[{name}]]" if is_array else f"[{name}]", table)
        yield from _table(table, f"{name}.")


def _is_array_of_tables(value: object) -> TypeIs[list[Mapping[str, object]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            return (
                "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }" if value else "{}"
            )
        case Sequence():
            items = [_value(one) for one in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) <= LONGEST_LINE else "[\n" + "".join(f"    {one},\n" for one in items) + "]"
    raise TypeError(f"TOML has no value for {value!r}")


def _text(text: str) -> str:
    """A literal string where that saves backslashes, as in regular expressions; else a basic one."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    # Surrogates stand for bytes that are no UTF-8, which no TOML file can hold.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return '"' + "".join(_character(one) for one in text) + '"'


def _character(one: str) -> str:
    if one in ESCAPED:
        return ESCAPED[one]
    return one if one >= " " and one != "\x7f" else f"\\u{ord(one):04X}"
