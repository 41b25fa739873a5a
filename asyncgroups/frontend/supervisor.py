"""The table of pools: (process group, application group) to pool. Creates, replaces, retires and drains them.

Imports ``config``, ``selection``, ``host``. Guarantees:

- ``pool`` decides under a lock and waits for nothing: an interpreter is created by a thread of its own.
- No more than ``limits.groups`` interpreters are alive at once, those that were given up included; a group in daemon
  processes counts for one.
- An interpreter that has failed, or has a worker that does not obey an interrupt, is replaced with the next request; it
  gets no further request, and is closed only when all its workers have come back.
- ``stop`` returns after the graceful time plus the interrupt time at the latest.
- Daemon processes are started with the first request for one of their groups, or when the server starts.
- A group whose interpreter an extension module refuses is moved once, with all its applications, into a daemon process
  of its own: requests that run end where they are, those that wait come along.
- The process's environment is read once: what GLOBAL writes into it later reaches no other group.
"""

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from asyncgroups.config import Limits, ProcessSettings, Timeouts, WsgiApplication
from asyncgroups.errors import InterpreterFailed, PoolRetired, ShuttingDown, TooManyGroups
from asyncgroups.frontend import net
from asyncgroups.frontend.isolation import Isolation, Key, Refusal
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.host.group import EmbeddedInterpreter, GroupInterpreter, State, label
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.orphans import Orphan
from asyncgroups.host.pool import Pool, Worker
from asyncgroups.host.reaper import Reaper
from asyncgroups.selection import Choice
from asyncgroups.selection.mounts import GroupSettings

__all__ = ["Supervisor"]

_log = logging.getLogger("asyncgroups")

_NO_PROCESS_GROUPS: Mapping[str, ProcessSettings] = MappingProxyType({})
_NO_APPLICATIONS: Mapping[str, WsgiApplication] = MappingProxyType({})

_MARGIN = 0.25
"""Seconds before the end of the interrupt time in which an orderly stop has to be over."""


class Supervisor:
    """All interpreters of this process that ``asyncgroups`` has made. Thread-safe; holds no event loop.

    on_refusal: called with application, extension module and its ImportError's text for each module that an application
    goes on without, or fails for, in a thread that must not wait.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        timeouts: Timeouts,
        global_threads: int,
        environ: Mapping[bytes, bytes],
        applications: Mapping[str, WsgiApplication] = _NO_APPLICATIONS,
        process_groups: Mapping[str, ProcessSettings] = _NO_PROCESS_GROUPS,
        on_refusal: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """``environ`` is the process's; ``applications`` are callable objects by name, for GLOBAL."""
        self.preloaded: Mapping[tuple[str, str], tuple[str, ...]] = {}
        """(process group, application group) to the applications that daemon processes load before their requests."""
        self._process_settings = process_groups
        self._process_groups: dict[str, ProcessGroup] = {}
        self._apart: dict[Key, ProcessGroup] = {}
        """Of application groups with processes of their own."""
        self._applications = applications
        self.limits = limits
        self.timeouts = timeouts
        self._global_threads = global_threads
        self._environ = dict(environ)
        self.isolation: Isolation = Isolation(on_refusal)
        self._lock = threading.Lock()
        self._pools: dict[Key, tuple[Pool, GroupSettings, ProcessGroup | None]] = {}
        self._alive: dict[GroupInterpreter, Pool] = {}
        self._stuck: set[Pool] = set()
        self._failed: list[GroupInterpreter] = []
        self._reaper = Reaper()
        self._numbers = itertools.count(1)
        self._closing = False
        self._end_at: float | None = None
        self._stopped = False
        self._warned: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Supervisor: {len(self._alive)} of {self.limits.groups} interpreters, {len(self._stuck)} given up>"

    def number(self) -> int:
        """A number for a new exchange."""
        return next(self._numbers)

    # Pools ------------------------------------------------------------------------------------------------------------

    def pool(self, choice: Choice) -> Pool:
        """The pool of the chosen group; makes it where there is none.

        Raises TooManyGroups, ShuttingDown, OSError when the process has no descriptors or threads left.
        """
        return self.pool_of((choice.process_group, choice.application_group), choice.mount.settings)

    def pool_of(self, key: Key, settings: GroupSettings) -> Pool:
        """The pool of (process group, application group). Raises as ``pool`` does."""
        found = self._pools.get(key)
        if found is None:
            with self._lock:
                found = self._pools.get(key) or self._make(key, settings)
        pool, first, group = found
        if first is not settings and first != settings and key not in self._warned:
            self._warned.add(key)
            _log.warning(
                "[%s] two mounts of this application group differ in threads, isolation, app_dir, python_path or "
                "process_env; the settings of the first one that was asked for hold for both",
                label(key[1], key[0]),
            )
        if group is not None:
            group.complete(key[1])
        return pool

    def _make(self, key: Key, settings: GroupSettings) -> tuple[Pool, GroupSettings, ProcessGroup | None]:
        if self._closing:
            raise ShuttingDown("the server shuts down")
        net.cast(self)
        process_group, application_group = key
        is_global = not application_group
        if process_group or self.isolation.is_apart(key, settings):
            return self._make_in_processes(key, settings)
        if not is_global and self._count(key) >= self.limits.groups:
            raise TooManyGroups(f"{self.limits.groups} application groups are alive already (limits.groups)")
        if is_global and len(self._stuck) >= self.limits.groups:
            raise TooManyGroups("too many workers of %{GLOBAL} do not come back")
        threads = self._global_threads if is_global else settings.threads
        app_dir = (settings.app_dir,)
        is_last = is_global and settings.host_path_first
        interpreter = EmbeddedInterpreter(
            Bootstrap(
                process_group=process_group,
                application_group=application_group,
                threads=threads,
                path=settings.python_path if is_last else app_dir + settings.python_path,
                path_end=app_dir if is_last else (),
                environ=None if is_global else tuple((self._environ | _encoded(settings.process_env)).items()),
                applications=self._applications if is_global else None,
            ),
            reaper=self._reaper,
            on_end=self._ended,
            on_refusal=self.isolation.go_without,
        )
        pool = Pool(interpreter, threads=threads, backlog=self.limits.backlog)
        pool.proven = set() if self.isolation.is_movable(key, settings) else None
        try:
            interpreter.start()
        except (OSError, RuntimeError) as error:
            interpreter.abandon()
            raise OSError(f"no thread for one more application group: {error}") from error
        self._alive[interpreter] = pool
        made = self._pools[key] = pool, settings, None
        return made

    def _make_in_processes(self, key: Key, settings: GroupSettings) -> tuple[Pool, GroupSettings, ProcessGroup]:
        process_group, application_group = key
        if self._count(key) >= self.limits.groups:
            raise TooManyGroups(f"{self.limits.groups} application groups are alive already (limits.groups)")
        is_apart = self.isolation.is_apart(key, settings)
        group = self._group_apart(key, settings) if is_apart else self._process_group(process_group)
        is_main = is_apart or not application_group
        bootstrap = Bootstrap(
            process_group=process_group,
            application_group=application_group,
            threads=settings.threads if application_group else group.settings.threads,
            path=(settings.app_dir, *settings.python_path, *group.settings.python_path),
            environ=None if is_main else tuple({**group.environ, **_encoded(settings.process_env)}.items()),
        )
        pool = group.pool(bootstrap, backlog=self.limits.backlog, preload=self.preloaded.get(key, ()))
        pool.proven = set() if self.isolation.is_movable(key, settings) else None
        made = self._pools[key] = pool, settings, group
        return made

    def _group_apart(self, key: Key, settings: GroupSettings) -> ProcessGroup:
        """The processes of one application group, as its process group has them. Raises OSError."""
        group = self._apart.get(key)
        if group is None:
            shared = self._process_settings.get(key[0]) or ProcessSettings(name="")
            own = replace(shared, name=label(key[1], key[0]), threads=settings.threads)
            group = self._start(own, _encoded(own.process_env.items()) | _encoded(settings.process_env))
            self._apart[key] = group
        return group

    def _process_group(self, name: str) -> ProcessGroup:
        """Raises OSError."""
        group = self._process_groups.get(name)
        if group is None:
            settings = self._process_settings[name]
            group = self._process_groups[name] = self._start(settings, _encoded(settings.process_env.items()))
        return group

    def _start(self, settings: ProcessSettings, process_env: dict[bytes, bytes]) -> ProcessGroup:
        """Raises OSError, ShuttingDown."""
        group = ProcessGroup(
            settings,
            environ=self._environ | process_env,
            reaper=self._reaper,
            number=self.number,
            patience=self.timeouts.startup,
            on_refusal=self.isolation.go_without,
            on_alone=self._leave_alone,
        )
        net.cast(self)
        group.start()
        return group

    def _count(self, key: Key) -> int:
        """Other application groups that have, or are about to have, interpreters, GLOBAL apart.

        One that was moved counts once, wherever its last requests are.
        """
        moved = self.isolation.moved
        embedded = sum(1 for one in self._alive if not one.bootstrap.is_main and one.bootstrap.key not in moved)
        in_processes = {known for known, (_, _, group) in self._pools.items() if group is not None}
        return embedded + len((in_processes | moved) - {key})

    def _all_process_groups(self) -> list[ProcessGroup]:
        return [*self._process_groups.values(), *self._apart.values()]

    def _all_pools(self) -> list[Pool]:
        return [*self._alive.values(), *(pool for group in self._all_process_groups() for pool in group.pools)]

    @property
    def pids(self) -> list[int]:
        """Of its daemon processes."""
        return [
            process.pid
            for group in self._all_process_groups()
            for process in group.processes
            if process.pid is not None
        ]

    def start_processes(self) -> None:
        """Start every daemon process: the first request finds it there. What cannot be is tried again then."""
        with self._lock:
            for name in self._process_settings:
                try:
                    self._process_group(name)
                except OSError as error:
                    _log.error("[%s] no daemon process can be started: %s", name, error)

    def _ended(self, interpreter: GroupInterpreter) -> None:
        """In the thread of an interpreter that has come to its end."""
        with self._lock:
            pool = self._alive.get(interpreter)
            if pool is None:
                return
            if interpreter.state is not State.LEFT:
                del self._alive[interpreter]
                self._stuck.discard(pool)
            if interpreter.state is State.FAILED:
                # It closes as soon as the threads in it have ended.
                self._failed = [one for one in self._failed if not one.join(0)] + [interpreter]
            self._forget(pool)
        pool.retire()
        pool.refuse(InterpreterFailed(interpreter.failure or "the interpreter has ended"))

    def _forget(self, pool: Pool) -> None:
        for key, (known, _, _) in list(self._pools.items()):
            if known is pool:
                del self._pools[key]

    # Extension modules that refuse ------------------------------------------------------------------------------------

    def move(self, worker: Worker, refusal: Refusal) -> bool:
        """The interpreter of ``worker`` will not do for its application group; whether that has another place now.

        From the next request on.
        """
        key = worker.member.interpreter.bootstrap.key
        if worker.pool.proven is None:
            self.isolation.fail(key, refusal)
            return False
        with self._lock:
            self.isolation.move(key, refusal)
        self._vacate(key, worker.pool)
        return True

    def has_left(self, worker: Worker) -> bool:
        """Whether the application group has moved out of the interpreter of ``worker``, and has another place."""
        return worker.pool.is_retired and worker.member.interpreter.bootstrap.key in self.isolation.moved

    def _leave_alone(self, bootstrap: Bootstrap) -> bool:
        """A daemon process has its main interpreter only, which is GLOBAL's; whether there is another place.

        In the reaper's thread.
        """
        key = bootstrap.key
        with self._lock:
            found = self._pools.get(key)
            if found is None or found[2] is self._apart.get(key):
                return True  # it has moved: another process has said so first
            pool = found[0]
            if pool.proven is None:
                return False
            self.isolation.leave_alone(key[0])
        self._vacate(key, pool)
        return True

    def _vacate(self, key: Key, pool: Pool) -> None:
        """Let ``pool`` take no more requests: those that wait ask for the group's next pool."""
        pools = {pool}
        with self._lock:
            found = self._pools.get(key)
            if found is not None and found[0].proven is not None:
                pools.add(found[0])  # another one, where that of the worker was given up before
                del self._pools[key]
            group = self._process_groups.get(key[0])
        if group is not None:
            group.vacate(key[1])
        for one in pools:
            one.retire()
            one.refuse(PoolRetired("the application group has moved into a daemon process"))

    # Workers that nobody waits for, or that do not come back ----------------------------------------------------------

    def adopt(self, worker: Worker, *, limit: float | None) -> None:
        """See that ``worker`` gets free; after ``limit``, seconds, interrupt it."""
        Orphan(
            worker,
            reaper=self._reaper,
            limit=limit,
            patience=self.timeouts.interrupt,
            on_stuck=self.give_up,
        )

    def give_up(self, worker: Worker) -> None:
        """``worker`` has not obeyed an interrupt: its interpreter gets no further request."""
        if any(group.give_up(worker) for group in self._all_process_groups()):
            return
        pool = worker.pool
        with self._lock:
            if pool in self._stuck or worker.member.interpreter not in self._alive:
                return
            self._stuck.add(pool)
            self._forget(pool)
        _log.error(
            "[%s] request #%d did not end within %g s of its interrupt: its interpreter is given up, the next request "
            "to this application group gets a new one",
            worker.label,
            worker.exchange,
            self.timeouts.interrupt,
        )
        pool.retire()
        pool.refuse(PoolRetired("the interpreter was given up"))  # who waits there asks for the next one

    # The end ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Start the clock: interrupt what still runs after the graceful time. Later calls do nothing."""
        with self._lock:
            if self._end_at is not None:
                return
            graceful, interrupt = self.timeouts.graceful, self.timeouts.interrupt
            self._end_at = time.monotonic() + graceful + interrupt
        self._reaper.later(graceful, self._cut)
        self._reaper.later(graceful + min(1.0, interrupt / 2), self._sever)

    def stop(self) -> list[str]:
        """Drain, let every interpreter run its atexit functions, and close it. Waits; not for an event loop's thread.

        Returns the labels of the groups that did not come to an end: this process cannot exit but by ``os._exit``.
        """
        self.drain()
        assert self._end_at is not None
        with self._lock:
            self._closing = True
            alive = dict(self._alive)
            groups = self._all_process_groups()
        for group in groups:
            group.stop(self._end_at - _MARGIN - time.monotonic())
        for interpreter, pool in alive.items():
            pool.retire()
            interpreter.stop(self._end_at - _MARGIN - time.monotonic())
        for interpreter in alive:
            # What is left then is for the atexit functions in GLOBAL.
            interpreter.join(self._end_at - _MARGIN / 2 - time.monotonic())
        for interpreter in self._failed:
            interpreter.join(self._end_at - _MARGIN / 2 - time.monotonic())
        in_processes = [name for group in groups for name in group.join(self._end_at - _MARGIN / 2)]
        if in_processes and not self._stopped:
            _log.error("these application groups were ended by force: %s", ", ".join(sorted(in_processes)))
        with self._lock:
            left = [one.label for one in self._alive if one.bootstrap.environ is not None]
            left += [one.label for one in self._failed if not one.join(0)]
            first = not self._stopped
            self._stopped = True
        if left and first:
            _log.error("these application groups did not come to an end: %s", ", ".join(sorted(left)))
        self._reaper.end()
        return left

    def _cut(self) -> None:
        with self._lock:
            self._closing = True
            pools = self._all_pools()
        for pool in pools:
            pool.refuse(ShuttingDown("the server shuts down"))
            for worker in pool.busy:
                worker.interrupt()

    def _sever(self) -> None:
        """End the exchanges of those that do not obey: their clients learn that there will be no more."""
        with self._lock:
            pools = self._all_pools()
        for pool in pools:
            for worker in pool.busy:
                worker.channel.shut()


def _encoded(variables: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in variables}
