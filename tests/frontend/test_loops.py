"""The event loop's side of a channel and of a wait, on each event loop."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncgroups.errors import ChannelClosed, ProtocolError
from asyncgroups.frontend import loops
from asyncgroups.host.pool import Worker
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from tests.serving import ROOT

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Two:
    """A worker as the front end has it, and the worker's own end."""

    def __init__(self) -> None:
        channel, descriptor = pair()
        self.theirs = Channel(descriptor, blocking=True)
        self.worker = Worker(
            SimpleNamespace(), 1, channel, member=SimpleNamespace(interpreter=SimpleNamespace(label="shop"))
        )

    def close(self) -> None:
        self.worker.channel.close()
        self.theirs.close()


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two()
    yield two
    two.close()


async def next_of(inlet: loops.Inlet, seconds: float | None = PATIENCE) -> Any:
    with anyio.fail_after(PATIENCE + 5):
        return await inlet.next(seconds)


async def test_messages_arrive_in_their_order(two: Two) -> None:
    """What is there is returned at once, what comes later when it comes, each message once."""
    inlet = loops.inlet(two.worker)
    for number in range(3):
        two.theirs.send(messages.numbers(messages.TAKEN, number))
    for number in range(3):
        assert await next_of(inlet) == (messages.TAKEN, number.to_bytes(8))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, two.theirs.send, messages.DONE_FRAME)
        assert await next_of(inlet, None) == (messages.DONE, b"")
    inlet.close(keep=False)


async def test_a_message_in_pieces(two: Two) -> None:
    """A message larger than any read, sent in pieces, arrives whole."""
    inlet = loops.inlet(two.worker)
    body = bytes(range(256)) * 2048
    frame = messages.frame(messages.RECORD, body)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, two.theirs.send, frame)
        assert await next_of(inlet) == (messages.RECORD, body)
    inlet.close(keep=False)


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_timeout(two: Two, seconds: float) -> None:
    """None when time has passed; nothing is lost by it, and a message that is there beats a seconds of 0."""
    inlet = loops.inlet(two.worker)
    for _ in range(3):
        assert await next_of(inlet, seconds) is None
    two.theirs.send(messages.END_FRAME + messages.DONE_FRAME)
    assert await next_of(inlet) == (messages.END, b"")
    assert await next_of(inlet, 0) == (messages.DONE, b"")
    assert await next_of(inlet, seconds) is None
    inlet.close(keep=False)


async def test_a_short_timeout_after_a_long_one(two: Two) -> None:
    """Each wait has a limit of its own, whatever the one before had."""
    inlet = loops.inlet(two.worker)
    for seconds in (PATIENCE, 0.02, None, 0.02):
        if seconds != 0.02:
            two.theirs.send(messages.END_FRAME)
            assert await next_of(inlet, seconds) == (messages.END, b"")
            continue
        began = anyio.current_time()
        assert await next_of(inlet, seconds) is None
        assert 0.01 < anyio.current_time() - began < PATIENCE / 2
    inlet.close(keep=False)


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("ending", ["closed", "shut", "too large"])
async def test_the_end_of_a_channel(two: Two, ending: str, waiting: bool) -> None:
    """What was said before the end is heard, then the end raises, as often as it is asked."""

    def end() -> None:
        two.theirs.send(messages.END_FRAME)
        match ending:
            case "closed":
                two.theirs.close()
            case "shut":
                two.theirs.shut()
            case "too large":
                two.theirs.send(messages.header(messages.CHUNK, messages.LARGEST_FRAME + 1))

    inlet = loops.inlet(two.worker)
    async with anyio.create_task_group() as tasks:
        if waiting:
            tasks.start_soon(anyio.to_thread.run_sync, end)
        else:
            end()
        assert await next_of(inlet) == (messages.END, b"")
        for _ in range(2):
            with pytest.raises(ProtocolError if ending == "too large" else ChannelClosed):
                await next_of(inlet)
    inlet.close(keep=False)
    inlet.close(keep=False)


async def test_what_the_application_takes_wakes_no_task(two: Two, anyio_backend: Any) -> None:
    """TAKEN goes to who listens for it, once; what comes with it wakes the task. trio's inlet returns all alike."""
    heard: list[int] = []
    returned: list[int] = []
    inlet = loops.inlet(two.worker)
    inlet.listen(heard.append)

    async def wait() -> None:
        while (frame := await next_of(inlet, None))[0] != messages.END:
            returned.append(messages.parse_numbers(frame[1], 1)[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for number in range(3):
            two.theirs.send(messages.numbers(messages.TAKEN, number))
            with anyio.fail_after(PATIENCE):
                while len(heard) + len(returned) <= number:
                    await anyio.lowlevel.checkpoint()
        two.theirs.send(messages.numbers(messages.TAKEN, 3) + messages.END_FRAME)
    found, others = (returned, heard) if anyio_backend[0] == "trio" else (heard, returned)
    assert (found, others) == ([0, 1, 2, 3], [])
    inlet.close(keep=True)
    inlet = loops.inlet(two.worker)  # of the next exchange, which has not asked for that
    two.theirs.send(messages.numbers(messages.TAKEN, 4))
    assert await next_of(inlet) == (messages.TAKEN, (4).to_bytes(8))
    assert len(heard) + len(returned) == 4
    inlet.close(keep=False)


@pytest.mark.parametrize(
    ("said", "returned"),
    [
        (messages.END_FRAME, messages.END),
        (messages.numbers(messages.TAKEN, 1) + messages.END_FRAME, messages.END),
        (messages.frame(0), 0),
        (messages.header(messages.TAKEN, messages.LARGEST_FRAME + 1), None),
    ],
    ids=["another", "both", "nonsense", "too large"],
)
async def test_a_look_keeps_nothing_from_who_waits(two: Two, said: bytes, returned: int | None) -> None:
    """What one task finds when it looks for TAKEN is heard by the task that waits, errors too."""
    inlet = loops.inlet(two.worker)
    inlet.listen(lambda _: None)
    heard: list[Any] = []

    async def wait() -> None:
        try:
            while (frame := await next_of(inlet, None))[1:] == ((1).to_bytes(8),):
                pass
            heard.append(frame[0])
        except ProtocolError:
            heard.append(None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        two.theirs.send(said)
        inlet.poll()
    assert heard == [returned]
    inlet.close(keep=False)


async def test_a_cancelled_wait_loses_nothing(two: Two) -> None:
    """A message that comes after a cancelled wait is there for the next one."""
    inlet = loops.inlet(two.worker)
    with anyio.move_on_after(0.01) as scope:
        await inlet.next(None)
    assert scope.cancelled_caught
    two.theirs.send(messages.DONE_FRAME)
    assert await next_of(inlet) == (messages.DONE, b"")
    inlet.close(keep=False)


@pytest.mark.parametrize("keep", [False, True])
async def test_exchange_after_exchange(two: Two, keep: bool) -> None:
    """A closed inlet leaves the channel to others, kept or not, and the next one hears what they have not."""
    for number in range(5):
        inlet = loops.inlet(two.worker)
        two.theirs.send(messages.numbers(messages.TAKEN, number))
        assert await next_of(inlet) == (messages.TAKEN, number.to_bytes(8))
        inlet.close(keep=keep)
        if number == 2:  # somebody else listens meanwhile
            two.theirs.send(messages.END_FRAME)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert two.worker.channel.receive_nowait() == (messages.END, b"")
    loops.inlet(two.worker).close(keep=False)


async def test_a_channel_that_is_closed_by_others(two: Two) -> None:
    """A worker that was let go while an inlet was kept does no harm to the loop, nor to who gets its number next."""
    inlet = loops.inlet(two.worker)
    two.theirs.send(messages.DONE_FRAME)
    await next_of(inlet)
    inlet.close(keep=True)
    two.worker.channel.shut()
    two.worker.channel.close()
    for _ in range(20):
        other = Two()
        again = loops.inlet(other.worker)
        other.theirs.send(messages.DONE_FRAME)
        assert await next_of(again) == (messages.DONE, b"")
        again.close(keep=False)
        other.close()


# Wakeups --------------------------------------------------------------------------------------------------------------


async def wait_for(wakeup: loops.Wakeup, seconds: float | None) -> bool:
    with anyio.fail_after(PATIENCE + 5):
        return await wakeup.wait(seconds)


@pytest.mark.parametrize("seconds", [None, PATIENCE])
async def test_a_wakeup_from_another_thread(seconds: float | None) -> None:
    """``set`` ends the wait from any thread."""
    wakeup = loops.wakeup()
    thread = threading.Thread(target=wakeup.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, thread.start)
        assert await wait_for(wakeup, seconds) is True
    thread.join()


async def test_a_wakeup_before_the_wait() -> None:
    """A wait for what has happened returns at once, and as often as it is asked; ``set`` again is no harm."""
    wakeup = loops.wakeup()
    wakeup.set()
    wakeup.set()
    for seconds in (None, 0.5, PATIENCE):
        assert await wait_for(wakeup, seconds) is True


async def test_a_wait_that_is_repeated() -> None:
    """False when time has passed; the next wait waits on, and is woken."""
    wakeup = loops.wakeup()
    assert await wait_for(wakeup, 0.01) is False
    assert await wait_for(wakeup, 0.01) is False
    wakeup.set()
    assert await wait_for(wakeup, PATIENCE) is True


async def test_a_cancelled_wait() -> None:
    """A wait may be cancelled, and what is set afterwards is no harm."""
    wakeup = loops.wakeup()
    with anyio.move_on_after(0.01) as scope:
        await wakeup.wait(None)
    assert scope.cancelled_caught
    wakeup.set()
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("first", [None, 0.1])
async def test_many_short_waits(first: float | None) -> None:
    """Each of many short waits has all of its time, and no more, whatever becomes of those before and after it."""
    lasted: list[float] = []

    async def wait(wakeup: loops.Wakeup) -> None:
        began = anyio.current_time()
        assert await wait_for(wakeup, 0.1) is False
        lasted.append(anyio.current_time() - began)

    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            wakeups = [loops.wakeup() for _ in range(9)]
            for number, wakeup in enumerate(wakeups):
                if number % 3:
                    wakeup.set()
                    assert await wait_for(wakeup, first)
                else:
                    tasks.start_soon(wait, wakeup)
                    await anyio.sleep(0.02)  # they begin one after the other
    assert len(lasted) == 6
    assert all(0.09 < seconds < PATIENCE / 2 for seconds in lasted)


async def test_a_wait_goes_on_for_the_message_of_a_worker(two: Two, anyio_backend: Any) -> None:
    """A wait may go on for a worker's first message, if the loop has kept an inlet to it; the next inlet returns it."""
    inlet = loops.inlet(two.worker)
    two.theirs.send(messages.END_FRAME)
    await next_of(inlet)
    inlet.close(keep=True)
    wakeup = loops.wakeup()
    can = anyio_backend[0] == "asyncio"
    assert not wakeup.hear(two.worker), "nobody waits yet"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for, wakeup, PATIENCE)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert not await anyio.to_thread.run_sync(wakeup.hear, two.worker), "from another thread"
        assert wakeup.hear(two.worker) == can
        if can:
            two.theirs.send(messages.DONE_FRAME)
        else:
            wakeup.set()
    if can:
        inlet = loops.inlet(two.worker)
        assert await next_of(inlet, 0) == (messages.DONE, b"")
        inlet.close(keep=False)


def test_a_wait_does_not_go_on_in_another_loop(two: Two) -> None:
    """An inlet that another event loop has kept, ended or not, does not end a wait."""

    async def keep() -> None:
        loops.inlet(two.worker).close(keep=True)

    async def wait() -> None:
        wakeup = loops.wakeup()
        asyncio.get_running_loop().call_soon(lambda: wakeup.hear(two.worker) or wakeup.set())
        assert await wait_for(wakeup, PATIENCE)
        assert two.worker.channel.frame() is None
        two.theirs.send(messages.DONE_FRAME)
        inlet = loops.inlet(two.worker)
        assert await next_of(inlet) == (messages.DONE, b"")
        inlet.close(keep=False)

    with asyncio.Runner() as other:
        other.run(keep())
        asyncio.run(wait())


def test_a_wakeup_of_a_loop_that_has_ended(anyio_backend: Any) -> None:
    """Setting a wakeup whose event loop has been closed does nothing: the task has gone with it."""
    name, options = anyio_backend
    made: list[loops.Wakeup] = []

    async def make() -> None:
        made.append(loops.wakeup())

    anyio.run(make, backend=name, backend_options=options)
    made[0].set()


def test_inlets_of_several_loops(anyio_backend: Any, two: Two) -> None:
    """A worker may serve exchanges of one event loop after another; an inlet that an ended loop kept is not used."""
    name, options = anyio_backend

    async def exchange(number: int) -> None:
        inlet = loops.inlet(two.worker)
        two.theirs.send(messages.numbers(messages.TAKEN, number))
        assert await next_of(inlet) == (messages.TAKEN, number.to_bytes(8))
        inlet.close(keep=True)

    for number in range(3):
        anyio.run(exchange, number, backend=name, backend_options=options)


def test_nothing_is_left_in_the_loop(two: Two) -> None:
    """A closed inlet that is not kept leaves no reader behind in the loop."""

    async def exchange() -> list[int]:
        loop = asyncio.get_running_loop()
        before = len(loop._selector.get_map())
        inlet = loops.inlet(two.worker)
        inlet.close(keep=False)
        return [before, len(loop._selector.get_map())]

    before, after = asyncio.run(exchange())
    assert before == after


WHILE_TRIO_IS_IMPORTED = """
import asyncio, sys, threading
from asyncgroups.frontend import loops

half_way, enough = threading.Event(), threading.Event()

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            half_way.set()
            enough.wait(20)

sys.meta_path.insert(0, Finder())

async def main():
    importing = threading.Thread(target=__import__, args=("trio",))
    importing.start()
    assert half_way.wait(20)
    try:
        loops.wakeup()
    finally:
        enough.set()
        importing.join()

asyncio.run(main())
"""


@pytest.mark.parametrize("module", ["trio._core", "trio._unix_pipes"])
def test_another_thread_imports_trio(module: str) -> None:
    """An application in GLOBAL may do so at any time: asyncio's requests do not see a trio that is half there."""
    program = [sys.executable, "-c", WHILE_TRIO_IS_IMPORTED.format(module=module)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
