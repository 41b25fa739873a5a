"""A supervisor, scripts, and requests to them that come from no server: what they are answered, and by which code."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import anyio
import anyio.to_thread

from asyncgroups.config import Limits, ProcessSettings, Timeouts
from asyncgroups.frontend.exchange import Exchange
from asyncgroups.frontend.reloading import Reloading
from asyncgroups.frontend.request import Head
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.versions import look
from asyncgroups.selection import Choice
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable
from asyncgroups.selection.names import parse

__all__ = ["PATIENCE", "Answer", "Site"]

PATIENCE = 20.0

MARKER = """
import os, threading, time
token = os.urandom(6).hex()
pid = os.getpid()

def wait(path):
    until = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.005)

def note(path, text):
    with open(path, "a") as file:
        file.write(text + " ")

def application(environ, start_response):
    start_response("200 OK", [])
    return [f"module {token} {pid} {threading.get_ident()}".encode()]
"""

SCRIPT = """
import os, threading, marker
{first}
thread = threading.get_ident()

def application(environ, start_response):
    if environ["QUERY_STRING"]:
        marker.wait(environ["QUERY_STRING"])
    start_response("200 OK", [])
    return [f"{tag} {{marker.token}} {{marker.pid}} {{thread}}".encode()]

second = application
"""


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    tag: str
    interpreter: str
    process: int
    thread: int
    """That executed the script."""


class Site:
    """Scripts in a folder, and a supervisor of their groups."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Mapping[str, int] | None = None,
        timeouts: Mapping[str, float] | None = None,
        process_groups: Mapping[str, ProcessSettings] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        (folder / "marker.py").write_text(MARKER)
        times = {"interrupt": 1.0, "graceful": 0.0, "queue": PATIENCE, "startup": PATIENCE, **(timeouts or {})}
        self.supervisor = Supervisor(
            limits=Limits.model_validate(limits or {}),
            timeouts=Timeouts.model_validate(times),
            global_threads=3,
            environ=os.environb,
            process_groups=process_groups or {},
        )
        self.supervisor.reloading = Reloading(self.supervisor)
        self.settings = GroupSettings(app_dir=str(folder), **(settings or {}))
        self.written = time.time_ns()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.supervisor.stop)

    def write(self, name: str, tag: str, *, first: str = "", source: str | None = None) -> str:
        """Put a script there, in place of another one; its path. ``first`` is what it does before all else."""
        path = self.folder / name
        new = path.with_suffix(".new")
        new.write_text(SCRIPT.format(tag=tag, first=first) if source is None else source)
        self.written += 1_000_000
        os.utime(new, ns=(self.written, self.written))  # however coarse the clock of the file system is
        new.replace(path)
        return str(path)

    def choice(
        self,
        path: str,
        *,
        group: str = "shop",
        process_group: str = "",
        name: str = "application",
        reloads: bool = True,
    ) -> Choice:
        """What is chosen for a request to a script, as it is now; or to a module, if it is no path."""
        application = f"{path}:{name}"
        mount = Mount(
            path="",
            application=application,
            application_group=parse(group or "%{GLOBAL}"),
            env={},
            settings=self.settings,
            place="mount[0]",
        )
        return Choice(
            virtual_host=VirtualHost(server_name=None, mounts=MountTable([]), inherited=MountTable([]), place="server"),
            mount=mount,
            script_name="",
            path_info=b"/",
            process_group=process_group,
            application_group=group,
            env={},
            version=look(application) if reloads and path.startswith("/") else None,
        )

    async def ask(self, path: str, *, query: str = "", **chosen: Any) -> Answer:
        """Make a request."""
        return await self.request(self.choice(path, **chosen), query=query)

    async def request(self, choice: Choice, *, query: str = "") -> Answer:
        """Make the request for a choice."""
        sent: list[Any] = []
        left = anyio.Event()
        received = False

        async def receive() -> Any:
            nonlocal received
            if received:
                await left.wait()
            received = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(event: Any) -> None:
            sent.append(event)

        scope: Any = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/",
            "raw_path": b"/",
            "query_string": query.encode(),
            "headers": [],
            "client": None,
            "server": ("127.0.0.1", 80),
        }
        number = self.supervisor.number()
        exchange = Exchange(
            self.supervisor, receive, send, number=number, method="GET", application=choice.mount.application
        )
        with anyio.fail_after(PATIENCE):
            await exchange.run(lambda: self.supervisor.pool(choice), Head(scope).encode(choice, number))
        body = b"".join(event.get("body", b"") for event in sent).decode()
        status = sent[0]["status"]
        if status != 200:
            return Answer(status, body, "", 0, 0)
        tag, interpreter, process, thread = body.split()
        return Answer(status, tag, interpreter, int(process), int(thread))

    async def until(self, true: Callable[[Answer], bool], path: str, **chosen: Any) -> Answer:
        """Ask until an answer is as it should be; no request may fail meanwhile."""
        with anyio.fail_after(PATIENCE):
            while True:
                answer = await self.ask(path, **chosen)
                assert answer.status == 200, answer
                if true(answer):
                    return answer
                await anyio.sleep(0.005)  # the pace of asking

    async def calm(self) -> None:
        """Wait until nothing is being loaded again."""
        reloading = self.supervisor.reloading
        assert reloading is not None
        await self.settle(lambda: not reloading._reloads)

    async def settle(self, true: Callable[[], object]) -> None:
        """Wait until it is as it should be."""
        with anyio.fail_after(PATIENCE):
            while not true():  # noqa: ASYNC110 - what is asked for has no event
                await anyio.sleep(0.005)  # the pace of asking
