"""The one door to ``concurrent.interpreters``: creates, bootstraps, stops and closes the interpreter of a group.

Standard library, ``wire`` and ``worker``. Guarantees:

- ``start`` returns at once: the interpreter is created in a thread of its own, which lives in it until it ends. Workers
  may be added, and requests sent to them, before it is there: they wait in their channels.
- One long-lived call per interpreter (each call makes a new thread state), the control thread of ``worker.main``.
- An interpreter whose workers have not all ended is never closed: it is left behind, and ``repr`` says so.
- However it ends, ``on_end`` is called once, in that thread, and each worker's end of its channel is closed by then,
  unless its worker is still busy.
"""

import enum
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent import interpreters
from dataclasses import dataclass, field
from pathlib import Path

from asyncgroups.errors import ChannelClosed, InterpreterFailed
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import channel as wire
from asyncgroups.wire import messages
from asyncgroups.worker import main as worker_main

__all__ = ["Bootstrap", "GroupInterpreter", "State", "label", "run_apart"]

_log = logging.getLogger("asyncgroups")

# Where this package was found: the new interpreter's sys.path comes from its own site, and may not lead here.
_HERE = str(Path(__file__).resolve().parents[2])

_LEFT: list[interpreters.Interpreter] = []
"""Interpreters that are never to be closed implicitly: dropping the last reference would wait for their threads."""

_PREPARE = """
import importlib.util, sys
if importlib.util.find_spec("asyncgroups") is None:
    sys.path.append(here)
from asyncgroups.worker.main import run
"""
_RUN = "left = run(*arguments)"
_CHECK = "if left: raise SystemExit(left)"


_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""Control characters, which a terminal would obey, and what else ends a line; not tab and newline."""

_MARKS = frozenset("[]#")
"""What a log line is marked with: "[shop #7] …"."""


class State(enum.Enum):
    """The life of an interpreter."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    CLOSED = "closed"
    FAILED = "failed"
    LEFT = "left behind"


_TRANSITIONS = {
    (State.STARTING, State.RUNNING),
    (State.STARTING, State.STOPPING),
    (State.STARTING, State.FAILED),
    (State.RUNNING, State.STOPPING),
    (State.RUNNING, State.FAILED),
    (State.STOPPING, State.CLOSED),
    (State.STOPPING, State.FAILED),
    (State.STOPPING, State.LEFT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What an interpreter is told at its start: folders for the head of ``sys.path``, its environment.

    ``environ`` is None for GLOBAL, which lives in the main interpreter and keeps the process's environment. It alone
    has ``path_end``, folders for the end of ``sys.path``, and ``applications``, callable objects by name, which never
    cross to another interpreter.
    """

    process_group: str
    application_group: str
    threads: int
    path: tuple[str, ...]
    environ: tuple[tuple[bytes, bytes], ...] | None = field(repr=False)
    path_end: tuple[str, ...] = ()
    applications: Mapping[str, Callable[..., Iterable[bytes]]] | None = None


def label(application_group: str) -> str:
    """An application group's name as logs show it: what could pass for more than a name is quoted."""
    name = application_group or "%{GLOBAL}"
    return repr(name) if _MARKS.intersection(name) or not name.isprintable() else name


def _contained(text: str) -> str:
    """``text`` as an application may put it into the log: no line of it looks like a line of another group's."""
    return text.translate(_ESCAPES).replace("\n", "\n  ")


class GroupInterpreter:
    """One interpreter of one application group, with its control channel."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        reaper: Reaper,
        on_end: Callable[[GroupInterpreter], None],
        on_refusal: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.label: str = label(bootstrap.application_group)
        self.state: State = State.STARTING
        self.failure: str | None = None
        """Why it could not be made, or has died."""
        self.on_refusal = on_refusal
        """Called with application, module and text for each extension module that refuses; in the reaper's thread."""
        self._lock = threading.Lock()
        self._reaper = reaper
        self._on_end = on_end
        self._interpreter: interpreters.Interpreter | None = None
        self.channel: wire.Channel
        self.channel, self._control = wire.pair()
        self._thread = threading.Thread(target=self._live, name=f"interpreter-{self.label}", daemon=self._is_main)

    def __repr__(self) -> str:
        failure = f": {self.failure}" if self.failure else ""
        return f"<GroupInterpreter {self.label!r} {self.state.value}{failure}>"

    @property
    def _is_main(self) -> bool:
        return self.bootstrap.environ is None

    def _move(self, state: State) -> None:
        with self._lock:
            if (self.state, state) not in _TRANSITIONS:
                raise RuntimeError(f"an interpreter that is {self.state.value} cannot be {state.value}")
            self.state = state

    # From any thread of the front end ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Raises RuntimeError when the process cannot have one more thread."""
        self._reaper.listen(self)
        self._thread.start()

    def add_worker(self, number: int) -> wire.Channel:
        """Let a worker start as soon as the interpreter is there; its channel. Raises OSError, ChannelClosed."""
        channel, theirs = wire.pair()
        try:
            with self._lock:
                self.channel.send_descriptor(messages.numbers(messages.WORKER, number), theirs)
        except ChannelClosed:
            channel.close()
            raise
        finally:
            os.close(theirs)  # a copy of it is on its way
        return channel

    def interrupt(self, worker: int, exchange: int) -> None:
        """Have RequestInterrupted raised in ``worker`` if it is still busy with ``exchange``."""
        self._say(messages.numbers(messages.INTERRUPT, worker, exchange))

    def stop(self, seconds: float) -> None:
        """Let it wait for its workers, at most ``seconds``, run its atexit functions and end. The earliest holds."""
        with self._lock:
            if self.state not in (State.STARTING, State.RUNNING, State.STOPPING):
                return
            self.state = State.STOPPING
        self._say(messages.numbers(messages.STOP, round(max(0.0, seconds) * 1000)))

    def join(self, seconds: float) -> bool:
        """Wait until it has ended, at most ``seconds``; whether it has."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _say(self, frame: bytes) -> None:
        try:
            with self._lock:
                self.channel.say(frame)
        except ChannelClosed:
            pass  # it has ended, or does not even read its control channel: joining it shows

    def abandon(self) -> None:
        """``start`` has failed: let go of the descriptors."""
        self.failure = "it could not be started"
        self._move(State.FAILED)
        os.close(self._control)

    # The interpreter's own thread -------------------------------------------------------------------------------------

    def _live(self) -> None:
        control = self._control
        arguments = (
            control,
            self.bootstrap.process_group,
            self.bootstrap.application_group,
            self.bootstrap.threads,
            self.bootstrap.path,
            self.bootstrap.environ,
        )
        owned = True
        end = State.FAILED
        try:
            if self._is_main:
                owned = False
                left = worker_main.run(
                    *arguments, path_end=self.bootstrap.path_end, applications=self.bootstrap.applications
                )
            else:
                interpreter = self._interpreter = interpreters.create()
                self._tell(interpreter, arguments)
                interpreter.exec(_PREPARE)
                owned = False
                interpreter.exec(_RUN)
                left = self._ask(interpreter)
                if left:
                    _LEFT.append(interpreter)
                else:
                    interpreter.close()
                    self._interpreter = None
            end = State.LEFT if left else State.CLOSED
            if self.state is not State.STOPPING:
                end, self.failure = State.FAILED, "its control thread has ended"
        except interpreters.ExecutionFailed as error:
            self.failure = (getattr(error.excinfo, "errdisplay", None) or str(error)).strip()
        except InterpreterFailed as error:
            self.failure = str(error)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            if owned:
                os.close(control)
            self._move(end)
            if self.failure:
                _log.error("[%s] the interpreter has failed: %s", self.label, self.failure)
            self._on_end(self)
        if end is State.FAILED and self._interpreter is not None:
            self._close_failed(self._interpreter)
            self._interpreter = None

    def _close_failed(self, interpreter: interpreters.Interpreter) -> None:
        """Close it here, where the wait for the application's threads holds nobody up.

        Dropping the last reference would do so in whichever thread the garbage is collected: the event loop's, perhaps.
        """
        _LEFT.append(interpreter)
        try:
            interpreter.close()
        except interpreters.InterpreterError as error:
            _log.error("[%s] the interpreter cannot be closed: %s", self.label, error)
        else:
            _LEFT.remove(interpreter)

    @staticmethod
    def _tell(interpreter: interpreters.Interpreter, arguments: tuple[object, ...]) -> None:
        try:
            interpreter.prepare_main(here=_HERE, arguments=arguments)
        except Exception as error:
            # What cannot cross is quoted in the message, and the whole environment with it.
            raise InterpreterFailed(f"it cannot be told its settings ({type(error).__name__})") from None

    @staticmethod
    def _ask(interpreter: interpreters.Interpreter) -> bool:
        try:
            interpreter.exec(_CHECK)
        except interpreters.ExecutionFailed:
            return True
        return False

    # The reaper's thread: what the interpreter says -------------------------------------------------------------------

    def hear(self, kind: int, payload: bytes) -> bool:
        """See ``reaper.Listener``."""
        if kind == messages.RECORD:
            record = messages.parse_record(payload)
            exchange = f" #{record.exchange}" if record.exchange else ""
            _log.log(
                record.level,
                "[%s%s] %s",
                self.label,
                exchange,
                _contained(record.text),
                extra={"application_group": self.bootstrap.application_group, "exchange": record.exchange},
            )
        elif kind == messages.REFUSED:
            application, module, text = messages.parse_texts(payload, 3)
            if self.on_refusal is not None:
                self.on_refusal(application, module, text)
            _log.warning(
                "[%s] %s: the extension module %s refuses to be loaded in an interpreter of its own (%s). "
                'If the application needs it, set application_group = "%%{GLOBAL}" for its mount.',
                self.label,
                repr(application) if application else "an application",
                _contained(module),
                _contained(text),
            )
        elif kind == messages.READY:
            with self._lock:
                if self.state is State.STARTING:
                    self.state = State.RUNNING
        return kind != messages.STOPPED

    def finished(self) -> None:
        """See ``reaper.Listener``."""
        with self._lock:
            self.channel.close()

    def lost(self, reason: str) -> None:  # noqa: ARG002 - the listener's signature
        """See ``reaper.Listener``."""
        with self._lock:
            self.channel.close()


def run_apart(source: str, *, descriptor: int, **names: str | float | tuple[int, ...]) -> None:
    """Run ``source`` in an interpreter of its own, in a daemon thread, with ``names`` set in its ``__main__``.

    For what has to go on while the main interpreter cannot. It must not outlive its use: nobody closes it.
    ``descriptor`` is one of the names, and its own; it is closed, and a record says why, if there is no interpreter.
    """

    def fail(error: Exception) -> None:
        _log.error("nothing watches over the end of this process: %s: %s", type(error).__name__, error)
        os.close(descriptor)  # now that it has been said: who waits for this may end the process

    def live() -> None:
        try:
            interpreter = interpreters.create()
            interpreter.prepare_main(here=_HERE, descriptor=descriptor, **names)
            interpreter.exec("import sys\nsys.path.append(here)\nimport asyncgroups.host.watchdog")
        except Exception as error:
            fail(error)
        else:
            interpreter.exec(source)

    try:
        threading.Thread(target=live, name="asyncgroups-apart", daemon=True).start()
    except RuntimeError as error:
        fail(error)
