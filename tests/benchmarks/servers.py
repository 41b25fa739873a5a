"""The contestants: what serves the same application, ours, bare ASGI, the other bridges and the native WSGI servers.

Each is a process of its own on 127.0.0.1, started for one measurement and ended after it. Servers run as their own
documentation starts them, with one process, no access log, and four threads where threads are asked for.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.serving import APPS, ROOT, Server, serving

__all__ = [
    "APPLICATIONS",
    "SERVERS",
    "Contestant",
    "Run",
    "apache",
    "asgi",
    "bare",
    "bridged",
    "gunicorn",
    "mount",
    "natives",
    "ours",
]

APPLICATIONS = Path(__file__).parent / "applications"

SERVERS = {
    "hypercorn": ("-m", "hypercorn", "-b", "127.0.0.1:0"),
    "uvicorn, uvloop and httptools": ("-m", "uvicorn", "--no-access-log", "--port", "0"),
    "uvicorn, asyncio and h11": (
        *("-m", "uvicorn", "--no-access-log", "--port", "0"),
        *("--loop", "asyncio", "--http", "h11"),
    ),
    "granian": ("-m", "granian", "--interface", "asgi"),
}

THREADS = 4
"""Of a native server's process."""

_FOLDERS = os.pathsep.join(str(folder) for folder in (ROOT, APPLICATIONS, APPS))


@dataclass(frozen=True, kw_only=True)
class Run:
    """How this run measures."""

    quick: bool
    rounds: int
    peers: str
    """The Python that has the peers."""
    folder: Path
    """For configuration files; gone at the end."""
    seconds: int = 1
    """Of one measurement under full load."""

    def configuration(self, name: str, text: str) -> Path:
        """A configuration file for ours."""
        path = self.folder / f"{name}.toml"
        path.write_text(f'app_dir = "{APPLICATIONS}"\npython_path = ["{APPS}"]\n{text}', encoding="utf-8")
        return path


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """What is measured, and how it is started: ``command`` is what follows ``program``."""

    name: str
    under: str = ""
    command: tuple[str, ...]
    program: str = sys.executable
    environ: dict[str, str] = field(default_factory=dict)
    port: int = 0
    """The port, where the server does not say which one the kernel chose."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """The server, for one block. Raises AssertionError with its log when it does not start."""
        command = list(self.command)
        if "granian" in command:
            command += ["--port", str(_free_port())]
        # Not in the project's folder: uvicorn and granian would put it before everything.
        with serving(
            command,
            environ={"PYTHONPATH": _FOLDERS, **self.environ},
            program=self.program,
            port=self.port,
            cwd=APPLICATIONS,
        ) as server:
            yield server


def mount(path: str, application: str, *, group: str, threads: int = 1) -> str:
    """One ``[[mount]]`` of ours; GLOBAL has its threads elsewhere."""
    own = "" if group == "%{GLOBAL}" else f"threads = {threads}\n"
    return f'[[mount]]\npath = "{path}"\napp = "{application}"\napplication_group = "{group}"\n{own}'


def ours(server: str, configuration: Path, *, name: str = "asyncgroups") -> Contestant:
    """asyncgroups: ``serve`` is hypercorn, the others host ``asyncgroups.asgi:application``."""
    if server == "hypercorn":
        command = ("-m", "asyncgroups", "serve", str(configuration), "-b", "127.0.0.1:0")
        return Contestant(name=name, under=server, command=command)
    return asgi(name, server, "asyncgroups.asgi:application", environ={"ASYNCGROUPS_CONFIG": str(configuration)})


def bare(server: str) -> Contestant:
    """The same answer from an ASGI application, in the environment of ours."""
    return asgi("bare ASGI", server, "tiny:bare")


def bridged(run: Run, bridge: str, *, server: str, application: str, name: str = "") -> Contestant:
    """Another bridge, in the peers' environment. Under hypercorn its own is what its command makes of ``wsgi:``."""
    if (bridge, server) == ("hypercorn", "hypercorn"):
        return asgi(name or bridge, server, f"wsgi:{application}", program=run.peers)
    environ = {"BRIDGE": bridge, "BRIDGED": application}
    return asgi(name or bridge, server, "tests.bridge.peers:application", environ=environ, program=run.peers)


def asgi(
    name: str, server: str, target: str, *, environ: dict[str, str] | None = None, program: str = sys.executable
) -> Contestant:
    """An ASGI application under one of SERVERS."""
    command = (*SERVERS[server], target)
    return Contestant(name=name, under=server, command=command, environ=environ or {}, program=program)


def gunicorn(
    run: Run, application: str, *, workers: int = 1, threads: int = THREADS, options: Sequence[str] = ()
) -> Contestant:
    """gunicorn with its threaded worker."""
    return Contestant(
        name="gunicorn gthread",
        command=(
            *("-m", "gunicorn", "-b", "127.0.0.1:0", "--worker-class", "gthread"),
            *("--workers", str(workers), "--threads", str(threads), *options, application),
        ),
        program=run.peers,
    )


def natives(run: Run) -> list[Contestant]:
    """WSGI servers that need no bridge, with four threads in one process each; two of them when it is to be quick."""
    application = "tiny:application"
    found = [
        Contestant(
            name="granian WSGI",
            command=("-m", "granian", "--interface", "wsgi", "--blocking-threads", str(THREADS), application),
            program=run.peers,
        ),
        gunicorn(run, application),
        Contestant(
            name="waitress",
            command=("-m", "waitress", "--listen", "127.0.0.1:0", "--threads", str(THREADS), application),
            program=run.peers,
        ),
    ]
    return found[:2] if run.quick else found


# Apache ---------------------------------------------------------------------------------------------------------------

_MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")

_APACHE = """
ServerRoot "{folder}"
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile apache.pid
Mutex fcntl:{folder}
ErrorLog /dev/stderr
ServerTokens Full
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
{user}
StartServers 1
ServerLimit 1
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
MaxKeepAliveRequests 0
KeepAliveTimeout 60
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess tiny processes=1 threads={threads}
WSGIScriptAlias / {folder}/tiny.py process-group=tiny application-group=%{{GLOBAL}}
<Directory "{folder}">
    Require all granted
</Directory>
"""


@contextlib.contextmanager
def apache() -> Iterator[Contestant | None]:
    """Apache with mod_wsgi in daemon mode, one process; None where either is not installed."""
    program = next((where for name in ("apache2", "httpd") if (where := _in_sbin(name))), None)
    modules = next((folder for folder in _MODULES if Path(folder, "mod_wsgi.so").exists()), None)
    if program is None or modules is None:
        yield None
        return
    # Apache does not serve as root: its other user must reach the files, wherever the project is.
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        folder.chmod(0o755)
        shutil.copy(APPLICATIONS / "tiny.py", folder)
        user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
        configuration = folder / "apache.conf"
        configuration.write_text(
            _APACHE.format(folder=folder, port=port, modules=modules, user=user, threads=THREADS), encoding="utf-8"
        )
        command = ("-D", "FOREGROUND", "-f", str(configuration))
        yield Contestant(name="mod_wsgi", command=command, program=program, port=port)


def _in_sbin(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
