"""``serve``: sets hypercorn up in this process, owns signals, the deadline and the exit.

Imports ``asgi``, ``config``, ``tls``. Guarantees:

- SIGTERM and SIGINT: no new connections; requests that run may end within ``timeouts.graceful``; then they are
  interrupted, interpreters are closed, atexit functions run, and the process ends with status 0,
  ``timeouts.interrupt`` later at the latest, whatever the applications do.
- A second signal ends the process at once.
- A request over HTTP/2 whose path or method is no ASCII is answered 400, and its connection goes on.
- The process always ends by ``os._exit``: threads that are stuck inside interpreters would hang any other end.

``hypercorn.asyncio.serve`` and not ``hypercorn.run``: that starts a child process even for one worker.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import ssl
import stat
import threading
from types import FrameType
from typing import Any
from urllib.parse import quote_from_bytes

import hypercorn.asyncio
import hypercorn.protocol
from hypercorn.config import Config, Sockets
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.utils import LifespanFailureError

from asyncgroups.asgi import ApplicationGroups
from asyncgroups.config import Configuration
from asyncgroups.errors import GroupNameUnresolved, StartFailed
from asyncgroups.frontend import logs
from asyncgroups.frontend.lifecycle import Lifecycle
from asyncgroups.host.ending import end, watch_signals
from asyncgroups.host.group import label
from asyncgroups.selection import Selection
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import Mount
from asyncgroups.tls import check_files

__all__ = ["serve"]

_log = logging.getLogger("asyncgroups")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Bound(Config):
    """A hypercorn configuration whose sockets have been bound before anything else was started."""

    bound: Sockets

    def create_sockets(self) -> Sockets:
        return self.bound


class _Http2(H2Protocol):
    """HTTP/2 with paths and methods that are no ASCII: hypercorn decodes them, and the whole connection ends with that.

    An at sign in front makes them neither a path nor a method, and ``frontend.request`` refuses that under any server.
    Source: RFC 9113 section 8.3.1, which has them be RFC 3986's and RFC 9110's.
    """

    async def _create_stream(self, request: Any) -> None:
        if not all(_is_sound(name, value) for name, value in request.headers):
            request.headers = [
                (name, value if _is_sound(name, value) else f"@{quote_from_bytes(value)}".encode())
                for name, value in request.headers
            ]
        await super()._create_stream(request)


def _is_sound(name: bytes, value: bytes) -> bool:
    if name == b":path":
        return value.isascii() or value.partition(b"?")[0].isascii()  # a query is not decoded
    return name != b":method" or value.isascii()


def serve(configuration: Configuration) -> None:
    """Serve ``configuration`` until a signal comes. Does not return: the process ends.

    Its status is 0 after a signal, 3 when a preloaded application does not load, 1 for the rest (address in use).
    """
    logs.set_up(configuration.log_level, "asyncgroups", "hypercorn.error")
    _raise_descriptor_limit(configuration)
    status = 1
    unix_paths: list[str] = []
    hypercorn.protocol.H2Protocol = _Http2  # type: ignore[attr-defined]  # no public way; and this process is ours
    try:
        config = _hypercorn_config(configuration, unix_paths)
        ports = [_port(bind) for bind in config.bound.secure_sockets + config.bound.insecure_sockets]
        lifecycle = Lifecycle(lambda: configuration, ports=list(dict.fromkeys(ports)))
        status = asyncio.run(_serve(lifecycle, configuration, config))
        lifecycle.stop()
    except OSError as error:
        _log.critical("cannot serve: %s", error)
    except Exception:  # noqa: BLE001 - whatever it is, the process ends with it, and says so
        _log.critical("the server has failed", exc_info=True)
    finally:
        for path in unix_paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        end(status)


async def _serve(lifecycle: Lifecycle, configuration: Configuration, config: Config) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin(number: int) -> None:
        if not told.is_set():
            _log.info("%s: stopping", signal.Signals(number).name)
            lifecycle.drain()
            told.set()
            timeouts = configuration.timeouts
            loop.call_later(timeouts.graceful + min(1.0, timeouts.interrupt / 2), _end_without_clients, lifecycle)

    def stop(number: int, _: FrameType | None) -> None:
        # Nothing else here: the code that it interrupts may hold any lock, the logging module's among them.
        with contextlib.suppress(RuntimeError):  # the loop has been closed: the end has begun
            loop.call_soon_threadsafe(begin, number)

    _own_signals(stop, configuration)
    try:
        lifecycle.start()
        _say_what_is_served(configuration, lifecycle)
        await hypercorn.asyncio.serve(ApplicationGroups.of(lifecycle), config, shutdown_trigger=told.wait)
    except LifespanFailureError:
        if told.is_set():
            return 0  # the end came while applications were being loaded
        if not isinstance(lifecycle.failure, StartFailed):
            raise
        _log.critical("%s", lifecycle.failure)
        return 3
    return 0


def _end_without_clients(lifecycle: Lifecycle) -> None:
    """The graceful time is over and more: a client that neither reads nor goes keeps hypercorn from ending.

    The interpreters get their orderly end all the same, in a thread, since it waits.
    """

    def stop_and_end() -> None:
        lifecycle.stop()
        end(0)

    threading.Thread(target=stop_and_end, name="asyncgroups-end", daemon=True).start()


def _own_signals(stop: Any, configuration: Configuration) -> None:
    """``stop`` for the first signal; the watchdog for the deadline and the second one."""
    timeouts = configuration.timeouts
    watch_signals(_SIGNALS, seconds=timeouts.graceful + timeouts.interrupt, status=0)
    for number in _SIGNALS:
        signal.signal(number, stop)


# hypercorn ------------------------------------------------------------------------------------------------------------


def _hypercorn_config(configuration: Configuration, unix_paths: list[str]) -> _Bound:
    """Raises OSError when an address cannot be bound."""
    config = _Bound()
    config.bind = list(configuration.bind)
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    timeouts = configuration.timeouts
    # Ours are the deadlines: hypercorn's are there in case that ours fail.
    config.graceful_timeout = timeouts.graceful + timeouts.interrupt
    config.shutdown_timeout = timeouts.graceful + timeouts.interrupt + 1
    config.startup_timeout = 10**6
    config.backlog = 1024
    if configuration.tls is not None:
        config.certfile = configuration.tls.certfile
        config.keyfile = configuration.tls.keyfile
        config.keyfile_password = configuration.tls.keyfile_password or ""  # None would ask at the terminal
        config.ca_certs = configuration.tls.ca_certs
        if config.ca_certs is not None:
            config.verify_mode = ssl.CERT_REQUIRED
        check_files(configuration.tls)
    for bind in config.bind:
        if bind.startswith("unix:"):
            _check_unix_socket(bind.removeprefix("unix:"))
    sockets: list[socket.socket] = []
    for bind in config.bind:
        try:
            sockets += config._create_sockets([bind])  # noqa: SLF001 - the public way stops at the first one's traceback
        except OSError as error:
            raise OSError(f"{bind}: {error.strerror or error}") from error
        if bind.startswith("unix:"):
            unix_paths.append(bind.removeprefix("unix:"))
            os.chmod(unix_paths[-1], 0o666)  # noqa: S103 - as uvicorn: the proxy is another user, the folder protects it
    secure = configuration.tls is not None
    config.bound = Sockets(sockets if secure else [], [] if secure else sockets, [])
    return config


def _check_unix_socket(path: str) -> None:
    """hypercorn removes whatever socket it finds there: not the one of a server that lives."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(f"unix:{path}: there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # left behind by a server that was killed
        raise OSError(f"unix:{path}: Address already in use")


def _port(bound: socket.socket) -> int | None:
    return bound.getsockname()[1] if bound.family != socket.AF_UNIX else None


# What an operator sees ------------------------------------------------------------------------------------------------


def _say_what_is_served(configuration: Configuration, lifecycle: Lifecycle) -> None:
    selection = lifecycle.start().selection
    for host, mount, inherited in configuration.mounts():
        if inherited:
            continue
        groups = []
        for port in lifecycle.ports:
            try:
                groups.append(_label(selection, host, mount, port))
            except GroupNameUnresolved:
                groups.append(str(mount.application_group))
        threads = mount.settings.threads
        _log.info(
            "%s%s: %s in application group %s (%d thread%s%s)",
            host.server_name or "*",
            mount.path or "/",
            mount.application,
            ", ".join(dict.fromkeys(groups)),
            threads,
            "" if threads == 1 else "s",
            ", a process of its own" if mount.settings.isolation == "process" else "",
        )
    if places := configuration.asked():
        _log.info("scripts are looked for with requests: %s", ", ".join(places))


def _label(selection: Selection, host: VirtualHost, mount: Mount, port: int | None) -> str:
    """Raises GroupNameUnresolved."""
    process_group = selection.process_group(host, mount, port=port, env=mount.env)
    return label(selection.group(host, mount, port=port, env=mount.env), process_group)


def _raise_descriptor_limit(configuration: Configuration) -> None:
    """Each group needs two descriptors, and three for each of its threads, next to the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20) if hard >= 0 else 1 << 20, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    threads = max((mount.settings.threads for _, mount, _ in configuration.mounts()), default=1)
    needed = configuration.limits.groups * (2 + 3 * threads) + 3 * configuration.global_threads + 128
    if soft != resource.RLIM_INFINITY and needed > soft:
        _log.warning(
            "limits.groups = %d with up to %d threads each may need %d file descriptors, and this process may have %d: "
            "raise the limit (ulimit -n, LimitNOFILE=) or lower limits.groups",
            configuration.limits.groups,
            threads,
            needed,
            soft,
        )
