"""A block of ``running()``: what it starts and stops, alone and with others, however it is left."""

import asyncio
import logging
import threading
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import anyio
import anyio.to_thread
import pytest

from asyncgroups import ApplicationGroups, ConfigurationError, Mount, StartFailed
from asyncgroups.asgi import ApplicationGroups as Groups
from asyncgroups.config import Configuration, declared
from asyncgroups.frontend.lifecycle import Lifecycle
from tests.embed.conftest import PATIENCE, WHO, ask, who
from tests.serving import until

pytestmark = pytest.mark.anyio


def shop(**options: Any) -> ApplicationGroups:
    return ApplicationGroups.single("embed_who:application", **{"application_group": "shop", **WHO, **options})


def marked(folder: Path) -> dict[str, Any]:
    """The application leaves its marks in ``folder``."""
    return {"process_env": {"EMBED_MARKS": str(folder)}}


def ends(folder: Path) -> int:
    """How many interpreters have run their atexit functions."""
    return len(list(folder.glob("atexit-*")))


async def come(path: Path) -> None:
    await anyio.to_thread.run_sync(lambda: until(path.exists, PATIENCE, what=path.name))


@asynccontextmanager
async def lifespan(groups: ApplicationGroups) -> AsyncIterator[None]:
    """A server that begins with lifespan.startup and ends with lifespan.shutdown."""
    asked, events = anyio.create_memory_object_stream[Any](2)
    said, answers = anyio.create_memory_object_stream[Any](2)
    async with asked, events, said, answers, anyio.create_task_group() as tasks:
        tasks.start_soon(groups, {"type": "lifespan"}, events.receive, said.send)
        await asked.send({"type": "lifespan.startup"})
        assert await answers.receive() == {"type": "lifespan.startup.complete"}
        yield
        await asked.send({"type": "lifespan.shutdown"})
        assert await answers.receive() == {"type": "lifespan.shutdown.complete"}


async def test_one_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its applications answer inside of it; after it they have run their atexit functions, and refuse, saying why."""
    groups = shop(**marked(tmp_path))
    async with groups.running():
        here = (await who(groups))["interpreter"]
        assert here != 0
        assert not (tmp_path / f"atexit-{here}").exists()
    assert (tmp_path / f"atexit-{here}").exists()
    assert (await ask(groups)).status_code == 503
    assert "a block of running(), or lifespan.startup, starts them again" in caplog.text


async def test_another_block() -> None:
    """A later block has interpreters of its own."""
    groups = shop()
    seen = []
    for _ in range(2):
        async with groups.running():
            seen.append(await who(groups))
    assert seen[0]["interpreter"] != seen[1]["interpreter"]
    assert [one["requests"] for one in seen] == [1, 1]


@pytest.mark.parametrize("first", [ApplicationGroups.running, lifespan], ids=["running", "lifespan"])
async def test_the_last_one_to_leave_stops(first: Any) -> None:
    """Blocks, and a server's lifespan, that overlap share what one of them has started, until the last one ends."""
    groups = shop()
    async with groups.running():
        async with first(groups):
            one = await who(groups)
        other = await who(groups)
    assert (other["interpreter"], other["requests"]) == (one["interpreter"], 2)
    assert (await ask(groups)).status_code == 503


def test_several_event_loops() -> None:
    """Blocks in two threads, one with asyncio and one with trio, hold the same applications."""
    groups = shop()
    both, one_left = threading.Barrier(2), threading.Event()

    async def early() -> int:
        async with groups.running():
            await anyio.to_thread.run_sync(both.wait, PATIENCE)
            here: int = (await who(groups))["interpreter"]
        one_left.set()
        return here

    async def late() -> int:
        async with groups.running():
            await anyio.to_thread.run_sync(both.wait, PATIENCE)
            await anyio.to_thread.run_sync(one_left.wait, PATIENCE)
            here: int = (await who(groups))["interpreter"]
        assert (await ask(groups)).status_code == 503
        return here

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(anyio.run, early, backend="trio")
        second = pool.submit(anyio.run, late)
        assert first.result(PATIENCE) == second.result(PATIENCE)


async def test_the_stop_leaves_the_event_loop_free(tmp_path: Path) -> None:
    """While a block waits for a running request at its end, the loop goes on, and the request is answered."""
    groups = shop(**marked(tmp_path))
    answers = []

    async def slow() -> None:
        answers.append(await who(groups, f"/?{tmp_path / 'go'}"))

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE):
            async with groups.running():
                tasks.start_soon(slow)
                await come(tmp_path / "waits")

                async def release() -> None:
                    while groups.lifecycle.running is not None:  # noqa: ASYNC110 - what tells is the refusal itself
                        await anyio.sleep(0.005)
                    (tmp_path / "go").touch()

                tasks.start_soon(release)
    assert len(answers) == 1
    assert (tmp_path / f"atexit-{answers[0]['interpreter']}").exists()


async def test_a_cancelled_block(tmp_path: Path) -> None:
    """It stops its applications like any other, and ends when they have."""
    groups = shop(**marked(tmp_path))
    here = 0
    with anyio.CancelScope() as scope:
        async with groups.running():
            here = (await who(groups))["interpreter"]
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (tmp_path / f"atexit-{here}").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_task_of_asyncio(tmp_path: Path, times: int) -> None:
    """Also without anyio's scopes, and when the task is cancelled again while it stops."""
    groups = shop(**marked(tmp_path))

    async def hold(told: asyncio.Event) -> None:
        async with groups.running():
            await who(groups)
            told.set()
            await asyncio.Event().wait()

    async def main() -> None:
        told = asyncio.Event()
        task = asyncio.create_task(hold(told))
        async with asyncio.timeout(PATIENCE):
            await told.wait()
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert ends(tmp_path) == 1
    assert groups.lifecycle.running is None


def test_a_block_that_is_cancelled_while_it_ends(tmp_path: Path) -> None:
    """Every cancellation waits for the stop, asyncio's own too, and comes out at the end."""
    groups = shop(**marked(tmp_path))

    async def hold(tasks: asyncio.TaskGroup) -> None:
        async with groups.running():
            tasks.create_task(ask(groups, f"/?{tmp_path / 'go'}"))
            await come(tmp_path / "waits")

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            task = asyncio.create_task(hold(tasks))
            await come(tmp_path / "waits")
            while groups.lifecycle.running is not None:  # noqa: ASYNC110 - what tells is the refusal itself
                await asyncio.sleep(0.005)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0.01)
            assert not task.done()
            (tmp_path / "go").touch()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ends(tmp_path) == 1

    asyncio.run(main())


def test_a_task_that_is_thrown_away_with_its_loop(tmp_path: Path) -> None:
    """Nobody waits any more, and the applications are stopped all the same."""
    groups = shop(**marked(tmp_path))

    async def hold() -> None:
        async with groups.running():
            await who(groups)
            ready.set()
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    ready = asyncio.Event()
    held = hold()  # by hand: a task of asyncio's would complain in its own name
    task = loop.create_task(held)
    loop.run_until_complete(ready.wait())
    loop.close()
    held.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    until(lambda: list(tmp_path.iterdir()), PATIENCE, what="the mark of the atexit function")
    assert groups.lifecycle.running is None


async def test_a_block_that_gets_no_thread_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may have no more threads, the applications are stopped without one."""
    groups = shop(**marked(tmp_path))
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if self.name == "asyncgroups-stop":
            raise RuntimeError("can't start new thread")
        start(self)

    async with groups.running():
        here = (await who(groups))["interpreter"]
        monkeypatch.setattr(threading.Thread, "start", limited)
    assert (tmp_path / f"atexit-{here}").exists()


async def test_a_stop_waits_for_earlier_lives_too(tmp_path: Path) -> None:
    """When ``stop`` returns nothing is left, neither of this life nor of the one before, which still had a request."""
    groups = shop(**marked(tmp_path))

    async def first() -> None:
        async with groups.running():
            tasks.start_soon(ask, groups, f"/?{tmp_path / 'go'}")
            await come(tmp_path / "waits")

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await come(tmp_path / "waits")
            while groups.lifecycle.running is not None:  # noqa: ASYNC110 - what tells is the refusal itself
                await anyio.sleep(0.005)
            for _ in range(2):
                async with groups.running():
                    await who(groups)
            stopped = anyio.Event()

            async def stop() -> None:
                assert await anyio.to_thread.run_sync(groups.lifecycle.stop) == []
                assert ends(tmp_path) == 3
                stopped.set()

            tasks.start_soon(stop)
            await anyio.wait_all_tasks_blocked()
            assert not stopped.is_set()
            (tmp_path / "go").touch()


async def test_an_error_inside_a_block() -> None:
    """It comes out as it is, and the applications are stopped."""
    groups = shop()
    error = LookupError("the host's own")
    with pytest.raises(LookupError) as caught:
        async with groups.running():
            raise error
    assert caught.value is error
    assert groups.lifecycle.running is None


async def test_a_file_that_is_wrong(tmp_path: Path) -> None:
    """It is read when the block begins, which raises with everything that is wrong; once repaired it serves."""
    path = tmp_path / "asyncgroups.toml"
    groups = ApplicationGroups.from_file(path)
    path.write_text("threats = 1\nthreads = 0\n")
    with pytest.raises(ConfigurationError, match="did you mean threads") as caught:
        async with groups.running():
            pytest.fail("began all the same")
    assert len(caught.value.problems) == 2
    mount = '[[mount]]\npath = "/"\napp = "embed_who:application"\napplication_group = "shop"\n'
    path.write_text(f'app_dir = "{WHO["app_dir"]}"\n{mount}')
    async with groups.running():
        assert (await who(groups))["group"] == "shop"


async def test_an_application_that_is_to_be_preloaded_and_does_not_load(caplog: pytest.LogCaptureFixture) -> None:
    """The block does not begin, says which application it is, and leaves nothing behind: requests start it anew."""
    mounts = [
        Mount("/a", "embed_who:application", application_group="a"),
        Mount("/b", "embed_nowhere:application", application_group="b"),
    ]
    groups = ApplicationGroups(mounts=mounts, preload=True, **WHO)  # type: ignore[arg-type]
    with caplog.at_level(logging.CRITICAL, "asyncgroups"), pytest.raises(StartFailed) as caught:
        async with groups.running():
            pytest.fail("began all the same")
    assert str(caught.value).splitlines()[1:] == [
        "embed_nowhere:application in application group b: the log has the reason"
    ]
    assert groups.lifecycle.running is None
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("interpreter-")] == []
    assert (await who(groups, "/a"))["requests"] == 1
    await anyio.to_thread.run_sync(groups.lifecycle.stop)


async def test_a_block_that_fails_stops_nothing_of_the_requests() -> None:
    """What requests have started goes on, in the interpreters that they had; what was stopped is refused as before."""
    mounts = [Mount("/a", "embed_who:application", application_group="a")]
    missing = Mount("/b", "embed_nowhere:application", application_group="b", preload=True)
    groups = ApplicationGroups(mounts=[*mounts, missing], **WHO)  # type: ignore[arg-type]
    seen = [await who(groups, "/a")]
    with pytest.raises(StartFailed):
        async with groups.running():
            pytest.fail("began all the same")
    seen.append(await who(groups, "/a"))
    assert seen[0]["interpreter"] == seen[1]["interpreter"]
    assert seen[1]["requests"] == 2
    await anyio.to_thread.run_sync(groups.lifecycle.stop)
    with pytest.raises(StartFailed):
        async with groups.running():
            pytest.fail("began all the same")
    assert (await ask(groups, "/a")).status_code == 503


async def test_a_file_that_is_repaired_after_a_block_has_failed(tmp_path: Path) -> None:
    """Requests are answered as they would have been without the block: what is wrong is tried again."""
    path = tmp_path / "asyncgroups.toml"
    groups = ApplicationGroups.from_file(path)
    with pytest.raises(ConfigurationError):
        async with groups.running():
            pytest.fail("began all the same")
    assert (await ask(groups)).status_code == 500
    mount = '[[mount]]\npath = "/"\napp = "embed_who:application"\napplication_group = "shop"\n'
    path.write_text(f'app_dir = "{WHO["app_dir"]}"\n{mount}')
    assert (await who(groups))["group"] == "shop"
    await anyio.to_thread.run_sync(groups.lifecycle.stop)


SLOWLY = """
import time
time.sleep(0.15)
def application(environ, start_response):
    start_response("200 OK", [])
    return []
"""


@pytest.mark.parametrize("bounds", [{"limits": {"backlog": 0}}, {"timeouts": {"queue": 0.1}}], ids=["backlog", "queue"])
async def test_preloading_is_no_request(bounds: Any, tmp_path: Path) -> None:
    """Applications of one group load one after the other, whatever the queue's limits say of requests."""
    mounts = []
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.py").write_text(SLOWLY)
        mounts.append(Mount(f"/{name}", f"{name}:application", application_group="shop"))
    groups = ApplicationGroups(mounts=mounts, preload=True, app_dir=tmp_path, **bounds)
    async with groups.running():
        assert (await ask(groups, "/three")).status_code == 200


LONG = """
import time
end = time.monotonic() + 60
open(BEGUN, "a").close()
while time.monotonic() < end:
    pass
"""


async def test_a_block_that_is_cancelled_while_it_preloads(tmp_path: Path) -> None:
    """What is being loaded is interrupted at once: nobody waits for it."""
    begun = tmp_path / "begun"
    (tmp_path / "long.py").write_text(f"BEGUN = {str(begun)!r}\n{LONG}")
    groups = ApplicationGroups.single(
        "long:application", application_group="shop", preload=True, app_dir=tmp_path, timeouts={"graceful": 30}
    )

    async def run() -> None:
        async with groups.running():
            pytest.fail("began all the same")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.to_thread.run_sync(until, begun.exists)
        tasks.cancel_scope.cancel()
        began = anyio.current_time()
    assert anyio.current_time() - began < 10


STUCK = """
import time
end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
"""


async def test_what_is_stuck_at_the_start_is_named_alone(tmp_path: Path) -> None:
    """An application that waits behind one that does not come back is not said to fail."""
    (tmp_path / "stuck.py").write_text(STUCK)
    mounts = [
        Mount("/a", "stuck:application", application_group="shop"),
        Mount("/b", "embed_who:application", application_group="shop", app_dir=tmp_path),
    ]
    timeouts: Any = {"startup": 0.3, "queue": 0.1, "interrupt": 0.3, "graceful": 5}
    groups = ApplicationGroups(mounts=mounts, preload=True, app_dir=tmp_path, timeouts=timeouts)
    with pytest.raises(StartFailed) as caught:
        async with groups.running():
            pytest.fail("began all the same")
    assert str(caught.value).splitlines()[1:] == [
        "stuck:application in application group shop: it did not load within 0.3 s (timeouts.startup)"
    ]


@pytest.mark.parametrize(
    ("options", "loaded"),
    [
        ({"application_group": "%{RESOURCE}"}, 0),
        ({"application_group": "%{RESOURCE}", "server_name": "www.example.com:8080"}, 1),
        ({"application_group": "%{ENV:NAME}", "env": {"NAME": "shop"}}, 1),
        ({"application_group": "%{ENV:NAME}", "env": {"NAME": "%{SERVER}"}}, 0),
        ({"application_group": "%{ENV:EMBED_UNSET}"}, 0),
    ],
    ids=str,
)
async def test_preloading_without_a_port(options: Any, loaded: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody tells the port, what does not depend on it is loaded; a warning says why the rest is not."""
    groups = shop(preload=True, **options)
    with caplog.at_level(logging.WARNING, "asyncgroups"):
        async with groups.running():
            assert groups.lifecycle.running is not None
            assert len(groups.lifecycle.running.supervisor._alive) == loaded
    assert ("app: not preloaded" in caplog.text) == (not loaded)


def test_the_test_client_of_starlette(tmp_path: Path) -> None:
    """A start that fails raises in it, with what is wrong."""
    with warnings.catch_warnings(action="ignore"):  # of the httpx that it finds
        from starlette.testclient import TestClient  # noqa: PLC0415 - it warns when it is imported
    said: Queue[BaseException] = Queue()

    def enter() -> None:
        try:
            with TestClient(ApplicationGroups.from_file(tmp_path / "nowhere.toml")):
                pytest.fail("began all the same")
        except BaseException as error:
            said.put(error)

    threading.Thread(target=enter, daemon=True).start()  # should it wait for ever, it does so alone
    assert type(said.get(timeout=PATIENCE)) is ConfigurationError


def test_the_first_requests_start_it_once() -> None:
    """Without a block, requests from several threads and event loops at once find one start."""
    configured = []

    def configure() -> Configuration:
        configured.append(threading.get_ident())
        return configuration

    configuration = declared(
        {"application_group": "shop", **WHO}, source="here", single=Mount("/", "embed_who:application")
    )
    groups = Groups.of(Lifecycle(configure))
    together = threading.Barrier(4)

    async def first() -> int:
        together.wait(PATIENCE)
        here: int = (await who(groups))["interpreter"]
        return here

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(anyio.run, first, backend=backend) for backend in ("asyncio", "trio") * 2]
        seen = {call.result(PATIENCE) for call in calls}
    assert len(seen) == 1
    assert len(configured) == 1
    assert groups.lifecycle.stop() == []
