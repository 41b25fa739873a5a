"""Reads Apache's configuration files: which statements there are, with their arguments, in which file and line.

Law: knows the form of a configuration, and the directives that decide what of it counts (Include, Define, IfModule …);
what the others mean is not its business. Reads the files that it is led to.
Imports the standard library and ``errors``.

    file      = *( line LF )                            ; a "\\" before LF joins a line with the next one
    line      = [ blank ] ( comment / opening / closing / directive )
    comment   = "#" *character
    opening   = "<" name *( blank argument ) ">"
    closing   = "</" name ">"
    directive = name *( blank argument )
    argument  = quoted / 1*character                    ; "\\\\" is one backslash
    quoted    = DQUOTE *character DQUOTE / "'" *character "'"    ; "\\" and the quote is a quote

A ``#`` that does not begin a line is a character like others. ``${NAME}`` is expanded before arguments are told apart:
one with a blank in it is several where it is not quoted. If there is none of that name it stays.
Source: Apache 2.4, server/config.c and util.c (ap_cfg_getline, ap_getword_conf, ap_resolve_env, ap_build_config).

Why no library: apacheconfig (last released in 2020) gives no lines, reads ``SetEnv X a#b`` as ``a``, takes the outer
quotes off ``"^/a b" - "[L]"`` and lets ``</Location>`` close ``<Directory>``, in silence; httpd-pyparser (AGPL) knows
no single quotes and no directive without arguments; augeas has no wheels; the others do not run on this Python.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.apache.lines import Line, arguments_of, lines_of
from asyncgroups.apache.macros import Macro
from asyncgroups.errors import ConfigurationError

__all__ = ["NO_DEFINES", "Reading", "Skipped", "Statement", "read", "walk"]

DEEPEST_INCLUDE = 128
"""Files that may include one another (AP_MAX_INCLUDE_DEPTH)."""

VERSION = (2, 4, 71)
"""Of the Apache that ``<IfVersion>`` is told of: the one that this was measured with."""

BUILT_IN = frozenset(
    {"core", "http_core", "so", "version", "unixd", "log_config", "logio", "watchdog", "mpm_event", "mpm_worker"}
    | {"authz_core", "wsgi"}
)
"""Modules that are there without LoadModule, or make no difference; and those that each Apache 2.4 with mod_wsgi has.

A site may load that one itself: that says nothing of the others.
"""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_OPENING = re.compile(r"<(?!/)\s*([^\s>]+)(.*)", re.DOTALL)
_CLOSING = re.compile(r"</\s*([^\s>]*)\s*>?.*", re.DOTALL)
_RELATION = re.compile(r"(!?)(=|==|>|<|>=|<=|~)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A directive, or a section with what is in it.

    name: as written. key: the same in small letters, as which names are compared.
    arguments: text, unquoted, variables expanded. raw: the whole text after the name, as written but for continuations.
    body: the statements of a section; None for a directive.
    file, line: where it begins; the first line is 1.
    """

    name: str
    key: str
    arguments: tuple[str, ...]
    raw: str
    body: tuple[Statement, ...] | None = None
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class Skipped(NamedTuple):
    """A section that does not count, and why; or one that counts because that was assumed."""

    statement: Statement
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A configuration as it was read.

    statements: in the order in which they count; what was included stands in the place of its Include, and what is in
    an IfModule or the like that holds in the place of that.
    skipped: sections that do not hold. assumed: sections that nobody could say of whether they hold; they are taken to.
    files: the files that were read, in their order.
    server_root: what relative paths start from.
    """

    statements: tuple[Statement, ...]
    skipped: tuple[Skipped, ...]
    assumed: tuple[Skipped, ...]
    files: tuple[str, ...]
    server_root: str


NO_DEFINES: Mapping[str, str] = MappingProxyType({})


def read(path: str | os.PathLike[str], *, defines: Mapping[str, str] = NO_DEFINES) -> Reading:
    """Read a configuration with all that it includes.

    path: of the file. defines: names of ``apache2 -D NAME``, and values of ``Define NAME VALUE``.
    Raises ConfigurationError, with every problem and its place.
    """
    source = os.fspath(path)
    reader = _Reader(source, defines)
    statements = reader.file(source, 0)
    if reader.problems:
        raise ConfigurationError(source, reader.problems)
    return Reading(
        statements=tuple(statements),
        skipped=tuple(reader.skipped),
        assumed=tuple(reader.assumed),
        files=tuple(reader.files),
        server_root=str(reader.root),
    )


def walk(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Every statement, also those in sections, in order."""
    for statement in statements:
        yield statement
        yield from walk(statement.body or ())


@dataclass(slots=True)
class _Open:
    """A section that is being read."""

    statement: Statement
    body: list[Statement] = field(default_factory=list)
    holds: bool = True
    is_kept: bool = True  # as a section of its own; else its statements take its place


class _Reader:
    """What has been read so far, and what it says of what comes."""

    def __init__(self, source: str, defines: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.skipped: list[Skipped] = []
        self.assumed: list[Skipped] = []
        self.files: list[str] = []
        # Where none is given it is compiled in; nearest to it is where the configuration lies.
        self.root = Path(source).absolute().parent
        self._defines = dict(defines)
        self._modules: set[str] = set()
        self._macros: dict[str, Macro] = {}
        self._conditions: Mapping[str, Callable[[Statement], bool | None]] = {
            "ifmodule": self._has_module,
            "ifdefine": lambda statement: _negatable(statement, self._defines.__contains__),
            "iffile": lambda statement: _negatable(statement, lambda name: self._below_root(name).exists()),
            "ifversion": _is_version,
            "ifdirective": lambda _: None,
            "ifsection": lambda _: None,
        }

    def file(self, path: str, depth: int) -> list[Statement]:
        """The statements of a file and of those that it includes."""
        try:
            # Names of files are bytes, and comments are in whatever encoding.
            text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror or error}")
            return []
        self.files.append(path)
        top = _Open(Statement(name="", key="", arguments=(), raw="", file=path, line=0))
        sections = [top]
        self._lines(lines_of(text), sections, file=path, depth=depth)
        for section in sections[1:]:
            self.problems.append(f"{section.statement.place}: <{section.statement.name}> is not closed")
        return top.body

    def _lines(self, lines: Iterator[Line], sections: list[_Open], *, file: str, depth: int) -> None:
        """The statements of a file, or of a macro, into the section that is open."""
        for number, line in lines:
            if line.startswith("</"):
                self._close(sections, line, place=f"{file}:{number}")
            elif line.startswith("<"):
                self._open(sections, line, file=file, number=number)
                opened = sections[-1].statement
                if opened.key in ("perl", "macro"):
                    sections.pop()
                    body = _until_closed(lines, opened.key)
                    if opened.key == "macro" and opened.arguments and all(section.holds for section in sections):
                        self._macros[opened.arguments[0].lower()] = Macro(opened.arguments[1:], body)
            else:
                name, raw = _name_and_rest(line)
                statement = self._statement(name, raw, file=file, line=number)
                if not all(section.holds for section in sections):
                    sections[-1].body.append(statement)
                elif statement.key == "use":
                    self._use(statement, sections, depth)
                else:
                    sections[-1].body.append(statement)
                    self._obey(statement, sections[-1].body, depth)

    def _use(self, statement: Statement, sections: list[_Open], depth: int) -> None:
        """The statements of a macro: their place is the one where it is used."""
        name, *values = statement.arguments or ("",)
        macro = self._macros.get(name.lower())
        if macro is None:
            self.problems.append(f"{statement.place}: Use: there is no macro {name!r}")
        elif len(values) != len(macro.parameters):
            told = f"takes {len(macro.parameters)} arguments, not {len(values)}"
            self.problems.append(f"{statement.place}: Use: the macro {name!r} {told}")
        elif depth >= DEEPEST_INCLUDE:
            self.problems.append(f"{statement.place}: macros use one another more than {DEEPEST_INCLUDE} deep")
        else:
            lines = (Line(statement.line, text) for text in macro.expand(values))
            self._lines(lines, sections, file=statement.file, depth=depth + 1)

    def _statement(self, name: str, raw: str, *, file: str, line: int) -> Statement:
        words = tuple(arguments_of(self._expanded(raw), options=name.lower().startswith("wsgi")))
        return Statement(name=name, key=name.lower(), arguments=words, raw=raw, file=file, line=line)

    def _expanded(self, text: str) -> str:
        return _VARIABLE.sub(lambda found: self._defines.get(found[1], os.environ.get(found[1], found[0])), text)

    # Sections

    def _open(self, sections: list[_Open], line: str, *, file: str, number: int) -> None:
        found = _OPENING.fullmatch(line)
        rest = found[2].rstrip() if found is not None else ""
        if found is None or not rest.endswith(">"):
            self.problems.append(f"{file}:{number}: {line[:60]!r} has no '>' at its end")
        name = found[1] if found is not None else line[1:].strip(" <>")
        statement = self._statement(name, rest.removesuffix(">").strip(), file=file, line=number)
        section = _Open(statement)
        if (condition := self._conditions.get(statement.key)) is not None:
            section.is_kept = False
            if all(one.holds for one in sections):
                holds = condition(statement)
                section.holds = holds is not False
                if holds is None:
                    self.assumed.append(Skipped(statement, "nothing says whether it holds"))
        sections.append(section)

    def _close(self, sections: list[_Open], line: str, *, place: str) -> None:
        found = _CLOSING.fullmatch(line)
        name = found[1] if found is not None else ""
        if len(sections) == 1:
            self.problems.append(f"{place}: </{name}> closes nothing")
            return
        section = sections.pop()
        opened = section.statement
        if name.lower() != opened.key:
            self.problems.append(f"{place}: </{name}> closes <{opened.name}> of line {opened.line}")
        whole = Statement(
            name=opened.name,
            key=opened.key,
            arguments=opened.arguments,
            raw=opened.raw,
            body=tuple(section.body),
            file=opened.file,
            line=opened.line,
        )
        if section.is_kept:
            sections[-1].body.append(whole)
        elif section.holds:
            sections[-1].body.extend(section.body)
        elif all(one.holds for one in sections):
            self.skipped.append(Skipped(whole, "does not hold"))

    # What decides what counts

    def _obey(self, statement: Statement, body: list[Statement], depth: int) -> None:
        match statement.key, statement.arguments:
            case (("include" | "includeoptional"), (pattern, *_)):
                body.pop()
                is_optional = statement.key == "includeoptional"
                for file in self._included(pattern, statement, is_optional=is_optional, depth=depth):
                    body.extend(self.file(file, depth + 1))
            case "define", (name, *value):
                self._defines[name] = value[0] if value else ""
            case "undefmacro", (name, *_):
                body.pop()
                self._macros.pop(name.lower(), None)
            case "undefine", (name, *_):
                self._defines.pop(name, None)
            case "serverroot", (folder, *_):
                self.root = Path(folder).absolute()
            case "loadmodule", (name, *_) if _module(name) != "wsgi":
                self._modules.add(_module(name))

    def _below_root(self, path: str) -> Path:
        return self.root / path

    def _included(self, pattern: str, statement: Statement, *, is_optional: bool, depth: int) -> list[str]:
        """The files that an Include names: one, all that fit, or all in a folder, sorted as Apache does."""
        if depth >= DEEPEST_INCLUDE:
            self.problems.append(f"{statement.place}: files include one another more than {DEEPEST_INCLUDE} deep")
            return []
        found = [self._below_root("/")] if pattern.startswith("/") else [self.root]
        try:
            for part in Path(pattern).parts:
                if part != "/":
                    found = [file for folder in found for file in _fitting(folder, part)]
            files = [str(file) for one in found for file in _files_in(one)]
        except ValueError as error:
            self.problems.append(f"{statement.place}: {statement.name}: {pattern!r}: {error}")
            return []
        except OSError as error:  # nobody knows what would be left out
            self.problems.append(f"{statement.place}: {statement.name}: {error.filename}: {error.strerror}")
            return []
        if not found and not is_optional:
            self.problems.append(f"{statement.place}: {statement.name}: there is no file {pattern!r}")
        for file in files:
            if not _ends(file):
                self.problems.append(f"{statement.place}: {statement.name}: {file} is a device or a pipe, and no file")
        return [file for file in files if _ends(file)]

    def _has_module(self, statement: Statement) -> bool | None:
        def has(name: str) -> bool:
            # A file for one site alone says nothing of modules: those of the server that it was written for are taken
            # to be there.
            return not self._modules or _module(name) in self._modules or _module(name) in BUILT_IN

        holds = _negatable(statement, has)
        is_known = bool(self._modules) or any(
            _module(word.removeprefix("!")) in BUILT_IN for word in statement.arguments
        )
        return holds if is_known or not holds else None


def _ends(path: str) -> bool:
    """Whether what is read comes to an end: it is a file, nothing, or /dev/null. Source: ap_pcfg_openfile."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode) or path == os.devnull
    except OSError:
        return True


def _module(name: str) -> str:
    """The name of a module without what may stand around it: ``mod_alias.c`` and ``alias_module`` are one."""
    return name.removesuffix(".c").removeprefix("mod_").removesuffix("_module")


def _name_and_rest(line: str) -> tuple[str, str]:
    name, *rest = line.split(maxsplit=1)
    return name, rest[0] if rest else ""


def _until_closed(lines: Iterator[Line], key: str) -> list[str]:
    """What stands in <Macro>, to be used later, or in <Perl>, which is no configuration."""
    body = []
    for _, line in lines:
        if line.lower().startswith(f"</{key}>"):
            break
        body.append(line)
    return body


def _negatable(statement: Statement, holds: Callable[[str], bool]) -> bool:
    """``NAME``, or ``!NAME`` for the contrary."""
    name = statement.arguments[0] if statement.arguments else ""
    return not holds(name[1:]) if name.startswith("!") else holds(name)


def _is_version(statement: Statement) -> bool | None:
    """``<IfVersion [[!]operator] version>``, where a version between slashes is a regular expression.

    None where nobody can say.
    """
    relation, version = "=", "".join(statement.arguments)
    if found := _RELATION.match(version):
        longest = re.match(r"!?(?:==|>=|<=|=|>|<|~)", version)
        relation = longest[0] if longest else found[0]
        version = version.removeprefix(relation)
    negated = relation.startswith("!")
    relation = relation.removeprefix("!")
    if relation == "~" or version.startswith("/"):
        try:
            holds = re.search(version.strip("/"), ".".join(map(str, VERSION))) is not None
        except re.error:
            return None
    else:
        wanted = tuple(int(part) for part in version.split(".") if part.isdigit())
        own = VERSION[: len(wanted)]
        holds = {
            "=": own == wanted,
            "==": own == wanted,
            ">": own > wanted,
            "<": own < wanted,
            ">=": own >= wanted,
            "<=": own <= wanted,
        }[relation]
    return holds is not negated


def _fitting(folder: Path, part: str) -> list[Path]:
    """What in a folder fits one component of an Include. Raises OSError where the system does not tell."""
    try:
        if not re.search(r"[*?\[]", part):
            os.stat(one := folder / part)
            return [one]
        names = sorted(os.listdir(folder))
    except FileNotFoundError, NotADirectoryError:
        return []
    return [folder / name for name in names if fnmatch.fnmatchcase(name, part) and name not in (".", "..")]


def _files_in(path: Path) -> list[Path]:
    """A file, or all files below a folder. Raises OSError."""
    if not path.is_dir():
        return [path]
    return [file for name in sorted(os.listdir(path)) for file in _files_in(path / name)]
