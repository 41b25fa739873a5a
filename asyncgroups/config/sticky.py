"""The setting ``sticky`` of a process group: what a request's key is.

Law: pure. May import pydantic, ``config.values``, ``selection.names`` and ``errors``.

    sticky = "cookie" / "client" / "header:" field-name / "%{ENV:" variable "}"

A field-name is a token (RFC 9110 section 5.1), a variable is what it is in names of groups.
"""

import difflib
import enum
import re
from typing import Annotated, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from asyncgroups.config.values import refused, shown
from asyncgroups.errors import GroupNameSyntaxError
from asyncgroups.selection.names import parse

__all__ = ["KeySource", "Sticky", "StickySetting"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_OTHER = re.compile(r"%\{([^:{}]*)\}")
_FORMS = '"cookie", "client", "header:NAME" or "%{ENV:variable}"'


class KeySource(enum.Enum):
    """Where a key comes from."""

    COOKIE = "cookie"
    CLIENT = "client"
    HEADER = "header"
    ENV = "environment"


class Sticky(NamedTuple):
    """The setting, parsed. text: as written. name: of the header field or the variable; else empty."""

    text: str
    source: KeySource
    name: str = ""


def _parse(value: object) -> Sticky:
    if not isinstance(value, str):
        raise refused(f"must be {_FORMS}, not {shown(value)}")
    if "%{" in value and not value.startswith("header:"):
        return Sticky(value, KeySource.ENV, _variable(value))
    kind, colon, name = value.partition(":")
    if not colon and kind in ("cookie", "client"):
        return Sticky(value, KeySource(kind))
    if kind == "header":
        if re.fullmatch(_TOKEN, name) is None:
            raise refused(
                f'must be the name of a header field after "header:", as in "header:X-User", not {shown(value)}'
            )
        return Sticky(value, KeySource.HEADER, name)
    close = difflib.get_close_matches(kind.strip().lower(), ["cookie", "client", "header"], n=1)
    guess = f'; did you mean "{close[0]}{":NAME" if close[0] == "header" else ""}"?' if close else ""
    raise refused(f"must be {_FORMS}, not {shown(value)}{guess}")


def _variable(text: str) -> str:
    if other := _OTHER.fullmatch(text):
        sentence = "the only variable that a key can be is %{ENV:variable}"
        raise refused(str(GroupNameSyntaxError(text, other.span(1), sentence)))
    try:
        name = parse(text).variable
    except GroupNameSyntaxError as error:
        raise refused(str(error)) from None
    assert name is not None
    return name


StickySetting = Annotated[
    Sticky,
    PlainValidator(_parse),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^(cookie|client|header:{_TOKEN}|%\{{ENV:[^={{}}]+\}})$",
            "examples": ["cookie", "client", "header:X-User", "%{ENV:TENANT}"],
        }
    ),
]
