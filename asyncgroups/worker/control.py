"""The control thread of an interpreter: what its front ends ask of it. Standard library, ``wire``, ``worker``.

In the server an interpreter has one front end. In a daemon process several may share it. Guarantees:

- The control thread runs no application code but what the application wants to be run at the end, so that it answers
  as long as anything can.
- A front end's numbers are its own: an interrupt of one of them hits no exchange of another's.
- A front end that leaves, in whatever way, takes along what it has asked for, and nothing else. The last one ends the
  interpreter.
- An interrupt for a request that no thread has begun yet ends it as well: it is never begun.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time

from asyncgroups.errors import ChannelClosed, ProtocolError
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel
from asyncgroups.worker.crew import Post
from asyncgroups.worker.journal import ERROR, Outlet

__all__ = ["Control", "FrontEnd", "Worker"]


_GIVEN_UP_SECONDS = 1.0
"""For the workers of a front end that has gone without a word: their channels have come to an end as well."""


class FrontEnd:
    """A front end as the interpreter has it. number: of those that the interpreter has had, from 0."""

    __slots__ = ("channel", "number", "outlet", "stop_at", "workers")

    def __init__(self, channel: Channel, outlet: Outlet, number: int) -> None:
        self.channel: Channel = channel
        self.outlet: Outlet = outlet
        self.number: int = number
        self.workers: dict[int, Worker] = {}
        """By the number that it has given them."""
        self.stop_at: float | None = None
        """When STOP waits no longer, by the monotonic clock."""


class Worker(Post):
    """A worker as its front end sees it: a channel."""

    def __init__(self, control: Control, channel: Channel, front_end: FrontEnd, number: int) -> None:
        super().__init__(channel)
        self.region: Region | None = None
        """Of the thread that serves it."""
        self.thread: int = 0
        self.forgone: int = 0
        """The exchange that the last interrupt was for: where that has come first it ends as soon as it begins."""
        self._control = control
        self._front_end = front_end
        self._number = number

    def key(self, exchange: int) -> int:
        """What a region knows an exchange by: other front ends count from 1 as well."""
        return (self._front_end.number << 64) + exchange

    def take(self, region: Region) -> None:
        self.region = region
        self.thread = threading.get_ident()
        self._control.journal.of_threads[self.thread] = self._front_end.outlet

    def part(self) -> None:
        self._control.journal.of_threads.pop(self.thread, None)
        self.channel.close()
        with self._control.parting:
            if self._front_end.workers.get(self._number) is self:
                del self._front_end.workers[self._number]
            self._control.parting.notify_all()

    def interrupt(self, exchange: int) -> None:
        """Raise RequestInterrupted in the thread that runs ``exchange``, or is about to."""
        self.forgone = exchange  # before the region is looked at, which its thread enters before it looks at this
        region, where = self.region, _stack(sys._current_frames().get(self.thread))
        if region is not None and region.interrupt(self.key(exchange)):
            self.say(exchange, f"the request is interrupted; it is at:\n{where}")

    def forgo(self, exchange: int) -> None:
        """End ``exchange`` if it is the next one. For who has claimed it. Raises ChannelClosed, ProtocolError."""
        self.forgone = exchange  # a part of it may still be on its way
        if messages.begun(self.channel.look()) != exchange:
            return
        while (frame := self.channel.receive_nowait()) is not None:
            if frame[0] in (messages.REQUEST, messages.LOAD, messages.RELOAD):
                self.channel.send(messages.frame(messages.FAILED, b"RequestInterrupted") + messages.DONE_FRAME)
                self.say(exchange, "the request is interrupted; no thread was free to begin it")
                return

    def say(self, exchange: int, text: str) -> None:
        """Log ``text`` for ``exchange``."""
        self._front_end.outlet.tell(messages.record(ERROR, exchange, text))


class Control:
    """The control thread; see above.

    hire: makes a worker of a channel, its front end and its number. on_stop: called before the last front end is told
    that the interpreter has stopped.
    """

    def __init__(
        self,
        journal: Journal,
        crew: Crew,
        *,
        hire: Callable[[Control, Channel, FrontEnd, int], Worker],
        on_stop: Callable[[], None],
    ) -> None:
        self.journal: Journal = journal
        self.parting: threading.Condition = threading.Condition(threading.Lock())
        """Told of each worker that has come to its end."""
        self._crew = crew
        self._hire = hire
        self._on_stop = on_stop
        self._front_ends: dict[int, FrontEnd] = {}
        """By the descriptor of the control channel."""
        self._met = 0
        self._poll = select.poll()

    def __repr__(self) -> str:
        return f"<Control: {len(self._front_ends)} front ends>"

    def obey(self, channel: Channel, door: int | None = None) -> int:
        """Do what the front ends say until the last one has left; how many threads had not ended by then.

        channel: the control channel of the first one. door: a descriptor, out of which come those of others, eight
        bytes with the number of each.
        """
        if door is not None:
            self._poll.register(door, select.POLLIN)
        self._meet(channel, self.journal.outlets[0])
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor == door:
                        self._let_in(int.from_bytes(os.read(door, 8)))
                        continue
                    front_end = self._front_ends[descriptor]
                    if self._hear(front_end):
                        continue
                    if len(self._front_ends) == 1:
                        return self._end(front_end)  # who stands at the door comes too late
                    self._part(front_end)
        finally:
            for front_end in self._front_ends.values():
                front_end.outlet.close()

    def _hear(self, front_end: FrontEnd) -> bool:
        """Do what it says; whether it goes on."""
        try:
            while (frame := front_end.channel.receive_nowait()) is not None:
                self._do(front_end, *frame)
        except (ChannelClosed, ProtocolError):
            return False  # it has stopped, has gone, or talks nonsense
        return True

    def _let_in(self, descriptor: int) -> None:
        channel = Channel(descriptor, blocking=True)
        self.journal.outlets.append(outlet := Outlet(channel))
        self._meet(channel, outlet)

    def _meet(self, channel: Channel, outlet: Outlet) -> None:
        self._front_ends[channel.fileno()] = FrontEnd(channel, outlet, self._met)
        self._met += 1
        self._poll.register(channel.fileno(), select.POLLIN)
        outlet.tell(messages.frame(messages.READY))

    def _part(self, front_end: FrontEnd) -> None:
        """It leaves the interpreter to others."""
        del self._front_ends[front_end.channel.fileno()]
        self._poll.unregister(front_end.channel.fileno())
        left = self._dismiss(front_end)
        if front_end.stop_at is not None:
            front_end.outlet.tell(messages.numbers(messages.STOPPED, left))
        self.journal.outlets.remove(front_end.outlet)
        front_end.outlet.close()

    def _end(self, front_end: FrontEnd) -> int:
        """It was the last one."""
        self._dismiss(front_end)
        if front_end.stop_at is None:
            return self._crew.join(time.monotonic() + _GIVEN_UP_SECONDS)
        left = self._crew.join(front_end.stop_at)
        self._on_stop()
        front_end.outlet.tell(messages.numbers(messages.STOPPED, left))
        return left

    def _dismiss(self, front_end: FrontEnd) -> int:
        """Let go of its workers; how many of them are busy."""
        return sum(not self._crew.dismiss(worker) for worker in list(front_end.workers.values()))

    def _do(self, front_end: FrontEnd, kind: int, payload: bytes) -> None:
        descriptors = front_end.channel.descriptors
        if kind == messages.WORKER:
            number = messages.parse_numbers(payload, 1)[0]
            if descriptors:
                self._start_worker(front_end, number, descriptors.pop(0))
            else:  # lost on its way, and closed: the front end sees the end of its channel
                self._complain(front_end, f"worker {number} has no channel: too many open files")
        elif kind == messages.INTERRUPT:
            self._interrupt(front_end, *messages.parse_numbers(payload, 2))
        elif kind == messages.PING:
            front_end.outlet.tell(messages.frame(messages.PONG))
        elif kind == messages.STOP:  # a second one comes when the server's own end is nearer
            until = time.monotonic() + messages.parse_numbers(payload, 1)[0] / 1000
            front_end.stop_at = until if front_end.stop_at is None else min(until, front_end.stop_at)
            # A thread of its own waits for the workers: interrupts must get through meanwhile.
            threading.Thread(target=self._await_workers, args=(front_end, until), name="stop").start()

    def _await_workers(self, front_end: FrontEnd, until: float) -> None:
        with self.parting:
            self.parting.wait_for(lambda: not front_end.workers, max(0.0, until - time.monotonic()))
        front_end.channel.stop_reading()

    def _start_worker(self, front_end: FrontEnd, number: int, descriptor: int) -> None:
        worker = self._hire(self, Channel(descriptor, blocking=True), front_end, number)
        front_end.workers[number] = worker
        try:
            self._crew.add(worker, number)
        except RuntimeError as error:
            worker.part()
            self._complain(front_end, f"worker {number} has no thread: {error}")

    def _interrupt(self, front_end: FrontEnd, number: int, exchange: int) -> None:
        worker = front_end.workers.get(number)
        if worker is None:
            return
        if not self._crew.claim(worker):
            worker.interrupt(exchange)
            return
        try:
            worker.forgo(exchange)
        except (ChannelClosed, ProtocolError):
            worker.is_dismissed = True
            worker.channel.shut()
        self._crew.park(worker)

    def _complain(self, front_end: FrontEnd, text: str) -> None:
        front_end.outlet.tell(messages.record(ERROR, 0, text))


def _stack(frame: FrameType | None) -> str:
    lines = []
    while frame is not None and frame.f_globals.get("__name__") != "asyncgroups.worker.main":
        code = frame.f_code
        lines.append(f'  File "{os.fsdecode(code.co_filename)}", line {frame.f_lineno}, in {code.co_qualname}')
        frame = frame.f_back
    return "\n".join(reversed(lines))


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from asyncgroups.worker.crew import Crew
    from asyncgroups.worker.journal import Journal
    from asyncgroups.worker.region import Region
