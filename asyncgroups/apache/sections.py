"""<Directory>, <Files>, <Location>: what they say, of scripts and otherwise.

Law: pure. Imports the standard library and the modules of this room.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from asyncgroups.apache.access import Access, Denials, is_of_access, refusing
from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks, setting
from asyncgroups.apache.rewriting import KEYS as RULES
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import ACCESS

__all__ = ["HANDLER", "KEYS", "FilePart", "Section", "directory", "location", "read"]

HANDLER = "wsgi-script"
NOT_FOR_FILES = "settings of single files have no counterpart; they were left out"
NOT_FOR_URLS = "a rule for a URL path stands outside of all sections here, with the whole path in it; it was left out"
ELSEWHERE = "the handler is no business of a URL here: give it to the directory where the scripts lie"

OPTIONS_ELSEWHERE = "what runs is no business of a URL here: give it to the directory where the scripts lie"

KEYS = frozenset(
    {
        *["allow", "deny", "order", "require", "requireall", "requireany", "requirenone", "satisfy"],
        *["addhandler", "files", "filesmatch", "options", "sethandler"],
    }
)
"""What ``read`` takes care of."""


@dataclass(slots=True)
class FilePart:
    """A <Files>: which names it is for, and whether it says who may have them."""

    pattern: re.Pattern[str]
    statement: Statement
    denials: Denials


@dataclass(slots=True)
class Section:
    """What a section, or the configuration around all sections, says.

    table: its settings; ``path`` or ``match`` among them if it is a section of directories.
    statement: that begins it; None for what stands around all sections.
    handler: SetHandler: ``wsgi-script``, ``none``, or ``other``. extensions: AddHandler wsgi-script.
    execs: Options ExecCGI; None: nothing is said of it. denials: Require all denied and the like.
    files: the <Files> in it. rules: the statements that set variables of a request. access: all that it says of that.
    """

    table: Table
    statement: Statement | None = None
    handler: str | None = None
    extensions: list[str] | None = None
    execs: bool | None = None
    denials: Denials = field(default_factory=dict)
    files: list[FilePart] = field(default_factory=list)
    rules: list[Statement] = field(default_factory=list)
    access: Access = field(default_factory=Access)

    @property
    def denied(self) -> bool | None:
        """Whether nobody may have it; None where nothing is said of that."""
        return refusing(self.denials) is not None if self.denials else None

    @property
    def is_assigned(self) -> bool:
        return self.handler is not None or self.extensions is not None

    @property
    def says_something(self) -> bool:
        """Whether it says anything of scripts."""
        said = (self.handler, self.extensions, self.execs, self.denied)
        return any(one is not None for one in said)


def directory(statement: Statement, remarks: Remarks) -> Section:
    """What a <Directory> or <DirectoryMatch> says."""
    where = statement.arguments[-1] if statement.arguments else ""
    is_regex = statement.key == "directorymatch" or statement.arguments[:1] == ("~",)
    table = Table({"match": where} if is_regex else {"path": where.rstrip("/") or "/"}, made_by=statement)
    section = Section(table, statement)
    for one in statement.body or ():
        read(one, section, remarks=remarks)
    return section


def read(statement: Statement, section: Section, *, remarks: Remarks) -> None:
    """What one statement adds to a section."""
    match statement.key, statement.arguments:
        case (("require" | "allow" | "deny" | "order" | "requireall" | "requireany" | "requirenone" | "satisfy"), _):
            _access(statement, section, remarks)
        case (("sethandler" | "addhandler"), (name, *extensions)):
            _assign(statement, section, remarks=remarks, name=name.lower(), extensions=extensions)
        case "options", words:
            _options(statement, words, section=section, remarks=remarks)
        case (("files" | "filesmatch"), _):
            _files(statement, section, remarks)
        case key, _ if key in RULES:
            section.rules.append(statement)
        case _ if statement.body is not None:
            remarks.add(statement, ACCESS if is_of_access(statement) else "what is in it was left out")
        case _:
            setting(statement, section.table, remarks=remarks)


def _access(statement: Statement, section: Section, remarks: Remarks) -> None:
    """Whether access is denied altogether; who else is refused is not looked at."""
    if section.access.add(statement) is None:
        remarks.add(statement, ACCESS)
    section.denials = section.access.denials(section.denials, statement)


def _assign(statement: Statement, section: Section, *, remarks: Remarks, name: str, extensions: Sequence[str]) -> None:
    if name == HANDLER or statement.key == "sethandler":
        section.table.set_by["handler"] = statement
    if statement.key == "sethandler":
        section.handler = name if name in (HANDLER, "none") else "other"
        if name not in (HANDLER, "none", "default-handler"):
            remarks.add(statement, f"there is no handler {name}: what it answers is answered 404, or by a mount")
    elif name == HANDLER:
        section.extensions = [f".{one.lstrip('.')}" for one in extensions]
    elif name != "type-map":
        remarks.add(statement, f"there is no handler {name}: such files are answered 404")


def _options(statement: Statement, words: Sequence[str], *, section: Section, remarks: Remarks) -> None:
    """What Options says of scripts and links; a list without signs is the whole of it."""
    table = section.table
    chosen = {word.lstrip("+-").lower(): not word.startswith("-") for word in words}
    is_whole = not any(word[:1] in "+-" for word in words)
    if "all" in chosen:
        chosen |= {"execcgi": chosen["all"], "followsymlinks": chosen["all"]}
    if is_whole or "execcgi" in chosen:
        section.execs = chosen.get("execcgi", False)
    if chosen.get("symlinksifownermatch"):
        remarks.add(statement, "whose a link is is not looked at: links are not followed there")
        table.put("follow_symlinks", value=False, by=statement)
    elif is_whole or "followsymlinks" in chosen:
        table.put("follow_symlinks", value=chosen.get("followsymlinks", False), by=statement)


def _files(statement: Statement, section: Section, remarks: Remarks) -> None:
    """A section for files: the handler for names with one extension, who may have them, or nothing that matters."""
    inside = Section(Table())
    for one in statement.body or ():
        read(one, inside, remarks=remarks)
    for one in inside.rules:
        remarks.add(one, NOT_FOR_FILES)
    pattern = statement.arguments[-1] if statement.arguments else ""
    is_regex = statement.key == "filesmatch" or statement.arguments[:1] == ("~",)
    if inside.denied and re.match(r"\^\\\.[^|]*\Z" if is_regex else r"\.", pattern):
        return  # names that begin with a dot are never scripts
    extension = re.fullmatch(r"\^?(?:\.\*)?\\(\.[\w-]+)\$" if is_regex else r"\*(\.[\w-]+)", pattern)
    if inside.handler == HANDLER and extension is not None:
        section.extensions = [extension[1]]
        section.table.set_by["handler"] = statement
        section.table.update(inside.table)
        section.execs = inside.execs if inside.execs is not None else section.execs
    elif inside.table or inside.handler is not None or inside.extensions is not None:
        remarks.add(statement, NOT_FOR_FILES)
    if inside.denials:
        try:
            names = re.compile(pattern if is_regex else fnmatch.translate(pattern))
        except re.error:
            remarks.add(statement, ACCESS)
            return
        section.files.append(
            FilePart(names, statement, {kind: (denied, statement) for kind, (denied, _) in inside.denials.items()})
        )


def location(statement: Statement, remarks: Remarks) -> Section:
    """What a <Location> says."""
    section = Section(Table(made_by=statement), statement)
    for one in statement.body or ():
        if one.key in ("sethandler", "addhandler") and HANDLER in map(str.lower, one.arguments):
            remarks.add(one, ELSEWHERE)
        elif one.key in RULES:
            remarks.add(one, NOT_FOR_URLS)
        elif one.key == "options":
            # What runs and which links are followed: of the rest nothing matters here.
            words = [word.lower() for word in one.arguments]
            if {"+execcgi", "-execcgi"}.intersection(words) or not any(word[:1] in "+-" for word in words):
                remarks.add(one, OPTIONS_ELSEWHERE)
        else:
            read(one, section, remarks=remarks)
    return section
