"""The one door to ``concurrent.interpreters``: creates and bootstraps an interpreter, lives in it, closes it.

Standard library and ``worker``. Guarantees:

- One long-lived call per interpreter (each call makes a new thread state), the control thread of ``worker.main``.
- An interpreter whose workers have not all ended is never closed: it is left behind.
- However it ends, the other end of its control channel sees the end of it.
- The package is loaded there from where this process has it, and nothing else of that folder with it.

A daemon process may run a Python without ``concurrent.interpreters``, and has its main interpreter only.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from asyncgroups.errors import InterpreterFailed, MainInterpreterOnly
from asyncgroups.worker import main as worker_main

if TYPE_CHECKING or sys.version_info >= (3, 14, 1):
    from concurrent import interpreters  # now: later there may be no file descriptor left to load it with

__all__ = ["OLDEST", "Bootstrap", "Inside", "run_apart", "run_outliving"]

_log = logging.getLogger("asyncgroups")

OLDEST = (3, 14, 1)
"""The first Python whose interpreters are good enough; one that is older has its main interpreter only."""

_HERE = str(Path(__file__).resolve().parents[1])

_LEFT: list[interpreters.Interpreter] = []
"""Interpreters that are never to be closed implicitly: dropping the last reference would wait for their threads."""

_FIND = """
import importlib.util, sys
if "asyncgroups" not in sys.modules:
    found = importlib.util.spec_from_file_location(
        "asyncgroups", here + "/__init__.py", submodule_search_locations=[here]
    )
    sys.modules["asyncgroups"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules["asyncgroups"])
"""
"""In place of a folder at the end of ``sys.path``, where an application would find what else is in it."""

_PREPARE = f"{_FIND}\nfrom asyncgroups.worker.main import run"
_RUN = "left = run(*arguments)"
_CHECK = "if left: raise SystemExit(left)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What an interpreter is told at its start: folders for the head of ``sys.path``, its environment.

    ``environ`` is None for the main interpreter, which keeps the process's environment: for GLOBAL, and for a group
    that has a daemon process of its own. GLOBAL alone has ``path_end``, folders for the end of ``sys.path``, and
    ``applications``, callable objects by name, which never cross to another interpreter.
    """

    process_group: str
    application_group: str
    threads: int
    path: tuple[str, ...]
    environ: tuple[tuple[bytes, bytes], ...] | None = field(repr=False)
    processes: int = 1
    """How many processes of the process group run the same applications."""
    generation: int = 0
    """Tells an interpreter of a daemon process from the one whose place it takes."""
    path_end: tuple[str, ...] = ()
    applications: Mapping[str, Callable[..., Iterable[bytes]]] | None = None

    @property
    def is_main(self) -> bool:
        return self.environ is None

    @property
    def key(self) -> tuple[str, str]:
        """Names of process group and application group."""
        return self.process_group, self.application_group


class Inside:
    """An interpreter as the process has it that holds it; for the one thread that lives in it.

    control: the descriptor of the interpreter's end of its control channel, from ``live`` on owned by it. door: see
    ``worker.main.run``; not its own. on_over: called when it has done with that, and as soon as it has failed.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        control: int,
        *,
        door: int | None = None,
        on_over: Callable[[], None] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._control = control
        self._door = door
        self._on_over = on_over
        self._interpreter: interpreters.Interpreter | None = None

    def live(self) -> bool:
        """Make the interpreter and be its control thread until its end; whether workers are left in it.

        Raises InterpreterFailed, after which ``close`` is due.
        """
        bootstrap = self._bootstrap
        arguments = (
            self._control,
            bootstrap.process_group,
            bootstrap.application_group,
            bootstrap.threads,
            bootstrap.path,
            bootstrap.environ,
            bootstrap.processes,
            self._door,
        )
        owned = True
        try:
            if bootstrap.is_main:
                owned = False
                return worker_main.run(*arguments, path_end=bootstrap.path_end, applications=bootstrap.applications) > 0
            interpreter = self._interpreter = _create()
            _tell(interpreter, arguments)
            interpreter.exec(_PREPARE)
            owned = False
            interpreter.exec(_RUN)
            self._be_over()
            if _ask(interpreter):
                _LEFT.append(interpreter)
                return True
            interpreter.close()
            self._interpreter = None
            return False
        except InterpreterFailed:
            raise
        except Exception as error:
            told = getattr(getattr(error, "excinfo", None), "errdisplay", None)  # an ExecutionFailed
            raise InterpreterFailed((told or f"{type(error).__name__}: {error}").strip()) from None
        finally:
            self._be_over()
            if owned:
                os.close(self._control)

    def _be_over(self) -> None:
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()

    def close(self) -> None:
        """Close what is left of one that has failed; waits for the application's threads. Raises InterpreterFailed.

        Dropping the last reference would wait in whichever thread the garbage is collected: the event loop's, perhaps.
        """
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is None:
            return
        if interpreter not in _LEFT:
            _LEFT.append(interpreter)
        try:
            interpreter.close()
        except Exception as error:
            raise InterpreterFailed(f"it cannot be closed: {error}") from None
        _LEFT.remove(interpreter)


def _create() -> interpreters.Interpreter:
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        raise MainInterpreterOnly(
            f"Python {version} has one interpreter, which is for the application group %{{GLOBAL}} alone"
        )
    return interpreters.create()


def _tell(interpreter: interpreters.Interpreter, arguments: tuple[object, ...]) -> None:
    try:
        interpreter.prepare_main(here=_HERE, arguments=arguments)
    except Exception as error:
        # What cannot cross is quoted in the message, and the whole environment with it.
        raise InterpreterFailed(f"it cannot be told its settings ({type(error).__name__})") from None


def _ask(interpreter: interpreters.Interpreter) -> bool:
    """Whether ``run`` has left workers behind."""
    try:
        interpreter.exec(_CHECK)
    except interpreters.ExecutionFailed:
        return True
    return False


def run_apart(
    source: str,
    *,
    descriptor: int,
    on_failure: Callable[[], None] | None = None,
    **names: str | float | tuple[int, ...],
) -> None:
    """Run ``source`` in an interpreter of its own, in a daemon thread, with ``names`` set in its ``__main__``.

    For what has to go on while the main interpreter cannot. It must not outlive its use: nobody closes it.
    ``descriptor`` is one of the names, and its own; it is closed, and a record says why, if there is no interpreter,
    and ``on_failure`` is called.
    """

    def fail(error: Exception) -> None:
        _log.error("nothing watches over the end of this process: %s: %s", type(error).__name__, error)
        os.close(descriptor)  # now that it has been said: who waits for this may end the process
        if on_failure is not None:
            on_failure()

    def live() -> None:
        try:
            interpreter = _create()
            interpreter.prepare_main(here=_HERE, descriptor=descriptor, **names)
            interpreter.exec(_FIND + "import asyncgroups.host.watchdog")
        except Exception as error:
            fail(error)
        else:
            interpreter.exec(source)

    try:
        threading.Thread(target=live, name="asyncgroups-apart", daemon=True).start()
    except RuntimeError as error:
        fail(error)


def run_outliving(lifeline: int, folder: str) -> int | None:
    """Have an interpreter of its own end this process with the server; None where this Python has none.

    See ``watchdog.outlive``, which owns ``lifeline`` from here on. Returns a descriptor: there is something to be read
    from it, or it is at its end, as soon as the main interpreter is not needed for that any more. Raises OSError.
    """
    if sys.version_info < OLDEST:
        return None
    watched, ready = os.pipe()
    source = "from asyncgroups.host.watchdog import outlive\noutlive(descriptor, folder, ready=ready)"
    run_apart(source, descriptor=lifeline, folder=folder, ready=ready, on_failure=partial(os.close, ready))
    return watched
