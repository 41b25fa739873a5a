"""What a translation cannot say, collected.

Law: a list and nothing else. Imports the standard library, and ``reading``, ``tables``, ``words`` of this room.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import MEANINGS, NEUTRAL, NO_COUNTERPART, SHARED

__all__ = ["Remark", "Remarks", "embedded", "grouped", "setting", "unknown_group"]


LONGEST_TEXT = 80
"""Characters of a statement that a line shows."""


class Remark(NamedTuple):
    """What could not be said, or not quite.

    place: ``file:line``. text: the statement, as written. meaning: what it means for the user, one sentence.
    """

    place: str
    text: str
    meaning: str

    @property
    def name(self) -> str:
        return self.text.split(maxsplit=1)[0]

    def __str__(self) -> str:
        text = self.text if len(self.text) <= LONGEST_TEXT else f"{self.text[: LONGEST_TEXT - 1]}…"
        return f"{self.place}: {text}: {self.meaning}"


def grouped(remarks: Iterable[Remark]) -> list[str]:
    """One line for each thing that is to be said, with all the places that it is to be said of."""
    groups: dict[tuple[str, str], list[Remark]] = {}
    for remark in remarks:
        name = "" if remark.meaning in SHARED else remark.name.lower()
        groups.setdefault((name, remark.meaning), []).append(remark)
    return [_line(*group) for group in groups.values()]


def _line(first: Remark, *others: Remark) -> str:
    if not others:
        return str(first)
    places: dict[str, list[str]] = {}
    for one in others:
        places.setdefault(one.name if one.name.lower() != first.name.lower() else "", []).append(one.place)
    told = [f"{name} {_listed(found)}".lstrip() for name, found in places.items()]
    return f"{first} (and {len(others)} more: {'; '.join(told)})"


def _listed(places: Iterable[str]) -> str:
    """``a.conf:3-5, 9; b.conf:1``."""
    lines: dict[str, list[list[str]]] = {}
    for place in dict.fromkeys(places):
        file, _, number = place.rpartition(":")
        ranges = lines.setdefault(file, [])
        if ranges and int(ranges[-1][-1]) + 1 == int(number):
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return "; ".join(f"{file}:{', '.join(map('-'.join, ranges))}" for file, ranges in lines.items())


class Remarks:
    """The remarks on one configuration."""

    def __init__(self) -> None:
        self.found: list[Remark] = []

    def __repr__(self) -> str:
        return f"<Remarks: {len(self.found)}>"

    def add(self, statement: Statement | None, meaning: str | None) -> None:
        """Note what a statement means for the user; None where there is nothing to note."""
        if statement is not None and meaning is not None:
            text = f"{statement.name} {statement.raw}".strip()
            text = f"<{text}>" if statement.body is not None else text
            self.found.append(Remark(statement.place, text, meaning))


def embedded(group: str) -> str:
    """A process group as it is called here, where the server's own process has no name."""
    return "" if group == "%{GLOBAL}" else group


def unknown_group(group: str) -> str | None:
    """What a remark says of the name of an application group; None where it can be one."""
    if not group.startswith("%{") or re.fullmatch(r"%\{(GLOBAL|SERVER|RESOURCE|ENV:[^}]+)\}", group):
        return None
    return "there is no such variable, and no group of this name: give it another one"


def setting(statement: Statement, table: Table, *, remarks: Remarks) -> None:
    """What may stand in any context: into its table, or a remark."""
    match statement.key, statement.arguments:
        case "wsgiapplicationgroup", (group,):
            table.put("application_group", group, by=statement)
            remarks.add(statement, unknown_group(group))
        case "wsgiprocessgroup", (group,):
            table.put("process_group", embedded(group), by=statement)
        case "wsgicallableobject", (name,):
            table.put("callable", name, by=statement)
        case "wsgiscriptreloading", (switch,):
            table.put("script_reloading", switch.lower() == "on", by=statement)
        case "setenv", (name, *value):
            table.table("env", by=statement).put(name, value[0] if value else "", by=statement)
        case "wsgipassauthorization", (switch,):
            if switch.lower() != "on":
                remarks.add(statement, "applications always see the Authorization header")
        case (("allowoverride" | "allowoverridelist"), (word,)) if word.lower() == "none":
            pass
        case "directoryindex", words if not any(re.search(r"\.(?:wsgi|py)\Z", word) for word in words):
            pass  # files of other names are hardly scripts
        case "sslverifyclient", (word,) if word.lower() == "none":
            pass
        case "require", words if [word.lower() for word in words] == ["all", "granted"]:
            pass
        case key, _ if key not in NEUTRAL:
            remarks.add(statement, MEANINGS.get(key, NO_COUNTERPART))
