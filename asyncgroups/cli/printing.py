"""What the commands print: text that is not ours made harmless, and stdout that may be full.

Law: no command of its own. Imports click.
"""

import errno
import os
import sys
from typing import Any, NoReturn

import click

__all__ = ["Commands", "StdoutFails", "print_err", "print_out", "printable", "stdout_failed"]


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Commands(click.Group):
    """Commands whose help, version and usage may go to where there is no place left."""

    def main(self, *args: Any, **keywords: Any) -> Any:
        """As ``click.Command.main``."""
        try:
            return super().main(*args, **keywords)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            stdout_failed(error)


def printable(text: str) -> str:
    """``text`` that is not ours: nothing in it may look like a line of ours, or be obeyed by a terminal."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def print_err(text: str) -> None:
    """``text`` and a line's end to stderr; where that is full nobody can be told, and the command goes on."""
    try:
        click.echo(text, err=True)
    except OSError:
        _give_up(2)


def print_out(text: str) -> None:
    """``text`` and a line's end to stdout; where that is full the process ends with status 1."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # whoever reads has seen enough, and click says nothing
    except OSError as error:
        stdout_failed(error)


def stdout_failed(error: OSError) -> NoReturn:
    """Say so, and end the process with status 1."""
    print_err(f"asyncgroups: {StdoutFails(error)}")
    _give_up(1)
    sys.exit(1)


def _give_up(descriptor: int) -> None:
    """What has not been written is tried again at Python's end: it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


class StdoutFails(Exception):
    """Raised where the table of ``check --load`` cannot be written; its cause is the OSError."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to stdout: {error.strerror}")
