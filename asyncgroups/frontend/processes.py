"""A process group: its daemon processes, restarted and recycled, and what becomes of them.

Imports ``config``, ``frontend``, ``host``. Guarantees, next to those of ``tenants``:

- Thread-safe; nobody waits in here but in ``join``.
- There are ``processes`` of them. One that has ended is replaced at once if it had answered a request, else after a
  delay that grows; requests that no process has been given wait for that, bounded as every wait for a worker is, and
  are sent away where none serves and the next one fails as well.
- One that is recycled, or has a worker that does not obey an interrupt, takes no more requests once its successor is
  ready, and ends after the last that it runs, within ``graceful_timeout`` and ``shutdown_timeout``.
- Each stands in a slot, from 1 to ``processes``; one that is started in place of another has its slot.
- After the end no process is left, nor the folder of their sockets.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from asyncgroups.config import ProcessSettings
from asyncgroups.errors import InterpreterFailed, ShuttingDown
from asyncgroups.frontend.delay import Delay
from asyncgroups.frontend.folder import Folder
from asyncgroups.frontend.loads import Loads
from asyncgroups.frontend.output import Echoes
from asyncgroups.frontend.process import DaemonProcess, Stage
from asyncgroups.frontend.tenants import Tenants
from asyncgroups.host.group import GroupInterpreter
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.pool import Member, Pool, Worker
from asyncgroups.host.reaper import Reaper

__all__ = ["ProcessGroup"]

_log = logging.getLogger("asyncgroups")

_LONGEST_DELAY = 60.0
_ROUND = 1.0
"""Seconds between two looks at what is to be recycled."""


def _told(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "could not be started"
    if status < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


class ProcessGroup:
    """All daemon processes of one process group."""

    def __init__(
        self,
        settings: ProcessSettings,
        *,
        environ: Mapping[bytes, bytes],
        reaper: Reaper,
        number: Callable[[], int],
        patience: float,
        loads: Loads,
        on_refusal: Callable[[tuple[str, str], str, str, str], None] | None = None,
        on_alone: Callable[[Bootstrap], bool] | None = None,
    ) -> None:
        """``number`` gives one for a new exchange; ``patience`` is for what is to be preloaded, seconds or 0; ``loads``
        are the supervisor's.

        on_refusal, on_alone: see ``DaemonInterpreter``.
        """
        self.settings = settings
        self.environ: Mapping[bytes, bytes] = environ
        """That of its processes."""
        self._reaper = reaper
        self._lock = threading.Lock()
        self._folder: Folder | None = None
        self._processes: list[DaemonProcess] = []
        self.tenants: Tenants = Tenants(
            settings,
            self._processes,
            lock=self._lock,
            reaper=reaper,
            number=number,
            patience=patience,
            loads=loads,
            on_served=self._count if settings.maximum_requests else None,
            on_ready=self._succeed,
            on_left=self._quit_if_empty,
            on_refusal=on_refusal,
            on_alone=on_alone,
        )
        """Its application groups."""
        self._echoes = Echoes(reaper)
        self._made = 0
        self._delay = Delay(longest=_LONGEST_DELAY)
        """No successor is started before it is over."""
        self._is_closing = False
        self.is_winding_up: bool = False
        """Whether it starts no more processes, while others go on."""

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.settings.name!r}: {self._processes!r}>"

    @property
    def pools(self) -> list[Pool]:
        return self.tenants.pools

    @property
    def processes(self) -> list[DaemonProcess]:
        return list(self._processes)

    def start(self) -> None:
        """Start the processes. Raises OSError when there can be no folder for their sockets."""
        self._folder = Folder()
        self._replenish()
        self._reaper.later(_ROUND, self._look)

    def give_up(self, worker: Worker) -> bool:
        """``worker`` has not obeyed an interrupt: its interpreter gets no more requests, its process a successor.

        False for a worker that is nobody's here.
        """
        process = self._process_of(worker.member)
        if process is None:
            return False
        _log.error(
            "[%s] request #%d did not end within its time: its daemon process is replaced",
            worker.label,
            worker.exchange,
        )
        process.is_given_up = True
        worker.pool.drain(worker.member)
        self._replace(process, "a request does not end")
        if self.is_winding_up:
            with self._lock:
                self._end_by_force(process)
        return True

    def _process_of(self, member: Member) -> DaemonProcess | None:
        return next((process for process in self.processes if process.kin is member.kin), None)

    # Processes --------------------------------------------------------------------------------------------------------

    def _start_process(self, slot: int) -> DaemonProcess:
        """Under the lock. Raises OSError, RuntimeError."""
        assert self._folder is not None
        self._made += 1
        process = DaemonProcess(
            self.settings,
            number=self._made,
            slot=slot,
            folder=self._folder.path,
            environ=self.environ,
            reaper=self._reaper,
            on_end=self._ended,
        )
        process.start()
        self._processes.append(process)
        self.tenants.move_in(process)
        return process

    def _succeed(self, process: DaemonProcess) -> None:
        """One of its interpreters takes requests: it may do all that another one did. Under the lock."""
        served = {member.pool for member in list(process.kin)}
        for old in self._processes:
            if old.successor is process and old.stage is Stage.SERVING and self.tenants.lasting(old) <= served:
                self._drain(old)

    def _free_slot(self) -> int | None:
        """A slot with no process that serves, or will. Under the lock."""
        if self._is_closing:
            return None
        taken = {one.slot for one in self._processes if one.stage is not Stage.DRAINING and one.successor is None}
        return next((slot for slot in range(1, self.settings.processes + 1) if slot not in taken), None)

    def _ended(self, process: DaemonProcess) -> None:
        """In the thread of a process that has ended."""
        had_answered = process.served > 0 or time.monotonic() - process.started_at > _LONGEST_DELAY
        process.limit(None)
        with self._lock:
            self._processes.remove(process)
            self._echoes.keep(process.outputs)
            self.tenants.move_out(process)
            for old in self._processes:
                if old.successor is process:
                    old.successor = process.successor  # where there is none it serves on, until the next look
            if process.successor is not None and not self._is_closing:
                self._succeed(process.successor)
            was_asked = process.was_drained or self._is_closing
            self._clear()
            is_short = self._free_slot() is not None
            if not was_asked:
                self._delay.begin(failed=not had_answered)
        if was_asked:
            return
        reason = f"could not be started: {process.failure}" if process.failure else _told(process.status)
        seconds = self._delay.seconds
        next_one = f"; another is started {f'in {seconds:g} s' if seconds else 'at once'}" if is_short else ""
        _log.error("[%s] the daemon process %s %s%s", self.settings.name, process.pid or "-", reason, next_one)
        if process.failure or self._delay.has_grown:  # who waits has waited for one that failed already
            for pool in self.pools:
                self.tenants.refuse(
                    pool, InterpreterFailed(f"the daemon processes of {self.settings.name!r} do not live")
                )
        self._reaper.later(seconds, self._replenish)

    def _replenish(self) -> None:
        """Start what is missing."""
        with self._lock:
            try:
                while (slot := self._free_slot()) is not None:
                    self._start_process(slot)
            except (OSError, RuntimeError) as error:
                _log.error("[%s] no daemon process can be started: %s", self.settings.name, error)
                self._delay.begin(failed=True)
                self._reaper.later(self._delay.seconds, self._replenish)

    # Recycling --------------------------------------------------------------------------------------------------------

    def _count(self, member: Member) -> None:
        """A request of the process of ``member`` is over."""
        process = self._process_of(member)
        if process is not None and process.served >= self.settings.maximum_requests:
            self._replace(process, f"{process.served} requests (maximum_requests)")

    def _look(self) -> None:
        """What is to be recycled, or has not become ready? In the reaper's thread, every second."""
        if self._is_closing:
            return
        with self._lock:
            for process in self._processes:
                if process.stage is Stage.SERVING:
                    self._succeed(process)  # what it lacked may have ended in the other one as well
        settings, limit, now = self.settings, self.settings.startup_timeout, time.monotonic()
        for process in self.processes:
            served, age = process.served, now - process.started_at
            if served != process.seen or process.in_flight:
                process.seen, process.seen_at = served, now
            if limit and process.is_late(now - limit):
                if process.stage is Stage.STARTING:
                    _log.error("[%s] a daemon process is not ready after %g s (startup_timeout)", settings.name, limit)
                    process.kill()
                self._replace(process, f"{limit:g} s in which an interpreter was not ready (startup_timeout)")
            elif process.is_given_up:
                self._replace(process, "a request does not end")  # a successor has failed, here as below
            elif settings.restart_interval and age >= settings.restart_interval:
                self._replace(process, f"{age:.0f} s (restart_interval)")
            elif settings.inactivity_timeout and served and now - process.seen_at >= settings.inactivity_timeout:
                self._replace(process, f"{now - process.seen_at:.0f} s without a request (inactivity_timeout)")
            elif settings.maximum_requests and served >= settings.maximum_requests:
                self._replace(process, f"{served} requests (maximum_requests)")
        self._reaper.later(_ROUND, self._look)

    def _replace(self, process: DaemonProcess, reason: str) -> None:
        """Start a successor; when that is ready, ``process`` takes no more requests."""
        with self._lock:
            if process.successor is not None or process.stage is not Stage.SERVING or self._is_closing:
                return
            if not self._delay.is_over:
                return  # the last one has failed; the next look is for that
            _log.info("[%s] the daemon process %s is replaced after %s", self.settings.name, process.pid, reason)
            try:
                process.successor = self._start_process(process.slot)
            except (OSError, RuntimeError) as error:
                _log.error("[%s] no daemon process can be started: %s", self.settings.name, error)

    def _drain(self, process: DaemonProcess) -> None:
        """Let it end after its last request. Under the lock."""
        if not process.move(Stage.DRAINING):
            return
        process.was_drained = True
        ready: set[GroupInterpreter] = set()
        for member in list(process.kin):
            member.pool.drain(member)
            ready.add(member.interpreter)
        for interpreter in process.interpreters:
            if interpreter not in ready:  # and it will take no requests
                interpreter.stop(self.settings.shutdown_timeout)
        self._quit_if_empty(process)
        process.limit(self._reaper.later(self.settings.graceful_timeout, partial(self._cut, process)))

    def _quit_if_empty(self, process: DaemonProcess) -> None:
        if (process.stage is Stage.DRAINING or self._is_closing) and not process.interpreters:
            process.quit()
            if self.is_winding_up:
                process.limit(self._reaper.later(self.settings.shutdown_timeout, process.kill))

    def _cut(self, process: DaemonProcess) -> None:
        """The time for its requests is over. In the reaper's thread."""
        if process.stage is Stage.ENDED:
            return
        for member in list(process.kin):
            for worker in list(member.busy):
                worker.interrupt()
        process.limit(self._reaper.later(self.settings.shutdown_timeout, process.kill))

    # The end ----------------------------------------------------------------------------------------------------------

    def wind_up(self) -> None:
        """Start no more processes; let each end after the last request that it runs, and soon, or by force."""
        with self._lock:
            self._is_closing = self.is_winding_up = True
            self.tenants.close()
            pools = self.pools
        for pool in pools:
            pool.retire()
        with self._lock:
            self._clear()
            for process in self._processes:
                self._quit_if_empty(process)
                if process.is_given_up:
                    self._end_by_force(process)  # its successor, which it may have, takes no requests
                elif process.interpreters and not process.kin:  # not ready, and perhaps never: nothing runs there
                    process.limit(self._reaper.later(self.settings.shutdown_timeout, process.kill))

    def _clear(self) -> None:
        """Nothing is left where it winds up and the last process has ended, or there was none. Under the lock."""
        if self.is_winding_up and not self._processes and self._folder is not None:
            self._folder.remove()

    def _end_by_force(self, process: DaemonProcess) -> None:
        """It winds up, and would not end by itself. Under the lock."""
        if process.stage is Stage.SERVING:
            self._drain(process)

    def stop(self, seconds: float) -> None:
        """Start no more processes; let the interpreters end within ``seconds``. Returns at once; see ``join``."""
        with self._lock:
            self._is_closing = True
            self.tenants.close()
            pools = self.pools
            interpreters = [one for process in self._processes for one in process.interpreters]
            for process in self._processes:
                self._quit_if_empty(process)
        for pool in pools:
            pool.retire()
            pool.refuse(ShuttingDown("the server shuts down"))
        for interpreter in interpreters:
            interpreter.stop(seconds)

    def join(self, until: float) -> list[str]:
        """Wait for the end of all, until ``until`` by the monotonic clock; the labels of groups that did not end.

        What has not ended then is killed.
        """
        left = []
        processes = self.processes
        quit_at = until - min(1.0, max(0.0, until - time.monotonic()) / 4)
        for process in processes:
            with self._lock:  # without it the last one might be gone from there, and its process not told to quit yet
                interpreters = list(process.interpreters)
            left += [one.label for one in interpreters if not one.join(quit_at - time.monotonic())]
            if process.interpreters:
                process.quit()
        if self._folder is not None:
            self._folder.remove()  # nobody connects any more, and the server's own end may be nearer than theirs
        for process in processes:
            if not process.join(until - time.monotonic()):
                process.kill()
        for process in processes:
            process.join(1.0)
        return left
