"""Has scripts that have changed loaded again, while what was loaded goes on. Imports ``frontend``.

A script's interpreter is replaced by one that has loaded the changed script and all that the old one had loaded. A main
interpreter cannot be replaced: there the script alone is executed again, as mod_wsgi does in embedded mode. Guarantees:

- ``begin`` waits for nothing. A reload runs in a thread of its own, which an event loop of its own has wait for workers
  as requests do; there is one at a time for each pool, and there are no more than ``RELOADS`` at once. Who finds no
  place tries again with its next request. A group whose last reload has failed begins another one only where that is
  one of ``FAILING``: those that hang each time, for ``timeouts.startup``, leave places for others.
- Requests go to the old interpreter until the new one has loaded everything, and from then on to the new one, those
  that wait as well. The old one ends after the last that it runs, however long that takes.
- What does not load leaves everything as it was: the log says what, and why, once for each try. It is tried again when
  one of the scripts changes, or with a request after a delay that grows.
- Each script is loaded within ``timeouts.startup``, or given up as a request's would be. The server's end interrupts
  what is being loaded, and the threads end with the interpreters at the latest.
- An extension module that refuses moves the group, as with a request: it loads in its own process then.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import anyio

from asyncgroups.errors import ApplicationGroupsError, ShuttingDown
from asyncgroups.frontend.isolation import Place
from asyncgroups.frontend.lease import GroupMoved
from asyncgroups.frontend.preload import Unloaded, load_in, load_once
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.versions import FAILING, RELOADS, Entry, look
from asyncgroups.host.group import label
from asyncgroups.host.pool import Member
from asyncgroups.selection.mounts import Version

__all__ = ["Reloading"]

_log = logging.getLogger("asyncgroups")


_NEW = {
    Place.HERE: "a new interpreter has",
    Place.SHARED: "a new interpreter in each process has",
    Place.APART: "new processes have",
}


class _Fails(ApplicationGroupsError):
    """``application`` does not load."""

    def __init__(self, application: str, reason: str) -> None:
        super().__init__(f"{application!r} does not load: {reason}")
        self.application = application


def _label(entry: Entry) -> str:
    return label(entry.key[1], entry.key[0])


class Reloading:
    """The reloads of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._reloads: set[threading.Thread] = set()
        """Those that run."""

    def __repr__(self) -> str:
        return f"<Reloading: {len(self._reloads)} of {RELOADS}>"

    def begin(self, entry: Entry, application: str, *, version: Version) -> None:
        """A request for ``application`` has found another ``version`` than ``entry`` has. From any thread."""
        with self._lock:
            most = FAILING if entry.versions.has_failed else RELOADS
            if self._supervisor.loads.are_forgone or entry.versions.is_reloading or len(self._reloads) >= most:
                return
            thread = threading.Thread(
                target=self._run,
                args=(entry, application, version),
                name=f"reload-{_label(entry)}",
                daemon=True,  # within the supervisor's bounds it ends with what it waits for
                context=contextvars.Context(),  # an inherited one would say that an event loop runs there
            )
            try:
                thread.start()
            except RuntimeError:
                return  # there is no thread to be had
            self._reloads.add(thread)
            entry.versions.is_reloading = True

    def join(self, until: float) -> None:
        """Wait for the threads, until ``until`` by the monotonic clock."""
        with self._lock:  # or one might not have started yet, which cannot be waited for
            threads = list(self._reloads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _over(self, thread: threading.Thread, entry: Entry) -> None:
        with self._lock:
            self._reloads.remove(thread)
        entry.versions.is_reloading = False

    # In a thread of its own -------------------------------------------------------------------------------------------

    def _run(self, entry: Entry, application: str, seen: Version) -> None:
        try:
            self._reload(entry, application, seen)
        except ShuttingDown:
            pass
        except Exception:  # noqa: BLE001 - whatever it is, what was loaded goes on
            _log.exception("[%s] %r cannot be loaded again", _label(entry), application)
            entry.versions.fail({application: seen})
        finally:
            self._over(threading.current_thread(), entry)

    def _reload(self, entry: Entry, application: str, seen: Version) -> None:
        """Raises ShuttingDown."""
        version = look(application)
        if version is None or version == entry.versions.known.get(application):
            entry.versions.come_late(application, seen)
            return
        tried = {application: version}
        name, started = _label(entry), time.monotonic()
        try:
            if entry.key[1]:
                told = self._replace(entry, application, tried)
            else:
                told = self._execute(entry, application, version)
        except ShuttingDown:
            raise
        except (ApplicationGroupsError, OSError) as error:
            is_itself = isinstance(error, _Fails) and error.application == application
            _log.error(
                "[%s] %r has changed, but %s; what was loaded before goes on, and the next try is made when it changes "
                "again, or with a request in %g s",
                name,
                application,
                str(error).replace(repr(application), "it", 1) if is_itself else error,
                entry.versions.fail(tried),
            )
        else:
            if told:
                _log.info("[%s] %r has changed: %s, after %.2f s", name, application, told, time.monotonic() - started)

    def _replace(self, entry: Entry, application: str, tried: dict[str, Version]) -> str:
        """Have a new interpreter take the place of the old one; what to say of it. ``tried`` grows by what is loaded.

        Raises ApplicationGroupsError, OSError.
        """
        applications = [application, *self._others(entry, application, tried)]
        made = self._supervisor.candidate(entry, tried)
        try:
            if made.group is None:
                anyio.run(self._load, applications, partial(load_once, self._supervisor, lambda: made.pool))
            else:
                self._load_in_processes(made, made.group, applications)
            is_swapped = self._supervisor.swap(entry, made)
        except GroupMoved:
            is_swapped = False  # its process loads what there is by now
        finally:
            self._supervisor.discard(made)
        others = len(applications) - 1
        also = f" and {others} other{'s' if others > 1 else ''}" if others else ""
        return f"{_NEW[made.place]} loaded it{also}, and the requests go there" if is_swapped else ""

    def _execute(self, entry: Entry, application: str, version: Version) -> str:
        """Have the script executed again where it is; what to say of it. Raises ApplicationGroupsError."""
        if entry.group is None:
            load = partial(load_once, self._supervisor, lambda: entry.pool, again=True)
            anyio.run(self._load, [application], load)
        else:
            self._execute_in_processes(entry, entry.group, application)
        entry.versions.succeed(application, version)
        return "it was executed again"

    @staticmethod
    def _others(entry: Entry, application: str, tried: dict[str, Version]) -> Iterator[str]:
        """What else the old interpreter has loaded, but for scripts that are gone."""
        for one in sorted(entry.pool.proven - {application}):
            if one.startswith("/"):
                version = look(one)
                if version is None:
                    continue
                tried[one] = version
            yield one

    async def _load(self, applications: Sequence[str], load: Callable[..., Awaitable[Unloaded | None]]) -> None:
        """One after the other. Raises GroupMoved, ApplicationGroupsError."""
        for application in applications:
            unloaded = await load(application=application)
            if unloaded is not None:
                if self._supervisor.loads.are_forgone:
                    raise ShuttingDown("the server shuts down")
                raise _Fails(application, str(unloaded))

    def _load_in_processes(self, made: Entry, group: ProcessGroup, applications: Sequence[str]) -> None:
        """In each process that there is by then. Raises GroupMoved, ApplicationGroupsError."""
        loaded: set[Member] = set()
        while rest := [one for one in group.tenants.await_members(made.pool, self._limit()) if one not in loaded]:
            anyio.run(self._load_in_each, rest, applications)
            loaded.update(rest)

    async def _load_in_each(self, members: Sequence[Member], applications: Sequence[str]) -> None:
        """In all at the same time. Raises GroupMoved, ApplicationGroupsError."""
        problems: list[Exception] = []

        async def one(member: Member) -> None:
            try:
                await self._load(applications, partial(load_in, self._supervisor, member))
            except (ApplicationGroupsError, OSError) as error:
                problems.append(error)

        async with anyio.create_task_group() as tasks:
            for member in members:
                tasks.start_soon(one, member)
        if problems:
            raise problems[0]

    def _execute_in_processes(self, entry: Entry, group: ProcessGroup, application: str) -> None:
        """In the main interpreter of each process. Raises ApplicationGroupsError, OSError."""
        errands = group.tenants.execute(entry.pool, application)
        until = self._limit()
        for errand in errands:
            if not errand.over.wait(None if until is None else max(0.0, until - time.monotonic())):
                errand.interrupt()
                if not errand.over.wait(self._supervisor.timeouts.interrupt):
                    errand.give_up()
                raise _Fails(application, "it takes too long (timeouts.startup)")
            if not errand.has_loaded:
                if self._supervisor.loads.are_forgone:
                    raise ShuttingDown("the server shuts down")
                raise _Fails(application, "the log has the reason")

    def _limit(self) -> float | None:
        """When the time for what begins now is over, by the monotonic clock; None where there is no limit."""
        seconds = self._supervisor.timeouts.startup
        return time.monotonic() + seconds if seconds else None
