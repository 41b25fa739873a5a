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
- An interpreter that is to take another one's place counts for no group, nor does the one that it has replaced, until
  that has ended: so there may be up to ``RELOADS`` more than ``limits.groups``; what is beyond counts. One application
  group has no more of them than that, so that none takes the room of others by changing its scripts.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from asyncgroups.config import Limits, ProcessSettings, Timeouts, WsgiApplication
from asyncgroups.errors import InterpreterFailed, PoolReplaced, PoolRetired, ShuttingDown, TooManyGroups
from asyncgroups.frontend import net
from asyncgroups.frontend.bootstraps import embedded, in_processes
from asyncgroups.frontend.daemons import ProcessGroups
from asyncgroups.frontend.isolation import Isolation, Key, Place, Refusal
from asyncgroups.frontend.loads import Loads
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.frontend.versions import RELOADS, Entry, Reloads, Versions
from asyncgroups.host.group import EmbeddedInterpreter, GroupInterpreter, State, label
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.orphans import Orphan
from asyncgroups.host.pool import Pool, Worker
from asyncgroups.host.reaper import Reaper
from asyncgroups.selection import Choice
from asyncgroups.selection.mounts import GroupSettings, Version

__all__ = ["Supervisor"]

_log = logging.getLogger("asyncgroups")

_MARGIN = 0.25, 1.0
"""Least and most seconds, before the end of the interrupt time, that are for what comes after the interpreters' end."""


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
        applications: Mapping[str, WsgiApplication] = MappingProxyType({}),
        process_groups: Mapping[str, ProcessSettings] = MappingProxyType({}),
        on_refusal: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """``environ`` is the process's; ``applications`` are callable objects by name, for GLOBAL."""
        self.preloaded: Mapping[tuple[str, str], tuple[str, ...]] = {}
        """(process group, application group) to the applications that daemon processes load before their requests."""
        self.limits = limits
        self.timeouts = timeouts
        self._bootstrap = partial(
            embedded, global_threads=global_threads, environ=dict(environ), applications=applications
        )
        self.isolation: Isolation = Isolation(on_refusal)
        self.loads: Loads = Loads()
        self._lock = threading.Lock()
        self._pools: dict[Key, Entry] = {}
        self._spare: dict[Pool, Key] = {}
        """Those that are to take another one's place, and those whose place was taken, until they have ended."""
        self.reloading: Reloads | None = None
        """Is told of scripts that have changed."""
        self._alive: dict[GroupInterpreter, Pool] = {}
        self._stuck: set[Pool] = set()
        self._failed: list[GroupInterpreter] = []
        self._reaper = Reaper()
        make = partial(
            ProcessGroup,
            reaper=self._reaper,
            number=self.number,
            patience=timeouts.startup,
            loads=self.loads,
            on_refusal=self.isolation.go_without,
            on_alone=self._leave_alone,
        )
        self.process_groups: ProcessGroups = ProcessGroups(process_groups, environ=environ, make=make)
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
        key, mount = (choice.process_group, choice.application_group), choice.mount
        return self.pool_of(key, mount.settings, application=mount.application, version=choice.version)

    def pool_of(
        self, key: Key, settings: GroupSettings, *, application: str = "", version: Version | None = None
    ) -> Pool:
        """The pool of (process group, application group). Raises as ``pool`` does.

        application, version: the script that it is wanted for, and what that is now: if it is loaded as it was before,
        that goes on, and is replaced.
        """
        found = self._pools.get(key)
        if found is None:
            with self._lock:
                found = self._pools.get(key) or self._make(key, settings)
        _, pool, first, group, _, versions = found
        if version is not None and versions.is_due(application, version) and self.reloading is not None:
            self.reloading.begin(found, application, version=version)
        if first is not settings and first != settings and key not in self._warned:
            self._warned.add(key)
            _log.warning(
                "[%s] two mounts of this application group differ in threads, isolation, app_dir, python_path or "
                "process_env; the settings of the first one that was asked for hold for both",
                label(key[1], key[0]),
            )
        if group is not None:
            group.tenants.complete(pool)
        return pool

    def _make(self, key: Key, settings: GroupSettings) -> Entry:
        """Under the lock."""
        if self._closing:
            raise ShuttingDown("the server shuts down")
        net.cast(self)
        place = self.isolation.place(key, settings)
        if not key[1] and place is Place.HERE:
            if len(self._stuck) >= self.limits.groups:
                raise TooManyGroups("too many workers of %{GLOBAL} do not come back")
        elif self._count(key) >= self.limits.groups:
            raise TooManyGroups(f"{self.limits.groups} application groups are alive already (limits.groups)")
        if place is Place.HERE:
            made = self._embed(key, settings)
        elif place is Place.APART:
            made = self._house(key, settings, self.process_groups.apart(key, settings), place=place)
        else:
            made = self._house(key, settings, self.process_groups.shared(key[0]), place=place)
        self._pools[key] = made
        return made

    def _embed(self, key: Key, settings: GroupSettings) -> Entry:
        """Raises OSError."""
        bootstrap = self._bootstrap(key, settings)
        interpreter = EmbeddedInterpreter(
            bootstrap, reaper=self._reaper, on_end=self._ended, on_refusal=self.isolation.go_without
        )
        pool = Pool(interpreter, threads=bootstrap.threads, backlog=self.limits.backlog)
        pool.is_movable = self.isolation.is_movable(key, settings)
        try:
            interpreter.start()
        except (OSError, RuntimeError) as error:
            interpreter.abandon()
            raise OSError(f"no thread for one more application group: {error}") from error
        self._alive[interpreter] = pool
        return Entry(key, pool, settings, None, Place.HERE, Versions())

    def _house(self, key: Key, settings: GroupSettings, group: ProcessGroup, *, place: Place) -> Entry:
        bootstrap = in_processes(key, settings, group=group, is_apart=place is Place.APART)
        pool = group.tenants.pool(bootstrap, backlog=self.limits.backlog, preload=self.preloaded.get(key, ()))
        pool.is_movable = self.isolation.is_movable(key, settings)
        return Entry(key, pool, settings, group, place, Versions())

    def _count(self, key: Key) -> int:
        """Other application groups that have, or are about to have, interpreters, GLOBAL apart.

        One that was moved counts once, wherever its last requests are.
        """
        moved = self.isolation.moved
        self._spare = {pool: known for pool, known in self._spare.items() if not pool.is_over}
        embedded = sum(
            1
            for one, pool in self._alive.items()
            if not one.bootstrap.is_main and one.bootstrap.key not in moved and pool not in self._spare
        )
        in_processes = {known for known, entry in self._pools.items() if entry.group is not None}
        return embedded + len((in_processes | moved) - {key}) + max(0, len(self._spare) - RELOADS)

    def _all_pools(self) -> list[Pool]:
        with self._lock:
            return [*self._alive.values(), *self.process_groups.pools]

    def start_processes(self) -> None:
        """Start every daemon process: the first request finds it there. What cannot be is tried again then."""
        with self._lock:
            net.cast(self)
            self.process_groups.start()

    def _ended(self, interpreter: GroupInterpreter) -> None:
        """In the thread of an interpreter that has come to its end."""
        with self._lock:
            pool = self._alive.get(interpreter)
            if pool is None:
                return
            if interpreter.state is not State.LEFT:
                del self._alive[interpreter]
                self._stuck.discard(pool)
                self._spare.pop(pool, None)
            if interpreter.state is State.FAILED:
                # It closes as soon as the threads in it have ended.
                self._failed = [one for one in self._failed if not one.join(0)] + [interpreter]
            self._forget(pool)
            pool.retire()  # or it might still take another one's place
        pool.refuse(InterpreterFailed(interpreter.failure or "the interpreter has ended"))

    def _forget(self, pool: Pool) -> None:
        for key, entry in list(self._pools.items()):
            if entry.pool is pool:
                del self._pools[key]

    # Another interpreter in place of one ------------------------------------------------------------------------------

    def candidate(self, entry: Entry, known: Mapping[str, Version]) -> Entry:
        """What may take the place of ``entry``, and takes no request before: see ``swap``. It is to be discarded.

        known: versions of what will be loaded. Raises TooManyGroups, ShuttingDown, OSError.
        """
        key, settings = entry.key, entry.settings
        with self._lock:
            if self._closing or self._end_at is not None:
                raise ShuttingDown("the server shuts down")
            count = self._count(("", "")) + min(len(self._spare), RELOADS)
            if count >= self.limits.groups + RELOADS or list(self._spare.values()).count(key) >= RELOADS:
                raise TooManyGroups("too many interpreters that were replaced have not come to their end")
            if entry.place is Place.HERE:
                made = self._embed(key, settings)
            elif entry.place is Place.APART:
                made = self._house(key, settings, self.process_groups.another(key, settings), place=entry.place)
            else:
                assert entry.group is not None
                made = entry._replace(pool=entry.group.tenants.another(entry.pool, backlog=self.limits.backlog))
            made.pool.is_movable = entry.pool.is_movable  # also where the group has just moved
            self._spare[made.pool] = key
            return made._replace(versions=Versions(known))

    def swap(self, old: Entry, new: Entry) -> bool:
        """Let ``new`` have the requests from now on, also those that wait; whether it has."""
        key = old.key
        with self._lock:
            if (
                self._closing
                or new.pool.is_retired
                or self._pools.get(key) not in (None, old)
                or self.isolation.place(key, old.settings) is not new.place
            ):
                return False  # it was given up, or has moved, and its next request has been there first
            self._pools[key] = new
            self._spare.pop(new.pool, None)
            if old.place is not Place.HERE or old.pool in self._alive.values():
                self._spare[old.pool] = key
            if new.place is Place.APART and new.group is not None:
                self.process_groups.replace(key, new.group)
        if new.group is not None:
            new.group.tenants.succeed(old.pool, new.pool)
        self._retire(old, PoolReplaced("another interpreter has taken its place"))
        return True

    def discard(self, entry: Entry) -> None:
        """Let a candidate end, unless it has the requests."""
        with self._lock:
            if any(one is entry for one in self._pools.values()):
                return
        self._retire(entry, PoolRetired("it was not needed"))

    def _retire(self, entry: Entry, error: PoolRetired) -> None:
        if entry.group is not None:
            entry.group.tenants.leave_out(entry.pool)
        entry.pool.retire()
        entry.pool.refuse(error)
        if entry.group is not None and entry.place is Place.APART:
            entry.group.wind_up()

    # Extension modules that refuse ------------------------------------------------------------------------------------

    def move(self, worker: Worker, refusal: Refusal) -> bool:
        """The interpreter of ``worker`` will not do for its application group; whether that has another place now.

        From the next request on.
        """
        key = worker.member.interpreter.bootstrap.key
        if not worker.pool.is_movable:
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
            if found is None or found.group is self.process_groups.find(key):
                return True  # it has moved: another process has said so first
            pool = found.pool
            if not pool.is_movable:
                return False
            self.isolation.leave_alone(key[0])
        self._vacate(key, pool)
        return True

    def _vacate(self, key: Key, pool: Pool) -> None:
        """Let ``pool`` take no more requests: those that wait ask for the group's next pool."""
        pools = {pool}
        with self._lock:
            found = self._pools.get(key)
            if found is not None and found.pool.is_movable:
                pools.add(found.pool)  # another one, where that of the worker was given up before
                del self._pools[key]
            group = self.process_groups.known(key[0])
        if group is not None:
            group.tenants.vacate(key[1])
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
        with self._lock:  # one whose place is being taken just now would be missed
            groups = self.process_groups.all
        if any(group.give_up(worker) for group in groups):
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
        """Start the clock: interrupt what still runs after the graceful time, loads at once. Later calls do nothing."""
        with self._lock:
            if self._end_at is not None:
                return
            graceful, interrupt = self.timeouts.graceful, self.timeouts.interrupt
            self._end_at = time.monotonic() + graceful + interrupt
        self.loads.forgo()
        self._reaper.later(graceful, self._cut)
        self._reaper.later(graceful + min(1.0, interrupt / 2), self._sever)

    def stop(self) -> list[str]:
        """Drain, let every interpreter run its atexit functions, and close it. Waits; not for an event loop's thread.

        Returns the labels of the groups that did not come to an end: this process cannot exit but by ``os._exit``.
        """
        self.drain()
        assert self._end_at is not None
        margin = min(max(self.timeouts.interrupt / 4, _MARGIN[0]), _MARGIN[1])
        end_at, left_at = self._end_at - margin, self._end_at - margin / 2  # the rest is for GLOBAL's atexit functions
        with self._lock:
            self._closing = True
            alive = dict(self._alive)
            groups = self.process_groups.all
        for group in groups:
            group.stop(end_at - time.monotonic())
        for interpreter, pool in alive.items():
            pool.retire()
            interpreter.stop(end_at - time.monotonic())
        for interpreter in alive:
            interpreter.join(left_at - time.monotonic())
        for interpreter in self._failed:
            interpreter.join(left_at - time.monotonic())
        if self.reloading is not None:
            self.reloading.join(left_at)
        in_processes = [name for group in groups for name in group.join(left_at)]
        if in_processes and not self._stopped:
            _log.error("these application groups were ended by force: %s", ", ".join(sorted(in_processes)))
        with self._lock:
            left = [one.label for one in self._alive if one.bootstrap.environ is not None]
            left += [one.label for one in self._failed if not one.join(0)]
            first, self._stopped = not self._stopped, True
        if left and first:
            _log.error("these application groups did not come to an end: %s", ", ".join(sorted(left)))
        self._reaper.end()
        return left

    def _cut(self) -> None:
        with self._lock:
            self._closing = True
        for pool in self._all_pools():
            pool.refuse(ShuttingDown("the server shuts down"))
            for worker in pool.busy:
                worker.interrupt()

    def _sever(self) -> None:
        """End the exchanges of those that do not obey: their clients learn that there will be no more."""
        for pool in self._all_pools():
            for worker in pool.busy:
                worker.channel.shut()
