"""The ASGI application: lifespan and http, readable as the path of a request.

Imports ``frontend``, ``config``, ``selection``, ``errors``; whose life it is, with its guarantees, stands in
``frontend.lifecycle``.
Importing this module starts nothing and reads nothing; it takes note of the working directory.

    ASYNCGROUPS_CONFIG=asyncgroups.toml uvicorn asyncgroups.asgi:application
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import time
from typing import Any, Unpack, cast

from asgiref.typing import HTTPScope

from asyncgroups.config import Arguments, Configuration, Mount, Options, WsgiApplication, declared, read
from asyncgroups.errors import ApplicationGroupsError, BodyTooLarge
from asyncgroups.frontend.answers import answer
from asyncgroups.frontend.exchange import Exchange
from asyncgroups.frontend.lifecycle import Lifecycle
from asyncgroups.frontend.request import Head
from asyncgroups.frontend.sticky import WithCookie
from asyncgroups.selection import Search

__all__ = ["ApplicationGroups", "application"]

_log = logging.getLogger("asyncgroups")

# The specification's scopes and events are dictionaries, and every server and framework has types of its own for them.
type _Receive = Callable[[], Awaitable[Any]]
type _Send = Callable[[Any], Awaitable[None]]


class ApplicationGroups:
    """An ASGI 3 application that runs WSGI applications in their application groups.

        ApplicationGroups(mounts=[Mount("/shop", "shop.wsgi:application", application_group="shop", threads=4)])

    Mount it in another ASGI application. It starts with the server's lifespan.startup, with ``running``, or with the
    first request where there is neither, and ends with lifespan.shutdown, with ``running``, or with the process. Each
    object has interpreters of its own, whatever their groups are called; only %{GLOBAL} is the main interpreter of all.
    """

    def __init__(self, **arguments: Unpack[Arguments]) -> None:
        """Check a configuration that is written in Python; the keyword arguments are those of ``asyncgroups.toml``.

        mounts: ``Mount`` objects. virtual_hosts: ``VirtualHost`` objects. The rest is described with ``Options``:
        application_group, process_group, isolation, threads, preload, env, process_env, python_path, app_dir,
        server_name, log_level, global_threads, process_groups, limits, timeouts. Relative paths start from the working
        directory.

        Raises ConfigurationError, with every problem and its place (``mounts[0].threads``).
        """
        configuration = declared(arguments, source="ApplicationGroups(...)")
        self.lifecycle: Lifecycle = Lifecycle(lambda: configuration)
        """For who starts, drains or stops it by hand."""

    @classmethod
    def single(cls, app: str | WsgiApplication, **options: Unpack[Options]) -> ApplicationGroups:
        """One application, at the root: ``single("shop.wsgi:application", application_group="shop", threads=4)``.

        app: import string ``module:attribute``; with ``application_group="%{GLOBAL}"`` also a callable object.
        options: as for the constructor. Raises ConfigurationError.
        """
        configuration = declared(options, source="ApplicationGroups.single(...)", single=Mount("/", app))
        return cls.of(Lifecycle(lambda: configuration))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> ApplicationGroups:
        """What a configuration file describes.

        path: of a TOML file, or of Apache's if its name ends in ``.conf``; it is read at the start, which raises, or
        answers, what is wrong with it. A relative one starts from the working directory of this moment.
        """
        source = os.fsdecode(path)
        return cls.of(Lifecycle(partial(read, _below(_folder(), source), source=source)))

    @classmethod
    def of(cls, lifecycle: Lifecycle) -> ApplicationGroups:
        """The application that lives this life."""
        self = cls.__new__(cls)
        self.lifecycle = lifecycle
        return self

    def __repr__(self) -> str:
        return f"<ApplicationGroups: {self.lifecycle!r}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tie the applications' life to a block, in a host's own lifespan: ``async with groups.running(): ...``.

        At its beginning applications with ``preload`` are loaded. At its end running requests may end within
        ``timeouts.graceful``, and interpreters are closed, which every cancellation waits for. Blocks may overlap, in
        several event loops: the last one to leave stops the applications. A later block starts them anew.
        Raises ConfigurationError, StartFailed, and ShuttingDown if ``lifecycle.stop`` comes between; then all is as it
        was before.
        """
        async with self.lifecycle.held():
            yield

    async def __call__(self, scope: Mapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer one ASGI scope. Raises TypeError for a type of scope that it does not know."""
        if scope["type"] == "http":
            await self._http(cast(HTTPScope, scope), receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": ""})  # before accept: the client gets a 403
        else:
            raise TypeError(f"asyncgroups knows no ASGI scope of type {scope['type']!r}")

    # http -------------------------------------------------------------------------------------------------------------

    async def _http(self, scope: HTTPScope, receive: _Receive, send: _Send) -> None:
        began = time()
        try:
            _, selection, supervisor, keys, scripts = self.lifecycle.running or self.lifecycle.start()
            head = Head(scope)
            room = supervisor.limits.request_body
            if room is not None and head.content_length is not None and head.content_length > room:
                raise BodyTooLarge("Content-Length is more than limits.request_body")
            choice = head.choose(selection)
            if isinstance(choice, Search) or choice.mount.script is not None:
                choice = await scripts.settle(choice)
            number = supervisor.number()
            key = None
            if (source := keys.get(choice.process_group)) is not None:
                key, cookie = source(head, choice.env)
                if cookie is not None:
                    send = WithCookie(send, cookie)
            crossing = head.encode(choice, number, began=began)
        except ApplicationGroupsError as refusal:
            level = (
                logging.ERROR if refusal.status == 500 else logging.WARNING if refusal.status == 503 else logging.INFO
            )
            # repr: a client chooses them, and a line break in one would forge a line of the log.
            _log.log(level, "%.40r %.200r: %d: %s", scope["method"], scope["path"], refusal.status, refusal)
            await answer(send, refusal, method=scope["method"], receive=receive)
            return
        exchange = Exchange(
            supervisor,
            receive,
            send,
            number=number,
            method=scope["method"],
            application=choice.mount.application,
            key=key,
        )
        await exchange.run(partial(supervisor.pool, choice), crossing)

    # lifespan ---------------------------------------------------------------------------------------------------------

    async def _lifespan(self, receive: _Receive, send: _Send) -> None:
        await receive()
        complete = False
        failure: ApplicationGroupsError | None = None
        try:
            async with self.lifecycle.held():
                await send({"type": "lifespan.startup.complete"})
                complete = True
                await receive()
        except ApplicationGroupsError as error:
            if complete:
                raise
            failure = error
        if failure is not None:
            # Not in the `except`: hypercorn raises from here, and its traceback would begin with a second one.
            await send({"type": "lifespan.startup.failed", "message": str(failure)})
            # Starlette's TestClient would wait for ever without it; uvicorn ignores it, granian says it once more.
            raise failure.with_traceback(None)
        await send({"type": "lifespan.shutdown.complete"})


# The working directory is the whole process's: an application that changes it before the start, or between two of them,
# would have another file read in place of this one.


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it has been removed; that the file is not there says the start


def _below(folder: str, path: str) -> str:
    return os.path.join(folder, path) if path else path


_FOLDER = _folder()


def _configuration_of_environment() -> Configuration:
    source = os.environ.get("ASYNCGROUPS_CONFIG", "asyncgroups.toml")
    return read(_below(_FOLDER, source), source=source)


application: ApplicationGroups = ApplicationGroups.of(Lifecycle(_configuration_of_environment))
"""The application that ``ASYNCGROUPS_CONFIG`` describes, by default ``asyncgroups.toml``.

A relative path starts from the working directory in which this module was imported.
"""
