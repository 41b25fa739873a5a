"""A block of ``running()``: what it starts and stops, alone and with others, however it is left."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
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
    return ApplicationGroups.single("embed_who:application", application_group="shop", **WHO | options)


def marked(folder: Path) -> dict[str, Any]:
    """The application leaves its marks in ``folder``."""
    return {"process_env": {"EMBED_MARKS": str(folder)}}


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


async def test_one_block(tmp_path: Path) -> None:
    """Its applications answer inside of it; after it they have run their atexit functions, and refuse."""
    groups = shop(**marked(tmp_path))
    async with groups.running():
        here = (await who(groups))["interpreter"]
        assert here != 0
        assert not (tmp_path / f"atexit-{here}").exists()
    assert (tmp_path / f"atexit-{here}").exists()
    assert (await ask(groups)).status_code == 503


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
    until(lambda: list(tmp_path.iterdir()), PATIENCE, what="the mark of the atexit function")
    assert groups.lifecycle.running is None


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
    """The block does not begin, says which application it is, and leaves nothing behind."""
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
    assert (await ask(groups, "/a")).status_code == 503


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
