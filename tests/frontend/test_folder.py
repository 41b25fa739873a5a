"""The folders of daemon processes' sockets: what was left behind goes with the next one, and nothing else."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asyncgroups.frontend.folder import _PREFIX, Folder

LONG_AGO = time.time() - 3600


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folders are made; pytest's own have paths that are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="place-") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


def left(place: Path, name: str, *files: str, age: float = LONG_AGO) -> Path:
    """A folder that nobody has locked."""
    path = place / name
    path.mkdir(mode=0o700)
    for file in files:
        (path / file).touch()
    os.utime(path, (age, age))
    return path


def test_a_folder(place: Path) -> None:
    """It is private, is for nobody else while it lasts, and goes with what is in it."""
    folder = Folder()
    path = Path(folder.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert path.parent == place
    os.utime(path, (LONG_AGO, LONG_AGO))
    Folder().remove()
    assert path.exists()
    (path / "1.sock").touch()
    folder.remove()
    assert list(place.iterdir()) == []


def test_two_that_remove_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's end and that of the last process: both return when it has gone, and no other's file is closed."""
    folder = Folder()
    inside, go_on = threading.Event(), threading.Event()
    rmtree = shutil.rmtree

    def slow(path: str, *, ignore_errors: bool) -> None:
        inside.set()
        assert go_on.wait(10)
        rmtree(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(shutil, "rmtree", slow)
        first = threads.submit(folder.remove)
        assert inside.wait(10)
        second = threads.submit(folder.remove)
        with pytest.raises(TimeoutError):
            second.result(0.05)
        go_on.set()
        first.result(10)
        second.result(10)
    assert list(place.iterdir()) == []
    with open(os.devnull, "rb") as mine:  # it has the number that the folder's had
        folder.remove()
        assert mine.read() == b""


def test_one_that_cannot_be_locked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no descriptor left nothing stays: each request that needs one would leave one."""

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match="too many open files"):
            Folder()
    assert list(place.iterdir()) == []


def test_one_whose_server_was_killed(place: Path) -> None:
    """It goes when another one is made, since the kernel has let go of its lock."""
    program = f"""
import tempfile, time
tempfile.tempdir = {str(place)!r}
from asyncgroups.frontend.folder import Folder
folder = Folder()
open(folder.path + "/1.sock", "w").close()
print(folder.path, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        os.utime(path, (LONG_AGO, LONG_AGO))
        Folder().remove()
        assert os.listdir(path) == ["1.sock"]
        process.kill()
    Folder().remove()
    assert list(place.iterdir()) == []


def test_what_stays(place: Path) -> None:
    """What is young, has another name, holds something else, or is no folder."""
    elsewhere = left(place, "elsewhere", "1.sock")
    young = left(place, f"{_PREFIX}young", age=time.time())
    strange = left(place, f"{_PREFIX}strange", "1.txt")
    (place / f"{_PREFIX}file").touch()
    (place / f"{_PREFIX}link").symlink_to(elsewhere)
    os.utime(place / f"{_PREFIX}link", (LONG_AGO, LONG_AGO), follow_symlinks=False)
    os.utime(place / f"{_PREFIX}file", (LONG_AGO, LONG_AGO))
    before = sorted(place.iterdir())
    Folder().remove()
    assert sorted(place.iterdir()) == before
    assert [len(list(path.iterdir())) for path in (elsewhere, young, strange)] == [1, 0, 1]


def test_a_path_that_is_too_long(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket could be bound there: it is said what to change, and nothing is left."""
    far = place / (80 * "a")
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    with pytest.raises(OSError, match="TMPDIR"):
        Folder()
    assert list(far.iterdir()) == []
