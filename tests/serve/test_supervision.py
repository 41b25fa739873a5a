"""The supervisor, in this process: interpreters that cannot be made, or die."""

import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent import interpreters
from pathlib import Path
from typing import NoReturn

import anyio
import anyio.to_thread
import httpx
import pytest

from asyncgroups.asgi import ApplicationGroups
from asyncgroups.config import from_mapping
from asyncgroups.frontend.lifecycle import Lifecycle
from asyncgroups.host import interpreters as host
from tests.serving import APPS

pytestmark = pytest.mark.anyio

type Groups = Callable[..., contextlib.AbstractAsyncContextManager[tuple[ApplicationGroups, httpx.AsyncClient]]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    @contextlib.asynccontextmanager
    async def start(**limits: int) -> AsyncIterator[tuple[ApplicationGroups, httpx.AsyncClient]]:
        # Of literal names there can be no more than limits.groups.
        mounts = [
            {
                "path": f"/{name}",
                "app": "limits_who:application",
                "application_group": "%{ENV:NAME}",
                "env": {"NAME": name},
            }
            for name in ("one", "two")
        ]
        mapping = {"app_dir": str(APPS), "mount": mounts, "limits": limits, "timeouts": {"graceful": 0, "interrupt": 5}}
        application = ApplicationGroups.of(Lifecycle(lambda: from_mapping(mapping, base=tmp_path, source="test")))
        transport = httpx.ASGITransport(application)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=20) as client:
            try:
                yield application, client
            finally:
                left = await anyio.to_thread.run_sync(application.lifecycle.stop)
        assert left == []

    return start


async def well(client: httpx.AsyncClient, path: str) -> None:
    """Return when ``path`` is answered 200: while an interpreter is failing its requests fail with it."""
    with anyio.fail_after(20):
        while (await client.get(path)).status_code != 200:  # noqa: ASYNC110 - nothing else tells
            await anyio.sleep(0.01)


def refuse(*_: object) -> NoReturn:
    raise interpreters.InterpreterError("no memory")


async def test_an_interpreter_that_cannot_be_made(
    groups: Groups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its requests are answered, each with its own try; as soon as it can be made the group is well."""
    async with groups() as (application, client):
        with monkeypatch.context() as patch:
            patch.setattr(interpreters, "create", refuse)
            with anyio.fail_after(20):
                answers = [await client.get("/one") for _ in range(3)]
            assert {answer.status_code for answer in answers} <= {500, 502}
            assert "no memory" not in answers[0].text
        await well(client, "/one")  # the interpreter has said what ended it before another takes its place
        assert "[one] the interpreter has failed: InterpreterError: no memory" in caplog.text
        assert "1 of 100 interpreters, 0 given up" in repr(application)


async def test_an_interpreter_whose_program_fails(
    groups: Groups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that dies while it is set up is logged with its traceback, and replaced."""
    async with groups() as (application, client):
        with monkeypatch.context() as patch:
            patch.setattr(host, "_PREPARE", "raise LookupError('nothing there')")
            assert (await client.get("/one")).status_code in (500, 502)
        await well(client, "/one")  # the interpreter has said what ended it before another takes its place
        assert "LookupError: nothing there" in caplog.text
        assert "1 of 100 interpreters" in repr(application)


async def test_requests_that_wait_for_an_interpreter_that_fails(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are answered; other groups do not notice."""
    async with groups() as (_, client):
        neighbour = (await client.get("/two")).json()["interpreter"]
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await client.get("/one")).status_code)

        with monkeypatch.context() as patch, anyio.fail_after(20):
            patch.setattr(interpreters, "create", refuse)
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(ask)
        assert len(answers) == 10
        assert set(answers) <= {500, 502}
        assert (await client.get("/two")).json()["interpreter"] == neighbour


async def test_a_control_thread_that_ends(groups: Groups, caplog: pytest.LogCaptureFixture) -> None:
    """An interpreter whose control channel has ended is not used any more, and its group gets a new one."""
    async with groups() as (application, client):
        before = (await client.get("/one")).json()["interpreter"]
        (interpreter,) = application.lifecycle.start().supervisor._alive
        interpreter.channel.shut()
        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(interpreter.join, 20)
            after = await client.get("/one")
        assert repr(interpreter).endswith("its control thread has ended>")
        assert after.json()["interpreter"] != before
        assert "[one] the interpreter has failed: its control thread has ended" in caplog.text


async def test_a_failed_interpreter_makes_room(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count for limits.groups."""
    async with groups(groups=1) as (_, client):
        with monkeypatch.context() as patch:
            patch.setattr(interpreters, "create", refuse)
            assert (await client.get("/one")).status_code in (500, 502)
        await well(client, "/two")
        assert (await client.get("/one")).status_code == 503
