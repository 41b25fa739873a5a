"""What the tests of daemon processes share."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.serving import APPS, Server

type Site = Callable[[str], Path]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Writes a configuration into a folder of its own."""

    def write(text: str) -> Path:
        path = tmp_path_factory.mktemp("site") / "asyncgroups.toml"
        path.write_text(f'app_dir = "{APPS}"\n{text}')
        return path

    return write


def mount(path: str, group: str, process_group: str, *, threads: int = 0) -> str:
    lines = [
        "[[mount]]",
        f'path = "{path}"',
        'app = "processes_tells:application"',
        f'application_group = "{group}"',
        f'process_group = "{process_group}"',
        f"threads = {threads}" if threads else "",
    ]
    return "\n".join(lines) + "\n"


def daemons(server: Server) -> list[psutil.Process]:
    """The daemon processes of a server."""
    found = []
    for one in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if any(word.endswith("host/daemon.py") for word in one.cmdline()):
                found.append(one)
    return found


def folder_of(daemon: psutil.Process) -> Path:
    """The private folder of its socket."""
    return Path(daemon.cmdline()[-2])
