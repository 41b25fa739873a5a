"""``check --load``: each application loaded in its group, and a table of what came of it.

Imports what a command needs when it runs; never the other commands.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from asyncgroups.cli.printing import StdoutFails, print_err, printable

if TYPE_CHECKING:
    from asyncgroups.config import Configuration
    from asyncgroups.host.witness import Diary
    from asyncgroups.loading import Group, Loaded

__all__ = ["load_all"]


def load_all(configuration: Configuration, groups: Sequence[Group]) -> NoReturn:
    """Load the groups' applications, print the table, and end with the command's exit status.

    In a process of its own: an application can end that, in a crash or by ``os._exit``, with any status.
    """
    from asyncgroups.host.witness import run_in_child  # noqa: PLC0415 - --help needs none of it
    from asyncgroups.loading import DOES_NOT_LOAD, HAS_SAID_WHY  # noqa: PLC0415 - as above

    ended = run_in_child(lambda diary: _load_here(configuration, groups, diary))
    if ended.is_orderly:
        sys.exit(ended.status)
    if ended.interrupted:
        sys.exit(_INTERRUPTED)
    if ended.status != HAS_SAID_WHY:
        how = f"exit status {ended.status}" if ended.status >= 0 else f"signal {-ended.status}"
        with contextlib.suppress(ValueError):
            how = signal.Signals(-ended.status).name
        when = printable(ended.words) or "nothing was loading yet"
        print_err(f"asyncgroups: the process has ended ({how}) while {when}")
    sys.exit(DOES_NOT_LOAD)


def _load_here(configuration: Configuration, groups: Sequence[Group], diary: Diary) -> NoReturn:
    """The process ends with it: what an application has left behind may never come back."""
    import anyio  # noqa: PLC0415 - as above

    from asyncgroups.frontend import logs  # noqa: PLC0415 - as above
    from asyncgroups.host.ending import deadline, end, watch_signals  # noqa: PLC0415 - as above
    from asyncgroups.loading import DOES_NOT_LOAD, load_groups, seconds_to_end  # noqa: PLC0415 - as above

    logs.set_up(configuration.log_level, "asyncgroups")
    table = _own_stdout()
    status, seconds = 0, seconds_to_end(configuration)

    def write(cells: Sequence[str]) -> None:
        try:
            table.write(f"{row(cells)}\n")
        except OSError as error:
            raise StdoutFails(error) from error

    def tell(loaded: Loaded) -> None:
        nonlocal status
        if loaded.failure is not None:
            status = DOES_NOT_LOAD
        write(_cells(loaded))

    try:
        # An application that keeps the main interpreter's GIL keeps Python's own signal handler from running.
        watch_signals([signal.SIGINT], seconds=seconds + 1, status=_INTERRUPTED)
        row = _row_of(groups)
        write(_COLUMNS)
        anyio.run(lambda: load_groups(configuration, groups, environ=os.environb, tell=tell, doing=diary.write))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except StdoutFails as failure:
        status = 1
        if not isinstance(failure.__cause__, BrokenPipeError):  # else whoever reads the table has seen enough
            print_err(f"asyncgroups: {failure}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on the end is bounded
    diary.write("atexit functions in %{GLOBAL} were running")
    diary.close(status)
    with deadline(seconds, status=status, words="asyncgroups: an atexit function in %{GLOBAL} does not return"):
        end(status)


_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells say it."""

_COLUMNS = ("application", "application group", "isolation", "loads", "seconds", "megabytes", "refused modules", "why")
_LOADS_WIDTH = 24


def _row_of(groups: Sequence[Group]) -> Callable[[Sequence[str]], str]:
    """Lays out a row; rows are printed one by one, so widths are those of what is known before."""
    from asyncgroups.host.group import label  # noqa: PLC0415 - as above

    widths = [
        max(len(text) for text in (_COLUMNS[0], *(printable(one) for group in groups for one in group.applications))),
        max(
            len(text)
            for text in (_COLUMNS[1], *(printable(label(group.name, group.process_group)) for group in groups))
        ),
        _LOADS_WIDTH,
    ]

    def row(cells: Sequence[str]) -> str:
        application, group, isolation, loads, seconds, megabytes, refused, why = cells
        first = f"{application:{widths[0]}}  {group:{widths[1]}}  {isolation:11}  {loads:{widths[2]}}"
        return f"{first}  {seconds:>7}  {megabytes:>9}  {refused:{len(_COLUMNS[-2])}}  {why}".rstrip()

    return row


def _cells(loaded: Loaded) -> tuple[str, ...]:
    return (
        printable(loaded.application),
        printable(loaded.group),
        loaded.isolation or "-",
        _cut(f"no: {printable(loaded.failure)}") if loaded.failure is not None else "yes",
        f"{loaded.seconds:.2f}",
        f"{loaded.memory / 1e6:.1f}" if loaded.memory is not None else "-",
        ", ".join(map(printable, loaded.refused)) or "-",
        printable(loaded.why),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LOADS_WIDTH else f"{text[: _LOADS_WIDTH - 1]}…"


def _own_stdout() -> TextIO:
    """The way to stdout, for the table alone: what anybody else writes there goes to stderr from here on."""
    sys.stdout.flush()
    table = os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors="backslashreplace")
    os.dup2(2, 1)
    return table
