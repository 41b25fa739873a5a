"""One exchange as the front end sees it: body in, response out, credit, disconnect. Imports ``frontend``, ``host``, ``wire``.

The usual request is one message to the worker and one back, without a second task. What takes longer than ``_PATIENCE``, or
has a body that is still arriving, gets a task that listens to the client.

Guarantees, each wait with what wakes it and what bounds it:

- For a worker: a worker that gets free; ``timeouts.queue``; the client's leaving.
- For the worker's next message: the message, the end of its channel; ``timeouts.startup`` while the application loads,
  ``timeouts.request`` afterwards; the client's leaving.
- For the client to take the response: its reading or leaving, as the server's ``send`` sees it.
- Neither side holds more than a window of the other's bytes.
- However the exchange ends, cancellation included, its worker goes back to the pool with DONE and not before; when that
  has not come yet, the reaper waits for it. No task outlives the exchange.
- After each ``send`` of a stream there is a checkpoint: with a client that has left, the ``send`` of hypercorn and granian
  returns without suspending, and would freeze the server.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

from asyncgroups.errors import (
    ApplicationGroupsError,
    BodyTooLarge,
    ChannelClosed,
    Overloaded,
    ProtocolError,
    RequestTimedOut,
)
from asyncgroups.frontend import loops
from asyncgroups.frontend.answers import DRAIN_BYTES, DRAIN_SECONDS, answer
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.pool import Pool, Worker
from asyncgroups.wire import messages

__all__ = ["Exchange", "load"]

_log = logging.getLogger("asyncgroups")

_PATIENCE = 0.1
"""Seconds after which a task listens to the client. A disconnect is to be noticed within a second."""

_CREDIT_BACK = messages.WINDOW // 4
_FILE_BLOCK = 256 * 1024


class _ApplicationFailed(ApplicationGroupsError):
    """The worker has said FAILED: the log has the reason already."""


class _ClientLeft(ApplicationGroupsError):
    """The server's ``send`` has raised OSError: the client has gone (ASGI specification, HTTP, "Disconnected Client")."""


class Exchange:
    """One request and its response over one channel; also the request's ticket in the pool."""

    __slots__ = (
        "_body_room",
        "_complete",
        "_credit",
        "_done",
        "_file",
        "_final_due",
        "_gone",
        "_granted",
        "_inlet",
        "_limit_at",
        "_lost",
        "_method",
        "_more_credit",
        "_owed",
        "_problem",
        "_receive",
        "_refusal",
        "_send_event",
        "_started",
        "_supervisor",
        "_upload_over",
        "_uploaded",
        "_wakeup",
        "_worker",
        "_writing",
        "exchange",
    )

    def __init__(
        self,
        supervisor: Supervisor,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        *,
        number: int,
        method: str,
    ) -> None:
        self.exchange = number
        self._supervisor = supervisor
        self._receive = receive
        self._send_event: Callable[[Any], Awaitable[None]] = send
        self._method = method
        # the ticket
        self._granted: Worker | None = None
        self._refusal: ApplicationGroupsError | None = None
        self._wakeup: loops.Wakeup | None = None
        # the worker
        self._worker: Worker | None = None
        self._inlet: loops.Inlet | None = None
        self._limit_at: float | None = None
        self._done = False
        self._lost = False
        # the request's body
        self._uploaded = True
        self._body_room = supervisor.limits.request_body
        self._credit = messages.WINDOW
        self._more_credit: anyio.Event | None = None
        self._upload_over: anyio.Event | None = None
        self._writing: anyio.Lock | None = None
        # the response
        self._started = False
        self._complete = False
        self._final_due = False
        self._owed = 0
        self._file: tuple[int, int] | None = None
        # what another task has found
        self._gone = False
        self._problem: Exception | None = None

    # The ticket, called under the pool's lock from any thread ---------------------------------------------------------

    def granted(self, worker: Worker) -> None:
        """See ``pool.Ticket``."""
        self._granted = worker
        if self._wakeup is not None:
            self._wakeup.set()

    def refused(self, error: ApplicationGroupsError) -> None:
        """See ``pool.Ticket``."""
        self._refusal = error
        if self._wakeup is not None:
            self._wakeup.set()

    # The way of the request -------------------------------------------------------------------------------------------

    async def run(self, pool: Pool, head: bytes) -> None:
        """Answer the request. Raises what the server's ``send`` or ``receive`` raise, if that is no OSError."""
        # A client that has not sent the first byte of its body yet holds no worker.
        event = await self._receive()
        if event["type"] != "http.request":
            return
        body = event.get("body", b"")
        self._uploaded = not event.get("more_body", False)
        try:
            self._count(body)
            self._worker = await self._take(pool)
            if self._worker is None:
                return
            self._inlet = loops.inlet(self._worker.channel)
            self._limit(self._supervisor.timeouts.request if self._worker.ready else self._supervisor.timeouts.startup)
            await self._request(head, body)
            if not self._uploaded or not await self._hear_at_once():
                await self._converse()
        except ApplicationGroupsError as error:
            await self._fail(error)
        finally:
            self._part()
            if self._file is not None:
                os.close(self._file[0])

    async def load(self, pool: Pool, application: str) -> str | None:
        """Load an application instead of answering a request; what went wrong, or None."""
        try:
            self._worker = await self._take(pool)
            if self._worker is None:
                return "nobody waits for it"
            self._inlet = loops.inlet(self._worker.channel)
            self._limit(self._supervisor.timeouts.startup)
            await self._write(messages.texts(messages.LOAD, str(self.exchange), application))
            self._complete = True  # there is no response to wait for
            while not self._done:
                frame = await self._next(None)
                if frame is None:
                    self._limit_at = 0.0
                    return f"it did not load within {self._supervisor.timeouts.startup:g} s (timeouts.startup)"
                await self._hear(*frame)
        except _ApplicationFailed:
            return "the log has the reason"
        except ApplicationGroupsError as error:
            return str(error)
        finally:
            self._part()
        return None

    async def _take(self, pool: Pool) -> Worker | None:
        """A worker; None when the client left while it waited. Raises Overloaded, ShuttingDown, InterpreterFailed."""
        worker = pool.take(self)
        if worker is not None:
            return worker
        taken = False
        self._wakeup = loops.wakeup()
        try:
            if self._granted is None and self._refusal is None:
                async with anyio.create_task_group() as tasks:
                    if self._uploaded:
                        tasks.start_soon(self._watch_queue, tasks.cancel_scope)
                    await self._wakeup.wait(self._supervisor.timeouts.queue or None)
                    tasks.cancel_scope.cancel()
            pool.withdraw(self)  # from here on nobody tells it anything any more
            if self._gone:
                return None
            if self._refusal is not None:
                raise self._refusal
            if self._granted is None:
                raise Overloaded(f"no worker got free in {self._supervisor.timeouts.queue:g} s (timeouts.queue)")
            taken = True
            return self._granted
        finally:
            if not taken:
                pool.withdraw(self)
                if self._granted is not None:
                    pool.release(self._granted)

    async def _watch_queue(self, scope: anyio.CancelScope) -> None:
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self._gone = True
            scope.cancel()

    async def _request(self, head: bytes, body: bytes) -> None:
        """REQUEST, with as much of the body as fits into one message."""
        inline = body[: messages.LARGEST_CHUNK]
        whole = self._uploaded and len(inline) == len(body)
        if inline:
            self._credit -= messages.cost(len(inline))
        await self._write(messages.start(messages.REQUEST, head, inline, complete=whole))
        if not whole and len(inline) < len(body):
            # The rest of a first event that is larger than a message goes the way of what follows it.
            rest = body[messages.LARGEST_CHUNK :]
            self._receive = _Before(rest, self._receive, complete=self._uploaded)
            self._uploaded = False
            if self._body_room is not None:
                self._body_room += len(rest)  # it will be counted again

    async def _hear_at_once(self) -> bool:
        """Take a response that is there quickly; False when it takes longer."""
        until = time.monotonic() + _PATIENCE
        while not self._complete:
            frame = await self._next(_PATIENCE)
            if frame is None:
                return False
            await self._hear(*frame)
            if not self._complete and time.monotonic() > until:
                return False
        if self._file is not None:
            return False
        await self._finish()
        return True

    async def _converse(self) -> None:
        """Take a response that takes its time, and listen to the client meanwhile."""
        self._writing = anyio.Lock()
        self._upload_over = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            # Not through the task group: it would make exception groups of them.
            try:
                while not self._complete:
                    frame = await self._next(None)
                    if frame is None:
                        raise RequestTimedOut("the application took too long")
                    await self._hear(*frame)
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

    async def _listen(self, scope: anyio.CancelScope) -> None:
        """Pass the request's body on; then wait for the client to leave."""
        assert self._upload_over is not None
        dropped = 0
        try:
            while True:
                event = await self._receive()
                if event["type"] == "http.disconnect":
                    self._gone = True
                    break
                if self._uploaded:
                    continue
                body = event.get("body", b"")
                if self._worker is None:  # the response is complete, nobody reads the rest
                    dropped += len(body)
                else:
                    self._count(body)
                    await self._forward(body)
                if not event.get("more_body", False):
                    await self._write_unless_parted(messages.frame(messages.BODY_END))
                    self._uploaded = True
                if self._uploaded or dropped > DRAIN_BYTES:
                    self._upload_over.set()
        except Exception as error:
            self._problem = error
        scope.cancel()

    async def _forward(self, body: bytes) -> None:
        for at in range(0, len(body), messages.LARGEST_CHUNK):
            piece = body[at : at + messages.LARGEST_CHUNK]
            price = messages.cost(len(piece))
            while self._credit < price and self._worker is not None:
                self._more_credit = anyio.Event()
                await self._more_credit.wait()
            self._credit -= price
            await self._write_unless_parted(messages.frame(messages.BODY, piece))

    def _count(self, body: bytes) -> None:
        if self._body_room is not None:
            self._body_room -= len(body)
            if self._body_room < 0:
                raise BodyTooLarge("the request's body is larger than limits.request_body")

    async def _send(self, event: dict[str, object]) -> None:
        try:
            await self._send_event(event)
        except OSError as error:
            raise _ClientLeft(str(error)) from error

    # The worker -------------------------------------------------------------------------------------------------------

    def _limit(self, seconds: float) -> None:
        self._limit_at = time.monotonic() + seconds if seconds else None

    async def _next(self, timeout: float | None) -> tuple[int, bytes] | None:
        """The worker's next message; None when ``timeout`` or the limit has passed, or the client is gone."""
        assert self._inlet is not None
        if self._limit_at is not None:
            rest = max(0.0, self._limit_at - time.monotonic())
            timeout = rest if timeout is None else min(rest, timeout)
        try:
            return await self._inlet.next(timeout)
        except ChannelClosed, ProtocolError:
            self._lost = True
            raise

    async def _hear(self, kind: int, payload: bytes) -> None:
        assert self._worker is not None
        self._worker.ready = True
        if kind == messages.START:
            await self._hear_start(payload)
        elif kind == messages.CHUNK:
            await self._send({"type": "http.response.body", "body": payload, "more_body": True})
            await self._give_credit(len(payload))
            await anyio.lowlevel.checkpoint()
        elif kind == messages.END:
            self._complete = self._final_due = True
        elif kind == messages.TAKEN:
            self._credit += messages.parse_numbers(payload, 1)[0]
            if self._more_credit is not None:
                self._more_credit.set()
        elif kind == messages.FILE:
            descriptors = self._worker.channel.descriptors
            if not descriptors:
                raise ProtocolError("a file without its descriptor")
            self._file = descriptors.pop(0), messages.parse_numbers(payload, 1)[0]
        elif kind == messages.LOADING:
            self._limit(self._supervisor.timeouts.startup)
        elif kind == messages.LOADED:
            self._limit(self._supervisor.timeouts.request)
        elif kind == messages.FAILED:
            raise _ApplicationFailed(payload.decode("utf-8", "replace"))
        elif kind == messages.DONE:
            self._done = True
            if not self._complete:
                raise ProtocolError("a worker is done without a response")
        else:
            self._lost = True
            raise ProtocolError(f"a worker sent message {kind}")

    async def _hear_start(self, payload: bytes) -> None:
        start = messages.parse_start(payload)
        if self._started:
            self._lost = True
            raise ProtocolError("a worker started two responses")
        self._complete = start.complete
        self._started = True
        whole = start.complete and self._uploaded
        if whole:
            self._look_for_done()
            if self._done:
                self._part()  # before the client has it: the next request may have the worker
        await self._send({"type": "http.response.start", "status": start.status, "headers": start.headers})
        if whole:
            await self._send({"type": "http.response.body", "body": start.body, "more_body": False})
            return
        self._final_due = start.complete
        if start.body:
            await self._send({"type": "http.response.body", "body": start.body, "more_body": True})
            if not start.complete:
                await self._give_credit(len(start.body))
            await anyio.lowlevel.checkpoint()

    async def _give_credit(self, length: int) -> None:
        self._owed += messages.cost(length)
        if self._owed >= _CREDIT_BACK:
            owed, self._owed = self._owed, 0
            await self._write_unless_parted(messages.numbers(messages.CREDIT, owed))

    async def _write_unless_parted(self, frame: bytes) -> None:
        """Write while there is a worker to read it; two tasks do so, one frame at a time."""
        if self._writing is None:
            await self._write(frame)
            return
        async with self._writing:
            if self._worker is not None:
                await self._write(frame)

    async def _write(self, frame: bytes) -> None:
        assert self._worker is not None
        channel = self._worker.channel
        try:
            sent = channel.send_nowait(frame)
            while sent < len(frame):  # a socket buffer smaller than ours should be: the worker reads on
                await anyio.wait_writable(channel.fileno())
                sent += channel.send_nowait(memoryview(frame)[sent:])
        except ChannelClosed:
            self._lost = True
            raise

    def _look_for_done(self) -> None:
        """Take DONE if it is there already."""
        assert self._worker is not None
        channel = self._worker.channel
        try:
            frame = channel.frame()
            if frame is None and channel.read():
                frame = channel.frame()
        except ChannelClosed, ProtocolError:
            self._lost = True
        else:
            self._done = frame is not None and frame[0] == messages.DONE
            self._lost = frame is not None and not self._done

    def _part(self) -> None:
        """Let go of the worker: to the pool, or to the reaper until it is done. Later calls do nothing."""
        worker = self._worker
        if worker is None:
            return
        if self._complete and not self._done and not self._lost:
            self._look_for_done()
        self._worker = None
        if self._inlet is not None:
            self._inlet.close()
        if self._more_credit is not None:
            self._more_credit.set()  # nobody will give credit any more
        if self._done:
            worker.pool.release(worker)
        elif self._lost:
            worker.pool.lose(worker)
        else:
            if not self._complete:
                worker.abort("the client has gone" if self._problem is None else str(self._problem))
            limit = None if self._limit_at is None else max(0.0, self._limit_at - time.monotonic())
            self._supervisor.adopt(worker, limit=limit)

    # The response -----------------------------------------------------------------------------------------------------

    async def _send_file(self) -> None:
        """The rest of the body from a file, without the worker."""
        if self._file is None:
            return
        descriptor, rest = self._file
        while rest:
            block = await anyio.to_thread.run_sync(os.read, descriptor, min(rest, _FILE_BLOCK))
            if not block:
                raise _ApplicationFailed("a file became shorter while it was sent")
            rest -= len(block)
            await self._send({"type": "http.response.body", "body": block, "more_body": True})
            await anyio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        self._part()
        if self._final_due:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self, error: ApplicationGroupsError) -> None:
        """Answer with an error, or, where a part of the response has gone out, cut it."""
        self._problem = error
        if isinstance(error, RequestTimedOut):
            self._limit_at = 0.0  # interrupt it at once
        where = self._worker.pool.interpreter.label if self._worker is not None else "-"
        self._part()
        if isinstance(error, _ClientLeft):
            return
        if not isinstance(error, _ApplicationFailed):
            level = logging.ERROR if error.status in (500, 502, 504) else logging.WARNING
            _log.log(level, "[%s #%d] %d: %s", where, self.exchange, error.status, error)
        if self._started:
            return  # without the final message every server cuts the connection
        try:
            await answer(
                self._send_event, error, method=self._method, receive=None if self._uploaded else self._receive
            )
        except OSError:
            pass  # the client has left: nobody is there to answer


class _Before:
    """A ``receive`` that first returns what is left of an event."""

    def __init__(self, body: bytes, receive: ASGIReceiveCallable, *, complete: bool) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._complete = complete

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": not self._complete}


class _Loading:
    """Stands in for a client where an application is loaded without a request."""

    @staticmethod
    async def receive() -> Any:
        await anyio.sleep_forever()

    @staticmethod
    async def send(_: Any) -> None:
        raise RuntimeError("an application that is being loaded answered a request")


async def load(supervisor: Supervisor, pool: Pool, application: str) -> str | None:
    """Load ``application``, ``module:attribute``, in the pool's interpreter; what went wrong, or None.

    Waits for ``timeouts.startup`` at the most. The log has the traceback.
    """
    exchange = Exchange(supervisor, _Loading.receive, _Loading.send, number=supervisor.number(), method="")
    return await exchange.load(pool, application)
