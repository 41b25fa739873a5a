"""The grammar of application group names, and their expansion.

Law: pure. The facts come in, a name or an error goes out; no I/O, no clock, no state.
Imports the standard library and ``asyncgroups.errors``.

    group-name  = variable / explicit
    variable    = "%{" ( "GLOBAL" / "SERVER" / "RESOURCE" / environment ) "}"
    environment = "ENV:" 1*( character, but no "=", "{" or "}" )
    explicit    = *character                ; without "%{" in it; the empty name is %{GLOBAL}
    character   = any of Unicode, but no control character, line separator or surrogate

Source: Apache's ``WSGIApplicationGroup``. Tighter than mod_wsgi where that takes a misspelt variable as a literal name.
"""

import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.errors import GroupNameSyntaxError, GroupNameUnresolved

__all__ = ["DEFAULT_PORTS", "FORBIDDEN", "Caught", "Facts", "GroupName", "parse", "split_server_name"]

LONGEST_VALUE = 255
"""Characters that the value of an environment variable may have to be a group's name."""

DEFAULT_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})
"""Scheme to port (RFC 9110 section 4.2); they leave no trace in a name, whatever the scheme."""

# What would break a log line or cannot be encoded has no place in a name: Unicode's Cc, U+2028/U+2029, lone surrogates.
FORBIDDEN: re.Pattern[str] = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""A character that has no place in a name."""
_NO_VARIABLE = re.compile("[={]")
_SERVER_NAME = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]++)(?::([0-9]{0,5}))?")


class Caught(str):
    """The value of a variable in which a client has written ``%{``: it is never expanded.

    Else a request that says ``%{GLOBAL}`` where a rule looks would run in the main interpreter.
    """

    __slots__ = ()


class Facts(NamedTuple):
    """What an expansion may depend on.

    server_name: text, the matched virtual host's as configured; may end in ``:port``.
    port: number of the TCP port the request arrived on; None on a unix socket.
    script: text, the path of the mount: empty for the root, else ``/foo``.
    env: the request's environment, text to text: ``env`` settings and what an outer ASGI application added.
    process_env: the process's environment, text to text; looked up after ``env``.
    """

    server_name: str
    port: int | None
    script: str
    env: Mapping[str, str]
    process_env: Mapping[str, str]


class _Kind(enum.Enum):
    EXPLICIT = "itself"
    GLOBAL = "%{GLOBAL}"
    SERVER = "%{SERVER}"
    RESOURCE = "%{RESOURCE}"
    ENV = "%{ENV:variable}"


_WHOLE = {kind.value: kind for kind in (_Kind.GLOBAL, _Kind.SERVER, _Kind.RESOURCE)}
_KNOWN = ", ".join(kind.value for kind in _Kind if kind is not _Kind.EXPLICIT)


@dataclass(frozen=True, slots=True)
class GroupName:
    """The setting ``application_group``, parsed; equal to another one that is written the same.

    text: the setting as written. Raises GroupNameSyntaxError where it is none.
    Source: WSGIApplicationGroup.
    """

    text: str
    _kind: _Kind = field(init=False, repr=False, compare=False)
    _name: str = field(init=False, repr=False, compare=False)  # the explicit name, or the variable of %{ENV:…}

    def __post_init__(self) -> None:
        kind, name = _group_name(self.text)
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_name", name)

    def __str__(self) -> str:
        return self.text

    @property
    def is_literal(self) -> bool:
        """Whether the name is the same for every request: explicit names and %{GLOBAL}."""
        return self._kind is _Kind.EXPLICIT or self._kind is _Kind.GLOBAL

    @property
    def depends_on_env(self) -> bool:
        """Whether the name may differ between two requests to one mount, one virtual host and one port."""
        return self._kind is _Kind.ENV

    @property
    def variable(self) -> str | None:
        """The environment variable that the name depends on; None where there is none."""
        return self._name if self._kind is _Kind.ENV else None

    def expand(self, facts: Facts) -> str:
        """The name of the application group, as text, for a request with these facts; empty for GLOBAL.

        Raises GroupNameUnresolved where a %{ENV:x} has no usable value; the message names the variable.
        Source: WSGIApplicationGroup, "The meaning of the special variables".
        """
        if self._kind is _Kind.ENV:
            return self._expand_environment(facts)
        return _expand(self._kind, name=self._name, facts=facts)

    def _expand_environment(self, facts: Facts) -> str:
        value = facts.env.get(self._name)
        if value is None:
            value = facts.process_env.get(self._name)
        if value is None:
            raise self._unresolved("is set neither for this request nor in the process's environment")
        if not isinstance(value, str):
            raise self._unresolved(f"is no text but of type {type(value).__name__}")
        if not value:
            # mod_wsgi drops such a request into the main interpreter, where nobody asked for it to run.
            raise self._unresolved("is empty")
        # Once more, and only once: a second %{ENV:…} could go round in circles.
        if value in _WHOLE and not isinstance(value, Caught):
            return _expand(_WHOLE[value], name="", facts=facts)
        if len(value) > LONGEST_VALUE:
            raise self._unresolved(f"has {len(value)} characters; a group's name has {LONGEST_VALUE} at most")
        if isinstance(value, Caught):
            raise self._unresolved(f"holds {value!a}, which the client has written: that is not expanded")
        if "%{" in value:
            raise self._unresolved(f"holds {value!a}; only {', '.join(_WHOLE)} are expanded once more")
        if FORBIDDEN.search(value):
            raise self._unresolved(f"holds {value!a}: control characters have no place in a group's name")
        # The exact type, where the outer application's framework has text of its own (Django's SafeString).
        return str.__str__(value)

    def _unresolved(self, reason: str) -> GroupNameUnresolved:
        return GroupNameUnresolved(f"{self.text}: the environment variable {self._name} {reason}")


def parse(text: str) -> GroupName:
    """The group name that a setting says. Raises GroupNameSyntaxError; its text has a caret under the wrong part."""
    return GroupName(text)


def split_server_name(text: str) -> tuple[str, int | None]:
    """``www.example.com:8080`` as ``("www.example.com", 8080)``; the second is None where there is no port.

    Any text will do: what is no host with a port (1 to 65535) is all name. An IPv6 address keeps its brackets.
    Source: Apache's ServerName; RFC 3986 section 3.2.
    """
    match = _SERVER_NAME.fullmatch(text)
    if match is None:
        return text, None
    name, digits = match.groups()
    if not digits:
        return name, None
    port = int(digits)
    return (name, port) if 0 < port < 65536 else (text, None)


def _expand(kind: _Kind, *, name: str, facts: Facts) -> str:
    match kind:
        case _Kind.GLOBAL:
            return ""
        case _Kind.SERVER:
            return _server(facts)
        case _Kind.RESOURCE:
            return f"{_server(facts)}|{facts.script}"
        case _:
            return name


def _server(facts: Facts) -> str:
    name, port = split_server_name(facts.server_name)
    if port is None:
        port = facts.port
    return name if port is None or port in DEFAULT_PORTS.values() else f"{name}:{port}"


# One function for each production. Each takes the whole text, since an error shows all of it, and where to begin.


def _group_name(text: str) -> tuple[_Kind, str]:
    """group-name = variable / explicit"""
    if forbidden := FORBIDDEN.search(text):
        code = f"U+{ord(forbidden[0]):04X}"
        raise GroupNameSyntaxError(text, forbidden.span(), f"the character {code} has no place in a group's name")
    if text.startswith("%{"):
        return _variable(text)
    return _Kind.EXPLICIT, _explicit(text)


def _explicit(text: str) -> str:
    """explicit = *character, without "%{" in it"""
    start = text.find("%{")
    if start >= 0:
        end = text.find("}", start) + 1 or len(text)
        raise GroupNameSyntaxError(text, (start, end), "a variable must be the whole name, not a part of it")
    return text


def _variable(text: str) -> tuple[_Kind, str]:
    """variable = "%{" ( "GLOBAL" / "SERVER" / "RESOURCE" / environment ) "}" """
    end = text.find("}")
    if end < 0:
        raise GroupNameSyntaxError(text, (0, len(text)), "the variable has no closing brace")
    if end + 1 < len(text):
        raise GroupNameSyntaxError(text, (end + 1, len(text)), "a variable must be the whole name, not a part of it")
    if kind := _WHOLE.get(text):
        return kind, ""
    if text.startswith("ENV:", 2):
        return _Kind.ENV, _environment(text, (2, end))
    raise _unknown_variable(text, (2, end))


def _environment(text: str, span: tuple[int, int]) -> str:
    """environment = "ENV:" 1*( character, but no "=", "{" or "}" )"""
    start, end = span[0] + len("ENV:"), span[1]
    if start == end:
        raise GroupNameSyntaxError(text, (start, end), "%{ENV:} needs the name of an environment variable")
    if wrong := _NO_VARIABLE.search(text, start, end):
        raise GroupNameSyntaxError(text, wrong.span(), f"no environment variable has a name with {wrong[0]!r} in it")
    return text[start:end]


def _unknown_variable(text: str, span: tuple[int, int]) -> GroupNameSyntaxError:
    """The error for what stands between the braces and is no variable, with a guess where it is nearly one."""
    content = text[slice(*span)]
    word, _, name = content.partition(":")
    close = difflib.get_close_matches(word.upper(), ["GLOBAL", "SERVER", "RESOURCE", "ENV"], n=1)
    if not word:
        message = f"the variable has no name; there are {_KNOWN}"
    elif not close:
        message = f"unknown variable %{{{word}}}; there are {_KNOWN}"
    elif close == ["ENV"]:
        message = f"unknown variable %{{{word}}}; did you mean %{{ENV:{name.strip() or 'variable'}}}?"
    else:
        message = f"unknown variable %{{{content}}}; did you mean %{{{close[0]}}}?"
    return GroupNameSyntaxError(text, span, message)
