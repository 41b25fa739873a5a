"""One daemon process as the server sees it, and the interpreters in it. Imports ``config``, ``host``, ``wire``.

Guarantees:

- A process is started by a thread of its own, which waits for its end: nobody else waits for either. It is started with
  ``subprocess`` and never forked, since interpreters exist by then.
- It can be connected to at once: what is said to it waits in its socket until it listens.
- When it has ended, or could not be started, every channel to it is shut, even if a child of its holds the other end.
- What it prints, and its last words in a crash, are logged under the name of its process group: see ``output``.
- It holds the end of a lifeline, whose other end is the server's: when the server dies, it dies.
"""

import enum
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from asyncgroups.config import ProcessSettings
from asyncgroups.errors import ChannelClosed
from asyncgroups.frontend.output import Output
from asyncgroups.host import daemon
from asyncgroups.host.group import GroupInterpreter, State
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.pool import Member
from asyncgroups.host.reaper import Reaper, Timer
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["DaemonInterpreter", "DaemonProcess", "Preloading", "Stage"]

_log = logging.getLogger("asyncgroups")

_CONNECT_SECONDS = 5.0
_SCRIPT = daemon.__file__
_NUMBERS = 1 << 32
"""Workers of this number and later ones have no requests, next to the first one, 0."""


class Stage(enum.Enum):
    """The life of a daemon process."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    ENDED = "ended"


_TRANSITIONS = {
    (Stage.STARTING, Stage.SERVING),
    (Stage.STARTING, Stage.DRAINING),
    (Stage.STARTING, Stage.ENDED),
    (Stage.SERVING, Stage.DRAINING),
    (Stage.SERVING, Stage.ENDED),
    (Stage.DRAINING, Stage.ENDED),
}


def _nothing() -> None:
    """Nobody waits for it any more."""


class DaemonInterpreter(GroupInterpreter):
    """The interpreter of an application group in a daemon process, at ``address``, the path of its socket.

    on_ready: called once it is set up. on_pong: called for the answer to ``ping``. on_alone: called where the process
    has its main interpreter only; whether there is another place for the application group. All in the reaper's thread.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        address: str,
        reaper: Reaper,
        on_ready: Callable[[], None],
        on_pong: Callable[[], None],
        on_end: Callable[[GroupInterpreter], None],
        on_refusal: Callable[[tuple[str, str], str, str, str], None] | None = None,
        on_alone: Callable[[Bootstrap], bool] | None = None,
    ) -> None:
        super().__init__(bootstrap, reaper=reaper, on_end=on_end, on_refusal=on_refusal)
        self._address = address
        self._on_ready = on_ready
        self._on_pong = on_pong
        self._on_alone = on_alone
        self._left = 0
        self._over = threading.Event()
        self._loadings: set[Preloading] = set()
        self._numbers = itertools.chain([0], itertools.count(_NUMBERS))
        self.opened_at: float = 0.0
        """When the process was asked for it, by the monotonic clock."""

    def start(self) -> None:
        frame = daemon.open_frame(self.bootstrap)
        if len(frame) > messages.LARGEST_FRAME:
            raise OSError("the environment of the application group is too large")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(self._address)
            connection.sendall(frame)
            self.channel: Channel = Channel(connection.detach(), blocking=False)
        self.opened_at = time.monotonic()
        self._reaper.listen(self)

    def join(self, seconds: float) -> bool:
        return self._over.wait(max(0.0, seconds))

    def loading_number(self) -> int:
        """For a worker that loads: none that has requests has it."""
        return next(self._numbers)

    def take_in(self, loading: Preloading) -> None:
        """Have it end with the interpreter, even if a child of the process holds the other end of its channel."""
        self._loadings.add(loading)  # and then look: who sets what is looked at does it the other way round
        if self._over.is_set():
            loading.channel.shut()

    def let_go(self, loading: Preloading) -> None:
        """It is over."""
        self._loadings.discard(loading)

    def hear(self, kind: int, payload: bytes) -> bool:
        """See ``reaper.Listener``."""
        if kind == messages.BROKEN:
            self._fail(messages.parse_texts(payload, 1)[0])
        elif kind == messages.ALONE:
            reason = messages.parse_texts(payload, 1)[0]
            if self._on_alone is None or not self._on_alone(self.bootstrap):
                self._fail(reason)
        elif kind == messages.STOPPED:
            self._left = messages.parse_numbers(payload, 1)[0]
        goes_on = super().hear(kind, payload)
        if kind == messages.READY:
            on_ready, self._on_ready = self._on_ready, _nothing  # however often it says so
            on_ready()
        elif kind == messages.PONG:
            self._on_pong()
        return goes_on

    def finished(self) -> None:
        """See ``reaper.Listener``."""
        super().finished()
        if self.state is State.STOPPING:
            self._come_to_end(State.LEFT if self._left else State.CLOSED)
        else:
            self._come_to_end(State.FAILED)

    def lost(self, reason: str) -> None:
        """See ``reaper.Listener``."""
        super().lost(reason)
        self._come_to_end(State.FAILED)

    def _come_to_end(self, state: State) -> None:
        self._on_ready = self._on_pong = _nothing
        try:
            self._end(state)
        finally:
            self._over.set()
            for loading in list(self._loadings):
                loading.channel.shut()


class Preloading:
    """Has an interpreter load applications next to its requests; see ``reaper.Listener``.

    applications: each ``module:attribute`` or ``/path:callable``; why one does not load is logged. number: of the
    exchange that this is. again: execute scripts also if they were executed. on_over: called once, when all have been
    tried, when the interpreter has ended, or by ``stop_waiting``.
    Raises OSError, ChannelClosed.
    """

    def __init__(
        self,
        interpreter: DaemonInterpreter,
        applications: Sequence[str],
        *,
        number: int,
        reaper: Reaper,
        on_over: Callable[[], None],
        again: bool = False,
    ) -> None:
        self.loaded: int = 0
        """Applications that have loaded."""
        self.is_over: bool = False
        """Whether its interpreter is rid of it."""
        self._is_forgone = False
        self._kind = messages.RELOAD if again else messages.LOAD
        self._rest = list(applications)
        self._number = number
        self._interpreter = interpreter
        self._on_over: Callable[[], None] | None = on_over
        self._worker = interpreter.loading_number()
        self.channel: Channel = interpreter.add_worker(self._worker)
        try:
            self._load()
        except ChannelClosed:
            self.channel.close()
            raise
        interpreter.take_in(self)
        reaper.listen(self)

    def _load(self) -> None:
        self.channel.say(messages.texts(self._kind, str(self._number), self._rest.pop(0)))

    def hear(self, kind: int, _: bytes) -> bool:
        """See ``reaper.Listener``."""
        self.loaded += kind == messages.LOADED
        if kind != messages.DONE:
            return True
        if self._rest and not self._is_forgone:
            with suppress(ChannelClosed):  # ``lost`` comes next
                self._load()
            return True
        return False

    def finished(self) -> None:
        """See ``reaper.Listener``."""
        self.is_over = True
        self._interpreter.let_go(self)
        self.channel.shut()
        self.channel.close()
        self.stop_waiting()

    def lost(self, _: str) -> None:
        """See ``reaper.Listener``."""
        self.finished()

    def interrupt(self) -> None:
        """Have RequestInterrupted raised in what it loads, and load nothing more. From any thread."""
        self._is_forgone = True  # first: it may get to the next one just now, which has the same number
        self._interpreter.interrupt(self._worker, self._number)

    def stop_waiting(self) -> None:
        """It takes too long: requests may come, and see what they get. In the reaper's thread."""
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()


class DaemonProcess:
    """A process of a process group.

    number: of the process among those of its group, from 1. slot: the number of its place, which one that is started in
    place of another has from that. folder: the private folder of its socket. environ: the whole environment of the
    process. on_end: called once, in its thread, when it has ended.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        *,
        number: int,
        slot: int,
        folder: str,
        environ: Mapping[bytes, bytes],
        reaper: Reaper,
        on_end: Callable[[DaemonProcess], None],
    ) -> None:
        self.settings = settings
        self.slot: int = slot
        self.stage: Stage = Stage.STARTING
        self.kin: list[Member] = []
        """The members of pools whose interpreters live here."""
        self._members: list[Member] = []  # those, and the last ones whose interpreters have ended
        self._served = 0  # by the ones before
        self.interpreters: set[DaemonInterpreter] = set()
        self.outputs: list[Output] = []
        """What it prints; its children may go on when it has ended."""
        self.successor: DaemonProcess | None = None
        """The one that is being started in its place."""
        self.was_drained: bool = False
        self.is_given_up: bool = False
        """Whether a worker in it has not obeyed an interrupt."""
        self.seen: int = 0
        """Exchanges that were over at the last look."""
        self.seen_at: float = time.monotonic()
        """When a look last found it busy, by the monotonic clock."""
        self.address: str = f"{folder}/{number}.sock"
        self.failure: str | None = None
        """Why it could not be started."""
        self.status: int | None = None
        """Its exit status, as ``subprocess`` tells it."""
        self.started_at: float = time.monotonic()
        """By the monotonic clock."""
        self._number = number
        self._folder = folder
        self._environ = environ
        self._reaper = reaper
        self._on_end = on_end
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._timer: Timer | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._lifeline: socket.socket | None = None
        self._thread = threading.Thread(target=self._live, name=f"process-{settings.name}-{number}", daemon=True)

    def __repr__(self) -> str:
        pid = f" pid {self._child.pid}" if self._child is not None else ""
        return (
            f"<DaemonProcess {self.settings.name!r} {self._number}{pid} {self.stage.value}, {self.in_flight} in flight>"
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    @property
    def in_flight(self) -> int:
        return sum(len(member.busy) for member in list(self.kin))

    @property
    def served(self) -> int:
        return self._served + sum(member.served for member in self._members)

    def admit(self, member: Member) -> None:
        """One of its interpreters takes requests. For who has the lock of the process group."""
        over = [one for one in self._members if one not in self.kin and not one.busy]
        self._members = [*(one for one in self._members if one not in over), member]
        self._served += sum(one.served for one in over)

    def is_late(self, since: float) -> bool:
        """Whether an interpreter has not been ready since then, by the monotonic clock, although it was asked to be."""
        return any(one.state is State.STARTING and one.opened_at <= since for one in list(self.interpreters))

    def move(self, stage: Stage) -> bool:
        """Be in another stage; False where it has ended, which it may at any moment."""
        with self._lock:
            if self.stage is Stage.ENDED:
                return False
            if (self.stage, stage) not in _TRANSITIONS:
                raise RuntimeError(f"a daemon process that is {self.stage.value} cannot be {stage.value}")
            self.stage = stage
            return True

    def limit(self, timer: Timer | None) -> None:
        """Have another limit of time, or none; the one before, which would keep what is left of it, is cancelled."""
        before, self._timer = self._timer, timer
        if before is not None:
            before.cancel()

    def start(self) -> None:
        """Begin; connections may be made from now on. Raises OSError, RuntimeError, and has done nothing then."""
        try:
            self._listener.bind(self.address)
            self._listener.listen(socket.SOMAXCONN)
            self._thread.start()
        except BaseException:
            self._listener.close()
            raise

    def quit(self) -> None:
        """Let it run the atexit functions of its main interpreter, and end."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(self.address)
            connection.sendall(messages.frame(messages.QUIT))

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            self._is_killed = True
            if self._child is not None:
                self._child.kill()

    def join(self, seconds: float) -> bool:
        """Wait until it has ended, at most ``seconds``; whether it has."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    # Its thread -------------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            child = self._spawn()
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            self.failure = str(error)
            if isinstance(error, PermissionError) and error.filename is None and self.settings.user is not None:
                self.failure = "the server may not start it as another user: that is for one that root has started"
        else:
            with self._lock:
                self._child = child
                if self._is_killed:
                    child.kill()
            self.status = child.wait()
        self._listener.close()
        if self._lifeline is not None:
            self._lifeline.close()
        with suppress(OSError):
            os.unlink(self.address)
        self.move(Stage.ENDED)
        self._on_end(self)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = self.settings
        ours, theirs = socket.socketpair()
        self._lifeline = ours
        outputs: list[tuple[int, int]] = []
        try:
            outputs += (os.pipe() for _ in range(2))
            with self._listener as listener, theirs:
                child = subprocess.Popen(  # noqa: S603 - the interpreter that the configuration names
                    [
                        settings.python or sys.executable,
                        *["-P", _SCRIPT, settings.display_name or f"asyncgroups:{settings.name}"],
                        *[str(listener.fileno()), str(theirs.fileno()), str(os.geteuid()), self._folder],
                        str(settings.memory_limit or 0),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=outputs[0][1],
                    stderr=outputs[1][1],
                    env=self._environ,
                    cwd=settings.home,
                    user=settings.user,
                    group=settings.group,
                    extra_groups=settings.groups,
                    umask=settings.umask if settings.umask is not None else -1,
                    pass_fds=(listener.fileno(), theirs.fileno()),
                    process_group=0,  # Ctrl-C is for the server
                )
        except BaseException:
            for reading, _ in outputs:
                os.close(reading)
            raise
        finally:
            for _, writing in outputs:
                os.close(writing)
        if settings.cpu_priority is not None:
            try:
                os.setpriority(os.PRIO_PROCESS, child.pid, settings.cpu_priority)
            except OSError as error:
                _log.error("[%s] cpu_priority = %d: %s", settings.name, settings.cpu_priority, error.strerror)
        for level, (reading, _) in zip((logging.INFO, logging.ERROR), outputs, strict=True):
            self.outputs.append(output := Output(reading, level, settings.name))
            self._reaper.listen(output)
        return child
