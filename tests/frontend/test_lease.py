"""A lease: how it is got behind others, and a worker that reads slowly, over a buffer smaller than it should be."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncgroups.errors import ApplicationFailed, ApplicationNotFound, ChannelClosed, ChannelUnread, ProtocolError
from asyncgroups.frontend import taking
from asyncgroups.frontend.isolation import Refusal
from asyncgroups.frontend.lease import GroupMoved, Lease, State
from asyncgroups.frontend.taking import take
from asyncgroups.host.pool import Pool, Worker
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
        self.worker = Worker(self.ends, 1, channel, member=self.ends)

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


class Shop:
    """A supervisor and an interpreter, whose pool has one worker: its end of the channel is the test's."""

    label = "shop"

    def __init__(self) -> None:
        self.timeouts = SimpleNamespace(request=0, startup=0, queue=0)
        self.pool = Pool(self, threads=1, backlog=10)
        self.theirs: list[Channel] = []
        self.adopted: list[Worker] = []

    def add_worker(self, number: int) -> Channel:
        channel, descriptor = pair()
        self.theirs.append(Channel(descriptor, blocking=True))
        return channel

    def ping(self) -> None:
        """It says nothing."""

    def adopt(self, worker: Worker, *, limit: float | None) -> None:
        self.adopted.append(worker)

    async def take(self, number: int) -> Lease:
        lease = await take(self, lambda: self.pool, number, first=lambda _: request(number))
        assert lease is not None
        try:
            if lease.sent < len(request(number)):
                await lease.write(request(number), lease.sent)
        except BaseException:
            lease.end("it could not be sent")
            raise
        return lease

    def said(self) -> list[tuple[int, bytes]]:
        """What has been said to the last worker."""
        found = []
        while (frame := self.theirs[-1].receive_nowait()) is not None:
            found.append(frame)
        return found


def request(number: int) -> bytes:
    return messages.frame(messages.REQUEST, b"%d" % number)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    for channel in shop.theirs:
        channel.close()
    for worker in [one for member in shop.pool._members for one in (*member.idle, *member.busy)]:
        worker.channel.close()


TEXTS = ("shop:app", "numpy", "it refuses")
MET: dict[str, tuple[bytes, bool, type[Exception], State]] = {
    "moved": (messages.unfit("shop:app", TEXTS[1:], kind="E", reason="why"), True, GroupMoved, State.BUSY),
    "not moved": (messages.unfit("shop:app", TEXTS[1:], kind="E", reason="why"), False, ApplicationFailed, State.BUSY),
    "no refusal": (messages.texts(messages.UNFIT, "a"), True, ProtocolError, State.LOST),
    "nothing lacking": (messages.texts(messages.LACKING, "a"), True, ProtocolError, State.LOST),
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("frame", "moves", "error", "state"), MET.values(), ids=MET)
async def test_an_application_that_is_unfit(
    shop: Shop, frame: bytes, moves: bool, error: type[Exception], state: State, at_once: bool
) -> None:
    """The supervisor says whether there is another place; a worker that says something else is lost."""
    lease = await shop.take(1)
    refusals: list[Refusal] = []
    shop.move = lambda _, refusal: refusals.append(refusal) or moves
    shop.theirs[-1].send(messages.frame(messages.TAKEN, bytes(8)) + frame if at_once else frame)
    if at_once:
        assert await lease.next(PATIENCE) == (messages.TAKEN, bytes(8))
    with pytest.raises(error):
        lease.heard() if at_once else await lease.next(PATIENCE)
    assert refusals == ([Refusal(*TEXTS)] if error is not ProtocolError else [])
    assert lease.state is state
    lease.end()


async def test_an_application_that_is_not_there(shop: Shop) -> None:
    """It is not found, which the log has said, and its worker has more to say."""
    lease = await shop.take(1)
    shop.theirs[-1].send(b"".join(map(messages.frame, (messages.LOADING, messages.ABSENT))))
    with pytest.raises(ApplicationNotFound) as failed:
        await lease.next(PATIENCE)
    assert isinstance(failed.value, ApplicationFailed)
    assert failed.value.status == 404
    assert lease.state is State.BUSY
    lease.end()


async def test_what_is_lacking(shop: Shop) -> None:
    """It is passed on, before the response that it spoils."""
    lease = await shop.take(1)
    refusals: list[Refusal] = []
    shop.move = lambda _, refusal: refusals.append(refusal)
    shop.theirs[-1].send(messages.texts(messages.LACKING, *TEXTS) + messages.END_FRAME)
    assert await lease.next(PATIENCE) == (messages.END, b"")
    assert refusals == [Refusal(*TEXTS)]
    await finish(lease, shop)


@pytest.mark.parametrize("has_left", [True, False])
@pytest.mark.parametrize("is_loading", [True, False])
async def test_a_failure_after_the_group_has_left(shop: Shop, has_left: bool, is_loading: bool) -> None:
    """What does not load for another's refusal loads elsewhere; a request that has begun is over."""
    lease = await shop.take(1)
    shop.has_left = lambda _: has_left
    stages = [messages.LOADING] if is_loading else [messages.LOADING, messages.LOADED]
    shop.theirs[-1].send(b"".join(map(messages.frame, stages)) + messages.frame(messages.FAILED, b"ValueError"))
    with pytest.raises(GroupMoved if has_left and is_loading else ApplicationFailed):
        await lease.next(PATIENCE)
    lease.end()


async def finish(lease: Lease, shop: Shop) -> None:
    """Let the worker say DONE, and the exchange end."""
    shop.theirs[-1].send(messages.DONE_FRAME)
    assert await lease.next(PATIENCE) == (messages.DONE, b"")
    lease.end()


@contextlib.asynccontextmanager
async def second_in_line(shop: Shop) -> AsyncIterator[tuple[Lease, anyio.CancelScope, list[Lease | Exception]]]:
    """A lease whose worker the next request waits for; how to cancel that request; what becomes of it."""
    await finish(await shop.take(1), shop)  # the loop now has an inlet to the worker
    lease = await shop.take(2)
    scope = anyio.CancelScope()
    outcome: list[Lease | Exception] = []

    async def wait() -> None:
        with scope:
            try:
                outcome.append(await shop.take(3))
            except ChannelClosed as error:
                outcome.append(error)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while not shop.pool._waiting:
                await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            shop.said()
            yield lease, scope, outcome


@pytest.mark.parametrize("pause", [0.0, 2 * taking.PATIENCE])
async def test_who_frees_a_worker_sends_it_the_next_request(shop: Shop, anyio_backend: str, pause: float) -> None:
    """Under asyncio the request that waits is sent at once; by its own task if it has waited longer, or under trio."""
    async with second_in_line(shop) as (first, _, outcome):
        await anyio.sleep(pause)
        await finish(first, shop)
        at_once = shop.said()
        assert at_once == ([(messages.REQUEST, b"3")] if anyio_backend == "asyncio" and not pause else [])
        shop.theirs[-1].send(messages.numbers(messages.TAKEN, 7))
    (third,) = outcome
    assert isinstance(third, Lease)
    assert at_once + shop.said() == [(messages.REQUEST, b"3")], "once, whoever sends it"
    assert await third.next(PATIENCE) == (messages.TAKEN, (7).to_bytes(8))
    await finish(third, shop)
    assert not shop.pool.busy


async def test_a_request_that_was_sent_is_cancelled(shop: Shop, anyio_backend: str) -> None:
    """A task that is cancelled when its request is out leaves the worker to the reaper, with ABORT."""
    async with second_in_line(shop) as (first, scope, outcome):
        await finish(first, shop)
        scope.cancel()
    assert outcome == []
    if anyio_backend == "asyncio":
        assert [kind for kind, _ in shop.said()] == [messages.REQUEST, messages.ABORT]
        assert shop.adopted == shop.pool.busy != []
    else:
        assert shop.said() == []
        assert not shop.pool.busy


async def test_the_limit_counts_from_the_grant(shop: Shop) -> None:
    """An application's time begins when its request goes out, also where the task learns of it with the answer."""
    shop.timeouts.request = 1000
    async with second_in_line(shop) as (first, _, outcome):
        await finish(first, shop)
        await anyio.sleep(taking.PATIENCE / 2)
        shop.theirs[-1].send(messages.numbers(messages.TAKEN, 7))
    (third,) = outcome
    assert isinstance(third, Lease)
    rest = third.rest()
    assert rest is not None
    assert rest <= 1000 - taking.PATIENCE / 4  # its request goes out a moment after the first one has finished
    assert await third.next(PATIENCE) == (messages.TAKEN, (7).to_bytes(8))
    await finish(third, shop)


@pytest.mark.parametrize(
    ("lasting", "aborted", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
async def test_what_may_be_repeated(shop: Shop, *, lasting: bool, aborted: bool, expected: bool) -> None:
    """What a daemon process has not read, if all that it was told is the request: an ABORT is not read either."""
    shop.pool._lasting = lasting
    lease = await shop.take(1)
    if aborted:
        shop.pool.busy[0].abort("its time is up")
    assert lease.is_repeatable() is expected
    lease.end("the test is over")


async def test_the_worker_ends_with_a_request_that_was_sent(shop: Shop) -> None:
    """A worker that ends instead of an answer is lost, and the request with it: it may have begun."""
    async with second_in_line(shop) as (first, _, outcome):
        await finish(first, shop)
        shop.theirs[-1].shut()
        while not outcome:
            await anyio.lowlevel.checkpoint()
        (third,) = outcome
        if isinstance(third, Lease):
            with pytest.raises(ChannelClosed):
                await third.next(PATIENCE)
            third.end("lost")
        assert not shop.pool.busy


async def test_a_worker_that_ends_before_it_has_read_a_request(shop: Shop, anyio_backend: str) -> None:
    """It is known to have read nothing, also where the request was sent by who freed it: another one may have that."""
    shop.pool._lasting = True
    async with second_in_line(shop) as (first, _, outcome):
        await finish(first, shop)
        shop.theirs[-1].close()
        while not outcome:
            await anyio.lowlevel.checkpoint()
    (third,) = outcome
    if isinstance(third, Lease):
        with pytest.raises(ChannelUnread):
            await third.next(PATIENCE)
        third.end("lost")
    else:
        assert anyio_backend == "trio", "it is sent by its own task, and never gets there"


async def test_a_descriptor_that_cannot_be_read(slow: Slow) -> None:
    """It counts as no file, and is closed: an application can open a path without opening what is there."""
    lease = Lease(slow.ends, slow.worker)
    with anyio.fail_after(PATIENCE):
        descriptor = os.open(__file__, os.O_PATH)
        slow.theirs.send_descriptor(messages.numbers(messages.FILE, 1), descriptor)
        os.close(descriptor)
        assert await lease.next() is not None
        (received,) = slow.worker.channel.descriptors
        with pytest.raises(ProtocolError):
            lease.file(1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(received)
        lease.end()
    assert slow.ends.how == ["lost"]
