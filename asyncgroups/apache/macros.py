"""<Macro>: text with parameters, to be used several times.

Law: pure. Imports the standard library.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Macro"]


class Macro(NamedTuple):
    """parameters: as written: ``$name``, ``@name``, ``%name``. lines: text. Source: mod_macro."""

    parameters: Sequence[str]
    lines: Sequence[str]

    def expand(self, values: Sequence[str]) -> Iterator[str]:
        """The lines with the values in place of the parameters; of two that fit the longer one counts."""
        if not self.parameters:
            yield from self.lines
            return
        given = dict(zip(self.parameters, values, strict=True))
        pattern = re.compile("|".join(re.escape(one) for one in sorted(given, key=len, reverse=True)))
        for line in self.lines:
            yield pattern.sub(lambda found: given[found[0]], line)
