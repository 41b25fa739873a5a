"""A lease whose worker reads slowly, over a socket buffer that is smaller than it should be."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from asyncgroups.frontend.lease import Lease, State
from asyncgroups.host.pool import Worker
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Ends:
    """A pool and a supervisor that remember how a worker came back."""

    def __init__(self) -> None:
        self.how: list[str] = []
        self.interpreter = SimpleNamespace(label="shop")
        self.timeouts = SimpleNamespace(request=0, startup=0)

    def release(self, worker: Worker) -> None:
        self.how.append("released")

    def lose(self, worker: Worker) -> None:
        self.how.append("lost")

    def adopt(self, worker: Worker, *, limit: float | None) -> None:
        self.how.append("adopted")


class Slow:
    """A worker behind the smallest buffer that the kernel makes."""

    def __init__(self) -> None:
        channel, descriptor = pair()
        channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.theirs = Channel(descriptor, blocking=True)
        self.ends = Ends()
        self.worker = Worker(self.ends, 1, channel)

    def receive(self, count: int) -> list[tuple[int, bytes]]:
        return [self.theirs.receive() for _ in range(count)]


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.worker.channel.close()
    slow.theirs.close()


FRAMES = [messages.frame(messages.BODY, bytes([number]) * messages.LARGEST_CHUNK) for number in range(4)]


async def test_two_tasks_write(slow: Slow) -> None:
    """Messages that do not fit arrive whole, one after the other, though two tasks write them."""
    lease = Lease(slow.ends, slow.worker)
    heard: list[tuple[int, bytes]] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for frame in FRAMES:
                tasks.start_soon(lease.write, frame)
            heard += await anyio.to_thread.run_sync(slow.receive, len(FRAMES))
    assert sorted(heard) == [(messages.BODY, frame[messages.FRAME_HEADER :]) for frame in FRAMES]
    lease.end("over")
    assert slow.ends.how == ["adopted"]


@pytest.mark.parametrize("done", [False, True])
async def test_a_message_that_was_cut_is_the_end_of_a_channel(slow: Slow, done: bool) -> None:
    """After half a message nothing more is said: what comes next would be taken for its rest. The worker is lost."""
    lease = Lease(slow.ends, slow.worker)
    with anyio.move_on_after(0.05) as scope:
        await lease.write(FRAMES[0])
    assert scope.cancelled_caught
    if done:
        slow.theirs.send(messages.DONE_FRAME)
        assert await lease.next(PATIENCE) == (messages.DONE, b"")
        assert lease.state is State.DONE
    lease.end(None if done else "the client has gone")
    lease.end("again")
    assert slow.ends.how == ["lost"]
    slow.worker.channel.shut()
    theirs = bytearray()
    while received := slow.theirs._socket.recv(1 << 20):
        theirs += received
    assert FRAMES[0].startswith(theirs)
