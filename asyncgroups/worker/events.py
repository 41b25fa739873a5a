"""What subscribers to mod_wsgi's events are told of a request. Standard library and ``worker``.

Loaded with the first request that has subscribers. Guarantees:

- Each request that has started has finished once; what the application raised is told in between.
- Callbacks run in the request's own thread, and can be interrupted as the application can.
- No client waits for the callbacks of ``request_exception`` and ``request_finished``.
"""

from __future__ import annotations

import time

from asyncgroups.worker import wsgi
from asyncgroups.worker.streams import Input

try:
    import resource
except ImportError:  # not everywhere
    resource = None  # type: ignore[assignment]  # as above

__all__ = ["Watch"]


class Watch:
    """Runs a request, and tells of it.

    length: the request's Content-Length. report: logs what has failed, and how.
    """

    def __init__(
        self, module: ModWsgi, exchange: Exchange, *, length: int | None, report: Callable[[str, BaseException], None]
    ) -> None:
        self._module = module
        self._report = report
        self._same: dict[str, object] = {"request_id": str(exchange.number), "request_data": module.of_request()}
        self._sent = _Sent(exchange)
        self._received = _Received(exchange, length)
        self.input: Input = self._received
        """``wsgi.input`` of the request."""

    def respond(self, method: bytes) -> wsgi.Response:
        """The response to a request with this method."""
        return _Response(self, self._sent, method)  # and no reference to it: a cycle, in which the request would linger

    def tell(self, name: str, **facts: object) -> dict[str, object]:
        """Publish an event of this request; its facts, as the subscribers have left them."""
        facts |= self._same
        self._module.publish(name, facts, report=self._report)
        return facts

    def run(
        self,
        application: Callable[..., Iterable[bytes]],
        environ: dict[str, object],
        *,
        response: wsgi.Response,
    ) -> None:
        """``wsgi.run``, or what a subscriber has put in the place of ``application``. Raises whatever it raises."""
        began, used = time.perf_counter(), _used()
        try:
            facts = self.tell(
                "request_started",
                thread_id=environ["mod_wsgi.thread_id"],
                request_start=environ["mod_wsgi.request_start"],
                application_start=environ["mod_wsgi.application_start"],
                application_object=application,
                request_environ=environ,
            )
            wsgi.run(facts["application_object"], environ, response)  # type: ignore[arg-type]  # theirs: as it is
        except BaseException as error:
            self.tell("request_exception", exception_info=(type(error), error, error.__traceback__))
            raise
        finally:
            user, system = _used()
            self.tell(
                "request_finished",
                application_finish=time.time(),
                application_time=time.perf_counter() - began,
                cpu_user_time=user - used[0],
                cpu_system_time=system - used[1],
                input_reads=self._received.reads,
                input_length=self._received.length,
                input_time=self._received.seconds,
                output_writes=self._sent.writes,
                output_length=self._sent.length,
                output_time=self._sent.seconds,
            )


def _used() -> tuple[float, float]:
    """Seconds that this thread has used the processor for, in user mode and in the kernel's."""
    if resource is None or not hasattr(resource, "RUSAGE_THREAD"):
        return time.thread_time(), 0.0
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime, usage.ru_stime


class _Response(wsgi.Response):
    """One that tells of its start."""

    __slots__ = ("_watch",)

    def __init__(self, watch: Watch, exchange: _Sent, method: bytes) -> None:
        super().__init__(exchange, method)  # type: ignore[arg-type]  # a stand-in
        self._watch = watch

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        /,
        exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
    ) -> Callable[[bytes], None]:
        try:
            write = super().start_response(status, headers, exc_info)
            self._watch.tell(
                "response_started", response_status=status, response_headers=headers, exception_info=exc_info
            )
        finally:
            exc_info = None  # no reference cycle through the traceback
        return write

    def finish(self, body: bytes = b"", *, last: bool = False) -> None:  # noqa: ARG002 - there is something left to run
        super().finish(body)


class _Sent:
    """Stands for an exchange, and counts what is sent over it."""

    def __init__(self, exchange: Exchange) -> None:
        self.writes = self.length = 0
        self.seconds = 0.0
        self._exchange = exchange

    def __getattr__(self, name: str) -> object:
        return getattr(self._exchange, name)

    def start(self, head: bytes, body: bytes, *, complete: bool, last: bool = False) -> None:
        began = time.perf_counter()
        self._exchange.start(head, body, complete=complete, last=last)
        self._count(len(body), began)

    def chunk(self, body: bytes) -> None:
        began = time.perf_counter()
        self._exchange.chunk(body)
        self._count(len(body), began)

    def file(self, descriptor: int, length: int) -> None:
        began = time.perf_counter()
        self._exchange.file(descriptor, length)
        self._count(length, began)

    def _count(self, length: int, began: float) -> None:
        self.seconds += time.perf_counter() - began
        self.length += length
        self.writes += length > 0


class _Received(Input):
    """Counts what arrives: a read is a piece of the body as it came."""

    __slots__ = ("length", "reads", "seconds")

    def __init__(self, exchange: Exchange, length: int | None) -> None:
        super().__init__(exchange, length)
        self.reads = self.length = 0
        self.seconds = 0.0

    def _fill(self) -> bool:
        if self._at < len(self._piece):
            return True
        began = time.perf_counter()
        try:
            return super()._fill()
        finally:
            self.seconds += time.perf_counter() - began
            if self._at == 0 and self._piece:  # a new one
                self.reads += 1
                self.length += len(self._piece)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from asyncgroups.worker.exchange import Exchange
    from asyncgroups.worker.module import ModWsgi
