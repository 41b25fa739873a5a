"""The way in: a TOML file, one of Apache's, or a mapping of the same shape, becomes a Configuration or one error.

Law: reads the one file it is given (with those that one of Apache's includes), and the working directory where a
command-line option needs it. The error holds every problem.
May import pydantic, ``errors`` and the rest of ``config``.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from asyncgroups.config.configuration import Configuration
from asyncgroups.config.contexts import Contexts
from asyncgroups.config.model import PROCESS_GROUPS, Document
from asyncgroups.config.problems import Problems, loc_of, without
from asyncgroups.config.words import ARRAYS, FileWords, Loc
from asyncgroups.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncgroups.apache.reading import Reading
    from asyncgroups.apache.translation import Translation

__all__ = ["Override", "from_mapping", "is_apache", "read", "refusals"]

PATH_KEYS = frozenset({"app_dir", "python_path", "certfile", "keyfile", "ca_certs"})
INHERITED_KEYS = frozenset({"app_dir", "application_group", "preload", "threads"})
REQUIRED_KEYS = frozenset({"directory", "path", "server_name"}) | {
    *("match", "not_match", "equals", "not_equals"),
    *("test", "host", "method", "header"),
}
"""Without these it cannot be told what an element of an array is for; other keys of it are worth checking alone."""


class Override(NamedTuple):
    """A value from the command line. option: what its user typed, ``--bind``; the place of its errors."""

    option: str
    value: object


NO_OVERRIDES: Mapping[str, Override] = MappingProxyType({})
NO_DEFINES: Mapping[str, str] = MappingProxyType({})
FILE_WORDS = FileWords()


def read(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
    defines: Mapping[str, str] = NO_DEFINES,
) -> Configuration:
    """Read a configuration file.

    path: of a TOML file, where relative paths start from its folder; or of Apache's, if its name ends in ``.conf``.
    source: name for messages; None for the path as it is given.
    overrides: key of the top level -> what the command line says instead; paths start from the working directory.
    defines: name to text, what Apache is told by ``-D`` and ``Define``.
    Raises ConfigurationError, with every problem of the file.
    """
    path = os.fspath(path)
    source = path if source is None else source
    if is_apache(path):
        from asyncgroups.config.httpd import read_httpd  # noqa: PLC0415 - few have such a file

        httpd = read_httpd(path, defines=defines)
        problems = Problems(source, text=None, options=_options_of(overrides), words=httpd.words)
        base = Path(httpd.base)
        configuration = _build(httpd.mapping, base=base, source=source, overrides=overrides, problems=problems)
        return replace(configuration, remarks=(*httpd.remarks, *problems.missing))
    text = _read_text(path, source)
    try:
        mapping = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = f"{source}:{error.lineno}:{error.colno}"
        raise ConfigurationError(source, [f"{place}: {error.msg}{_way_out(text, error)}"]) from None
    except RecursionError:
        raise ConfigurationError(source, [f"{source}: brackets are nested too deeply"]) from None
    except ValueError:
        # The interpreter's own limit, which tomllib lets through (sys.set_int_max_str_digits).
        raise ConfigurationError(source, [f"{source}: a number has too many digits"]) from None
    problems = Problems(source, text=text, options=_options_of(overrides), words=FILE_WORDS)
    return _build(mapping, base=Path(path).absolute().parent, source=source, overrides=overrides, problems=problems)


def refusals(reading: Reading, translation: Translation, *, source: str) -> list[str]:
    """Why a file with this translation of Apache's configuration would be refused, as far as this machine can tell."""
    from asyncgroups.config.httpd import httpd_of  # noqa: PLC0415 - few have such a file

    httpd = httpd_of(reading, translation)
    httpd.words.goes_without = False
    problems = Problems(source, text=None, options={}, words=httpd.words)
    try:
        _build(httpd.mapping, base=Path(httpd.base), source=source, overrides=NO_OVERRIDES, problems=problems)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def is_apache(path: str) -> bool:
    """Whether a file is Apache's, by its name."""
    return path.endswith(".conf")


def _way_out(text: str, error: tomllib.TOMLDecodeError) -> str:
    """What TOML's own message about the setting process_group beside the tables of that name does not say."""
    line = text.splitlines()[error.lineno - 1] if error.msg == "Cannot overwrite a value" else ""
    if not line.lstrip().startswith("[process_group."):
        return ""
    return "; where there are tables [process_group.NAME] the default one says default = true"


def from_mapping(
    mapping: Mapping[str, object],
    *,
    base: Path,
    source: str,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
    problems: Problems | None = None,
) -> Configuration:
    """Make a configuration of what would stand in a file.

    mapping: as ``tomllib`` would give it; an app may also be a callable object.
    base: folder that relative paths start from. source: name for messages.
    overrides: as for ``read``. problems: what has been found already.
    Raises ConfigurationError, with every problem.
    """
    if problems is None:
        problems = Problems(source, text=None, options=_options_of(overrides), words=FILE_WORDS)
    return _build(mapping, base=base.absolute(), source=source, overrides=overrides, problems=problems)


def _build(
    mapping: Mapping[str, object], *, base: Path, source: str, overrides: Mapping[str, Override], problems: Problems
) -> Configuration:
    table = {
        **_overruled(mapping, frozenset(overrides)),
        **{key: _from_here(key, override.value) for key, override in overrides.items()},
    }
    if isinstance(table.get("process_group"), dict):
        table[PROCESS_GROUPS] = table.pop("process_group")
    document, dropped = _checked(table, problems)
    configuration = None
    if document is not None:
        configuration = Contexts(document, base=base, dropped=dropped, problems=problems).configuration(source)
    if configuration is None:
        raise ConfigurationError(source, problems.sentences())
    return configuration


def _overruled(mapping: Mapping[str, object], keys: frozenset[str]) -> dict[str, object]:
    """The mapping without ``keys`` in its virtual hosts and mounts: the command line beats those too."""
    table = dict(mapping)
    for array in ARRAYS:
        sections = table.get(array)
        if keys and isinstance(sections, list):
            table[array] = [
                _overruled({key: value for key, value in section.items() if key not in INHERITED_KEYS & keys}, keys)
                if isinstance(section, dict)
                else section
                for section in sections
            ]
    return table


def _checked(table: Mapping[str, Any], problems: Problems) -> tuple[Document | None, frozenset[Loc]]:
    """The document less its wrong values, so that the rules between the others can be checked; what was left out."""
    try:
        return Document.model_validate(table), frozenset()
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for detail in errors:
        problems.add(loc_of(detail), problems.words.sentence(detail))
    dropped = frozenset(_whole(detail) for detail in errors)
    try:
        return Document.model_validate(without(table, dropped)), dropped
    except ValidationError:
        return None, dropped


def _whole(error: ErrorDetails) -> Loc:
    """What to leave out where a value is wrong: it, or the mount or virtual host that needs it."""
    loc = loc_of(error)
    is_needed = len(loc) > 2 and loc[-1] in REQUIRED_KEYS and loc[-3] in ARRAYS
    return loc[:-1] if is_needed and error["type"] != "extra_forbidden" else loc


def _read_text(path: str, source: str) -> str:
    try:
        with open(path, "rb") as file:
            # A byte order mark is what some editors on Windows begin a file with.
            return file.read().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
    except FileNotFoundError:
        reason = "there is no such file"
    except IsADirectoryError:
        reason = "is a folder, not a file"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ConfigurationError(source, [f"{source}: {reason}"])


def _from_here(key: str, value: object) -> object:
    """A path from the command line, absolute: it starts from the working directory and not from the file's folder."""
    match value:
        case str() if value and key in PATH_KEYS:
            return str(Path(value).absolute())
        case str() if key == "bind" and value.startswith("unix:") and value != "unix:":
            return f"unix:{Path(value.removeprefix('unix:')).absolute()}"
        case list() | tuple() if key == "bind" or key in PATH_KEYS:
            return [_from_here(key, item) for item in value]
        case _:
            return value


def _options_of(overrides: Mapping[str, Override]) -> dict[str, str]:
    return {key: override.option for key, override in overrides.items()}
