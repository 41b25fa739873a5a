"""An os.environ of the group's own. Standard library only; run once, before the application is imported.

The C environment belongs to the process: a write to ``os.environ`` calls putenv, after which child processes of every
group, and the ``os.environ`` of each interpreter made later, have the variable. Here ``os.environ`` is a table of this
interpreter and nothing else, and what starts a child process hands that table on.

``TZ`` with ``time.tzset`` and C code that calls getenv see the process's environment: the two exceptions.
"""

from __future__ import annotations

import _posixsubprocess
import os
import sys

__all__ = ["isolate"]


def isolate(environ: Iterable[tuple[bytes, bytes]]) -> None:
    """Make ``environ``, pairs of bytes, the environment of this interpreter and of the child processes it starts."""
    table: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # os.environb is a view of it
    table.clear()
    table.update(environ)

    def putenv(name: StrOrBytesPath, value: StrOrBytesPath, /) -> None:
        table[os.fsencode(name)] = os.fsencode(value)

    # _Environ calls putenv and unsetenv as it finds them in the module, then changes the table itself.
    os.putenv = putenv
    os.unsetenv = _nothing
    os.reload_environ = _nothing  # it would bring the process's environment in

    fork_exec = _posixsubprocess.fork_exec

    def fork_exec_here(*arguments: object) -> int:
        if arguments[_ENV_LIST] is None:
            own = [name + b"=" + value for name, value in table.copy().items()]  # another thread may set one meanwhile
            arguments = (*arguments[:_ENV_LIST], own, *arguments[_ENV_LIST + 1 :])
        return fork_exec(*arguments)  # type: ignore[arg-type]  # as they came

    # subprocess and multiprocessing take it from here when they are first imported.
    _posixsubprocess.fork_exec = fork_exec_here
    if "subprocess" in sys.modules:
        sys.modules["subprocess"]._fork_exec = fork_exec_here  # type: ignore[attr-defined]  # private

    for name in ("posix_spawn", "posix_spawnp"):
        spawn = getattr(os, name, None)
        if spawn is not None:
            setattr(os, name, _spawn_here(spawn, table))
    os.system = _system


_ENV_LIST = 5
"""fork_exec(args, executables, close_fds, pass_fds, cwd, env, ...): None stands for the process's environment."""


def _nothing(*_: object) -> None:
    """In place of what would touch the process's environment."""


def _spawn_here(spawn: Callable[..., int], table: dict[bytes, bytes]) -> Callable[..., int]:
    def posix_spawn(path: object, argv: object, env: object = None, /, **keywords: object) -> int:
        return spawn(path, argv, table.copy() if env is None else env, **keywords)  # as above

    return posix_spawn


def _system(command: StrOrBytesPath) -> int:
    """``os.system`` through a shell that gets this interpreter's environment; returns a wait status, as that does."""
    import subprocess  # noqa: PLC0415 - costs an interpreter that does not need it 10 ms

    code = subprocess.call(command, shell=True)  # noqa: S602 - that is what os.system is
    return code << 8 if code >= 0 else -code


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    type StrOrBytesPath = str | bytes | PathLike[str] | PathLike[bytes]
