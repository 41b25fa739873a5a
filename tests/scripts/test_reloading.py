"""A script that has changed is served from a fresh interpreter, and no request fails meanwhile."""

import logging
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest

from asyncgroups.host.group import State
from tests.scripts.site import Answer, Site

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the requests; that of a reload is its own."""
    return "asyncio"


async def test_a_changed_script(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is served from a fresh interpreter, once; the thread that executed it runs its requests."""
    caplog.set_level(logging.INFO, "asyncgroups")
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path)
        assert first.tag == "one"
        assert (await site.ask(path)) == first
        site.write("app.wsgi", "two")
        second = await site.until(lambda answer: answer.tag == "two", path)
        assert second.interpreter != first.interpreter
        assert second.process == first.process
        for _ in range(5):
            assert (await site.ask(path)) == second
        await site.calm()
        await site.settle(lambda: len(site.supervisor._alive) == 1)
        assert not site.supervisor._spare
    said = re.findall(r"'.*app\.wsgi:application' has changed: a new interpreter has loaded it, and the.*", caplog.text)
    assert len(said) == 1


def test_where_threads_inherit_their_context() -> None:
    """The event loop of a reload is another one than that of the request which has begun it."""
    words = ["-X", "thread_inherit_context=1", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    test = f"{__file__}::test_a_changed_script"
    run = subprocess.run([sys.executable, *words, test], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("group", ["shop", ""], ids=["named", "global"])
async def test_no_request_fails(tmp_path: Path, group: str) -> None:
    """While a script is written fifty times, broken, removed and put back, each request has a version that loaded."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "v0")
        await site.ask(path, group=group)
        tags: list[str] = []
        over = anyio.Event()

        async def ask() -> None:
            while not over.is_set():
                answer = await site.ask(path, group=group)
                assert answer.status == 200, answer
                tags.append(answer.tag)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
            for number in range(1, 51):
                if number % 10 == 3:
                    site.write("app.wsgi", "", source="import nothing_of_this_name\n")
                elif number % 10 == 7:
                    (tmp_path / "app.wsgi").unlink()
                else:
                    site.write("app.wsgi", f"v{number}")
                await anyio.sleep(0.02)  # the pace of writing
            await site.until(lambda answer: answer.tag == "v50", path, group=group)
            over.set()
        numbers = [int(tag[1:]) for tag in tags]
        assert len(set(numbers)) > 1  # how many of those between are seen is for the machine to say
        assert not {number for number in numbers if number % 10 in (3, 7)}
        await site.calm()
        await site.settle(lambda: len(site.supervisor._alive) == 1)


async def test_those_that_wait(tmp_path: Path) -> None:
    """Requests that wait for the old interpreter when it is replaced have the new one; what runs ends where it is."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path)
        answers: list[Answer] = []

        async def ask(query: str = "") -> None:
            answers.append(await site.ask(path, query=query))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, str(tmp_path / "gate"))
            pool = site.supervisor.pool(site.choice(path))
            await site.settle(lambda: pool.busy)
            for _ in range(10):
                tasks.start_soon(ask)
            await site.settle(lambda: len(pool._waiting) == 10)
            site.write("app.wsgi", "two")
            await ask()  # it waits as well
            await site.settle(lambda: len(answers) == 11)
            assert {answer.tag for answer in answers} == {"two"}
            assert len(site.supervisor._alive) == 2
            (tmp_path / "gate").touch()
        assert answers[-1] == first
        await site.settle(lambda: len(site.supervisor._alive) == 1)


async def test_the_wait_goes_on_as_long_as_it_may(tmp_path: Path) -> None:
    """However often its pool is replaced, a request waits for the time of one wait."""
    async with Site(tmp_path, timeouts={"queue": 0.6}) as site:
        path, gate = site.write("app.wsgi", "v0"), str(tmp_path / "gate")
        await site.ask(path)
        answers: list[Answer] = []

        async def ask(query: str) -> None:
            answers.append(await site.ask(path, query=query))

        async with anyio.create_task_group() as tasks:
            for _ in range(8):  # each new interpreter has one worker, and one of them: the last of them waits
                tasks.start_soon(ask, gate)
            for number in range(1, 5):
                pool = site.supervisor.pool(site.choice(path))
                await site.settle(lambda pool=pool: pool.busy or answers)  # type: ignore[misc]  # mypy cannot infer it
                site.write("app.wsgi", f"v{number}")
                changed = site.choice(path)
                await site.settle(lambda: site.supervisor.pool(changed) is not pool)  # noqa: B023 - it is over by then
                await anyio.sleep(0.2)  # a part of the time
            assert {answer.status for answer in answers} == {503}  # and not that long after the last of them
            (tmp_path / "gate").touch()


async def test_scripts_of_one_group(tmp_path: Path) -> None:
    """All that the old interpreter had loaded is loaded in the new one before it takes requests, but what is gone."""
    async with Site(tmp_path) as site:
        mark = f"marker.note({str(tmp_path / 'marks')!r}, __file__[-6])"
        marks = (tmp_path / "marks").read_text
        a, b, c = (site.write(f"{name}.wsgi", f"{name}1", first=mark) for name in "abc")
        before = [await site.ask(path) for path in (a, b, c, b)]
        assert len({answer.interpreter for answer in before}) == 1
        module = await site.ask("marker")
        assert module.interpreter == before[0].interpreter
        assert (await site.ask(b, name="second")).tag == "b1"
        assert (await site.ask(b, name="nothing")).status == 404
        assert marks() == "a b c "
        (tmp_path / "c.wsgi").unlink()
        site.write("a.wsgi", "a2", first=mark)
        changed = await site.until(lambda answer: answer.tag == "a2", a)
        assert marks() == "a b c a b "
        assert (await site.ask(b)).interpreter == (await site.ask("marker")).interpreter == changed.interpreter
        assert (await site.ask(b, name="second")).tag == "b1"
        assert marks() == "a b c a b "
        site.write("c.wsgi", "c2", first=mark)
        assert (await site.ask(c)) == (await site.ask(c))
        assert marks() == "a b c a b c "  # it is loaded where the others are, with its first request


async def test_one_that_does_not_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old one goes on for all scripts of the group, the log says why, once; the next version is tried at once."""
    async with Site(tmp_path) as site:
        a, b = site.write("a.wsgi", "a1"), site.write("b.wsgi", "b1")
        first, second = await site.ask(a), await site.ask(b)
        site.write("a.wsgi", "a2", first="raise ValueError('broken by hand')")
        assert await site.ask(a) == first
        await site.calm()
        for _ in range(5):
            assert await site.ask(a) == first
            assert await site.ask(b) == second
        await site.calm()
        await site.settle(lambda: "ValueError: broken by hand" in caplog.text)
        assert caplog.text.count("ValueError: broken by hand") == 1
        assert caplog.text.count("Traceback") == 1
        (said,) = re.findall(r"\[shop\] '.*a\.wsgi:application' has changed, but .*", caplog.text)
        assert "but it does not load: the log has the reason; what was loaded before goes on" in said
        assert said.endswith("or with a request in 0.5 s")
        await site.settle(lambda: len(site.supervisor._alive) == 1)
        site.write("b.wsgi", "b2", first="raise KeyError('this one as well')")
        site.write("a.wsgi", "a3")
        assert await site.ask(a) == first
        await site.calm()
        await site.settle(lambda: "KeyError: 'this one as well'" in caplog.text)
        assert re.search(r"a\.wsgi:application' has changed, but '.*b\.wsgi:application' does not load", caplog.text)
        site.write("b.wsgi", "b3")
        assert (await site.ask(b)) == second
        third = await site.until(lambda answer: answer.tag == "a3", a)
        assert (await site.ask(b))[1:3] == ("b3", third.interpreter)


async def test_a_neighbour_that_never_loaded(tmp_path: Path) -> None:
    """A script that has not loaded in the old interpreter does not keep the others from a new one."""
    async with Site(tmp_path) as site:
        a, b = site.write("a.wsgi", "a1"), site.write("b.wsgi", "", source="raise ValueError\n")
        await site.ask(a)
        assert (await site.ask(b)).status == 500
        site.write("a.wsgi", "a2")
        await site.until(lambda answer: answer.tag == "a2", a)
        site.write("b.wsgi", "b2")
        assert (await site.ask(b)).tag == "b2"


@pytest.mark.parametrize("group", ["shop", ""], ids=["named", "global"])
async def test_one_that_lacked_its_callable(tmp_path: Path, group: str) -> None:
    """It is not found until it has one, and is not executed again before it changes."""
    async with Site(tmp_path) as site:
        marks = tmp_path / "marks"
        mark = f"import marker\nmarker.note({str(marks)!r}, 'x')\n"
        path = site.write("app.wsgi", "", source=mark)
        for _ in range(3):
            assert (await site.ask(path, group=group)).status == 404
        assert marks.read_text() == "x "
        site.write("app.wsgi", "two")
        with anyio.fail_after(20):
            while (await site.ask(path, group=group)).tag != "two":
                await site.calm()


async def test_another_try_without_a_change(tmp_path: Path) -> None:
    """What did not load is tried again after a while, with a request, and after a longer one if that fails as well."""
    async with Site(tmp_path) as site:
        count = tmp_path / "count"
        first = f"""
with open({str(count)!r}, "a+") as file:
    file.write("x")
    file.seek(0)
    if len(file.read()) < 3:
        raise ValueError
"""
        path = site.write("app.wsgi", "one")
        await site.ask(path)
        site.write("app.wsgi", "two", first=first)
        began = anyio.current_time()
        await site.until(lambda answer: answer.tag == "two", path)
        assert count.read_text() == "xxx"
        assert anyio.current_time() - began >= 1.5  # 0.5 s and 1 s


@pytest.mark.parametrize("group", ["shop", ""], ids=["named", "global"])
async def test_two_that_do_not_load(tmp_path: Path, caplog: pytest.LogCaptureFixture, group: str) -> None:
    """Requests to one and the other by turns have neither tried again before the delay is over."""
    async with Site(tmp_path) as site:
        broken = f"marker.note({str(tmp_path / 'marks')!r}, __file__[-6])\nraise ValueError"
        before = broken if group else ""  # what has never loaded is not loaded along with the other one
        a, b = site.write("a.wsgi", "a1", first=before), site.write("b.wsgi", "b1", first=before)
        for path in (a, b):
            await site.ask(path, group=group)
        for name in ("a.wsgi", "b.wsgi"):
            site.write(name, "two", first=broken)
        for path in (a, b) * 5:
            await site.ask(path, group=group)
            await site.calm()
        assert caplog.text.count("has changed, but") == 2


async def test_callables_of_one_script(tmp_path: Path) -> None:
    """One that is asked for after a change has been loaded before it, with the others: the change is not missed."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        await site.ask(path)
        site.write("app.wsgi", "two")
        assert (await site.ask(path, name="second")).tag == "one"
        await site.until(lambda answer: answer.tag == "two", path, name="second")


async def test_a_version_that_has_passed(tmp_path: Path) -> None:
    """A request that was chosen before a change has the old version in hand: nothing is loaded for it."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        await site.ask(path)
        late = site.choice(path)
        site.write("app.wsgi", "two")
        second = await site.until(lambda answer: answer.tag == "two", path)
        await site.calm()
        for _ in range(3):
            assert await site.request(late) == second
            await site.calm()
        begun: list[object] = []
        site.supervisor.reloading.begin = lambda *_, **__: begun.append(1)
        site.supervisor.pool(late)
        assert not begun  # nor is the file looked at for each of them
        assert await site.ask(path) == second


async def test_without_reloading(tmp_path: Path) -> None:
    """Where a request has no version its script stays as it was loaded."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path, reloads=False)
        site.write("app.wsgi", "two")
        assert await site.ask(path, reloads=False) == first
        await site.calm()
        assert await site.ask(path, reloads=False) == first


# In the main interpreter ----------------------------------------------------------------------------------------------


async def test_in_the_main_interpreter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There the changed script alone is executed again; one that fails goes on as it was."""
    caplog.set_level(logging.INFO, "asyncgroups")
    async with Site(tmp_path) as site:
        mark = f"marker.note({str(tmp_path / 'marks')!r}, __file__[-6])"
        a, b = site.write("a.wsgi", "a1", first=mark), site.write("b.wsgi", "b1", first=mark)
        before = [await site.ask(path, group="") for path in (a, b)]
        assert (await site.ask(a, group="", name="second")).tag == "a1"
        site.write("a.wsgi", "a2", first=mark)
        after = await site.until(lambda answer: answer.tag == "a2", a, group="")
        assert after.interpreter == before[0].interpreter
        assert (await site.ask(a, group="", name="second")).tag == "a2"
        assert (await site.ask(b, group="")) == before[1]
        site.write("a.wsgi", "a3", first="raise ValueError")
        assert (await site.ask(a, group="")) == after
        await site.calm()
        assert (await site.ask(a, group="")) == after
        assert (tmp_path / "marks").read_text() == "a b a "
        assert "a.wsgi:application' has changed: it was executed again, after" in caplog.text
        await site.settle(lambda: "ValueError" in caplog.text)


async def test_the_delay_after_a_success(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What fails after it has loaded again is tried again as soon as what has failed for the first time."""
    async with Site(tmp_path) as site:
        path = site.write("a.wsgi", "a1")
        await site.ask(path, group="")
        for tag, first in (
            ("a2", "raise ValueError"),
            ("a3", "raise ValueError"),
            ("a4", ""),
            ("a5", "raise ValueError"),
        ):
            site.write("a.wsgi", tag, first=first)
            await site.ask(path, group="")
            await site.calm()
        assert re.findall(r"with a request in (.*) s", caplog.text) == ["0.5", "1", "0.5"]


# Bounds ---------------------------------------------------------------------------------------------------------------


async def test_few_at_once(tmp_path: Path) -> None:
    """No more than four are loaded at the same time; the others come when there is a place, with their requests."""
    async with Site(tmp_path, limits={"groups": 6}) as site:
        gate, most = tmp_path / "gate", 0
        names = [f"app{number}.wsgi" for number in range(6)]
        paths = [site.write(name, "one") for name in names]
        for path in paths:
            await site.ask(path, group=path)
        for name in names:
            site.write(name, "two", first=f"marker.wait({str(gate)!r})")
        reloading = site.supervisor.reloading
        assert reloading is not None
        for _ in range(5):
            for path in paths:
                assert (await site.ask(path, group=path)).tag == "one"
                most = max(most, len(reloading._reloads))
        assert most == 4
        await site.settle(lambda: len(site.supervisor._alive) == 10)  # threads have begun that have made nothing yet
        assert (await site.ask(paths[0], group="one more")).status == 503
        gate.touch()
        for path in paths:
            await site.until(lambda answer: answer.tag == "two", path, group=path)
        await site.settle(lambda: len(site.supervisor._alive) == 6)


async def test_no_group_is_refused_for_a_reload(tmp_path: Path) -> None:
    """An interpreter that is to replace another one, or was replaced, counts for no group, but beyond four."""
    async with Site(tmp_path, limits={"groups": 2}) as site:
        gate = tmp_path / "gate"
        path, other = site.write("app.wsgi", "v0"), site.write("other.wsgi", "other")
        await site.ask(path)
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await site.ask(path, query=str(gate)))

        async with anyio.create_task_group() as tasks:
            for number in range(1, 5):
                pool = site.supervisor.pool(site.choice(path))
                tasks.start_soon(ask)
                await site.settle(lambda pool=pool: pool.busy)  # type: ignore[misc]  # mypy cannot infer it
                site.write("app.wsgi", f"v{number}")
                await site.until(lambda answer: answer.tag == f"v{number}", path)  # noqa: B023 - it is over by then
            assert (await site.ask(other, group="other")).tag == "other"
            assert len(site.supervisor._alive) == 6
            site.write("app.wsgi", "v5")
            assert (await site.ask(path)).tag == "v4"
            await site.calm()
            assert len(site.supervisor._alive) == 6
            assert (await site.ask(other, group="third")).status == 503
            assert not answers
            gate.touch()
        assert sorted(answer.tag for answer in answers) == ["v0", "v1", "v2", "v3"]
        await site.until(lambda answer: answer.tag == "v5", path)
        await site.settle(lambda: len(site.supervisor._alive) == 2)
        assert not site.supervisor._spare


async def test_what_is_beyond_four_counts(tmp_path: Path) -> None:
    """Those that were replaced and go on take the place of groups, as far as there are more than four of them."""
    async with Site(tmp_path, limits={"groups": 3}) as site:
        gate = tmp_path / "gate"
        # A script for each: one that both had would be loaded again in the one when the other's turn has changed it.
        paths = {group: site.write(f"{group}.wsgi", "v0") for group in ("shop", "blog")}
        for group, path in paths.items():
            await site.ask(path, group=group)
        async with anyio.create_task_group() as tasks:
            for number, group in enumerate(("shop", "blog", "shop", "blog", "shop"), 1):
                path = paths[group]
                pool = site.supervisor.pool(site.choice(path, group=group))
                tasks.start_soon(partial(site.ask, path, group=group, query=str(gate)))
                await site.settle(lambda pool=pool: pool.busy)  # type: ignore[misc]  # mypy cannot infer it
                site.write(f"{group}.wsgi", f"v{number}")
                new = f"v{number}"
                await site.until(lambda answer, new=new: answer.tag == new, path, group=group)  # type: ignore[misc]  # as above
            assert len(site.supervisor._alive) == 7
            assert (await site.ask(paths["shop"], group="other")).status == 503
            gate.touch()
        await site.settle(lambda: len(site.supervisor._alive) == 2)
        assert (await site.ask(paths["shop"], group="other")).status == 200


async def test_one_group_takes_no_room_of_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where its replaced interpreters do not end it is not loaded again, and others have theirs, and their reloads."""
    async with Site(tmp_path, limits={"groups": 4}) as site:
        goes_on = f"threading.Thread(target=marker.wait, args=[{str(tmp_path / 'gate')!r}]).start()"
        path, other = site.write("app.wsgi", "v0", first=goes_on), site.write("other.wsgi", "one")
        await site.ask(path)
        await site.ask(other, group="other")
        for number in range(1, 9):
            site.write("app.wsgi", f"v{number}", first=goes_on)
            assert (await site.ask(path)).status == 200
            await site.calm()
        assert (await site.ask(path)).tag == "v4"
        assert "too many interpreters that were replaced have not come to their end" in caplog.text
        assert (await site.ask(other, group="third")).tag == "one"
        site.write("other.wsgi", "two")
        await site.until(lambda answer: answer.tag == "two", other, group="other")
        (tmp_path / "gate").touch()
        await site.until(lambda answer: answer.tag == "v8", path)


async def test_one_that_does_not_come_to_an_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A script that takes too long to load is interrupted, or given up; the old one goes on all the time."""
    async with Site(tmp_path, timeouts={"startup": 0.3}) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path)
        site.write("app.wsgi", "two", first="while True: pass")
        assert await site.ask(path) == first
        await site.calm()
        assert await site.ask(path) == first
        assert "it did not load within 0.3 s (timeouts.startup)" in caplog.text
        await site.settle(lambda: len(site.supervisor._alive) == 1)
        assert await site.ask(path) == first


# What comes between ---------------------------------------------------------------------------------------------------


async def begun(site: Site, path: str, source: str, *, group: str = "shop") -> None:
    """A reload whose script is being executed."""
    entered = site.folder / "entered"
    site.write(Path(path).name, "two", first=f"open({str(entered)!r}, 'w').close()\n{source}")
    await site.ask(path, group=group)
    await site.settle(entered.exists)


@pytest.mark.parametrize("group", ["shop", ""])
async def test_the_end_during_a_reload(tmp_path: Path, group: str) -> None:
    """What is being loaded is interrupted at once when the server stops, and nothing of it is left."""
    async with Site(tmp_path, timeouts={"graceful": 10.0}) as site:
        path = site.write("app.wsgi", "one")
        await site.ask(path, group=group)
        await begun(site, path, "while True: pass", group=group)
        reloading = site.supervisor.reloading
        assert reloading is not None
        began = anyio.current_time()
        assert await anyio.to_thread.run_sync(site.supervisor.stop) == []
        assert anyio.current_time() - began < 5
        assert not reloading._reloads
        assert not site.supervisor._alive


async def test_a_worker_that_is_given_up_during_a_reload(tmp_path: Path) -> None:
    """Who asks next has another interpreter, and what was being loaded is not needed any more, or is that one."""
    async with Site(tmp_path, timeouts={"interrupt": 0.2}) as site:
        path, gate = site.write("app.wsgi", "one"), tmp_path / "gate"
        await site.ask(path)
        pool = site.supervisor.pool(site.choice(path))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: site.ask(path, query=str(tmp_path / "never")))
            await site.settle(lambda: pool.busy)
            site.write("app.wsgi", "two", first=f"marker.wait({str(gate)!r})")
            assert site.supervisor.pool(site.choice(path)) is pool
            await site.settle(lambda: len(site.supervisor._alive) == 2)
            site.supervisor.give_up(pool.busy[0])
            assert pool.is_retired
            gate.touch()
            assert (await site.ask(path)).tag == "two"
            await site.calm()
            assert (await site.ask(path)).tag == "two"
            await site.settle(lambda: len(site.supervisor._alive) == 2)
            (tmp_path / "never").touch()
        await site.settle(lambda: len(site.supervisor._alive) == 1)


async def test_the_end_when_a_reload_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the reloads waits for one as well that is just about to begin."""
    problems: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", problems.append)
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        await site.ask(path)
        reloading = site.supervisor.reloading
        assert reloading is not None
        waits = threading.Thread(target=reloading.join, args=[anyio.current_time() + 20])
        really = threading.Thread.start

        def start_late(thread: threading.Thread) -> None:
            if thread.name.startswith("reload") and not waits.ident:
                really(waits)
                waits.join(0.2)  # it has to wait for us
            really(thread)

        monkeypatch.setattr(threading.Thread, "start", start_late)
        site.write("app.wsgi", "two")
        await site.until(lambda answer: answer.tag == "two", path)
        await site.settle(lambda: not waits.is_alive())
    assert not problems


async def test_a_new_interpreter_that_ends(tmp_path: Path) -> None:
    """One that has failed by the time it is to take the old one's place does not take it, whenever that is."""
    async with Site(tmp_path) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path)
        supervisor = site.supervisor
        old = supervisor._pools["", "shop"]
        made = supervisor.candidate(old, {})
        (interpreter,) = (one for one, pool in supervisor._alive.items() if pool is made.pool)
        await site.settle(lambda: interpreter.state is State.RUNNING)
        retire, swapped = made.pool.retire, []

        def retire_late() -> None:
            swap = threading.Thread(target=lambda: swapped.append(supervisor.swap(old, made)))
            swap.start()
            swap.join(0.2)  # it has to wait for us
            retire()

        made.pool.retire = retire_late  # type: ignore[method-assign]  # a moment that is hard to meet
        interpreter.channel.shut()
        await site.settle(lambda: swapped)
        assert swapped == [False]
        assert await site.ask(path) == first


@pytest.mark.parametrize("isolation", ["auto", "interpreter"])
async def test_an_extension_module_that_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, isolation: str
) -> None:
    """A changed script may need a process of its own: its group moves there; where it must not, the old one goes on."""
    async with Site(tmp_path, settings={"isolation": isolation}) as site:
        path = site.write("app.wsgi", "one")
        first = await site.ask(path)
        site.write("app.wsgi", "two", first="import readline")
        assert await site.ask(path) == first
        if isolation == "auto":
            second = await site.until(lambda answer: answer.tag == "two", path)
            assert second.process != first.process
            assert "is moved into a daemon process" in caplog.text
        else:
            await site.calm()
            assert await site.ask(path) == first
            assert caplog.text.count("has changed, but") == 1


async def test_a_group_that_moves_during_a_reload(tmp_path: Path) -> None:
    """Its requests go to its own process, whatever has been loaded for it here meanwhile."""
    source = """
def application(environ, start_response):
    if environ["QUERY_STRING"]:
        import readline
    start_response("200 OK", [])
    return [b"one x 0 0"]
"""
    async with Site(tmp_path) as site:
        path, gate = site.write("app.wsgi", "one", source=source), tmp_path / "gate"
        await site.ask(path)
        await begun(site, path, f"marker.wait({str(gate)!r})")
        assert (await site.ask(path, query="x")).status == 500
        gate.touch()
        await site.calm()
        second = await site.ask(path)
        assert second.tag == "two"
        assert second.process in site.supervisor.process_groups.pids
        assert await site.ask(path) == second
        await site.settle(lambda: not site.supervisor._alive)
