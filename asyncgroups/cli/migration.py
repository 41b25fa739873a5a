"""``migrate``: an Apache configuration in, a file of ours and remarks out.

Imports ``asyncgroups.apache`` and ``config``; never the other commands.
"""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from asyncgroups.apache.reading import read
from asyncgroups.apache.remarks import grouped
from asyncgroups.apache.translation import translate
from asyncgroups.apache.writing import toml
from asyncgroups.cli.printing import print_err, print_out, printable
from asyncgroups.config import refusals
from asyncgroups.errors import ConfigurationError

__all__ = ["migrate_file"]

HEADING = """\
Made by asyncgroups migrate from {file}
asyncgroups check says whether it is right; asyncgroups explain, what a request gets."""


def migrate_file(file: str, *, output: str | None, force: bool, defines: Mapping[str, str]) -> NoReturn:
    """Translate ``file``, write the result, tell the remarks, and end with the command's exit status.

    output: path of the file to write; None or ``-`` for stdout. force: whether it may be there. defines: as for
    ``apache2 -D``.
    """
    try:
        reading = read(file, defines=defines)
    except ConfigurationError as error:
        print_err(f"asyncgroups: {_printable_lines(str(error))}")
        sys.exit(2)
    translation = translate(reading)
    if output is not None and any(_is_one(output, one) for one in reading.files):
        print_err(f"asyncgroups: {printable(output)} is what is to be translated: give another name")
        sys.exit(2)
    text = toml(translation.mapping, heading=HEADING.format(file=os.path.abspath(file)))
    if output is None or output == "-":
        print_out(text.removesuffix("\n"))
    else:
        _write(text, output, force=force)
    for line in grouped(translation.remarks):
        print_err(printable(line))
    if wrong := refusals(reading, translation, source=file):
        print_err("asyncgroups: asyncgroups check refuses this translation until it is put right:")
        for problem in wrong:
            print_err(_printable_lines(problem))
    sys.exit(1 if translation.remarks or wrong else 0)


def _printable_lines(text: str) -> str:
    """As ``printable``, but that lines end where they do."""
    return "\n".join(map(printable, text.split("\n")))


def _is_one(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _write(text: str, path: str, *, force: bool) -> None:
    try:
        with open(path, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print_err(f"asyncgroups: {printable(path)} is there already: give another name, or --force")
        sys.exit(2)
    except OSError as error:
        print_err(f"asyncgroups: cannot write {printable(path)}: {error.strerror or error}")
        sys.exit(2)
