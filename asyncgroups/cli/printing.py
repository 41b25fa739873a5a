"""What the commands print: text that is not ours made harmless, and stdout that may be full.

Law: no command of its own. Imports click.
"""

import os
import sys

import click

__all__ = ["StdoutFails", "print_out", "printable"]


def printable(text: str) -> str:
    """``text`` that is not ours: nothing in it may look like a line of ours, or be obeyed by a terminal."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def print_out(text: str) -> None:
    """``text`` and a line's end to stdout; where that is full the process ends with status 1."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # whoever reads has seen enough, and click says nothing
    except OSError as error:
        click.echo(f"asyncgroups: {StdoutFails(error)}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what has not been written is tried again at Python's end
        sys.exit(1)


class StdoutFails(Exception):
    """Raised where the table of ``check --load`` cannot be written; its cause is the OSError."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to stdout: {error.strerror}")
