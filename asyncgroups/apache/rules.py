"""RewriteCond and RewriteRule -> ``[[rewrite]]``, as far as they set variables.

Law: pure. Imports the standard library and the modules of this room.

A rule that changes the path, redirects or refuses is not translated; nor is one that only a part of could be. Where
other rules hang on it, by [C] or [S], it stands there as one that does nothing.
"""

import re
from collections.abc import Sequence

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import ACCESS

__all__ = ["KNOWN", "bare", "condition", "rule", "unknown"]

KNOWN = frozenset(
    {
        *["HTTPS", "HTTP_ACCEPT", "HTTP_COOKIE", "HTTP_FORWARDED", "HTTP_HOST", "HTTP_REFERER", "HTTP_USER_AGENT"],
        *["QUERY_STRING", "REMOTE_ADDR", "REQUEST_METHOD", "REQUEST_SCHEME", "REQUEST_URI", "SERVER_NAME"],
        *["SERVER_PORT", "SERVER_PROTOCOL"],
    }
)
"""Variables that there are here as well; the others are ``HTTP:field`` and ``ENV:name``."""

NO_MAP = "what RewriteMap makes of it is not known"

_VARIABLE = re.compile(r"(?<!\\)%\{([^}]*)\}")

_FLAGS = re.compile(r"\[(.*)\]", re.DOTALL)
_LONG = {
    "nocase": "NC",
    "ornext": "OR",
    "novary": "NV",
    "env": "E",
    "chain": "C",
    "skip": "S",
    "last": "L",
    "qsappend": "QSA",
    "noescape": "NE",
    "passthrough": "PT",
    "nosubreq": "NS",
}
_WITHOUT_EFFECT = frozenset({"NV", "NE", "PT", "QSA", "NS", "B", "DPI", "QSL"})  # where the path stays as it is
# Tests of files and the like, and comparisons: what does not look like these is a regular expression.
_TEST = re.compile(r"-[a-zA-Z]{1,2}|[<>].*|-(?:eq|ne|lt|le|gt|ge) ?.*")
_NAME = re.compile(r"[^$%{}\\:]+")


def condition(statement: Statement) -> tuple[Table | None, str | None]:
    """The condition of the rule that follows, and what a remark says. Source: RewriteCond."""
    if len(statement.arguments) < 2:
        return None, "has no pattern"
    test, wanted, *written = statement.arguments
    negated = wanted.startswith("!")
    text = wanted.removeprefix("!")
    # It must not come true by being left out.
    never = Table({"test": "", "match": "$^x"}, made_by=statement)
    if _TEST.fullmatch(text) or test == "expr":
        return never, "only expressions and '=' are compared here: this never holds"
    if names := unknown(test):
        return never, f"there is no {names} here: this never holds"
    if "${" in test:
        return never, f"{NO_MAP}: this never holds"
    key = "equals" if text.startswith("=") else "match"
    table = Table({"test": test}, made_by=statement)
    text = text.removeprefix("=").replace('""', "") if key == "equals" else text or "^"
    table[f"not_{key}" if negated else key] = text
    flags = dict(_flags(written))
    if "NC" in flags:
        table["nocase"] = True
    if "OR" in flags:
        table["or_next"] = True
    return table, None


def rule(statement: Statement, conditions: Sequence[Table]) -> tuple[Table | None, str | None]:
    """The rule with its conditions, and what a remark says. Source: RewriteRule."""
    if len(statement.arguments) < 2:
        return None, "has no substitution"
    substitution, flags = statement.arguments[1], list(_flags(statement.arguments[2:]))
    names = dict(flags)
    if {"F", "FORBIDDEN"} & names.keys():
        return None, ACCESS
    if substitution != "-":
        return None, "the path stays as the client wrote it; variables of this rule are not set either"
    table = bare(statement, conditions)
    for name, value in flags:
        if name == "E" and (said := _variable(value, table)):
            return None, said
    if "L" in names or "END" in names:
        table["last"] = True
    others = names.keys() - {"NC", "E", "C", "S", "L", "END"} - _WITHOUT_EFFECT
    return table, f"{', '.join(sorted(others))}: a rule sets variables and does nothing else" if others else None


def bare(statement: Statement, conditions: Sequence[Table]) -> Table:
    """What a rule asks for, and which rules after it hang on that, without what it does."""
    path, _, *written = statement.arguments
    names = dict(_flags(written))
    pattern = path.removeprefix("!") or "^"
    table = Table({"not_match" if path.startswith("!") else "match": pattern}, made_by=statement)
    if "NC" in names:
        table["nocase"] = True
    if conditions:
        table["condition"] = list(conditions)
    if "C" in names:
        table["chain"] = True
    if "S" in names and names["S"].isdigit():
        table["skip"] = int(names["S"])
    return table


def unknown(template: str) -> str:
    """The variables in a text that there are not here; empty where there are all."""
    names = [one for one in _VARIABLE.findall(template) if not one.startswith(("HTTP:", "ENV:")) and one not in KNOWN]
    return ", ".join(f"%{{{one}}}" for one in names)


def _variable(value: str, table: Table) -> str | None:
    """``NAME``, ``NAME:VALUE``, ``!NAME``; gives what a remark says."""
    name, _, template = value.partition(":")
    if not _NAME.fullmatch(name.removeprefix("!")):
        return f"E={value}: the name of a variable has no groups or variables in it; this rule was left out"
    if names := unknown(template):
        return f"there is no {names} here; this rule was left out"
    if "${" in template:
        return f"{NO_MAP}; this rule was left out"
    if name.startswith("!"):
        table.setdefault("unset", []).append(name[1:])
    else:
        table.setdefault("env", {})[name] = template
    return None


def _flags(written: Sequence[str]) -> list[tuple[str, str]]:
    """(name in its short form, value) of each flag in ``[NC,E=X:y]``."""
    found = _FLAGS.fullmatch(written[0]) if written else None
    if found is None or not found[1].strip():
        return []
    flags = [part.strip().partition("=") for part in found[1].split(",")]
    return [(_LONG.get(name.lower(), name.upper()), value) for name, _, value in flags]
