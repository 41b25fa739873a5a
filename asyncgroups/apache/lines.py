"""The lines of a configuration, and the arguments in one.

Law: pure. Imports the standard library. The grammar stands in ``reading``.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Line", "arguments_of", "lines_of"]

_NAME = re.compile(r"[\w-]+=(?=[\"'])")
_ESCAPED = re.compile(r"""\\([\\"'])""")


class Line(NamedTuple):
    """A line, its continuations joined, and the number of its first one."""

    number: int
    text: str


def lines_of(text: str) -> Iterator[Line]:
    """The lines that are neither empty nor comments."""
    joined, begun = "", 0
    for number, part in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        begun = begun or number
        joined += part.removesuffix("\r")
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        line = joined.strip()
        if line and not line.startswith("#"):
            yield Line(begun, line)
        joined, begun = "", 0
    if joined.strip() and not joined.lstrip().startswith("#"):
        yield Line(begun, joined.strip() + "\\")


def arguments_of(text: str, *, options: bool = False) -> list[str]:
    """The arguments in a line: ``argument`` of the grammar, variables expanded or not. Source: ap_getword_conf.

    options: whether there are such as ``name='a value'``, which mod_wsgi's directives have. Source: wsgi_parse_option.
    """
    words: list[str] = []
    position = 0
    while True:
        while text[position : position + 1].isspace():
            position += 1
        if position >= len(text):
            return words
        name = _NAME.match(text, position) if options else None
        start = name.end() if name is not None else position
        quote = text[start]
        if quote in "\"'":
            end = start + 1
            while end < len(text) and text[end] != quote:
                end += 2 if text[end] == "\\" and text[end + 1 : end + 2] in (quote, "\\") else 1
            words.append(text[position:start] + _unescaped(text[start + 1 : end], quote))
            position = end + 1
        else:
            end = position
            while end < len(text) and not text[end].isspace():
                end += 1
            words.append(_unescaped(text[position:end], "\\"))
            position = end


def _unescaped(word: str, quote: str) -> str:
    return _ESCAPED.sub(lambda found: found[1] if found[1] in (quote, "\\") else found[0], word)
