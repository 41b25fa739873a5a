"""What a translation cannot say, collected.

Law: a list and nothing else. Imports the standard library, ``apache.reading`` and ``apache.words``.
"""

from typing import Any, NamedTuple

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.words import MEANINGS, NEUTRAL, NO_COUNTERPART

__all__ = ["Remark", "Remarks", "Table", "setting"]

type Table = dict[str, Any]


class Remark(NamedTuple):
    """What could not be said, or not quite.

    place: ``file:line``. text: the statement, as written. meaning: what it means for the user, one sentence.
    """

    place: str
    text: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}: {self.meaning}"


class Remarks:
    """The remarks on one configuration."""

    def __init__(self) -> None:
        self.found: list[Remark] = []

    def __repr__(self) -> str:
        return f"<Remarks: {len(self.found)}>"

    def add(self, statement: Statement, meaning: str | None) -> None:
        """Note what a statement means for the user; None where there is nothing to note."""
        if meaning is not None:
            text = f"{statement.name} {statement.raw}".strip()
            text = f"<{text}>" if statement.body is not None else text
            self.found.append(Remark(statement.place, text, meaning))


def setting(statement: Statement, table: Table, *, remarks: Remarks) -> None:
    """What may stand in any context: into its table, or a remark."""
    match statement.key, statement.arguments:
        case "wsgiapplicationgroup", (group,):
            table["application_group"] = group
        case "wsgiprocessgroup", (group,):
            table["process_group"] = group
        case "wsgicallableobject", (name,):
            table["callable"] = name
        case "wsgiscriptreloading", (switch,):
            table["script_reloading"] = switch.lower() == "on"
        case "setenv", (name, *value):
            table.setdefault("env", {})[name] = value[0] if value else ""
        case "wsgipassauthorization", (switch,):
            if switch.lower() != "on":
                remarks.add(statement, "applications always see the Authorization header")
        case "require", words if [word.lower() for word in words] == ["all", "granted"]:
            pass
        case key, _ if key not in NEUTRAL:
            remarks.add(statement, MEANINGS.get(key, NO_COUNTERPART))
