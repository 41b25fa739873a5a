"""The tables of a mapping of the shape of ``asyncgroups.toml``, which know the statements that they come from.

Law: dictionaries that remember, and nothing else. Imports the standard library and ``apache.reading``.
"""

from collections.abc import Mapping
from typing import Any

from asyncgroups.apache.reading import Statement

__all__ = ["Place", "Table", "places"]

type Place = tuple[int | str, ...]
"""Keys, and indices into arrays: ("mount", 0, "script")."""


class Table(dict[str, Any]):
    """A table, and which statements say so.

    made_by: the statement that it is there for; None for one that has none of its own.
    set_by: those that have set single keys.
    """

    __slots__ = ("made_by", "set_by")

    def __init__(self, content: Mapping[str, Any] | None = None, *, made_by: Statement | None = None) -> None:
        super().__init__(content or {})
        self.made_by: Statement | None = made_by
        self.set_by: dict[str, Statement | None] = {}

    def put(self, key: str, value: object, *, by: Statement) -> None:
        """Set a key, and remember which statement did."""
        self[key] = value
        self.set_by[key] = by

    def extend(self, key: str, *items: object, by: Statement) -> None:
        """Add to a list; its place is that of the statement that began it."""
        self.setdefault(key, []).extend(items)
        self.set_by.setdefault(key, by)

    def table(self, key: str, *, by: Statement) -> Table:
        """The table at ``key``, made if there is none."""
        if key not in self:
            self[key] = Table(made_by=by)
        found: Table = self[key]
        return found


def places(table: Table) -> dict[Place, Statement]:
    """Which statement each table and key comes from, as far as one does."""
    found: dict[Place, Statement] = {}

    def look(value: object, at: Place) -> None:
        if isinstance(value, Table):
            if value.made_by is not None:
                found[at] = value.made_by
            found.update({(*at, key): by for key, by in value.set_by.items() if key in value and by is not None})
        if isinstance(value, dict):
            for key, one in value.items():
                look(one, (*at, key))
        elif isinstance(value, list):
            for index, one in enumerate(value):
                look(one, (*at, index))

    look(table, ())
    return found
