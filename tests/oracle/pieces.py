"""The pieces that answer a request, made of an Apache configuration: as much as the oracle's sites need.

What `migrate` will make of such a file in general has rules of its own; here a directive that is not known is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asyncgroups.config.apache import Statement, read
from asyncgroups.config.patterns import Expression
from asyncgroups.errors import ScriptNotFound
from asyncgroups.frontend.scripts import find
from asyncgroups.selection.directories import Glob, Section, Sections
from asyncgroups.selection.names import Facts, parse
from asyncgroups.selection.rewrite import Condition, Equal, Request, Rule, Rules, Template, path_of
from asyncgroups.selection.trees import Alias, Trees, UserDirectories

__all__ = ["Pieces"]

ELSEWHERE = {
    # What the pieces have no part in.
    *["servername", "rewriteengine", "wsgiscriptalias", "wsgiscriptaliasmatch", "setenvif", "location"],
    *["options", "addhandler", "wsgiapplicationgroup", "setenv"],
}


class Answer(NamedTuple):
    script: str
    group: str
    script_name: str
    path_info: str
    env: dict[str, str]


class Pieces:
    def __init__(self, file: Path) -> None:
        statements = read(file).statements
        aliases: list[Alias] = []
        users: UserDirectories | None = None
        sections: list[Section] = []
        for statement in statements:
            match statement.key, statement.arguments:
                case "documentroot", (folder,):
                    aliases.append(Alias(path="", target=folder, place=statement.place))
                case "alias", (path, target):
                    aliases.append(Alias(path=path, target=target, place=statement.place))
                case "userdir", patterns:
                    users = UserDirectories(patterns=patterns, place=statement.place)
                case "directory" | "directorymatch", where:
                    is_regex = statement.key == "directorymatch" or where[0] == "~"
                    pattern = Expression(where[-1]) if is_regex else Glob(where[-1])
                    settings = dict(settings_of(statement.body or ()))
                    sections.append(Section(where=pattern, settings=settings, place=statement.place))
                case (("rewritecond" | "rewriterule"), _):
                    pass
                case key, _:
                    assert key in ELSEWHERE, statement
        self.trees = Trees(aliases, users)
        self.sections = Sections(sections)
        self.rules = Rules(rules_of(statements))

    def answer(self, row: Mapping[str, Any]) -> Answer | str:
        """The script for a row of the table and its group, or why there is none."""
        raw_path, request = request_of(row)
        env = self.rules.variables(request)
        reason = "nowhere"
        for candidate in self.trees.locate(raw_path):
            try:
                script = find(candidate, may_follow=self._may_follow)
            except ScriptNotFound as error:
                reason = str(error)
                continue
            settled = self.sections.settle(script.path)
            if not settled.runs(script.path):
                return "no handler"
            env |= settled.values.get("env", {})  # type: ignore[arg-type, operator]
            name = parse(str(settled.values.get("application_group", "%{RESOURCE}")))
            facts = Facts(server_name="www.example.com", port=80, script=script.script_name, env=env, process_env={})
            return Answer(script.path, name.expand(facts), script.script_name, script.path_info.decode(), env)
        return reason

    def _may_follow(self, directory: str) -> bool:
        return bool(self.sections.settle(f"{directory}/").values.get("follow_symlinks"))


def request_of(row: Mapping[str, Any]) -> tuple[bytes, Request]:
    raw_path, _, query = row["url"].encode().partition(b"?")
    headers = {"host": "www.example.com"} | {name.lower(): value for name, value in row.get("headers", {}).items()}
    return raw_path, Request(
        path=path_of(raw_path),
        method=row.get("method", "GET"),
        query=query.decode(),
        scheme="http",
        protocol="HTTP/1.1",
        server_name="www.example.com",
        server_port="80",
        client="127.0.0.1",
        header=lambda name: headers.get(name, ""),
    )


def settings_of(body: Sequence[Statement]) -> Iterator[tuple[str, object]]:
    env: dict[str, str] = {}
    for statement in body:
        match statement.key, statement.arguments:
            case "sethandler", (handler,):
                yield "handler", handler
            case "wsgiapplicationgroup", (group,):
                yield "application_group", group
            case "addhandler", ("wsgi-script", *extensions):
                yield "handler", "wsgi-script"
                yield "extensions", tuple(extensions)
            case "options", options:
                yield "follow_symlinks", bool({"FollowSymLinks", "SymLinksIfOwnerMatch"} & set(options))
                if "ExecCGI" not in options:
                    yield "handler", "none"
            case "setenv", (name, value):
                env[name] = value
            case _:
                raise AssertionError(statement)
    if env:
        yield "env", env


def rules_of(statements: Sequence[Statement]) -> Iterator[Rule]:
    conditions: list[Condition] = []
    for statement in statements:
        match statement.key, statement.arguments:
            case "rewritecond", (test, wanted, *flags):
                conditions.append(condition(test, wanted, flags_of(flags)))
            case "rewriterule", (path, "-", *written):
                yield rule(path, tuple(conditions), flags_of(written), statement.place)
                conditions = []


def condition(test: str, wanted: str, flags: Sequence[tuple[str, str]]) -> Condition:
    names = {name for name, _ in flags}
    text = wanted.removeprefix("!")
    nocase = "NC" in names
    return Condition(
        test=Template(test),
        wanted=Equal(text[1:], nocase) if text.startswith("=") else Expression(text, nocase=nocase),
        negated=wanted.startswith("!"),
        or_next="OR" in names,
    )


def rule(path: str, conditions: tuple[Condition, ...], flags: Sequence[tuple[str, str]], place: str) -> Rule:
    names = dict(flags)
    env: list[tuple[str, Template | None]] = []
    for name, value in flags:
        if name == "E":
            variable, _, template = value.partition(":")
            unset = variable.startswith("!")
            env.append((variable.removeprefix("!"), None if unset else Template(template)))
    return Rule(
        path=Expression(path.removeprefix("!"), nocase="NC" in names),
        negated=path.startswith("!"),
        conditions=conditions,
        env=tuple(env),
        is_chained="C" in names,
        skip=int(names.get("S", 0)),
        is_last="L" in names,
        place=place,
    )


def flags_of(written: Sequence[str]) -> list[tuple[str, str]]:
    if not written:
        return []
    found: Callable[[str], re.Match[str] | None] = re.compile(r"\[(.*)\]").fullmatch
    inside = found(written[0])
    assert inside is not None, written
    return [(name.strip(), value) for name, _, value in (one.partition("=") for one in inside[1].split(","))]
