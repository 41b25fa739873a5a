"""<Directory>, <Files>, <Location> -> ``[[directory]]``, or settings of a mount.

Law: pure. Imports the standard library and the modules of this room.

Scripts need ExecCGI in Apache, and nothing but the handler here: so a section that takes ExecCGI away takes the handler
away. While a context is being read its sections carry what they say of it under ``EXEC``.
"""

import re
from collections.abc import Iterable, Sequence

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks, setting
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import FILES

__all__ = ["directory", "location", "scripts"]

EXEC = "exec"
HANDLER = "wsgi-script"
NOT_FOR_FILES = "settings of single files have no counterpart; they were left out"


def directory(statement: Statement, remarks: Remarks) -> Table:
    """The table for <Directory> or <DirectoryMatch>."""
    where = statement.arguments[-1] if statement.arguments else ""
    is_regex = statement.key == "directorymatch" or statement.arguments[:1] == ("~",)
    table = Table({"match": where} if is_regex else {"path": where.rstrip("/") or "/"}, made_by=statement)
    _read(statement.body or (), table, remarks)
    return table


def location(statement: Statement, context: Table, *, remarks: Remarks) -> None:
    """<Location>: the settings of the mount of that very path; there is no other context for a URL path."""
    table = Table()
    _read(statement.body or (), table, remarks)
    table.pop(EXEC, None)
    path = (statement.arguments[0] if statement.arguments else "").rstrip("/") or "/"
    mount = next((one for one in context.get("mount", ()) if one.get("path") == path), None)
    if mount is not None:
        for key, value in table.items():
            mount.setdefault(key, value)
    elif table:
        remarks.add(statement, "no application is mounted at this very path; its settings were left out")


def scripts(
    context: Table,
    folders: Sequence[tuple[str, Statement]],
    *,
    runs: Sequence[tuple[Statement, Table]],
    remarks: Remarks,
) -> None:
    """What the sections of a context and the folders that URLs lead to say together.

    folders: with the statements that lead there. runs: the sections that have the handler. ``EXEC`` goes.
    """
    sections: list[Table] = context.get("directory", [])
    for table in sections:
        if table.get(EXEC) is False and "handler" not in table and any(_may_meet(one, table) for _, one in runs):
            table["handler"] = "none"
    for folder, statement in folders:
        if not any(one.get("handler") == HANDLER and _may_meet(one, Table({"path": folder})) for one in sections):
            remarks.add(statement, FILES)
    for statement, table in runs:
        if not any(one.get(EXEC) and _may_meet(one, table) for one in sections):
            remarks.add(statement, "Options ExecCGI stands nowhere for it: Apache answers 403, asyncgroups runs it")
    for table in sections:
        table.pop(EXEC, None)
    if kept := [table for table in sections if not table.keys() <= {"path", "match"}]:
        context["directory"] = kept
    else:
        context.pop("directory", None)


def _read(body: Iterable[Statement], table: Table, remarks: Remarks) -> None:
    denied = False
    for statement in body:
        match statement.key, statement.arguments:
            case "require", words if [word.lower() for word in words] == ["all", "denied"]:
                denied = True
            case "sethandler", (name,):
                table["handler"] = HANDLER if name == HANDLER else "none"
            case "addhandler", (name, *extensions) if name == HANDLER:
                table["handler"] = HANDLER
                table["extensions"] = [f".{one.lstrip('.')}" for one in extensions]
            case "options", words:
                _options(statement, words, table=table, remarks=remarks)
            case (("files" | "filesmatch"), _):
                _files(statement, table, remarks)
            case _ if statement.body is not None:
                remarks.add(statement, "what is in it was left out")
            case _:
                setting(statement, table, remarks=remarks)
    if denied or (table.get("handler") == HANDLER and table.get(EXEC) is False):
        table["handler"] = "none"


def _options(statement: Statement, words: Sequence[str], *, table: Table, remarks: Remarks) -> None:
    """What Options says of scripts and links; a list without signs is the whole of it."""
    chosen = {word.lstrip("+-").lower(): not word.startswith("-") for word in words}
    is_whole = not any(word[:1] in "+-" for word in words)
    if "all" in chosen:
        chosen |= {"execcgi": chosen["all"], "followsymlinks": chosen["all"]}
    if is_whole or "execcgi" in chosen:
        table[EXEC] = chosen.get("execcgi", False)
    if chosen.get("symlinksifownermatch"):
        remarks.add(statement, "whose a link is is not looked at: links are not followed there")
        table["follow_symlinks"] = False
    elif is_whole or "followsymlinks" in chosen:
        table["follow_symlinks"] = chosen.get("followsymlinks", False)


def _files(statement: Statement, table: Table, remarks: Remarks) -> None:
    """A section for files: the handler for names with one extension, or nothing that matters."""
    inside = Table()
    _read(statement.body or (), inside, remarks)
    pattern = statement.arguments[-1] if statement.arguments else ""
    is_regex = statement.key == "filesmatch" or statement.arguments[:1] == ("~",)
    extension = re.fullmatch(r"\^?(?:\.\*)?\\(\.[\w-]+)\$" if is_regex else r"\*(\.[\w-]+)", pattern)
    if inside.get("handler") == HANDLER and extension is not None:
        table.update(inside, extensions=[extension[1]])
    elif inside:
        remarks.add(statement, NOT_FOR_FILES)


def _may_meet(one: Table, other: Table) -> bool:
    """Whether two sections may be for the same file: one lies in the other, up to the first wildcard."""
    if "match" in one or "match" in other:
        return True
    first, second = (re.split(r"[*?\[]", table["path"])[0].rstrip("/") for table in (one, other))
    return first.startswith(second) or second.startswith(first)
