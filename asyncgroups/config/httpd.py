"""An Apache configuration, read as if it were a file of ours, and what its places are called.

Law: reads the file and those that it includes. Only ever imported where there is such a file.
May import ``asyncgroups.apache`` and ``config.words``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from asyncgroups.apache.reading import NO_DEFINES, Reading, Statement, read
from asyncgroups.apache.remarks import grouped
from asyncgroups.apache.tables import Place
from asyncgroups.apache.translation import Translation, translate
from asyncgroups.config.words import FileWords, Loc, as_written

__all__ = ["Httpd", "HttpdWords", "httpd_of", "read_httpd"]


class HttpdWords(FileWords):
    """The words of an Apache configuration: a place is that of a statement.

    statements: where each table and key comes from: (``file:line``, the statement's name).
    """

    goes_without = True
    nothing_mounted = "nothing is mounted; add a WSGIScriptAlias, or a <Directory> with SetHandler wsgi-script"
    nothing_runs = "nothing is mounted, and no file is a script; one in a <Directory> with SetHandler wsgi-script is"
    global_threads = "in the WSGIDaemonProcess that it runs in"
    no_process_groups = "add a WSGIDaemonProcess"

    def __init__(self, statements: Mapping[Place, tuple[str, str]]) -> None:
        self._statements = statements

    def place(self, loc: Loc) -> str:
        """``site.conf:12: WSGIScriptAlias: script``."""
        written = as_written(loc)
        for end in range(len(written), 0, -1):
            if (found := self._statements.get(written[:end])) is not None:
                rest = super().place(written[end:])
                return ": ".join([*found, rest] if rest else found)
        return super().place(loc)


class Httpd(NamedTuple):
    """mapping: of the shape of the TOML file. base: what relative paths start from. remarks: lines, one each."""

    mapping: Mapping[str, Any]
    base: str
    words: HttpdWords
    remarks: tuple[str, ...]


def read_httpd(path: str, *, defines: Mapping[str, str] = NO_DEFINES) -> Httpd:
    """Read and translate an Apache configuration. defines: as for ``apache2 -D``. Raises ConfigurationError."""
    reading = read(path, defines=defines)
    return httpd_of(reading, translate(reading))


def httpd_of(reading: Reading, translation: Translation) -> Httpd:
    """A configuration that has been read and translated."""
    statements = {place: (by.place, _name(by)) for place, by in translation.places.items()}
    remarks = tuple(grouped(translation.remarks))
    return Httpd(translation.mapping, reading.server_root, HttpdWords(statements), remarks)


def _name(statement: Statement) -> str:
    return f"<{statement.name}>" if statement.body is not None else statement.name
