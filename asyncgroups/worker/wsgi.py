"""Runs one WSGI application for one request: start_response, write, iteration, close() (PEP 3333).

Standard library, ``wire`` and ``worker``. Guarantees:

- ``close()`` of the iterable runs exactly once on every path, in the thread that ran the application.
- Nothing goes out before the first non-empty piece of body, ``write()`` or the end; an error until then is a 500 of the
  front end's, an error after it cuts the response, so that the client can tell that it is not whole.
- What the application says is checked before it goes out: a status line, header names and values, bytes, the length.
"""

from __future__ import annotations

from asyncgroups.errors import ClientDisconnected, RequestInterrupted
from asyncgroups.wire import messages
from asyncgroups.wire.fields import CONTROLS, HOP_BY_HOP
from asyncgroups.worker.exchange import Exchange
from asyncgroups.worker.streams import FileWrapper, regular_file

__all__ = ["FAILED", "OPEN", "READY", "WAITING", "WHOLE", "Response", "run"]

WAITING = "waiting for start_response"
READY = "ready to be sent"
OPEN = "sent in part"
WHOLE = "sent as a whole"
FAILED = "failed"

_TRANSITIONS = {
    (WAITING, READY),
    (READY, READY),  # start_response with exc_info replaces what has not been sent
    (READY, OPEN),
    (READY, WHOLE),
    (OPEN, WHOLE),
    (WAITING, FAILED),
    (READY, FAILED),
    (OPEN, FAILED),
}


class Response:
    """The response of one exchange, in one of the states above."""

    __slots__ = ("_exchange", "_head", "_is_head", "_no_body", "_rest", "iterable", "state")

    def __init__(self, exchange: Exchange, method: bytes) -> None:
        self.state: str = WAITING
        self._exchange = exchange
        self._is_head = self._no_body = method == b"HEAD"
        self._head = b""
        self._rest: int | None = None
        self.iterable: object = None
        """What the application returned, until close() has been called."""

    def _move(self, state: str) -> None:
        if (self.state, state) not in _TRANSITIONS:
            raise RuntimeError(f"a response that is {self.state} cannot become one that is {state}")
        self.state = state

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        /,
        exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
    ) -> Callable[[bytes], None]:
        """``start_response`` of PEP 3333, which wants all three by position; most servers take ``exc_info=`` as well.

        Raises TypeError or ValueError for what must not go out, RuntimeError for a second call without ``exc_info``,
        and the exception of ``exc_info`` when a part of the response has gone out already.
        """
        if exc_info is not None:
            try:
                if self.state is OPEN or self.state is WHOLE:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no reference cycle through the traceback
        elif self.state is not WAITING:
            raise RuntimeError("start_response() was called a second time without exc_info (PEP 3333)")
        code = _status(status)
        self._head, length = _head(code, headers)
        self._no_body = self._is_head or code == b"204" or code == b"304"  # RFC 9110 sections 6.4.1, 15.3.5, 15.4.5
        self._rest = length
        self._move(READY)
        return self.write

    def write(self, body: bytes) -> None:
        """Send a piece of the body, and the head before it. Raises TypeError for no bytes, ClientDisconnected."""
        if not isinstance(body, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(body).__name__} (PEP 3333)")
        if body:
            self._send(body)

    def finish(self, body: bytes = b"", *, last: bool = False) -> None:
        """Send the last piece of the body; ``last``: nothing of the application's is left to run.

        Raises RuntimeError when the body is shorter than Content-Length says.
        """
        if self.state is READY:
            if self._no_body:
                body = b""
            else:
                body = self._within_length(body)
                if self._rest:
                    raise RuntimeError(f"the response ended {self._rest} bytes before its Content-Length")
                if self._rest is None:
                    self._head += b"\0content-length\0%d" % len(body)
            self._move(WHOLE)
            self._exchange.start(self._head, body, complete=True, last=last)
        elif self.state is OPEN:
            if body:
                self._send(body)
            if self.state is OPEN:
                if self._rest:
                    raise RuntimeError(f"the response ended {self._rest} bytes before its Content-Length")
                self._move(WHOLE)
                self._exchange.tell(messages.END_FRAME)
        elif self.state is WAITING:
            raise RuntimeError("the application returned without a call of start_response()")

    def send_file(self, descriptor: int, length: int) -> None:
        """Let ``length`` bytes of an open file be the body. Raises RuntimeError as ``finish`` does."""
        if self.state is not READY or self._no_body:
            self.finish()
            return
        if self._rest is None:
            self._head += b"\0content-length\0%d" % length
        elif self._rest > length:
            raise RuntimeError(f"the response ended {self._rest - length} bytes before its Content-Length")
        else:
            length = self._rest
        self._move(OPEN)
        self._exchange.start(self._head, b"", complete=False)
        if length:
            self._exchange.file(descriptor, length)
        self._move(WHOLE)
        self._exchange.tell(messages.END_FRAME)

    def fail(self, reason: str, error: BaseException | None = None) -> None:
        """There is no response, or not the rest of it, because of ``error``."""
        if self.state is not WHOLE and self.state is not FAILED:
            self._move(FAILED)
            try:
                if self._exchange.refusals and not isinstance(error, ClientDisconnected | RequestInterrupted | None):
                    self._exchange.lack(error)
                self._exchange.tell(messages.frame(messages.FAILED, reason.encode("utf-8", "backslashreplace")))
            except ClientDisconnected:
                pass  # the front end has gone: nobody is left to tell

    def be_absent(self, kind: str) -> None:
        """There is no such application; see ABSENT."""
        self._move(FAILED)
        try:
            self._exchange.tell(messages.frame(messages.ABSENT, kind.encode("utf-8", "backslashreplace")))
        except ClientDisconnected:
            pass  # as above

    def be_unfit(self, refusal: tuple[str, str], *, kind: str, reason: str) -> None:
        """The application does not load here; see UNFIT."""
        self._move(FAILED)
        try:
            self._exchange.tell(messages.unfit(self._exchange.application, refusal, kind=kind, reason=reason))
        except ClientDisconnected:
            pass  # as above

    def close(self) -> None:
        """Call close() of the iterable, where it has one, unless that has been done. Raises whatever it raises."""
        close = getattr(self.iterable, "close", None)
        # An interrupt may hit before this line, and the worker then calls again; from here on close() has been called.
        self.iterable = None
        if close is not None:
            close()

    def _within_length(self, body: bytes) -> bytes:
        if self._rest is not None:
            if len(body) > self._rest:
                body = body[: self._rest]  # PEP 3333: no more than Content-Length goes out
            self._rest -= len(body)
        return body

    def _send(self, body: bytes) -> None:
        if self.state is READY:
            if self._no_body:
                self._move(WHOLE)
                self._exchange.start(self._head, b"", complete=True)
                return
            body = self._within_length(body)
            # All of Content-Length is in hand: the response is whole, whatever the iterable does next.
            whole = self._rest == 0
            self._move(WHOLE if whole else OPEN)
            self._exchange.start(self._head, body, complete=whole)
        elif self.state is OPEN:
            body = self._within_length(body)
            if body:
                self._exchange.chunk(body)
            if self._rest == 0:
                self._move(WHOLE)
                self._exchange.tell(messages.END_FRAME)
        elif self.state is WAITING:
            raise RuntimeError("the application gave a body before it called start_response()")


def run(application: Callable[..., Iterable[bytes]], environ: dict[str, object], response: Response) -> None:
    """Run ``application`` once, from its call to close(). Raises whatever it raises."""
    try:
        result = response.iterable = application(environ, response.start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            _send_list(result, response)
        elif kind is FileWrapper and (file := regular_file(result.filelike)):  # type: ignore[attr-defined]  # ours
            response.send_file(*file)
        else:
            pieces = iter(result)
            for body in pieces:
                response.write(body)
                # HEAD, or all of Content-Length is out. Asked on, so that a generator gets to what follows its last
                # yield, but not for ever: the first piece too many ends it.
                if response.state is WHOLE and any(pieces):
                    break
            response.finish()
    except BaseException as error:
        response.fail(type(error).__name__, error)  # the client need not wait for close()
        raise
    finally:
        response.close()


def _send_list(pieces: Iterable[bytes], response: Response) -> None:
    """All pieces are there: they go out as one."""
    for body in pieces:
        if not isinstance(body, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(body).__name__} (PEP 3333)")
    response.finish(b"".join(pieces), last=True)


def _status(status: str) -> bytes:
    if not isinstance(status, str):
        raise TypeError(f"the status is a str such as '200 OK', not {type(status).__name__}")
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isascii() or not code.isdigit() or not "200" <= code <= "599":
        raise ValueError(f"the status begins with three digits from 200 to 599, not {status[:80]!r}")
    if any(character < " " or character == "\x7f" for character in reason):
        raise ValueError(f"a control character in the status {status[:80]!r}")
    return code.encode()


def _head(code: bytes, headers: list[tuple[str, str]]) -> tuple[bytes, int | None]:
    """The head as it crosses, and the Content-Length."""
    fields = [code]
    length = None
    for pair in headers:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError(f"the headers are pairs of name and value, not {pair!r:.80}") from None
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header names and values are str: {pair!r:.80}")
        try:
            # encode() gives exact bytes, also of a str subclass such as Django's SafeString.
            raw_name, raw_value = name.encode("ascii").lower(), value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"header names are ASCII, their values latin-1 (PEP 3333): {pair!r:.80}") from None
        if not raw_name or raw_name.translate(None, messages.TOKEN):
            raise ValueError(f"{name[:80]!r} is no header name (RFC 9110 section 5.6.2)")
        if len(raw_value.translate(None, CONTROLS)) != len(raw_value):
            raise ValueError(f"a control character in the header {name}: {value[:80]!r}")
        if raw_name in HOP_BY_HOP:
            raise ValueError(f"{name} is the server's own business, an application must not set it (PEP 3333)")
        if raw_name == b"content-length":
            stripped = raw_value.strip()
            if not stripped.isdigit() or (length is not None and length != int(stripped)):
                raise ValueError(f"{value[:80]!r} is no Content-Length")
            length, raw_value = int(stripped), stripped
            if code == b"204" or code == b"304":
                continue  # RFC 9110 section 8.6 forbids it with 204; with 304 uvicorn would wait for the body
        fields += (raw_name, raw_value.strip(b" \t"))
    head = b"\0".join(fields)
    if len(head) > messages.HEAD_LIMIT:
        raise ValueError(f"the headers take {len(head)} bytes, more than {messages.HEAD_LIMIT}")
    return head, length


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
