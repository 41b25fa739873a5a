"""One exchange: the request's body in, the response out, credit, disconnect. Imports ``frontend`` and ``wire``.

The usual request is one message to the worker and one back, without a second task. What takes longer than
``PATIENCE``, or has a body that is still arriving, gets a task that listens to the client.

Guarantees, next to those of ``lease``:

- For the client to take the response waits only the server's ``send``, which ends with its reading or leaving.
- The client's leaving ends every other wait, once ``PATIENCE`` has passed.
- Neither side holds more than a window of the other's bytes.
- However the exchange ends, cancellation included, its lease ends, and no task outlives it.
- The rest of a body waits until the application is loaded, for ``timeouts.startup`` at the most, where that may have to
  happen elsewhere: one message can be sent again.
- A ``send`` of the last event is not cancelled by what it makes ``receive`` return: hypercorn on trio needs its end.
- A body lets the others of its loop have their turn every ``_BREATH``, in either direction: with a client that has
  left, the ``send`` of hypercorn and granian returns without suspending, and would freeze the server.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

from asyncgroups.errors import (
    ApplicationFailed,
    ApplicationGroupsError,
    BodyTooLarge,
    ChannelClosed,
    ChannelUnread,
    RequestTimedOut,
)
from asyncgroups.frontend import loops
from asyncgroups.frontend.answers import DRAIN_BYTES, DRAIN_SECONDS, answer
from asyncgroups.frontend.events import Before, Progress
from asyncgroups.frontend.files import ResponseFile
from asyncgroups.frontend.lease import GroupMoved, Lease, State
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.taking import PATIENCE, take
from asyncgroups.host.pool import Pool
from asyncgroups.wire import messages
from asyncgroups.wire.fields import are_sound

__all__ = ["Exchange"]

_log = logging.getLogger("asyncgroups")

_BREATH = 0.0005
"""Seconds. A turn of the event loop costs a quarter of what 64 KiB do, so not after each of them."""


class _ClientLeft(ApplicationGroupsError):
    """The server's ``send`` has raised OSError (ASGI specification, "Disconnected Client")."""


class Exchange:
    """One request and its response, over one lease. application: ``module:attribute``, or an object's name."""

    __slots__ = (
        "_application",
        "_body_room",
        "_breath_at",
        "_credit",
        "_file",
        "_final_due",
        "_first",
        "_gone",
        "_key",
        "_lease",
        "_loaded",
        "_method",
        "_more_credit",
        "_number",
        "_passed_on",
        "_problem",
        "_receive",
        "_response",
        "_send_event",
        "_supervisor",
        "_upload_over",
        "_uploaded",
    )

    def __init__(
        self,
        supervisor: Supervisor,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        *,
        number: int,
        method: str,
        application: str,
        key: bytes | None = None,
    ) -> None:
        """``key`` sends the request to one of several processes: see ``host.sticky``."""
        self._key = key
        self._number = number
        self._supervisor = supervisor
        self._receive: Callable[[], Awaitable[Any]] = receive
        self._send_event: Callable[[Any], Awaitable[None]] = send
        self._method = method
        self._application = application
        self._lease: Lease | None = None
        self._first = b""
        # the request's body
        self._uploaded = True
        self._upload_over: anyio.Event | None = None
        self._body_room = supervisor.limits.request_body
        self._credit = messages.WINDOW
        self._more_credit: loops.Wakeup | None = None
        self._loaded: anyio.Event | None = None
        """Until it is set the body stays here: the request may have to go elsewhere with it. None: no need for that."""
        self._passed_on = False
        # the response
        self._response = Progress.WAITING
        self._final_due = False
        self._file: ResponseFile | None = None
        # what another task has found
        self._breath_at = 0.0
        self._gone = False
        self._problem: Exception | None = None

    async def run(self, find: Callable[[], Pool], head: bytes) -> None:
        """Answer the request, whose group has the pool that ``find`` returns.

        Raises what the server's ``send`` or ``receive`` raise, if that is no OSError.
        """
        # A client that has not sent the first byte of its body yet holds no worker.
        try:
            event = await self._receive()
        except OSError:
            return
        if event["type"] != "http.request":
            return
        body = event.get("body", b"")
        self._uploaded = not event.get("more_body", False)
        try:
            self._count(body)
            inline, rest = body[: messages.LARGEST_CHUNK], body[messages.LARGEST_CHUNK :]
            first = partial(self._request, head, inline, self._uploaded and not rest)
            for is_last in (False, False, True):
                if await self._attempt(find, first, rest, is_last=is_last):
                    break
                rest = b""  # it waits to be received again
        except ApplicationGroupsError as error:
            await self._fail(error)
        finally:
            if self._lease is not None and self._lease.state is not State.ENDED:
                self._part()
            if self._file is not None:
                self._file.close()

    async def _attempt(
        self, find: Callable[[], Pool], first: Callable[[Pool], bytes], rest: bytes, *, is_last: bool
    ) -> bool:
        """Exchange request and response; False when it has to be done again, elsewhere, with the same first message."""
        lease = await self._hand_over(find, first)
        if lease is None:
            return True
        is_whole = self._uploaded and not rest
        if rest:
            self._put_back(rest)
        try:
            if not self._uploaded or not await self._hear_at_once(lease):
                await self._converse(lease)
        except GroupMoved:
            if not self._gone and (is_last or self._passed_on or self._response is not Progress.WAITING):
                raise
        except ChannelUnread:
            is_known = self._response is not Progress.WAITING or not is_whole
            if is_last or is_known or self._gone or not lease.is_repeatable():
                raise
        else:
            return True
        self._problem = None
        lease.end()
        return self._gone

    async def _hand_over(self, find: Callable[[], Pool], first: Callable[[Pool], bytes]) -> Lease | None:
        """A lease whose worker has all of the first message; None when the client left before.

        One that has died meanwhile never had it: the request goes to another.
        """
        for is_last in (False, False, True):
            lease = self._lease = await take(
                self._supervisor, find, self._number, first=first, client=self._look_ahead, key=self._key
            )
            if lease is None:
                return None
            try:
                if lease.sent < len(self._first):
                    await lease.write(self._first, lease.sent)
                if self._loaded is not None:
                    lease.on_loaded = partial(self._prove, lease.pool)
                return lease
            except ChannelClosed:
                if is_last:
                    raise
                lease.end()
        return None

    def _request(self, head: bytes, inline: bytes, complete: bool, pool: Pool) -> bytes:  # noqa: FBT001 - a partial's
        """REQUEST, for a worker of ``pool``, with the beginning of the body."""
        self._credit = messages.WINDOW - (messages.cost(len(inline)) if inline else 0)
        asks = self._application not in pool.proven
        self._loaded = anyio.Event() if asks else None
        self._first = messages.start(messages.REQUEST, head, inline, complete=complete, asks=asks)
        return self._first

    def _prove(self, pool: Pool) -> None:
        """The application is loaded: what comes of the body may go to it."""
        pool.proven.add(self._application)
        if self._loaded is not None:
            self._loaded.set()
            self._loaded = None

    def _put_back(self, rest: bytes) -> None:
        """Let the rest of a first event that is larger than a message go the way of what follows it."""
        event = {"type": "http.request", "body": rest, "more_body": not self._uploaded}
        self._receive = Before(event, self._receive)
        self._uploaded = False
        if self._body_room is not None:
            self._body_room += len(rest)  # it will be counted again

    async def _hear_at_once(self, lease: Lease) -> bool:
        """Take a response that is there quickly; False when it takes longer."""
        until = None
        while self._response is not Progress.COMPLETE:
            frame = lease.heard() or await lease.next(PATIENCE)
            if frame is None:
                return False
            await self._hear(lease, *frame)
            if until is None:
                until = time.monotonic() + PATIENCE
            elif time.monotonic() > until:
                break
        if self._response is not Progress.COMPLETE or self._file is not None:
            return False
        await self._finish()
        return True

    async def _converse(self, lease: Lease) -> None:
        """Take a response that takes its time, and listen to the client meanwhile."""
        self._upload_over = anyio.Event()
        lease.listen(self._taken)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, lease, tasks.cancel_scope)
            # What is raised does not go through the task group: it would make exception groups of it.
            try:
                while self._response is not Progress.COMPLETE:
                    if (frame := lease.heard() or await lease.next()) is not None:
                        await self._hear(lease, *frame)
                self._part()
                await self._send_file()
                if not self._uploaded:
                    # The client is still sending: it had better get to read the response before the server closes.
                    with anyio.move_on_after(DRAIN_SECONDS):
                        await self._upload_over.wait()
            except Exception as error:
                self._problem = error
            tasks.cancel_scope.cancel()
        if self._problem is not None:
            raise self._problem
        if not self._gone:
            await self._finish()

    # The client -------------------------------------------------------------------------------------------------------

    async def _listen(self, lease: Lease, scope: anyio.CancelScope) -> None:
        """Pass the request's body on; then wait for the client to leave."""
        assert self._upload_over is not None
        dropped = 0
        try:
            if (loaded := self._loaded) is not None and not self._uploaded:
                event = await self._look_ahead()
                if event["type"] == "http.request":
                    await loaded.wait()
            while True:
                event = await self._receive()
                if event["type"] == "http.disconnect":
                    self._gone = True
                    if self._response is Progress.COMPLETE and self._file is None:
                        self._upload_over.set()  # and nothing is cancelled: the last `send` itself may have said it
                        return
                    break
                if self._uploaded:
                    return  # middleware that repeats itself: no disconnect will come from there, and no end of this
                body = event.get("body", b"")
                if lease.state is State.ENDED:  # the response is complete, nobody reads the rest
                    dropped += len(body)
                else:
                    self._count(body)
                    self._passed_on = True
                    await self._forward(lease, body)
                if not event.get("more_body", False):
                    await lease.write(messages.frame(messages.BODY_END))
                    self._uploaded = True
                if self._uploaded or dropped > DRAIN_BYTES:
                    self._upload_over.set()
        except OSError:
            self._gone = True
        except Exception as error:
            self._problem = error
        scope.cancel()

    async def _forward(self, lease: Lease, body: bytes) -> None:
        for at in range(0, len(body), messages.LARGEST_CHUNK):
            piece = body[at : at + messages.LARGEST_CHUNK]
            price = messages.cost(len(piece))
            if self._credit < price:
                await self._wait_for_credit(lease, price)
            self._credit -= price
            await lease.write_body(piece)
            if time.monotonic() >= self._breath_at:
                await self._breathe()

    async def _wait_for_credit(self, lease: Lease, price: int) -> None:
        lease.poll()
        while self._credit < price and lease.state is State.BUSY:
            self._more_credit = loops.wakeup()
            await self._more_credit.wait(None)

    def _taken(self, number: int) -> None:
        """The application has taken so much of what was sent."""
        self._credit += number
        if self._more_credit is not None:
            self._more_credit.set()

    def _count(self, body: bytes) -> None:
        if self._body_room is not None:
            self._body_room -= len(body)
            if self._body_room < 0:
                raise BodyTooLarge("the request's body is larger than limits.request_body")

    async def _send(self, *events: dict[str, object]) -> None:
        rest = self._lease.rest() if self._lease is not None else None
        try:
            if rest is None:
                for event in events:
                    await self._send_event(event)
                return
            with anyio.move_on_after(rest) as scope:
                for event in events:
                    await self._send_event(event)
        except OSError as error:
            raise _ClientLeft(str(error)) from error
        if scope.cancelled_caught:
            raise RequestTimedOut("the client took too long to take the response (timeouts.request)")

    async def _look_ahead(self) -> Any:
        """Receive an event, and let the next ``receive`` return it again."""
        event = await self._receive()
        self._receive = Before(event, self._receive)
        return event

    # The worker -------------------------------------------------------------------------------------------------------

    async def _hear(self, lease: Lease, kind: int, payload: bytes) -> None:
        if kind == messages.START and self._response is Progress.WAITING:
            await self._hear_start(lease, payload)
            return
        started = self._response is Progress.STARTED
        if kind == messages.CHUNK and started:
            await self._send({"type": "http.response.body", "body": payload, "more_body": True})
            await lease.give_credit(len(payload))
            if time.monotonic() >= self._breath_at:
                await self._breathe()
        elif kind == messages.END and started:
            self._response = Progress.COMPLETE
            self._final_due = True
        elif kind == messages.TAKEN:
            self._taken(messages.parse_numbers(payload, 1)[0])
        elif kind == messages.FILE and started and self._file is None:
            self._file = lease.file(messages.parse_numbers(payload, 1)[0])
        else:
            raise lease.distrust(f"a worker sent message {kind} while {self._response.value}")

    async def _hear_start(self, lease: Lease, payload: bytes) -> None:
        start = messages.parse_start(payload)
        if not are_sound(start.headers):
            raise lease.distrust("a response with header fields that it must not have")
        self._response = Progress.COMPLETE if start.complete else Progress.STARTED
        whole = start.complete and self._uploaded
        if whole and lease.look_for_done():
            lease.end()  # before the client has its response: the next request may have the worker
        head = {"type": "http.response.start", "status": start.status, "headers": start.headers}
        if whole:
            await self._send(head, {"type": "http.response.body", "body": start.body, "more_body": False})
            return
        await self._send(head)
        self._final_due = start.complete
        if start.body:
            await self._send({"type": "http.response.body", "body": start.body, "more_body": True})
            if not start.complete:
                await lease.give_credit(len(start.body))
            await self._breathe()

    async def _breathe(self) -> None:
        """Let the others of this loop have their turn."""
        await anyio.lowlevel.checkpoint()
        self._breath_at = time.monotonic() + _BREATH

    def _part(self) -> None:
        """Let go of the worker. Later calls do nothing."""
        if self._lease is None:
            return
        if self._response is not Progress.COMPLETE:
            self._lease.end("the client has gone" if self._problem is None else str(self._problem))
        elif self._uploaded or self._lease.look_for_done():
            self._lease.end()
        else:  # close() may still want the rest of the body, which nobody passes on from here
            self._lease.end("the response is complete, the rest of the request's body is dropped")
        if self._more_credit is not None:
            self._more_credit.set()  # nobody will give credit any more

    # The response -----------------------------------------------------------------------------------------------------

    async def _send_file(self) -> None:
        """The rest of the body from a file, without the worker."""
        if self._file is None:
            return
        while self._file.rest:
            block = await self._file.block()
            await self._send({"type": "http.response.body", "body": block, "more_body": True})
            await anyio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        self._part()
        if self._final_due:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self, error: ApplicationGroupsError) -> None:
        """Answer with an error, or, where a part of the response has gone out, cut it."""
        self._problem = error
        started = self._response is not Progress.WAITING
        label = self._lease.label if self._lease is not None else "-"
        self._part()
        if isinstance(error, _ClientLeft):
            return
        if not isinstance(error, ApplicationFailed):
            level = logging.ERROR if error.status in (500, 502, 504) else logging.WARNING
            _log.log(level, "[%s #%d] %d: %s", label, self._number, error.status, error)
        if started:
            return  # without the final message every server cuts the connection
        receive = None if self._uploaded else self._receive
        await answer(self._send_event, error, method=self._method, receive=receive)
