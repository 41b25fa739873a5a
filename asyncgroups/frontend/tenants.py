"""The application groups of one process group: their pools, and their interpreters in its processes.

Imports ``config``, ``frontend.process``, ``host``. Guarantees:

- Thread-safe, under the lock of the process group; nobody waits in here but in ``await_members``. What wakes that is
  each interpreter that is ready, or has ended, and what bounds it is its time.
- Every process has an interpreter for each application group; it takes requests when that is ready, and, where others
  do, has loaded what is to be preloaded.
- While scripts of an application group are loaded again it has a second pool, with interpreters of another generation
  in the same processes, which is to take the place of the first one.
- One whose place was taken, or whose group has moved elsewhere, stays until its last interpreter has ended.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from asyncgroups.config import ProcessSettings
from asyncgroups.errors import (
    ApplicationGroupsError,
    ChannelClosed,
    InterpreterFailed,
    PoolRetired,
    RequestTimedOut,
)
from asyncgroups.frontend.loads import Loads
from asyncgroups.frontend.process import DaemonInterpreter, DaemonProcess, Preloading, Stage
from asyncgroups.host.group import GroupInterpreter, State
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.pool import Member, Pool
from asyncgroups.host.reaper import Reaper
from asyncgroups.host.sticky import StickyPool

__all__ = ["Errand", "Resident", "Tenants"]

_log = logging.getLogger("asyncgroups")

_MOMENT = 0.05


def _nothing() -> None:
    """It takes requests already."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Tenant:
    """An application group, or what is to take its place.

    preload: applications that each interpreter loads before it takes requests.
    """

    pool: Pool
    bootstrap: Bootstrap
    preload: tuple[str, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Resident:
    """An application group in one process."""

    process: DaemonProcess
    pool: Pool
    preload: tuple[str, ...]
    interpreter: DaemonInterpreter | None = None
    member: Member | None = None
    """Once it takes requests."""


class Errand:
    """A script that is executed again in the main interpreter of ``process``, next to its requests.

    Raises OSError, ChannelClosed.
    """

    def __init__(
        self, process: DaemonProcess, interpreter: DaemonInterpreter, application: str, *, number: int, reaper: Reaper
    ) -> None:
        self.over: threading.Event = threading.Event()
        """Set when it has been executed, or has failed, or the process has ended."""
        self._process = process
        self.loading: Preloading = Preloading(
            interpreter, [application], number=number, reaper=reaper, on_over=self.over.set, again=True
        )

    @property
    def has_loaded(self) -> bool:
        """Once it is over: whether the script has loaded."""
        return self.loading.loaded > 0

    def interrupt(self) -> None:
        """It takes too long."""
        self.loading.interrupt()

    def give_up(self) -> None:
        """It has not obeyed: the process is to be replaced, which happens within a second or two."""
        self._process.is_given_up = True


class Tenants:
    """See above."""

    def __init__(  # noqa: PLR0913 - what is its process group's
        self,
        settings: ProcessSettings,
        processes: list[DaemonProcess],
        *,
        lock: threading.Lock,
        reaper: Reaper,
        number: Callable[[], int],
        patience: float,
        loads: Loads,
        on_served: Callable[[Member], None] | None,
        on_ready: Callable[[DaemonProcess], None],
        on_left: Callable[[DaemonProcess], None],
        on_refusal: Callable[[tuple[str, str], str, str, str], None] | None,
        on_alone: Callable[[Bootstrap], bool] | None,
    ) -> None:
        """``settings`` and ``processes``, a list that changes, are the process group's, and so is ``lock``.

        number: gives one for a new exchange. patience: for what is to be preloaded, seconds or 0. loads: the
        supervisor's. on_served: see ``Pool``. on_ready, on_left: called under the lock when a process has one more
        interpreter, or one less. on_refusal, on_alone: see ``DaemonInterpreter``.
        """
        self._settings = settings
        self._processes = processes
        self._lock = lock
        self._changed = threading.Condition(lock)
        self._reaper = reaper
        self._number = number
        self._patience = patience
        self._loads = loads
        self._on_served = on_served
        self._on_ready = on_ready
        self._on_left = on_left
        self._on_refusal = on_refusal
        self._on_alone = on_alone
        self._named: dict[str, _Tenant] = {}
        """By application group: those that take the requests."""
        self._staying: dict[Pool, _Tenant] = {}
        """Those that each process is to have an interpreter for."""
        self._leaving: list[Pool] = []
        self._residents: Counter[Pool] = Counter()
        """Interpreters that have not ended, ready or not."""
        self._missing: set[tuple[DaemonProcess, Pool]] = set()
        """Processes that have no interpreter for a pool: it has failed there."""
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Tenants: {list(self._staying)!r}, {len(self._leaving)} leaving>"

    @property
    def pools(self) -> list[Pool]:
        """Of all of them."""
        return list(dict.fromkeys([*list(self._staying), *self._leaving]))  # one that leaves just now may be in both

    def lasting(self, process: DaemonProcess) -> set[Pool]:
        """The pools that have interpreters in ``process``, and stay."""
        return {member.pool for member in list(process.kin) if member.pool not in self._leaving}

    def pool(self, bootstrap: Bootstrap, *, backlog: int, preload: tuple[str, ...]) -> Pool:
        """The pool of an application group; made, with its interpreters, where there is none.

        preload: applications that each interpreter loads before it takes requests.
        """
        with self._lock:
            tenant = self._named.get(bootstrap.application_group)
            if tenant is None:
                tenant = self._let_in(replace(bootstrap, processes=self._settings.processes), backlog, preload)
            return tenant.pool

    def _let_in(self, bootstrap: Bootstrap, backlog: int, preload: tuple[str, ...]) -> _Tenant:
        pool = self._new_pool(threads=bootstrap.threads, backlog=backlog)
        tenant = _Tenant(pool=pool, bootstrap=bootstrap, preload=preload)
        self._staying[pool] = tenant
        self._named.setdefault(bootstrap.application_group, tenant)
        for process in self._processes:
            self._open(process, tenant)
        return tenant

    def _new_pool(self, *, threads: int, backlog: int) -> Pool:
        settings = self._settings
        if settings.sticky is None:
            return Pool(
                None,
                threads=threads,
                backlog=backlog,
                request_timeout=settings.request_timeout,
                on_served=self._on_served,
            )
        return StickyPool(
            slots=settings.processes,
            awaited=[one.slot for one in self._processes if one.stage in (Stage.STARTING, Stage.SERVING)],
            threads=threads,
            backlog=backlog,
            request_timeout=settings.request_timeout,
            on_served=self._on_served,
        )

    def another(self, pool: Pool, *, backlog: int) -> Pool:
        """One that may take the place of ``pool``, with further interpreters in the same processes: see ``succeed``.

        Raises PoolRetired.
        """
        with self._lock:
            tenant = self._staying.get(pool)
            if tenant is None or self._is_closed:
                raise PoolRetired("the application group has no processes any more")
            # Of no other server's: what that has in place of its own may be older.
            return self._let_in(replace(tenant.bootstrap, generation=time.monotonic_ns()), backlog, ()).pool

    def succeed(self, old: Pool, new: Pool) -> None:
        """Let ``new`` take the place of ``old``, which is to be left out, and retired."""
        with self._lock:
            tenant, before = self._staying.get(new), self._staying.get(old)
            if tenant is None:
                return  # the group has moved elsewhere meanwhile
            if before is not None:
                tenant.preload = before.preload
            self._named[tenant.bootstrap.application_group] = tenant

    def await_members(self, pool: Pool, until: float | None) -> list[Member]:
        """Wait until each process that serves, or is about to, has an interpreter of ``pool`` ready; those.

        Waits until ``until`` by the monotonic clock at the most, where it is not None, and for no event loop. Raises
        RequestTimedOut, InterpreterFailed, PoolRetired.
        """
        with self._changed:
            while True:
                if self._is_closed or pool not in self._staying:
                    raise PoolRetired("the application group has no processes any more")
                if any(one is pool for _, one in self._missing):
                    raise InterpreterFailed("a daemon process has no interpreter for it")
                needed = [one for one in self._processes if one.stage in (Stage.STARTING, Stage.SERVING)]
                members = [member for one in needed for member in one.kin if member.pool is pool]
                if needed and len(members) == len(needed):
                    return members
                seconds = None if until is None else until - time.monotonic()
                if (seconds is not None and seconds <= 0) or not self._changed.wait(seconds):
                    raise RequestTimedOut("the interpreters were not ready in time (timeouts.startup)")

    def execute(self, pool: Pool, application: str) -> list[Errand]:
        """Have a script executed again in each interpreter of ``pool``. Raises OSError, ChannelClosed."""
        with self._lock:
            tenant = self._staying.get(pool)
            places = [
                (process, one)
                for process in self._processes
                for one in process.interpreters
                # Also where it takes no requests yet: what is being preloaded there may be what was there before.
                if tenant is not None and one.bootstrap is tenant.bootstrap and one.state is State.RUNNING
            ]
        errands = [
            Errand(process, one, application, number=self._number(), reaper=self._reaper) for process, one in places
        ]
        for errand in errands:
            self._loads.note(errand.loading)
        return errands

    def vacate(self, application_group: str) -> None:
        """Have no more interpreters for this application group: it moves elsewhere. Its pools are not retired here."""
        with self._lock:
            for tenant in list(self._staying.values()):
                if tenant.bootstrap.application_group == application_group:
                    self._leave_out(tenant.pool)

    def leave_out(self, pool: Pool) -> None:
        """Have no more interpreters for ``pool``, which is not retired here."""
        with self._lock:
            self._leave_out(pool)

    def _leave_out(self, pool: Pool) -> None:
        tenant = self._staying.get(pool)
        if tenant is None:
            return
        if self._named.get(tenant.bootstrap.application_group) is tenant:
            del self._named[tenant.bootstrap.application_group]
        if self._residents[pool]:
            self._leaving.append(pool)
        del self._staying[pool]  # from then on: ``pools`` is without the lock
        self._missing = {one for one in self._missing if one[1] is not pool}
        self._changed.notify_all()
        for process in list(self._processes):
            if process.stage is Stage.SERVING:
                self._on_ready(process)  # what it lacked may be wanted no more

    def complete(self, pool: Pool) -> None:
        """Try again where an interpreter of ``pool`` has failed: there is a request for it."""
        if not self._missing:
            return
        with self._lock:
            tenant = self._staying.get(pool)
            for process, one in list(self._missing):
                if one is pool and tenant is not None:
                    self._open(process, tenant)

    def move_in(self, process: DaemonProcess) -> None:
        """Have interpreters for all in a new process. Under the lock."""
        for tenant in self._staying.values():
            self._open(process, tenant)

    def move_out(self, process: DaemonProcess) -> None:
        """It has ended. Under the lock."""
        self._missing = {one for one in self._missing if one[0] is not process}
        for interpreter in process.interpreters:  # here, where none can be about to come in
            interpreter.channel.shut()
        for pool in self._staying:
            self._forgo(process, pool)
        self._changed.notify_all()

    def close(self) -> None:
        """Have no further interpreters. Under the lock."""
        self._is_closed = True
        self._changed.notify_all()

    def _open(self, process: DaemonProcess, tenant: _Tenant) -> None:
        """Have an interpreter for an application group in ``process``."""
        pool, bootstrap = tenant.pool, tenant.bootstrap
        self._missing.discard((process, pool))
        if process.stage in (Stage.DRAINING, Stage.ENDED) or self._is_closed:
            return
        resident = Resident(process=process, pool=pool, preload=tenant.preload)
        interpreter = resident.interpreter = DaemonInterpreter(
            bootstrap,
            address=process.address,
            reaper=self._reaper,
            on_ready=partial(self._prepare, resident),
            on_pong=partial(self._resume, resident),
            on_end=partial(self._leave, resident),
            on_refusal=self._on_refusal,
            on_alone=self._on_alone,
        )
        try:
            interpreter.start()
        except OSError as error:
            self._missing.add((process, pool))
            _log.error("[%s] no connection to a daemon process: %s", interpreter.label, error)
            self._forgo(process, pool)
            self._changed.notify_all()
            return
        process.interpreters.add(interpreter)
        self._residents[pool] += 1

    def _forgo(self, process: DaemonProcess, pool: Pool) -> None:
        """It does not take requests of ``pool``, or no more; another in its slot may be about to. Under the lock."""
        if isinstance(pool, StickyPool) and not any(
            one.slot == process.slot
            and one is not process
            and one.stage in (Stage.STARTING, Stage.SERVING)
            and (one, pool) not in self._missing
            for one in self._processes
        ):
            pool.forgo(process.slot)

    # In the reaper's thread: what becomes of an interpreter

    def _prepare(self, resident: Resident) -> None:
        """It is set up, and may load what is to be preloaded."""
        assert resident.interpreter is not None
        with self._lock:
            if resident.process.stage is Stage.STARTING:
                resident.process.move(Stage.SERVING)
        if resident.interpreter.state is not State.RUNNING:
            return  # it has been told to end meanwhile: what it would load it would have to end first
        is_alone, preload = not resident.pool.is_served, () if self._loads.are_forgone else resident.preload
        if not preload or is_alone:
            self._admit(resident)  # requests would wait for nobody else
        if not preload:
            return
        admit = partial(self._admit, resident) if not is_alone else _nothing
        try:
            preloading = Preloading(
                resident.interpreter, preload, number=self._number(), reaper=self._reaper, on_over=admit
            )
        except OSError, ChannelClosed:
            admit()
            return
        self._loads.note(preloading)
        if self._patience:
            self._reaper.later(self._patience, preloading.stop_waiting)

    def _admit(self, resident: Resident) -> None:
        """It takes requests."""
        process, interpreter = resident.process, resident.interpreter
        assert interpreter is not None
        with self._lock:
            if process.stage is Stage.SERVING and interpreter.state is State.RUNNING:
                resident.member = resident.pool.add(interpreter, process.kin, slot=process.slot)
                process.admit(resident.member)
                self._on_ready(process)
                self._changed.notify_all()

    def _resume(self, resident: Resident) -> None:
        """It lives."""
        if resident.member is not None:
            resident.pool.resume(resident.member)

    def _leave(self, resident: Resident, interpreter: GroupInterpreter) -> None:
        """It has ended."""
        process, pool = resident.process, resident.pool
        busy = pool.remove(resident.member) if resident.member is not None else []
        for worker in busy:  # a moment later: how they end by themselves tells what has been read of them
            self._reaper.later(_MOMENT, worker.channel.shut)
        with self._lock:
            process.interpreters.discard(interpreter)
            lasts = process.stage in (Stage.STARTING, Stage.SERVING) and not self._is_closed
            if lasts and pool in self._staying:
                self._missing.add((process, pool))
            self._forgo(process, pool)
            self._residents -= Counter([pool])  # which drops what is none
            if pool in self._leaving and not self._residents[pool]:
                self._leaving.remove(pool)
            self._changed.notify_all()
            self._on_left(process)
        if interpreter.failure:
            self.refuse(pool, InterpreterFailed(interpreter.failure))
        elif pool.is_retired:
            self.refuse(pool, PoolRetired("its processes have ended"))

    def refuse(self, pool: Pool, error: ApplicationGroupsError) -> None:
        """Send away who waits where nobody serves, a moment later: who has just found the pool stands there by then."""
        self._reaper.later(_MOMENT, lambda: None if pool.is_served else pool.refuse(error))
