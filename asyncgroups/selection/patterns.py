"""A compiled regular expression, as this room sees one.

Law: declarations only. Imports the standard library.

The standard library's engine can be stalled for minutes by a path that a client chooses, and this room needs no other
library. So ``config`` compiles regular expressions with an engine that gives up in time (``config.patterns``), and
hands them in as what stands here.
"""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Groups", "Pattern"]

type Groups = Sequence[str | None]
"""What a regular expression found: the whole match, and its groups from 1 on; None for one that took no part."""


class Pattern(Protocol):
    """A compiled regular expression; ``str()`` is how it was written."""

    def search(self, text: str) -> Groups | None:
        """Find the first match anywhere in ``text``; None without one. Raises PatternTooSlow."""
