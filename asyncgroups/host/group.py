"""The interpreter of an application group as the front end has it: its control channel, and what it says over it.

Standard library, ``wire`` and the modules of this room. Guarantees:

- ``start`` returns at once. Workers may be added, and requests sent to them, before the interpreter is there: they wait
  in their channels.
- However it ends, ``on_end`` is called once, and each worker's end of its channel is closed by then, unless its worker
  is still busy.
- What an interpreter says is checked, wherever it lives, and bounded: its records wait in its channel until they have
  been written, and no line of them looks like a line of another group's.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from asyncgroups.errors import ChannelClosed, InterpreterFailed
from asyncgroups.host.interpreters import Bootstrap, Inside
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import channel as wire
from asyncgroups.wire import messages

__all__ = ["EmbeddedInterpreter", "GroupInterpreter", "State", "contained", "label"]

_log = logging.getLogger("asyncgroups")

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


def label(application_group: str, process_group: str = "") -> str:
    """What logs call an application group; one in a daemon process has its process group's name in front.

    What could pass for more than a name is quoted.
    """
    name = application_group or "%{GLOBAL}"
    if process_group:
        name = f"{process_group}:{name}"
    return repr(name) if _MARKS.intersection(name) or not name.isprintable() else name


def contained(text: str) -> str:
    """``text`` as an application may put it into the log: no line of it looks like a line of another group's."""
    return text.translate(_ESCAPES).replace("\n", "\n  ")


def _nobody(interpreter: GroupInterpreter) -> None:
    """Nobody is told of an end twice."""


class GroupInterpreter(ABC):
    """One interpreter of one application group, with its control channel, wherever it lives."""

    channel: wire.Channel

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        reaper: Reaper,
        on_end: Callable[[GroupInterpreter], None],
        on_refusal: Callable[[tuple[str, str], str, str, str], None] | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.label: str = label(bootstrap.application_group, bootstrap.process_group)
        self.state: State = State.STARTING
        self.failure: str | None = None
        """Why it could not be made, or has died; as it may stand in the log."""
        self.on_refusal = on_refusal
        """Called, in the reaper's thread, for each extension module that an application goes on without: with the names
        of process group and application group, application, module, and the text of the module's ImportError."""
        self._lock = threading.Lock()
        self._reaper = reaper
        self._on_end = on_end

    def __repr__(self) -> str:
        failure = f": {self.failure}" if self.failure else ""
        return f"<{type(self).__name__} {self.label!r} {self.state.value}{failure}>"

    def _move(self, state: State) -> None:
        with self._lock:
            if (self.state, state) not in _TRANSITIONS:
                raise RuntimeError(f"an interpreter that is {self.state.value} cannot be {state.value}")
            self.state = state

    # From any thread of the front end ---------------------------------------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Begin. Raises OSError or RuntimeError when the process has no descriptor or thread left."""

    @abstractmethod
    def join(self, seconds: float) -> bool:
        """Wait until it has ended, at most ``seconds``; whether it has."""

    def add_worker(self, number: int) -> wire.Channel:
        """Let a worker start as soon as the interpreter is there; its channel.

        Raises ChannelClosed, and OSError: BlockingIOError where it has not begun so many of them already.
        """
        channel, theirs = wire.pair()
        try:
            with self._lock:
                self.channel.send_descriptor(messages.numbers(messages.WORKER, number), theirs)
        except (ChannelClosed, OSError):
            channel.close()
            raise
        finally:
            os.close(theirs)  # a copy of it is on its way
        return channel

    def interrupt(self, worker: int, exchange: int) -> None:
        """Have RequestInterrupted raised in ``worker`` if it is still busy with ``exchange``."""
        self._say(messages.numbers(messages.INTERRUPT, worker, exchange))

    def ping(self) -> None:
        """Have it say that it lives."""
        self._say(messages.frame(messages.PING))

    def stop(self, seconds: float) -> None:
        """Let it wait for its workers, at most ``seconds``, run its atexit functions and end. The earliest holds."""
        with self._lock:
            if self.state not in (State.STARTING, State.RUNNING, State.STOPPING):
                return
            self.state = State.STOPPING
        self._say(messages.numbers(messages.STOP, round(max(0.0, seconds) * 1000)))

    def abandon(self) -> None:
        """``start`` has failed: let go of the descriptors."""
        self._fail("it could not be started")
        self._move(State.FAILED)

    def _say(self, frame: bytes) -> None:
        try:
            with self._lock:
                self.channel.say(frame)
        except ChannelClosed:
            pass  # it has ended, or does not even read its control channel: joining it shows

    def _fail(self, reason: str) -> None:
        self.failure = contained(reason)  # also where errors that requests meet quote it

    def _end(self, state: State) -> None:
        """It has come to its end. In its own thread, or the reaper's."""
        self._move(state)
        if self.failure:
            _log.error("[%s] the interpreter has failed: %s", self.label, self.failure)
        on_end = self._on_end
        self._on_end = _nobody  # in a cycle with it, all that it knows would wait for the garbage collector
        on_end(self)

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
                contained(record.text),
                extra={"application_group": self.bootstrap.application_group, "exchange": record.exchange},
            )
        elif kind == messages.REFUSED:
            application, module, text = messages.parse_texts(payload, 3)
            if self.on_refusal is not None:
                self.on_refusal(self.bootstrap.key, application, module, text)
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


class EmbeddedInterpreter(GroupInterpreter):
    """One that lives in this process, in a thread of its own."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        reaper: Reaper,
        on_end: Callable[[GroupInterpreter], None],
        on_refusal: Callable[[tuple[str, str], str, str, str], None] | None = None,
    ) -> None:
        super().__init__(bootstrap, reaper=reaper, on_end=on_end, on_refusal=on_refusal)
        self.channel: wire.Channel
        self.channel, self._control = wire.pair()
        name = f"interpreter-{self.label}"
        self._thread = threading.Thread(target=self._live, name=name, daemon=bootstrap.is_main)

    def start(self) -> None:
        self._reaper.listen(self)
        self._thread.start()

    def join(self, seconds: float) -> bool:
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def abandon(self) -> None:
        super().abandon()
        os.close(self._control)

    def _live(self) -> None:
        inside = Inside(self.bootstrap, self._control)
        end = State.FAILED
        try:
            left = inside.live()
            if self.state is State.STOPPING:
                end = State.LEFT if left else State.CLOSED
            else:
                self._fail("its control thread has ended")
        except InterpreterFailed as error:
            self._fail(str(error))
        self._end(end)
        if end is State.FAILED:
            try:
                inside.close()  # here, where the wait for the application's threads holds nobody up
            except InterpreterFailed as error:
                _log.error("[%s] %s", self.label, error)
