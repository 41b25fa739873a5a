"""Looking for scripts in threads: what is found, what is refused, and who waits for a file system that hangs."""

import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from asyncgroups.errors import FilesUnreachable, Overloaded, PatternTooSlow, ScriptNotFound
from asyncgroups.frontend import choosing
from asyncgroups.frontend.choosing import Scripts, look, version_of
from asyncgroups.selection import Choice, Search, Selection
from asyncgroups.selection.directories import Glob, Section, Sections
from asyncgroups.selection.files import Files
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable
from asyncgroups.selection.names import parse
from asyncgroups.selection.patterns import Groups
from asyncgroups.selection.rewrite import Rules
from asyncgroups.selection.trees import Alias, Trees, UserDirectories
from tests.serving import until

pytestmark = pytest.mark.anyio

SETTINGS = GroupSettings(app_dir="/")

TREES = [f"tree-{number}" for number in range(choosing.THREADS // choosing.OF_TREE)]
"""With all of them the threads are exhausted."""


class Hanging:
    """Stands for a file system: asked for a file of the name ``hangs-…``, it says nothing until it is told to."""

    def __init__(self) -> None:
        self.ends = threading.Event()
        self.held = 0

    async def holds(self, number: int) -> None:
        """Wait until so many threads are held up."""
        with anyio.fail_after(10):
            while self.held < number:  # noqa: ASYNC110 - it is a thread that changes it
                await anyio.sleep(0.001)

    def search(self, text: str) -> Groups | None:
        if "/hangs-" in text:
            self.held += 1
            assert self.ends.wait(30)
        if text.endswith("/slow"):
            raise PatternTooSlow("it takes too long")
        if text.endswith("/fails"):
            raise OSError(5, "Input/output error")
        return None


def mount(path: str = "", **changes: Any) -> Mount:
    return Mount(
        path=path,
        application="",
        application_group=parse("%{RESOURCE}"),
        env={},
        settings=SETTINGS,
        place="directory[0]",
        **changes,
    )


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.ends.set()


@pytest.fixture
def selection(tmp_path: Path, hanging: Hanging) -> Selection:
    for name in ("app.wsgi", "slow", "fails", *(f"hangs-{number}" for number in range(3 * choosing.OF_TREE))):
        (tmp_path / name).write_text("")
    for folder in ("second/alice", "second/bob", *TREES):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("app.wsgi", *(f"hangs-{number}" for number in range(choosing.OF_TREE))):
            if folder != "second/bob":
                (tmp_path / folder / name).write_text("")
    (tmp_path / "second/bob/own.wsgi").write_text("")
    (tmp_path / "first/alice").mkdir(parents=True)
    files = Files(
        trees=Trees(
            [Alias(path=f"/{name}", target=str(tmp_path / name), place=f"alias[{name}]") for name in TREES],
            users=UserDirectories(patterns=(f"{tmp_path}/first/*", f"{tmp_path}/second/*"), place="userdir"),
            document_root=Alias(path="", target=str(tmp_path), place="document_root"),
        ),
        sections=Sections(
            [
                Section(where=hanging, settings={}, place="directory[1]"),
                Section(where=Glob(str(tmp_path)), settings={"handler": "wsgi-script"}, place="directory[0]"),
            ]
        ),
        rules=Rules([]),
        merge=lambda _, __: (mount(), "application"),
    )
    server = VirtualHost(
        server_name="www.example.com",
        mounts=MountTable([]),
        inherited=MountTable([]),
        place="server config",
        files=files,
    )
    return Selection(VirtualHosts(server, []), {})


@pytest.fixture
def scripts(selection: Selection) -> Scripts:
    return Scripts(selection, timeout=30)


def search(selection: Selection, path: str) -> Search:
    chosen = selection.choose(host=None, port=80, raw_path=path.encode(), env=None)
    assert isinstance(chosen, Search)
    return chosen


async def test_found(scripts: Scripts, selection: Selection, tmp_path: Path) -> None:
    """A script is found with its version, and becomes the mount of its request."""
    chosen = await scripts.settle(search(selection, "/app.wsgi/rest"))
    assert chosen.mount.script == f"{tmp_path}/app.wsgi"
    assert chosen.application_group == "www.example.com|/app.wsgi"
    assert chosen.path_info == b"/rest"
    assert chosen.version == version_of(f"{tmp_path}/app.wsgi")


async def test_users(scripts: Scripts, selection: Selection, tmp_path: Path) -> None:
    """Of several places the first counts that has the script; where none has it the reason names all of them."""
    chosen = await scripts.settle(search(selection, "/~alice/app.wsgi"))
    assert chosen.mount.script == f"{tmp_path}/second/alice/app.wsgi"
    with pytest.raises(ScriptNotFound) as refused:
        await scripts.settle(search(selection, "/~bob/app.wsgi"))
    assert str(refused.value) == (
        f"'{tmp_path}/first/bob': No such file or directory; "
        f"'{tmp_path}/second/bob/app.wsgi': No such file or directory"
    )


async def test_what_is_known(
    scripts: Scripts, selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found is known for a while, for all URLs that begin as its own; then it is looked for again."""
    now = 1000.0
    monkeypatch.setattr(choosing, "time", SimpleNamespace(monotonic=lambda: now))  # the event loop has its own
    looked: list[Search] = []
    monkeypatch.setattr(choosing, "look", lambda one: (looked.append(one), look(one))[1])
    for user in ("/~alice", ""):
        looked.clear()
        for rest in ("/a", "/../%2F", ""):
            chosen = await scripts.settle(search(selection, f"{user}//app.wsgi{rest}"))
            assert chosen.path_info == rest.encode()
            assert chosen.application_group == f"www.example.com|{user}/app.wsgi"
        assert len(looked) == 1
    for other in (
        "/App.wsgi",
        "/app.wsgi.bak",
        "/~bob/app.wsgi",
        "/.app.wsgi",
        "/%2Fapp.wsgi",
        "/~alice/alice/app.wsgi",
    ):
        with pytest.raises(ScriptNotFound):
            await scripts.settle(search(selection, other))
    (tmp_path / "app.wsgi").unlink()
    assert (await scripts.settle(search(selection, "/app.wsgi"))).mount.script == f"{tmp_path}/app.wsgi"
    now += choosing.KNOWN_FOR
    with pytest.raises(ScriptNotFound):
        await scripts.settle(search(selection, "/app.wsgi"))


async def test_what_is_known_is_bounded(
    scripts: Scripts, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than so many scripts are known."""
    monkeypatch.setattr(choosing, "MOST_KNOWN", 2)
    for path in ("/app.wsgi", "/~alice/app.wsgi", "/app.wsgi/x") * 2:
        await scripts.settle(search(selection, path))
        assert len(scripts._known) <= 2


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/none", ScriptNotFound, "No such file"),
        ("/second", ScriptNotFound, "is a directory"),
        ("/slow", PatternTooSlow, "too long"),
        ("/fails", FilesUnreachable, "Input/output error"),
    ],
)
async def test_refused(scripts: Scripts, selection: Selection, path: str, error: type[Exception], words: str) -> None:
    """What a thread has met is raised where it is waited for; a system that fails is told from a file that is not."""
    for _ in range(2):  # the thread has outlived the first
        with pytest.raises(error, match=words):
            await scripts.settle(search(selection, path))


async def test_a_file_system_that_hangs(scripts: Scripts, selection: Selection, hanging: Hanging) -> None:
    """While a file system says nothing the event loop goes on, and so do requests for other scripts."""
    done: list[str] = []

    async def hang(number: int) -> None:
        await scripts.settle(search(selection, f"/hangs-{number}"))
        done.append(f"/hangs-{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(choosing.OF_TREE - 1):
            tasks.start_soon(hang, number)
        await hanging.holds(choosing.OF_TREE - 1)
        with anyio.fail_after(10):
            for _ in range(50):
                await scripts.settle(search(selection, "/app.wsgi"))
        assert done == []
        hanging.ends.set()
    assert len(done) == choosing.OF_TREE - 1


@asynccontextmanager
async def asked(scripts: Scripts, selection: Selection, paths: Iterable[str]) -> AsyncIterator[None]:
    """Requests for these wait inside the block, and are given up at its end."""
    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(scripts.settle, search(selection, path))
        yield
        tasks.cancel_scope.cancel()


async def refused(scripts: Scripts, selection: Selection, path: str) -> None:
    """A request for this one waits for its time, and is refused."""
    scripts._timeout = 0.05
    with pytest.raises(FilesUnreachable, match=r"within 0.05 s \(timeouts.queue\)"):
        await scripts.settle(search(selection, path))
    scripts._timeout = 30


@pytest.mark.parametrize(
    ("hangs", "threads", "theirs", "others"),
    [
        ("/~alice/hangs-{}", choosing.OF_DIRECTORY, "/~alice/app.wsgi", "/~bob/own.wsgi"),
        ("/second/alice/hangs-{}", choosing.OF_DIRECTORY, "/second/alice/app.wsgi", "/app.wsgi"),
        ("/tree-0/hangs-{}", choosing.OF_TREE, "/tree-0/app.wsgi", "/tree-1/app.wsgi"),
    ],
    ids=["a user", "a folder", "a tree"],
)
async def test_what_hangs_hangs_alone(
    scripts: Scripts, selection: Selection, hanging: Hanging, hangs: str, threads: int, theirs: str, others: str
) -> None:
    """What hangs below one directory holds up its share of the threads; what lies elsewhere is found meanwhile."""
    paths = [hangs.format(number) for number in range(choosing.OF_TREE)] * 3
    async with asked(scripts, selection, paths):
        await hanging.holds(threads)
        assert scripts._seekers.grow() == choosing.LONGER
        await refused(scripts, selection, theirs)
        with anyio.fail_after(10):
            for _ in range(3):
                await scripts.settle(search(selection, others))
    assert hanging.held == threads
    assert repr(scripts) == f"<Scripts: <_Seekers: {threads + 1} threads, 0 requests wait>>"
    hanging.ends.set()
    with anyio.fail_after(10):
        await scripts.settle(search(selection, theirs))
    assert hanging.held == threads  # what had been given up was not begun any more


async def test_all_threads_hang(scripts: Scripts, selection: Selection, hanging: Hanging) -> None:
    """When no thread is left requests wait for ``timeouts.queue`` and are refused; once one is free they go on."""
    paths = [f"/{tree}/hangs-{number}" for number in range(choosing.OF_TREE) for tree in TREES]
    async with asked(scripts, selection, paths):
        await hanging.holds(choosing.THREADS)
        assert scripts._seekers.grow() == 0
        await refused(scripts, selection, "/app.wsgi")
    assert repr(scripts) == f"<Scripts: <_Seekers: {choosing.THREADS} threads, 0 requests wait>>"
    hanging.ends.set()
    with anyio.fail_after(10):
        await scripts.settle(search(selection, "/app.wsgi"))


async def test_one_call_is_enough(scripts: Scripts, selection: Selection, hanging: Hanging) -> None:
    """Threads that have nothing to do take up all that waits; no further one is started while there is one of them."""
    async with asked(scripts, selection, [f"/tree-0/hangs-{number}" for number in range(3)]):
        await hanging.holds(3)
        hanging.ends.set()
    with anyio.fail_after(10):
        while scripts._seekers._turns.begun:  # noqa: ASYNC110 - it is a thread that changes it
            await anyio.sleep(0.001)
    hanging.ends.clear()
    hanging.held = 0
    seekers = scripts._seekers
    with seekers._lock:
        for number in range(3):
            task = choosing._Task(search(selection, f"/tree-1/hangs-{number}"))
            seekers._turns.put(task, task.place)
        seekers._begun_at = 0.0
    assert seekers.grow() == choosing.PATIENCE
    await hanging.holds(3)
    assert repr(scripts) == "<Scripts: <_Seekers: 3 threads, 0 requests wait>>"


async def test_cancelled(scripts: Scripts, selection: Selection, hanging: Hanging) -> None:
    """A cancellation waits for no file system, and what it has left is not looked for any more."""
    begun = time.monotonic()
    for number in range(choosing.OF_DIRECTORY + 3):
        with anyio.move_on_after(0.05):
            await scripts.settle(search(selection, f"/~alice/hangs-{number}"))
    assert time.monotonic() - begun < 10
    assert repr(scripts).endswith("0 requests wait>>")
    hanging.ends.set()
    await scripts.settle(search(selection, "/~alice/app.wsgi"))
    assert hanging.held == choosing.OF_DIRECTORY


@pytest.mark.parametrize("name", ["WAITING", "WAITING_OF_TREE", "WAITING_OF_DIRECTORY"])
async def test_many_wait(
    scripts: Scripts, selection: Selection, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No more than so many requests wait for a thread, or for one directory's; one more is refused at once."""
    monkeypatch.setattr(choosing, name, 5)
    async with anyio.create_task_group() as tasks:
        for number in range(choosing.OF_DIRECTORY):
            tasks.start_soon(scripts.settle, search(selection, f"/~alice/hangs-{number}"))
            await hanging.holds(number + 1)
        for _ in range(5):
            tasks.start_soon(scripts.settle, search(selection, "/~alice/app.wsgi"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded, match=r"5 requests wait .* 5 of them below '.*/first', 5 below 'alice' there"):
            await scripts.settle(search(selection, "/~alice/app.wsgi"))
        if name == "WAITING_OF_DIRECTORY":
            await scripts.settle(search(selection, "/~bob/own.wsgi"))
        if name != "WAITING":
            await scripts.settle(search(selection, "/app.wsgi"))
        hanging.ends.set()


async def test_no_thread(
    scripts: Scripts, selection: Selection, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can be started a request is refused, and nobody looks for its script later."""

    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        with pytest.raises(Overloaded, match="can't start new thread"):
            await scripts.settle(search(selection, "/hangs-1"))
    await scripts.settle(search(selection, "/app.wsgi"))
    assert hanging.held == 0


def test_several_loops(scripts: Scripts, selection: Selection) -> None:
    """The threads serve several event loops at once."""
    found: list[Choice] = []

    async def ask() -> None:
        found.extend([await scripts.settle(search(selection, "/app.wsgi")) for _ in range(20)])

    loops = [threading.Thread(target=anyio.run, args=(ask,)) for _ in range(3)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(30)
    assert len(found) == 60


async def test_threads_end(scripts: Scripts, selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has nothing to do ends, and the next request has another."""
    monkeypatch.setattr(choosing, "IDLE", 0.01)
    for _ in range(2):
        await scripts.settle(search(selection, "/app.wsgi"))
        until(lambda: "0 threads" in repr(scripts), what="the end of the thread")


@pytest.mark.parametrize("script_reloading", [True, False])
async def test_scripts_that_the_configuration_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script_reloading: bool
) -> None:
    """The file of a script that a mount names is asked for once a second, and never if it is not to be reloaded."""
    path = tmp_path / "app.wsgi"
    path.write_text("one")
    named = mount("/app", script=str(path), script_reloading=script_reloading)
    server = VirtualHost(server_name=None, mounts=MountTable([named]), inherited=MountTable([]), place="server config")
    selection = Selection(VirtualHosts(server, []), {})
    scripts = Scripts(selection, timeout=30)
    choice = selection.choose(host=None, port=80, raw_path=b"/app", env=None)
    settled = await scripts.settle(choice)
    if not script_reloading:
        assert settled is choice
        return
    first = version_of(str(path))
    assert settled.version == first
    path.write_text("another")
    assert (await scripts.settle(choice)).version == first
    monkeypatch.setattr(choosing, "FRESH", 0.0)
    assert (await scripts.settle(choice)).version == version_of(str(path)) != first
    path.unlink()
    with pytest.raises(ScriptNotFound, match="No such file"):
        await scripts.settle(choice)
    path.write_text("back")
    assert (await scripts.settle(choice)).version == version_of(str(path))


async def test_a_named_script_that_is_none(tmp_path: Path) -> None:
    """A folder or a fifo in the place of a script is not found, and nothing waits for it."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(ScriptNotFound, match="is no regular file"):
            version_of(str(path))


def test_look_closes_what_it_opens(selection: Selection) -> None:
    """However a search ends, it leaves no descriptor behind."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for path in ("/app.wsgi", "/none", "/fails", "/second", "/~bob/x"):
        for _ in range(3):
            try:
                look(search(selection, path))
            except ScriptNotFound, OSError:
                pass
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before
