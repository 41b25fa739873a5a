"""The rules that set variables of a request's environment, from its path, its host, its headers.

Law: pure. Facts come in, variables go out; no I/O, no clock, no state.
Imports the standard library, ``asyncgroups.errors``, ``selection.names``, ``selection.patterns`` and
``selection.prefixes``.

    template  = *( group / variable / "\\" character / character )
    group     = ( "$" / "%" ) DIGIT                  ; of the rule's own match / of the last condition that matched
    variable  = "%{" ( fact / "HTTP:" field / "ENV:" name ) "}"
    fact      = "REQUEST_URI" / "REQUEST_METHOD" / "QUERY_STRING" / "HTTP_HOST" / "HTTP_USER_AGENT" / …

Rules are tried in their order, and all of them that match count; what one has set the next ones see. In a rule the path
comes first, then the conditions. A ``$`` or ``%`` before anything else is itself. A group that took no part, and a fact
that there is none of, are empty.
Source: Apache's RewriteRule with ``-`` and ``[E=NAME:VALUE]``, RewriteCond; tests/oracle has what Apache makes of them.

The path that rules see is cut into the same segments as for mounts and scripts: decoded, runs of ``/`` one, and an
encoded slash stays ``%2F``, for it separates nothing. So a rule cannot take one user for another's where a script is
looked for.
"""

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.names import Caught
from asyncgroups.selection.patterns import Groups, Pattern
from asyncgroups.selection.prefixes import SEGMENT

__all__ = ["Condition", "Equal", "Request", "Rule", "Rules", "Template", "path_of"]

NO_GROUPS: Groups = ()
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """What rules may depend on; all text, with surrogates for bytes that are no UTF-8 (``surrogateescape``).

    path: as ``path_of`` gives it. query: without ``?``, as the client wrote it. scheme: ``http`` or ``https``.
    server_name, server_port: of the virtual host. client: the client's address.
    header: gives the value of a header field of this name, in small letters; empty where there is none.
    """

    path: str
    method: str
    query: str
    scheme: str
    protocol: str
    server_name: str
    server_port: str
    client: str
    header: Callable[[str], str]


class _Source(enum.Enum):
    """Where a piece of a template comes from."""

    LITERAL = "itself"
    RULE = "$N"
    CONDITION = "%N"
    FACT = "%{…}"
    HEADER = "%{HTTP:…}"
    ENV = "%{ENV:…}"


_FACTS: Mapping[str, Callable[[Request], str]] = {
    "REQUEST_URI": lambda request: request.path,
    "REQUEST_METHOD": lambda request: request.method,
    "QUERY_STRING": lambda request: request.query,
    "REQUEST_SCHEME": lambda request: request.scheme,
    "HTTPS": lambda request: "on" if request.scheme == "https" else "off",
    "SERVER_PROTOCOL": lambda request: request.protocol,
    "SERVER_NAME": lambda request: request.server_name,
    "SERVER_PORT": lambda request: request.server_port,
    "REMOTE_ADDR": lambda request: request.client,
}
_FIELDS: Mapping[str, str] = {
    "HTTP_HOST": "host",
    "HTTP_USER_AGENT": "user-agent",
    "HTTP_REFERER": "referer",
    "HTTP_COOKIE": "cookie",
    "HTTP_FORWARDED": "forwarded",
    "HTTP_ACCEPT": "accept",
}
_PIECE = re.compile(r"\\(?P<escaped>.)|\$(?P<rule>[0-9])|%(?P<condition>[0-9])|%\{(?P<variable>[^}]*)\}", re.DOTALL)
_UNCLOSED = re.compile(r"(?<!\\)%\{[^}]*\Z")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with the groups and variables of a rule in it.

    text: as written. Raises PatternSyntaxError for a variable that there is none of.
    """

    text: str
    pieces: tuple[tuple[_Source, str], ...]

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "pieces", tuple(_pieces(text)))

    def __str__(self) -> str:
        return self.text

    @property
    def is_literal(self) -> bool:
        return all(source is _Source.LITERAL for source, _ in self.pieces)

    def expand(self, moment: _Moment) -> str:
        """The text for a rule that is being tried; ``Caught`` where it holds a variable that is not the rule's own."""
        text = "".join(
            word if source is _Source.LITERAL else moment.look_up(source, word) for source, word in self.pieces
        )
        return Caught(text) if "%{" in text and not self._is_ours(moment) else text

    def _is_ours(self, moment: _Moment) -> bool:
        """Whether the configuration, or an outer ASGI application, has written all of the text."""
        return all(
            source is _Source.LITERAL
            or (source is _Source.ENV and not isinstance(moment.look_up(source, word), Caught))
            for source, word in self.pieces
        )


class Equal(NamedTuple):
    """What a condition compares with, where that is no regular expression: ``=www.example.com``.

    nocase: whether capital and small letters are the same ([NC]).
    """

    text: str
    nocase: bool = False

    def search(self, text: str) -> Groups | None:
        """As for a regular expression; it leaves no groups."""
        same = text.lower() == self.text.lower() if self.nocase else text == self.text
        return NO_GROUPS if same else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a rule asks beyond the path.

    test: the text that is looked at. wanted: what it has to match, or, with ``negated``, not to match.
    or_next: whether it is enough if this one or the next one holds ([OR]).
    Source: RewriteCond.
    """

    test: Template
    wanted: Pattern | Equal
    negated: bool = False
    or_next: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A ``[[rewrite]]``.

    path: what the path has to match, or, with ``negated``, not to match.
    conditions: what else has to hold.
    env: (name, value) of the variables that it sets, in their order; no value unsets one ([E=!NAME]).
    is_chained: whether the rules after it are tried only if this one has matched ([C]).
    skip: number of the rules after it that are left out if it has matched ([S=N]).
    is_last: whether it is the last one if it has matched ([L]).
    place: where it stands in the configuration, for messages: ``rewrite[0]``.
    Source: RewriteRule.
    """

    path: Pattern
    negated: bool = False
    conditions: tuple[Condition, ...] = ()
    env: tuple[tuple[str, Template | None], ...] = ()
    is_chained: bool = False
    skip: int = 0
    is_last: bool = False
    place: str


class _Moment:
    """A request while one rule is being tried."""

    __slots__ = ("env", "of_condition", "of_rule", "request")

    def __init__(self, request: Request, env: Mapping[str, str]) -> None:
        self.request: Request = request
        self.env: Mapping[str, str] = env
        self.of_rule: Groups = NO_GROUPS
        self.of_condition: Groups = NO_GROUPS

    def look_up(self, source: _Source, word: str) -> str:
        match source:
            case _Source.RULE:
                return _group(self.of_rule, int(word))
            case _Source.CONDITION:
                return _group(self.of_condition, int(word))
            case _Source.HEADER:
                return self.request.header(word)
            case _Source.ENV:
                return self.env.get(word, "")
            case _:
                return _FACTS[word](self.request)

    def matches(self, rule: Rule) -> bool:
        self.of_condition = NO_GROUPS
        found = rule.path.search(self.request.path)
        if (found is None) is not rule.negated:
            return False
        self.of_rule = NO_GROUPS if found is None or rule.negated else found
        return self._hold(rule.conditions)

    def _hold(self, conditions: Sequence[Condition]) -> bool:
        is_settled = False  # by one before it in the same chain of [OR]
        for condition in conditions:
            holds = is_settled or self._holds(condition)
            if not holds and not condition.or_next:
                return False
            is_settled = holds and condition.or_next
        return True

    def _holds(self, condition: Condition) -> bool:
        found = condition.wanted.search(condition.test.expand(self))
        if found is not None and not condition.negated and not isinstance(condition.wanted, Equal):
            self.of_condition = found
        return (found is None) is condition.negated


class Rules:
    """The rules of one context."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"<Rules: {len(self._rules)}>"

    def variables(
        self, request: Request, env: Mapping[str, str] = NO_VARIABLES, *, places: dict[str, str] | None = None
    ) -> dict[str, str]:
        """The variables that a request has after the rules, text to text.

        env: those that it had before: what an outer ASGI application added. places: gets, for each variable that a rule
        sets or unsets, the place of the last rule that did. Raises PatternTooSlow.
        """
        env = dict(env)
        moment = _Moment(request, env)
        position = 0
        while position < len(self._rules):
            rule = self._rules[position]
            position += 1
            if not moment.matches(rule):
                # The rest of a chain goes with its first rule that does not match.
                while rule.is_chained and position < len(self._rules):
                    rule = self._rules[position]
                    position += 1
                continue
            for name, value in rule.env:
                if places is not None:
                    places[name] = rule.place
                if value is None:
                    env.pop(name, None)
                else:
                    env[name] = value.expand(moment)
            if rule.is_last:
                break
            position += rule.skip
        return env


def path_of(raw_path: bytes) -> str:
    """The path as rules see it.

    raw_path: percent-encoded bytes, without a query; what is no path (``*``, nothing) is ``/``.
    """
    names = []
    position = 0
    while (segment := SEGMENT.match(raw_path, position)) is not None:
        position = segment.end()
        name = segment[1]
        if b"%" in name:
            name = unquote_to_bytes(name).replace(b"/", b"%2F")
        names.append(name)
    # After the last segment nothing can be left but slashes.
    ending = b"/" if position < len(raw_path) or not names else b""
    return (b"".join(b"/" + name for name in names) + ending).decode("utf-8", "surrogateescape")


def _group(groups: Groups, number: int) -> str:
    return (groups[number] or "") if number < len(groups) else ""


# One function for each production.


def _pieces(text: str) -> Iterable[tuple[_Source, str]]:
    """template = *( group / variable / "\\" character / character )"""
    if unclosed := _UNCLOSED.search(text):
        raise PatternSyntaxError(text, unclosed.span(), "the variable is not closed; a '%' of its own is written '\\%'")
    literal, end = "", 0
    for match in _PIECE.finditer(text):
        literal, end = literal + text[end : match.start()], match.end()
        if match["escaped"] is not None:
            literal += match["escaped"]
            continue
        if literal:
            yield _Source.LITERAL, literal
            literal = ""
        if match["rule"] is not None:
            yield _Source.RULE, match["rule"]
        elif match["condition"] is not None:
            yield _Source.CONDITION, match["condition"]
        else:
            yield _variable(text, match.span("variable"))
    if literal := literal + text[end:]:
        yield _Source.LITERAL, literal


def _variable(text: str, span: tuple[int, int]) -> tuple[_Source, str]:
    """variable = "%{" ( fact / "HTTP:" field / "ENV:" name ) "}" """
    word = text[slice(*span)]
    kind, _, name = word.partition(":")
    if kind == "ENV" and name:
        return _Source.ENV, name
    if kind == "HTTP" and name:
        return _Source.HEADER, name.lower()
    if word in _FIELDS:
        return _Source.HEADER, _FIELDS[word]
    if word in _FACTS:
        return _Source.FACT, word
    known = ", ".join([*_FACTS, *_FIELDS, "HTTP:field", "ENV:variable"])
    raise PatternSyntaxError(text, span, f"unknown variable %{{{word}}}; there are {known}")
