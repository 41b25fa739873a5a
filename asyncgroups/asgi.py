"""The ASGI application: lifespan and http, readable as the path of a request.

Imports ``frontend``, ``config``, ``selection``.

Guarantees:

- Importing it starts nothing and reads nothing: the configuration is read when the server says lifespan.startup, or,
  where nobody does, with the first request.
- It is started once, whichever thread or event loop asks first.

    ASYNCGROUPS_CONFIG=asyncgroups.toml uvicorn asyncgroups.asgi:application
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import anyio
import anyio.to_thread
from asgiref.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    LifespanShutdownCompleteEvent,
    LifespanStartupCompleteEvent,
    Scope,
)

from asyncgroups import config
from asyncgroups.config import Configuration
from asyncgroups.errors import (
    ApplicationGroupsError,
    BodyTooLarge,
    GroupNameUnresolved,
    ShuttingDown,
    StartFailed,
)
from asyncgroups.frontend import logs
from asyncgroups.frontend.answers import answer
from asyncgroups.frontend.exchange import Exchange
from asyncgroups.frontend.lease import load
from asyncgroups.frontend.request import Head
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.interpreters import label
from asyncgroups.selection import Selection

__all__ = ["ApplicationGroups", "application"]

_log = logging.getLogger("asyncgroups")


class _Running(NamedTuple):
    configuration: Configuration
    selection: Selection
    supervisor: Supervisor


class ApplicationGroups:
    """An ASGI 3 application that runs WSGI applications in their application groups.

    ``configure`` is called once, at the start, and returns the configuration or raises ConfigurationError; ``ports``
    are the TCP ports that will be served, as far as they are known: names of groups to preload depend on them.
    """

    def __init__(self, configure: Callable[[], Configuration], *, ports: Sequence[int | None] = ()) -> None:
        self.failure: ApplicationGroupsError | None = None
        """Why the start has failed."""
        self._configure = configure
        self.ports = ports
        self._running: _Running | None = None
        self._stopped: _Running | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = repr(self._running.supervisor) if self._running else "not started"
        return f"<ApplicationGroups: {state}>"

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one ASGI scope. Raises TypeError for a type of scope that it does not know."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": ""})  # before accept: the client gets a 403
        else:
            raise TypeError(f"asyncgroups knows no ASGI scope of type {scope['type']!r}")

    # http -------------------------------------------------------------------------------------------------------------

    async def _http(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            _, selection, supervisor = self._running or self.start()
            head = Head(scope)
            room = supervisor.limits.request_body
            if room is not None and head.content_length is not None and head.content_length > room:
                raise BodyTooLarge("Content-Length is more than limits.request_body")
            choice = head.choose(selection)
            number = supervisor.number()
            crossing = head.encode(choice, number)
        except ApplicationGroupsError as refusal:
            level = (
                logging.ERROR if refusal.status == 500 else logging.WARNING if refusal.status == 503 else logging.INFO
            )
            # repr: a client chooses the path, and a line break in it would forge a line of the log.
            _log.log(level, "%s %.200r: %d: %s", scope["method"], scope["path"], refusal.status, refusal)
            await answer(send, refusal, method=scope["method"], receive=receive)
            return
        exchange = Exchange(supervisor, receive, send, number=number, method=scope["method"])
        await exchange.run(partial(supervisor.pool, choice), crossing)

    # lifespan ---------------------------------------------------------------------------------------------------------

    async def _lifespan(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await receive()
        try:
            self._is_closed, self._stopped = False, None
            running = self.start()
            await self._preload(running)
        except ApplicationGroupsError as error:
            self.failure = error
            await self._stop()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send(cast(LifespanStartupCompleteEvent, {"type": "lifespan.startup.complete"}))
        await receive()
        await self._stop()
        await send(cast(LifespanShutdownCompleteEvent, {"type": "lifespan.shutdown.complete"}))

    def start(self) -> _Running:
        """Read the configuration and be ready for requests; later calls return the same.

        Raises ConfigurationError, ShuttingDown.
        """
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("the server has stopped")
            if self._running is None:
                configuration = self._configure()
                logs.set_up(configuration.log_level, "asyncgroups")
                self._running = _Running(
                    configuration,
                    configuration.selection(dict(os.environ)),
                    Supervisor(
                        limits=configuration.limits,
                        timeouts=configuration.timeouts,
                        global_threads=configuration.global_threads,
                        environ=os.environb,
                    ),
                )
            return self._running

    async def _preload(self, running: _Running) -> None:
        """Load what is to be preloaded, each group on its own. Raises StartFailed with all that did not load."""
        failures: list[str] = []

        async def one(key: tuple[str, str], settings: Any, application: str) -> None:
            try:
                find = partial(running.supervisor.pool_of, key, settings)
                failure = await load(running.supervisor, find, application)
            except ApplicationGroupsError as error:
                failure = str(error)
            if failure is not None:
                failures.append(f"{application} in application group {label(key[1])}: {failure}")

        async with anyio.create_task_group() as tasks:
            for key, settings, application in self._wanted(running):
                tasks.start_soon(one, key, settings, application)
        if failures:
            raise StartFailed("these applications do not load:\n" + "\n".join(sorted(failures)))

    def _wanted(self, running: _Running) -> list[tuple[tuple[str, str], Any, str]]:
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

    def drain(self) -> None:
        """The server has been told to stop: interrupt what still runs after ``timeouts.graceful``. From any thread."""
        if self._running is not None:
            self._running.supervisor.drain()

    def stop(self) -> list[str]:
        """Close every interpreter; waits, within bounds. The labels of the groups that did not end. From any thread."""
        with self._lock:
            self._is_closed = True
            # A host whose lifespan begins again gets interpreters anew; who stops a second time waits for the first.
            self._stopped, self._running = self._running or self._stopped, None
            stopped = self._stopped
        return stopped.supervisor.stop() if stopped is not None else []

    async def _stop(self) -> None:
        # A thread that waits here is bounded by the deadlines of the supervisor; a cancellation does not wait for it.
        await anyio.to_thread.run_sync(self.stop, abandon_on_cancel=True)


def _configuration_of_environment() -> Configuration:
    path = os.environ.get("ASYNCGROUPS_CONFIG", "asyncgroups.toml")
    return config.read(path)


application = ApplicationGroups(_configuration_of_environment)
"""The application that ``ASYNCGROUPS_CONFIG`` describes, by default ``asyncgroups.toml`` in the working directory."""
