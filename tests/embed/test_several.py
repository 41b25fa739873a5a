"""Several objects in one process, callable objects, and what the main interpreter keeps of its own."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncgroups import ApplicationGroups, Mount
from asyncgroups.worker import main as worker_main
from tests.embed.conftest import PATIENCE, WHO, ask, who

pytestmark = pytest.mark.anyio

GLOBAL = "%{GLOBAL}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # what is shown here is above and below the event loop


def answering(answer: object) -> Any:
    """A WSGI application that says ``answer``, and in which thread."""

    def application(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [json.dumps([answer, threading.current_thread().name, threading.get_ident()]).encode()]

    return application


async def test_objects_share_no_interpreter() -> None:
    """Groups of one name in two objects are two interpreters, also with the same configuration; a third object, too."""
    mounts = [Mount("/", "embed_who:application", application_group="shop")]
    several = [
        ApplicationGroups(mounts=mounts, **WHO),  # type: ignore[arg-type]
        ApplicationGroups(mounts=mounts, **WHO),  # type: ignore[arg-type]
        ApplicationGroups.single("embed_who:application", application_group="shop", **WHO),  # type: ignore[arg-type]
    ]
    async with several[0].running(), several[1].running(), several[2].running():
        seen = [await who(groups) for groups in several * 2]
    assert {one["group"] for one in seen} == {"shop"}
    assert len({one["interpreter"] for one in seen}) == 3
    assert [one["requests"] for one in seen] == [1, 1, 1, 2, 2, 2]


async def test_one_of_several_stops_alone() -> None:
    """The end of one object is no other's."""
    first, second = (
        ApplicationGroups.single("embed_who:application", application_group="shop", **WHO)  # type: ignore[arg-type]
        for _ in range(2)
    )
    async with second.running():
        async with first.running():
            await who(first)
            before = await who(second)
        after = await who(second)
    assert (after["interpreter"], after["requests"]) == (before["interpreter"], 2)


async def test_global_in_several_objects() -> None:
    """All are the main interpreter, each with workers of its own, as many as it was told."""
    several = [
        ApplicationGroups.single(answering(name), application_group=GLOBAL, global_threads=1) for name in ("one", "two")
    ]
    async with several[0].running(), several[1].running():
        seen = [(await ask(groups)).json() for groups in several * 3]
    assert [answer for answer, _, _ in seen] == ["one", "two"] * 3
    assert {thread for _, thread, _ in seen} == {"GLOBAL-1"}
    assert len({identifier for _, _, identifier in seen}) == 2


async def test_callable_objects_of_one_configuration() -> None:
    """Each mount gets its own, beside import strings in GLOBAL and elsewhere; virtual hosts inherit them."""
    groups = ApplicationGroups(
        mounts=[
            Mount("/a", answering("a"), application_group=GLOBAL),
            Mount("/b", answering("b"), application_group=GLOBAL, preload=True),
            Mount("/c", "embed_who:application", application_group=GLOBAL),
            Mount("/d", "embed_who:application", application_group="d"),
        ],
        **WHO,  # type: ignore[arg-type]
    )
    async with groups.running():
        assert [(await ask(groups, path)).json()[0] for path in ("/a", "/b", "/a/x")] == ["a", "b", "a"]
        assert (await who(groups, "/c"))["interpreter"] == 0
        assert (await who(groups, "/d"))["interpreter"] != 0


async def test_callable_objects_stay_in_their_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are handed to the main interpreter's own program; what crosses to another one is told of none."""
    given = []
    run = worker_main.run

    def watched(*arguments: Any, **objects: Any) -> int:
        given.append((arguments[2], list(objects["applications"])))
        return run(*arguments, **objects)

    monkeypatch.setattr(worker_main, "run", watched)
    application = answering("here")
    groups = ApplicationGroups(
        mounts=[
            Mount("/a", application, application_group=GLOBAL),
            Mount("/d", "embed_who:application", application_group="d"),
        ],
        **WHO,  # type: ignore[arg-type]
    )
    async with groups.running() as _:
        assert (await ask(groups, "/a")).json()[0] == "here"
        await who(groups, "/d")
        assert groups.lifecycle.running is not None
        told = [one.bootstrap for one in groups.lifecycle.running.supervisor._alive]
    name = f"<{__name__}.answering.<locals>.application: mounts[0].app>"
    assert given == [("", [name])]
    assert {one.application_group: one.applications is None for one in told} == {"": False, "d": True}


async def test_what_a_callable_object_is_called_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Its failure is told with its type or function, and with its place."""

    def fails(_: dict[str, Any], __: Any) -> Iterable[bytes]:
        raise LookupError("nothing there")

    groups = ApplicationGroups.single(fails, application_group=GLOBAL)
    with caplog.at_level(logging.INFO, "asyncgroups"):
        async with groups.running():
            assert (await ask(groups)).status_code == 500
    name = f"<{__name__}.test_what_a_callable_object_is_called_in_the_log.<locals>.fails: app>"
    assert f"[%{{GLOBAL}} #1] exception in '{name}':" in caplog.text
    assert "LookupError: nothing there" in caplog.text


# sys.path of the main interpreter -------------------------------------------------------------------------------------

SAYS = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%s"]
"""


@pytest.mark.parametrize(
    ("options", "first", "found"),
    [
        ({}, "host", "host"),
        ({}, None, "here"),
        ({"python_path": ["lib"]}, "host", "lib"),
        ({"app_dir": "."}, "host", "here"),
        ({"app_dir": "."}, None, "here"),
        ({"app_dir": "lib"}, "host", "lib"),
    ],
    ids=ascii,
)
async def test_sys_path_of_a_host(
    options: dict[str, Any], first: str | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's own folders come before the working directory, unless that was given; what is given comes first."""
    name = f"embed_path_{abs(hash(tmp_path))}"  # no other test's: modules stay
    for folder in ("host", "here", "here/lib"):
        (tmp_path / folder).mkdir()
        if folder != "host" or first == "host":
            (tmp_path / folder / f"{name}.py").write_text(SAYS % Path(folder).name)
    monkeypatch.chdir(tmp_path / "here")
    own = [str(tmp_path / "host"), *(folder for folder in sys.path if folder)]
    monkeypatch.setattr(sys, "path", own.copy())
    groups = ApplicationGroups.single(f"{name}:application", application_group=GLOBAL, **options)
    async with groups.running():
        assert (await ask(groups)).text == found
        assert [folder for folder in sys.path if folder in own] == own
        if not options:
            assert sys.path == [*own, str(tmp_path / "here")]
    del sys.modules[name]


async def test_sys_path_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an interpreter of its own the working directory is first, as it is with a file: there is no host."""
    (tmp_path / "json.py").write_text(SAYS % "here")
    monkeypatch.chdir(tmp_path)
    groups = ApplicationGroups.single("json:application", application_group="shop")
    async with groups.running():
        assert (await ask(groups)).text == "here"


class Yielding(list[str]):
    """A list that lets other threads go on while it is read."""

    def __iter__(self) -> Iterator[str]:
        for folder in super().__iter__():
            time.sleep(0)
            yield folder


async def test_all_that_start_at_once_have_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that start in one moment lose none of each other's folders."""
    monkeypatch.setattr(sys, "path", Yielding(sys.path * 20))
    folders = []
    for number in range(8):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
    several = [
        ApplicationGroups.single(answering(0), application_group=GLOBAL, python_path=[folder]) for folder in folders
    ]

    async def live(groups: ApplicationGroups) -> None:
        async with groups.running():
            await ask(groups)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for groups in several:
                tasks.start_soon(live, groups)
    assert {str(folder) for folder in folders} <= set(sys.path)
