"""The life of an application: configured once, started, drained, stopped; and again, if someone asks for it.

Imports ``frontend``, ``config``, ``selection``, ``host``. Guarantees:

- Making one starts nothing and reads nothing. It is configured and started once, whichever thread or event loop asks
  first; a start that has failed is tried again by who asks next.
- Thread-safe; holds no event loop. Each has interpreters of its own, whatever their groups are called.
- It lives as long as one of those that hold it, and the last one to leave stops it, in a thread, also when cancelled.
- After the end requests are refused until someone holds it again, and then there are new interpreters.
- A stop takes ``timeouts.graceful`` plus ``timeouts.interrupt`` at the most; a second one waits for the first.
"""

import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import anyio

from asyncgroups.config import Configuration
from asyncgroups.errors import ApplicationGroupsError, GroupNameUnresolved, ShuttingDown, StartFailed
from asyncgroups.frontend import logs, loops
from asyncgroups.frontend.lease import load
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.interpreters import label
from asyncgroups.selection import Selection

__all__ = ["Lifecycle", "Running"]

_log = logging.getLogger("asyncgroups")


class Running(NamedTuple):
    """What there is between a start and its stop."""

    configuration: Configuration
    selection: Selection
    supervisor: Supervisor


def _keep_heap() -> None:
    """Have the C library keep up to 2 MiB that are free at the end of its heap.

    It gives back to the kernel what is free there beyond a threshold, and then gets it again, page by page, for the
    next piece of a body: up to half of an upload's time. The threshold is twice the largest block that was ever freed
    (``man 3 mallopt``, M_MMAP_THRESHOLD). To other C libraries than glibc this says nothing.
    """
    bytes(1024 * 1024)


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
        self._stopped: Running | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = repr(self.running.supervisor) if self.running else "stopped" if self._is_closed else "not started"
        return f"<Lifecycle: {state}>"

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[Running]:
        """Be ready for requests, with what is to be preloaded loaded, until the block ends.

        Raises ConfigurationError, StartFailed. Several blocks may overlap, in several event loops.
        """
        with self._lock:
            self._holders += 1
            self._is_closed = False
        try:
            try:
                running = self.start()
                await self._preload(running)
            except ApplicationGroupsError as error:
                self.failure = error
                raise
            yield running
        finally:
            await self._leave()

    def start(self) -> Running:
        """Configure, and be ready for requests; later calls return the same.

        Raises ConfigurationError, ShuttingDown.
        """
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("the applications have been stopped")
            if self.running is None:
                configuration = self._configure()
                _keep_heap()
                logs.set_up(configuration.log_level, "asyncgroups")
                self.running = Running(
                    configuration,
                    configuration.selection(dict(os.environ)),
                    Supervisor(
                        limits=configuration.limits,
                        timeouts=configuration.timeouts,
                        global_threads=configuration.global_threads,
                        environ=os.environb,
                        applications=configuration.applications,
                    ),
                )
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
            stopped = self._close()
        return stopped.supervisor.stop() if stopped is not None else []

    def _close(self) -> Running | None:
        self._is_closed = True
        self._stopped, self.running = self.running or self._stopped, None
        return self._stopped

    async def _leave(self) -> None:
        with self._lock:
            self._holders -= 1
            stopped = self._close() if not self._holders else None
        if stopped is None:
            return
        over = loops.wakeup()

        def stop() -> None:
            try:
                stopped.supervisor.stop()
            finally:
                over.set()

        # A thread of its own: those of the host's event loop may all be busy, or be cut off by a second cancellation.
        threading.Thread(target=stop, name="asyncgroups-stop").start()
        with anyio.CancelScope(shield=True):
            await over.wait(None)

    async def _preload(self, running: Running) -> None:
        """Load what is to be preloaded, each group on its own. Raises StartFailed with all that did not load."""
        failures: list[str] = []

        async def one(key: tuple[str, str], settings: Any, application: str) -> None:
            try:
                find = partial(running.supervisor.pool_of, key, settings)
                unloaded = await load(running.supervisor, find, application)
                failure = str(unloaded) if unloaded is not None else None
            except ApplicationGroupsError as error:
                failure = str(error)
            if failure is not None:
                failures.append(f"{application} in application group {label(key[1])}: {failure}")

        async with anyio.create_task_group() as tasks:
            for key, settings, application in self._wanted(running):
                tasks.start_soon(one, key, settings, application)
        if failures:
            raise StartFailed("these applications do not load:\n" + "\n".join(sorted(failures)))

    def _wanted(self, running: Running) -> list[tuple[tuple[str, str], Any, str]]:
        wanted: dict[tuple[tuple[str, str], str], Any] = {}
        for host, mount, _ in running.configuration.mounts():
            if not mount.preload:
                continue
            if not mount.application_group.is_literal and not self.ports:
                _log.warning("%s: not preloaded, its application group depends on the port", mount.place)
            for port in self.ports or ([None] if mount.application_group.is_literal else []):
                try:
                    group = running.selection.group(host, mount, port=port, env=mount.env)
                except GroupNameUnresolved as error:
                    _log.warning(
                        "%s: not preloaded, its application group depends on the request: %s", mount.place, error
                    )
                    break
                wanted[(mount.process_group, group), mount.application] = mount.settings
        return [(key, settings, application) for (key, application), settings in wanted.items()]
