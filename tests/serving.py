"""Starts real servers in processes of their own, and ends them again.

A server listens on a port that the kernel chose, and says it in its log; nothing here sleeps: each wait ends with
what it waits for, or fails with the server's whole log after a bounded time.
"""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import httpx
import psutil

__all__ = ["APPS", "KINDS", "Server", "has_ended", "older_python", "serving", "until"]

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parent.parent

KINDS = ("serve", "uvicorn")
"""The servers that the whole suite runs under."""

_RUNNING = re.compile(
    r"(?:[Rr]unning|Listening|Serving|Started|spawning).*?://127\.0\.0\.1:(\d+)|Listening at: http://127\.0\.0\.1:(\d+)"
)
_PATIENCE = 30.0
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Clients of ``http://`` do without; each would read all certificates of the system otherwise, in 8 ms."""


def older_python(version: str) -> str | None:
    """A Python of this older version, if there is one at hand that works: on PATH, or among pyenv's."""
    for command in (f"python{version}", *map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(
                [command, "-c", "import sys; print(*sys.version_info[:2], sep='.'); print(sys.executable)"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            found, path = said.stdout.splitlines()
            if found == version:
                return path
    return None


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, be it that nobody has waited for it yet: for an orphan, init may take a second."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(true: Callable[[], object], seconds: float = _PATIENCE, *, what: str = "it") -> object:
    """Call ``true`` until it returns something true; fail after ``seconds``."""
    deadline, pace = time.monotonic() + seconds, 0.001
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(pace)  # the pace of asking, not a guess of how long it takes
        pace = min(2 * pace, 0.01)
    return found


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self._log_file = log_file
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self, begin: int = 0) -> str:
        """What has been logged; lines of a record after its first without their indentation, as they were written."""
        return self.raw_log(begin).replace("\n  ", "\n").removeprefix("  ")

    def raw_log(self, begin: int = 0) -> str:
        """The log, from its byte ``begin`` on."""
        with self._log_file.open(errors="replace") as file:
            file.seek(begin)
            return file.read()

    def logged(self) -> int:
        """The bytes that have been logged."""
        return self._log_file.stat().st_size

    def wait_for_log(self, pattern: str, seconds: float = _PATIENCE) -> re.Match[str]:
        """The first match of ``pattern`` in the log, once it is there."""
        return until(lambda: re.search(pattern, self.log()), seconds, what=f"{pattern!r} in the log")  # type: ignore[return-value]

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=_PATIENCE, trust_env=False, verify=_TLS, **options)  # type: ignore[arg-type]

    def get(self, path: str, **options: object) -> httpx.Response:
        with self.client() as client:
            return client.get(path, **options)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)

    def memory(self) -> int:
        """Resident bytes of the process tree."""
        process = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])

    def descriptors(self) -> int:
        return psutil.Process(self.process.pid).num_fds()

    def threads(self) -> int:
        return psutil.Process(self.process.pid).num_threads()

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = _PATIENCE) -> int:
        """The exit status. Fails when the process does not end in ``seconds``."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end in {seconds} s:\n{self.log()}") from None

    def stop(self, number: int = signal.SIGTERM, seconds: float = _PATIENCE) -> int:
        self.tell(number)
        return self.wait(seconds)


def command(kind: str, config: Path) -> tuple[list[str], dict[str, str]]:
    """The command line, and further environment, that serves ``config`` under a server."""
    variable = {"ASYNCGROUPS_CONFIG": str(config)}
    target = "asyncgroups.asgi:application"
    match kind:
        case "serve":
            return ["-m", "asyncgroups", "serve", str(config), "-b", "127.0.0.1:0"], {}
        case "uvicorn":
            return ["-m", "uvicorn", "--port", "0", "--lifespan", "on", "--loop", "asyncio", target], variable
        case "uvicorn-uvloop":
            return ["-m", "uvicorn", "--port", "0", "--lifespan", "on", "--loop", "uvloop", target], variable
        case "hypercorn":
            return ["-m", "hypercorn", "-b", "127.0.0.1:0", target], variable
        case "hypercorn-trio":
            return ["-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", target], variable
        case "granian":
            with socket.socket() as probe:  # granian does not say which port the kernel chose
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            return ["-m", "granian", "--interface", "asgi", "--port", str(port), target], variable
        case "starlette" | "fastapi":
            return ["-m", "uvicorn", "--port", "0", "--loop", "asyncio", f"hosts_{kind}:application"], variable
        case "django" | "starlette-hypercorn":
            framework = kind.partition("-")[0]
            return ["-m", "hypercorn", "-b", "127.0.0.1:0", f"hosts_{framework}:application"], variable
    raise ValueError(kind)


@contextlib.contextmanager
def serving(
    config: Path | Sequence[str],
    *,
    kind: str = "serve",
    options: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    cwd: Path = ROOT,
    ready: bool = True,
    program: str = sys.executable,
    port: int = 0,
) -> Iterator[Server]:
    """A server that runs inside the block, on ``config``; with a sequence, that is the whole command after ``program``.

    With ``ready`` it accepts connections when the block begins, on ``port`` where its log does not say which. What is
    left of it is killed at the end.
    """
    if isinstance(config, Path):
        arguments, variables = command(kind, config)
        arguments += options
    else:
        arguments, variables = list(config), {}
    log_file = Path(os.environ.get("TMPDIR", "/tmp")) / f"asyncgroups-test-{os.getpid()}-{time.monotonic_ns()}.log"
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS")
        },
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(APPS)]),
        "PYTHONUNBUFFERED": "1",
        **variables,
        **(environ or {}),
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=cwd
        )
    server = Server(process, log_file)
    try:
        if ready:
            server.port = _port(server, port)
        yield server
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        with contextlib.suppress(AssertionError):  # daemon processes end with their server, and clean up
            until(lambda: all(map(has_ended, family)), 1)
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()
        log_file.unlink()


def _port(server: Server, known: int) -> int:
    def running() -> int:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended with status {server.process.returncode}:\n{server.log()}")
        if known:
            return known if _accepts(known) else 0
        match = _RUNNING.search(server.log())
        return int(match[1] or match[2]) if match else 0

    try:
        port = cast(int, until(running, what="the server"))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{server.log()}") from None
    until(lambda: _accepts(port), what=f"a connection to port {port}")
    return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
