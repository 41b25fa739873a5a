"""What one value of the configuration may be: a type for each, which refuses in a sentence that an operator can act on.

Law: pure; a value is judged alone, without its neighbours and without the file system.
May import pydantic, ``selection.names`` and ``errors``.
"""

import inspect
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from asyncgroups.errors import GroupNameSyntaxError
from asyncgroups.selection.names import parse

__all__ = [
    "ISOLATIONS",
    "LOG_LEVELS",
    "SHOWN_CHARACTERS",
    "Application",
    "Backlog",
    "Bind",
    "GroupText",
    "Groups",
    "HostAlias",
    "HostName",
    "Isolation",
    "LogLevel",
    "MountPath",
    "Niceness",
    "PathText",
    "ProcessGroup",
    "ProcessGroupName",
    "Seconds",
    "Secret",
    "SecretVariableValue",
    "Size",
    "Switch",
    "Threads",
    "Umask",
    "VariableName",
    "VariableValue",
    "WsgiApplication",
    "must_be",
    "refused",
    "shown",
]

SHOWN_CHARACTERS = 60
DEFAULT_PORT = 8000  # hypercorn's and gunicorn's
YEAR = 365 * 24 * 3600  # seconds
LAST_PORT = 65535
LONGEST_HOST_NAME = 253  # RFC 1035 section 2.3.4: 255 octets as it goes over the wire
MOST_THREADS = 1000  # each is a thread of the system with two file descriptors; past it one has mistyped
UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip  # two columns of one table: decimal and binary units (IEC 80000-13)


def refused(sentence: str) -> PydanticCustomError:
    """The error of a value whose message is our own sentence; ``sentence`` may hold braces."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def shown(value: object) -> str:
    """A value as an error message quotes it: TOML's words, one line, never long. Raises nothing, whatever it is."""
    try:
        return _shown(value)
    except Exception:  # noqa: BLE001 - a program gives what it likes, also what cannot be shown
        return _one_line(f"an object of type {type(value).__name__}")


def _shown(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…")
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case int() if value.bit_length() > 128:
            return "a number that large"  # str() of more than 4300 digits raises, and TOML's hex numbers have no limit
        case _:
            return _one_line(str(value))


def _one_line(text: str) -> str:
    if not text[:SHOWN_CHARACTERS].isprintable():
        text = repr(text[:SHOWN_CHARACTERS])[1:-1]
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def must_be(kind: str, *, secret: bool = False) -> WrapValidator:
    """Refuse whatever pydantic refuses with "must be <kind>, not <value>" in place of pydantic's words."""

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise refused(f"must be {kind}" + ("" if secret else f", not {shown(value)}")) from None

    return WrapValidator(check)


def _check_encodable(text: str) -> None:
    """Bytes that are no UTF-8 may hide in a text (PEP 383), as they do in what comes from the command line."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise refused(f"must not hold a lone surrogate, U+{ord(text[error.start]):04X}") from None


def _has_controls(text: str) -> bool:
    """Whether ``text`` holds a control character, NUL among them."""
    return any(character < " " or character == "\x7f" for character in text)


def _check_path_text(text: str) -> str:
    if not text:
        raise refused('must not be empty; "." is this folder')
    if "\0" in text:
        raise refused("must not hold a NUL character")
    _check_encodable(text)
    return text


def _check_bind(text: str) -> str:
    """``HOST[:PORT]``, ``[IPV6][:PORT]``, ``unix:PATH`` or ``fd://NUMBER``; the port is filled in."""
    forms = '"127.0.0.1:8000", "[::1]:8000", "unix:PATH" or "fd://NUMBER"'
    if text.startswith("unix:"):
        _check_path_text(text.removeprefix("unix:"))
        return text
    if text.startswith("fd://"):
        if re.fullmatch(r"[0-9]{1,6}", text.removeprefix("fd://")) is None:
            raise refused(f"{shown(text)} names no file descriptor; write a number, such as fd://3")
        return text
    if re.fullmatch(r"[0-9]+", text):
        hint = f'write "127.0.0.1:{text}", or "0.0.0.0:{text}" for every interface'
        raise refused(f"{shown(text)} is a port alone; {hint}")
    if re.fullmatch(r":[0-9]+", text):
        raise refused(f'{shown(text)} has no address; write "0.0.0.0{text}" or "[::]{text}" for every interface')
    if text.count(":") > 1 and "[" not in text and "/" not in text:
        raise refused(f'{shown(text)}: an IPv6 address stands in brackets, as in "[::1]:8000"')
    found = re.fullmatch(r"(\[[^\]\s/]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", text)
    if found is None:
        raise refused(f"must be {forms}, not {shown(text)}")
    host, port = found[1], int(found[2] or DEFAULT_PORT)
    if port > LAST_PORT:
        raise refused(f"{shown(text)}: a port is at most {LAST_PORT}")
    if host.startswith("["):
        _check_ipv6(host)
    return f"{host}:{port}"


def _check_ipv6(bracketed: str) -> None:
    try:
        ipaddress.IPv6Address(bracketed[1:-1])
    except ValueError:
        raise refused(f"{shown(bracketed)} is no IPv6 address") from None


def _check_host_name(text: str) -> str:
    """A host name or address with an optional port: Apache's ServerName without the scheme."""
    example = '"www.example.com" or "www.example.com:8080"'
    if "://" in text or "/" in text:
        raise refused(f"must be a host name without scheme and path, such as {example}, not {shown(text)}")
    if text.startswith("*"):
        raise refused(f"{shown(text)}: a wildcard belongs in server_alias")
    if not text.isascii():
        raise refused(f"{shown(text)}: write the name in its ASCII form (xn--…), which is what clients send")
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::([0-9]{1,5}))?", text)
    if found is None:
        raise refused(f"must be a host name such as {example}, not {shown(text)}")
    if len(found[1].removesuffix(".")) > LONGEST_HOST_NAME:
        raise refused(f"{shown(text)}: a host name has at most {LONGEST_HOST_NAME} characters (RFC 1035)")
    if found[2] is not None and not 1 <= int(found[2]) <= LAST_PORT:
        raise refused(f"{shown(text)}: a port is a number from 1 to {LAST_PORT}")
    if text.startswith("["):
        _check_ipv6(found[1])
    return text


def _check_alias(text: str) -> str:
    """A host name without a port, ``*.`` allowed in front: Apache's ServerAlias."""
    name = text.removeprefix("*.")
    if "*" in name:
        raise refused(f'{shown(text)}: a wildcard stands for whole names in front, as in "*.example.com"')
    if name.startswith("[") and name != text:
        raise refused(f"{shown(text)}: an address has no names below it")
    if ":" in name.rpartition("]")[2]:
        raise refused(f"{shown(text)}: an alias has no port; the port of server_name counts for its aliases too")
    _check_host_name(name)
    return text


def _check_group_text(text: str) -> str:
    try:
        parse(text)
    except GroupNameSyntaxError as error:
        # A caret cannot point into a text that breaks the line.
        raise refused(str(error) if text.isprintable() else f"{error.message}: {shown(text)}") from None
    return text


def _check_process_group(text: str) -> str:
    return "" if text == "%{GLOBAL}" else _check_group_text(text)


def _check_process_group_name(text: str) -> str:
    if not text:
        raise refused('a process group has a name; "" is the server\'s own process')
    if "%{" in text:
        raise refused("a process group is called by its name, without variables")
    return _check_group_text(text)


def _check_umask(text: str) -> str:
    if re.fullmatch("0?[0-7]{3}", text) is None:
        raise refused(f'must be three octal digits in quotes, such as "027", not {shown(text)}')
    return text


def _check_mount_path(text: str) -> str:
    """The URL path of a mount as it reads (decoded), below the root."""
    if not text.startswith("/"):
        raise refused(f'must begin with "/", unlike {shown(text)}; the root is "/"')
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise refused(f"{shown(text)} holds a lone surrogate")
    if _has_controls(text):
        raise refused(f"{shown(text)} holds a control character")
    if "?" in text or "#" in text:
        raise refused(f"{shown(text)}: a mount is a path alone, without query or fragment")
    if re.search(r"%[0-9A-Fa-f]{2}", text):
        raise refused(f"{shown(text)}: write the path as it reads, not percent-encoded")
    if {".", ".."} & set(text.split("/")):
        raise refused(f'{shown(text)}: "." and ".." are no path segments (RFC 3986 section 5.2.4)')
    return text


type WsgiApplication = Callable[..., Iterable[bytes]]
"""PEP 3333. A callable object, which a program can give and a file cannot."""


def _check_application(value: object) -> str | WsgiApplication:
    """An import string, or a callable object."""
    try:
        return _judge_application(value)
    except PydanticCustomError:
        raise
    except Exception as error:  # noqa: BLE001 - a proxy (Flask's current_app, Django's lazy objects) looks for its object
        kind = type(error).__name__
        raise refused(f"is a {type(value).__name__} that has no application behind it yet ({kind})") from None


def _judge_application(value: object) -> str | WsgiApplication:
    if isinstance(value, str):
        return _check_import_string(value)
    if not callable(value):
        raise refused(f"must be a string, not {shown(value)}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004 - what it is, not whether it is there
        raise refused("is asynchronous, no WSGI application; the ASGI application around this one can mount it itself")
    return value


def _check_import_string(text: str) -> str:
    """``module:attribute``, each a dotted name."""
    module, colon, attribute = text.partition(":")
    if not colon and _is_dotted(module) and len(module) <= SHOWN_CHARACTERS:
        raise refused(
            f'must be "module:attribute", not {shown(text)}; did you mean "{module.removesuffix(".py")}:application"?'
        )
    if not (_is_dotted(module) and _is_dotted(attribute)):
        raise refused(f'must be "module:attribute", two dotted names, not {shown(text)}')
    return text


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _check_variable_name(text: str) -> str:
    if not text or "=" in text or "\0" in text:
        raise refused('the name of a variable must not be empty, nor hold "=" or NUL')
    _check_encodable(text)
    return text


def _check_variable_value(value: object) -> object:
    match value:
        case str() if "\0" in value:
            raise refused("must not hold a NUL character")
        case bool() | int() | float():
            raise refused(f'must be a string, not {shown(value)}; write it in quotes: "{shown(value)}"')
        case str():
            _check_encodable(value)
            return value
        case _:
            raise refused(f"must be a string, not {shown(value)}")


def _check_secret_value(value: object) -> object:
    """As for any variable, without a word of the value: os.environ is where people keep their passwords."""
    if isinstance(value, str):
        return _check_variable_value(value)
    raise refused("must be a string" + ("; write it in quotes" if isinstance(value, bool | int | float) else ""))


def _read_size(value: object) -> int | None:
    """Bytes as a number, or a number with a unit ("1 GiB", "10 MB"); None for "unlimited"."""
    if value == "unlimited":
        return None
    size = 0
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        found = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]{0,3})", value)
        if found is not None:
            size = int(found[1]) * UNITS.get(found[2].lower(), 0)
    if size < 1:
        raise refused(
            'must be a number of bytes of at least 1, a size such as "64 KiB", "10 MB" or "1 GiB", or "unlimited",'
            f" not {shown(value)}"
        )
    return size


# For the JSON schema: patterns that let through whatever the checks do, in what all regular expressions have.
_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = rf"(\[[0-9A-Fa-f:.]+\]|{_NAME})"
_DOTTED = r"[^:./\\\s]+(\.[^:./\\\s]+)*"
_VARIABLE = r"%\{(GLOBAL|SERVER|RESOURCE|ENV:[^={}]+)\}"


def _string(check: Callable[[str], str], **keywords: object) -> tuple[WrapValidator, AfterValidator, WithJsonSchema]:
    """A string, then ``check``; ``keywords`` say in the JSON schema what they can of it."""
    return must_be("a string"), AfterValidator(check), WithJsonSchema({"type": "string", **keywords})


LogLevel = Literal["critical", "error", "warning", "info", "debug"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)

Isolation = Literal["auto", "interpreter", "process"]
ISOLATIONS: tuple[str, ...] = get_args(Isolation)

Application = Annotated[
    str | WsgiApplication,
    PlainValidator(_check_application),
    WithJsonSchema({"type": "string", "pattern": f"^{_DOTTED}:{_DOTTED}$"}),
]
Backlog = Annotated[int, Field(ge=0), must_be("a whole number of at least 0")]
Bind = Annotated[
    str,
    *_string(
        _check_bind,
        pattern=r"^(unix:[^\x00]+|fd://[0-9]{1,6}|(\[[^\]\s/]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?)$",
        examples=["127.0.0.1:8000", "[::1]:8000", "unix:/run/asyncgroups.sock"],
    ),
]
GroupText = Annotated[
    str,
    *_string(
        _check_group_text,
        pattern=f"^({_VARIABLE}|([^%]|%[^{{])*%?)$",
        examples=["%{GLOBAL}", "%{SERVER}", "%{RESOURCE}", "%{ENV:APPLICATION_GROUP}", "shop"],
    ),
]
Groups = Annotated[int, Field(ge=1), must_be("a whole number of at least 1")]
HostAlias = Annotated[str, *_string(_check_alias, pattern=rf"^({_HOST}|\*\.{_NAME})$")]
HostName = Annotated[str, *_string(_check_host_name, pattern=rf"^{_HOST}(:[0-9]{{1,5}})?$")]
MountPath = Annotated[str, *_string(_check_mount_path, pattern="^/[^?#]*$")]
PathText = Annotated[str, *_string(_check_path_text, minLength=1)]
Niceness = Annotated[int, Field(ge=-20, le=19), must_be("a whole number from -20 to 19")]
ProcessGroup = Annotated[
    str,
    *_string(
        _check_process_group,
        pattern=f"^({_VARIABLE}|([^%]|%[^{{])*%?)$",
        examples=["", "%{SERVER}", "%{ENV:PROCESS_GROUP}", "shop"],
    ),
]
ProcessGroupName = Annotated[str, AfterValidator(_check_process_group_name)]
Secret = Annotated[str, must_be("a string", secret=True)]
Seconds = Annotated[
    float,
    Field(ge=0, le=YEAR, allow_inf_nan=False),
    must_be(f"a number of seconds from 0 to {YEAR} (a year)"),
]
Size = Annotated[
    int | None,
    BeforeValidator(_read_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {
                    "type": "string",
                    "pattern": r"^[0-9]{1,15}\s*(([kKmMgGtT][iI]?)?[bB])?$",
                    "examples": ["64 KiB", "10 MB"],
                },
                {"const": "unlimited"},
            ]
        }
    ),
]
Switch = Annotated[bool, must_be("true or false")]
Threads = Annotated[int, Field(ge=1, le=MOST_THREADS), must_be(f"a whole number from 1 to {MOST_THREADS}")]
Umask = Annotated[str, *_string(_check_umask, pattern="^0?[0-7]{3}$", examples=["027"])]
VariableName = Annotated[
    str,
    must_be("a string"),
    AfterValidator(_check_variable_name),
    WithJsonSchema({"type": "string", "pattern": "^[^=]+$"}),
]
SecretVariableValue = Annotated[str, BeforeValidator(_check_secret_value)]
VariableValue = Annotated[str, BeforeValidator(_check_variable_value)]
