"""What one value of the settings about files and rules may be; as in ``values``.

Law: pure. May import pydantic and ``config.values``. What a pattern says, and whether it is one, is ``files``' to find
out, which knows what it is relative to.
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, WrapValidator

from asyncgroups.config.values import PathText, must_be, refused, shown

__all__ = [
    "HANDLERS",
    "CallableName",
    "Extension",
    "FieldName",
    "Folders",
    "Handler",
    "PatternText",
    "Text",
    "UserName",
]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.1


def _check_text(text: str) -> str:
    if "\0" in text:
        raise refused("must not hold a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise refused(f"{shown(text)} holds a lone surrogate")
    return text


def _check_pattern(text: str) -> str:
    if not text:
        raise refused("must not be empty; '.' matches every path")
    return _check_text(text)


def _check_callable(text: str) -> str:
    if not text.isidentifier():
        raise refused(f'must be the name of a variable in the script, such as "application", not {shown(text)}')
    return text


def _check_extension(text: str) -> str:
    if not text.startswith(".") or len(text) == 1 or "/" in text:
        raise refused(f'must be the end of a name that begins with a dot, such as ".wsgi", not {shown(text)}')
    return _check_text(text)


def _check_user(text: str) -> str:
    if not text or "/" in text or text.startswith((".", "~")):
        raise refused(f'must be the name of a user, such as "alice", not {shown(text)}')
    return _check_text(text)


def _check_field(text: str) -> str:
    if re.fullmatch(_TOKEN, text) is None:
        raise refused(f'must be the name of a header field, such as "X-Tenant", not {shown(text)}')
    return text


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _string(**keywords: object) -> tuple[WrapValidator, WithJsonSchema]:
    return must_be("a string"), WithJsonSchema({"type": "string", **keywords})


Handler = Literal["wsgi-script", "none"]
HANDLERS: tuple[str, ...] = get_args(Handler)

CallableName = Annotated[str, *_string(minLength=1, examples=["application"]), AfterValidator(_check_callable)]
Extension = Annotated[str, *_string(pattern=r"^\.[^/]+$", examples=[".wsgi"]), AfterValidator(_check_extension)]
FieldName = Annotated[str, *_string(pattern=f"^{_TOKEN}$", examples=["X-Tenant"]), AfterValidator(_check_field)]
Folders = Annotated[
    tuple[PathText, ...],
    Field(strict=False),
    BeforeValidator(_several),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "examples": ["/home/*/public_html"]},
                {"type": "array", "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]
PatternText = Annotated[str, *_string(minLength=1), AfterValidator(_check_pattern)]
Text = Annotated[str, *_string(), AfterValidator(_check_text)]
UserName = Annotated[str, *_string(pattern="^[^/.~][^/]*$"), AfterValidator(_check_user)]
