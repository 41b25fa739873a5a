"""The life of an application: configured once, started, drained, stopped; and again, if someone asks for it.

Imports ``frontend``, ``config``, ``selection``, ``host``. Guarantees:

- Making one starts nothing and reads nothing. It is configured and started once, whichever thread or event loop asks
  first; a start that has failed is tried again by who asks next.
- A hold that has failed leaves everything as it was: what requests had started goes on, what it has started is stopped.
- Thread-safe; holds no event loop. Each has interpreters of its own, whatever their groups are called.
- It lives as long as one of those that hold it, and the last one to leave stops it, in a thread, and waits for that,
  whatever cancels it meanwhile. Where there is no thread any more it stops right there; where there is no event loop
  any more nobody waits.
- After the end requests are refused until someone holds it again, and then there are new interpreters.
- A stop takes ``timeouts.graceful`` plus ``timeouts.interrupt`` at the most; a second one waits for all before it.
- ``limits.groups`` is for one life: while an earlier one comes to its end there may be as many interpreters again.
"""

import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import anyio

from asyncgroups.config import Configuration
from asyncgroups.errors import ApplicationGroupsError, GroupNameUnresolved, ShuttingDown, StartFailed
from asyncgroups.frontend import logs, loops
from asyncgroups.frontend.choosing import Scripts
from asyncgroups.frontend.preload import Unloaded, load
from asyncgroups.frontend.reloading import Reloading
from asyncgroups.frontend.sticky import Source, sources
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.versions import look
from asyncgroups.host.group import label
from asyncgroups.selection import Selection
from asyncgroups.selection.mounts import Mount

__all__ = ["Lifecycle", "Running", "stop_apart"]

_log = logging.getLogger("asyncgroups")

TOLD_REMARKS = 20
"""Remarks on an Apache configuration that the log has, at most."""


class Running(NamedTuple):
    """What there is between a start and its stop."""

    configuration: Configuration
    selection: Selection
    supervisor: Supervisor
    keys: Mapping[str, Source]
    """Of requests, for each process group that is sticky."""
    scripts: Scripts


def _keep_heap() -> None:
    """Have the C library keep up to 2 MiB that are free at the end of its heap.

    It gives back to the kernel what is free there beyond a threshold, and then gets it again, page by page, for the
    next piece of a body: up to half of an upload's time. The threshold is twice the largest block that was ever freed
    (``man 3 mallopt``, M_MMAP_THRESHOLD). To other C libraries than glibc this says nothing.
    """
    bytes(1024 * 1024)


def _warn(configuration: Configuration) -> None:
    for remark in configuration.remarks[:TOLD_REMARKS]:
        _log.warning("%s", remark)
    if (untold := len(configuration.remarks) - TOLD_REMARKS) > 0:
        _log.warning("%d remarks more: asyncgroups migrate %s lists all of them", untold, configuration.source)
    for warning in configuration.warnings():
        _log.warning("%s", warning)


class Lifecycle:
    """One application's life in this process.

    configure: called at each start; returns the configuration or raises ConfigurationError.
    ports: the TCP ports that will be served, as far as they are known: names of groups to preload depend on them.
    """

    def __init__(self, configure: Callable[[], Configuration], *, ports: Sequence[int | None] = ()) -> None:
        self.failure: ApplicationGroupsError | None = None
        """Why the last start of those that hold it has failed."""
        self.ports = ports
        self.running: Running | None = None
        """None before the start and after the end."""
        self._configure = configure
        self._holders = 0
        self._before: tuple[Running | None, bool] | None = None
        """What the first of those that hold it found; None as soon as one of them has been ready."""
        self._ending: list[Running] = []
        """Earlier lives that have not come to their end, the latest first."""
        self._is_closed = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = repr(self.running.supervisor) if self.running else "stopped" if self._is_closed else "not started"
        return f"<Lifecycle: {state}>"

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[Running]:
        """Be ready for requests, with what is to be preloaded loaded, until the block ends.

        Raises ConfigurationError, StartFailed, and ShuttingDown if ``stop`` comes between. Several blocks may overlap,
        in several event loops.
        """
        with self._lock:
            if not self._holders:
                self._before = self.running, self._is_closed
            self._holders += 1
            self._is_closed = False
        try:
            try:
                running = self.start()
                await self._preload(running)
            except ApplicationGroupsError as error:
                self.failure = error
                raise
            self._before = None
            yield running
        finally:
            await self._leave()

    def start(self) -> Running:
        """Configure, and be ready for requests; later calls return the same.

        Raises ConfigurationError, ShuttingDown.
        """
        with self._lock:
            if self._is_closed:
                raise ShuttingDown(
                    "the applications have been stopped; a block of running(), or lifespan.startup, starts them again"
                )
            if self.running is None:
                configuration = self._configure()
                _keep_heap()
                logs.set_up(configuration.log_level, "asyncgroups")
                _warn(configuration)
                process_env = dict(os.environ)
                selection = configuration.selection(process_env)
                supervisor = Supervisor(
                    limits=configuration.limits,
                    timeouts=configuration.timeouts,
                    global_threads=configuration.global_threads,
                    environ=os.environb,
                    applications=configuration.applications,
                    process_groups=configuration.process_groups,
                )
                supervisor.reloading = Reloading(supervisor)
                self.running = Running(
                    configuration,
                    selection,
                    supervisor,
                    sources(configuration.process_groups, process_env=process_env),
                    Scripts(selection, timeout=configuration.timeouts.queue),
                )
                supervisor.start_processes()
            return self.running

    def drain(self) -> None:
        """The server has been told to stop: interrupt what still runs after ``timeouts.graceful``. From any thread."""
        running = self.running
        if running is not None:
            running.supervisor.drain()

    def stop(self) -> list[str]:
        """Close every interpreter, whoever holds them; waits, within bounds. From any thread but an event loop's.

        Returns the labels of the groups that did not end.
        """
        with self._lock:
            self._close(is_closed=True)
            ending = list(self._ending)
        return self._end(ending)

    def _close(self, *, is_closed: bool) -> Running | None:
        self._is_closed, self._before = is_closed, None
        closed, self.running = self.running, None
        if closed is not None:
            self._ending.insert(0, closed)
        return closed

    def _end(self, lives: Sequence[Running]) -> list[str]:
        """Wait for their end; returns the labels of the groups that have none."""
        labels: list[str] = []
        for one in lives:  # the latest first: who has closed the others stops them already
            left = one.supervisor.stop()
            labels += left
            with self._lock:
                if not left and one in self._ending:
                    self._ending.remove(one)
        return labels

    async def _leave(self) -> None:
        with self._lock:
            self._holders -= 1
            found, was_closed = self._before or (None, True)
            if self._holders or (found is not None and found is self.running):
                return
            closed = self._close(is_closed=was_closed)
            ending = [closed] if closed is not None else list(self._ending)  # or by hand, a moment ago
        if ending:
            await stop_apart(partial(self._end, ending))

    async def _preload(self, running: Running) -> None:
        """Load what is to be preloaded, each group on its own.

        Raises StartFailed with all that did not load; after one that is stuck its group's others are not tried.
        """
        failures: list[str] = []

        async def one(key: tuple[str, str], applications: Mapping[str, Mount]) -> None:
            # One after the other: together they would stand in the queue, whose limits are for requests.
            for application, mount in applications.items():
                try:
                    reloads = mount.script is not None and mount.script_reloading
                    version = look(application) if reloads else None  # the configuration names it: no client's choice
                    find = partial(
                        running.supervisor.pool_of, key, mount.settings, application=application, version=version
                    )
                    unloaded = await load(running.supervisor, find, application)
                except ApplicationGroupsError as error:
                    unloaded = Unloaded(type(error).__name__, str(error))
                if unloaded is not None:
                    failures.append(f"{application} in application group {label(key[1], key[0])}: {unloaded}")
                    if unloaded.is_stuck:
                        return

        wanted = self._wanted(running)
        running.supervisor.preloaded = {key: tuple(applications) for key, applications in wanted.items()}
        async with anyio.create_task_group() as tasks:
            for key, applications in wanted.items():
                tasks.start_soon(one, key, applications)
        if failures:
            raise StartFailed("these applications do not load:\n" + "\n".join(sorted(failures)))

    def _wanted(self, running: Running) -> dict[tuple[str, str], dict[str, Mount]]:
        wanted: dict[tuple[str, str], dict[str, Mount]] = {}
        selection = running.selection
        for host, mount, _ in running.configuration.mounts():
            if not mount.preload:
                continue
            try:
                ports = self.ports
                if not ports and not selection.depends_on_port(host, mount, env=mount.env):
                    ports = [None]
                for port in ports:
                    process_group = selection.process_group(host, mount, port=port, env=mount.env)
                    group = selection.group(host, mount, port=port, env=mount.env)
                    wanted.setdefault((process_group, group), {}).setdefault(mount.application, mount)
                reason = None if ports else "the port"
            except GroupNameUnresolved as error:
                reason = f"the request: {error}"
            if reason is not None:
                _log.warning("%s: not preloaded, its application group depends on %s", mount.place, reason)
        return wanted


async def stop_apart(stop: Callable[[], object]) -> None:
    """Call ``stop``, which waits within bounds, in a thread of its own, and wait until it has returned.

    A cancellation waits for that as well, asyncio's own too, which no shield of anyio's keeps off.
    """
    stopped: Future[None] = Future()

    def run() -> None:
        try:
            stop()
        finally:
            stopped.set_result(None)

    try:
        # Its own: those of the host's event loop may all be busy, or be cut off by a second cancellation.
        threading.Thread(target=run, name="asyncgroups-stop").start()
    except RuntimeError:
        run()  # there is no thread to be had
    try:
        over = loops.wakeup()
    except RuntimeError:
        return  # the task is thrown away, after its event loop
    stopped.add_done_callback(lambda _: over.set())
    cancellation: BaseException | None = None
    with anyio.CancelScope(shield=True):
        while not stopped.done():
            try:
                await over.wait(None)
            except anyio.get_cancelled_exc_class() as cancelled:
                cancellation = cancelled
    if cancellation is not None:
        raise cancellation
