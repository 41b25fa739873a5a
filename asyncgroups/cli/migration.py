"""``migrate``: an Apache configuration in, a file of ours and remarks out.

Imports ``asyncgroups.apache``; never the other commands.
"""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from asyncgroups.apache.reading import read
from asyncgroups.apache.remarks import grouped
from asyncgroups.apache.translation import translate
from asyncgroups.apache.writing import toml
from asyncgroups.cli.printing import print_out, printable
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
        click.echo(f"asyncgroups: {_printable_lines(str(error))}", err=True)
        sys.exit(2)
    translation = translate(reading)
    text = toml(translation.mapping, heading=HEADING.format(file=os.path.abspath(file)))
    if output is None or output == "-":
        print_out(text.removesuffix("\n"))
    else:
        _write(text, output, force=force)
    for line in grouped(translation.remarks):
        click.echo(printable(line), err=True)
    sys.exit(1 if translation.remarks else 0)


def _printable_lines(text: str) -> str:
    """As ``printable``, but that lines end where they do."""
    return "\n".join(map(printable, text.split("\n")))


def _write(text: str, path: str, *, force: bool) -> None:
    try:
        with open(path, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        click.echo(f"asyncgroups: {printable(path)} is there already: give another name, or --force", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"asyncgroups: cannot write {printable(path)}: {error.strerror or error}", err=True)
        sys.exit(2)
