"""The whole vocabulary of what crosses between the front end and a worker. Standard library only; no I/O.

A frame is a type byte, a length (four bytes, big-endian) and a payload. A head is a list of bytes joined by NUL, which
neither a header (RFC 9110 section 5.5) nor a raw, still percent-encoded path can hold. A body is raw bytes. No pickle
and no marshal: the other side may run as another user, so that each message is checked where it is read.

On a worker's channel, front end to worker::

    REQUEST   a head, whether the body is complete and whether LOADED is wanted, the body's first bytes
              starts an exchange; where LOADED is wanted nothing more comes before that
    LOAD      an application     an exchange without a response; likewise RELOAD, which executes a script once more
    BODY      bytes of the request body                                        costs credit
    BODY_END  -                                                                the request body is complete
    CREDIT    a number of bytes                                                the response may go on
    ABORT     a reason                                                         nobody waits for the response any more

worker to front end::

    LOADING   -                 the application is being imported
    LOADED    -                 ... and is there
    UNFIT     application, module, text, kind, reason    ... and does not load, since an extension module refuses to be
              loaded in this interpreter: text is its error's, kind the name of the exception that came of it, reason
              what the log would say; nothing of the request has been used, DONE follows
    ABSENT    a reason          ... and there is no such script, or no such callable in it; DONE follows
    LACKING   application, module, text     an extension module refuses, and the request fails: START or FAILED follows
    TAKEN     a number of bytes the application has taken from the request body: credit for the front end
    START     a head, whether the response is complete, the body's first bytes
    CHUNK     bytes of the response body                                       costs credit
    FILE      a number of bytes; a file descriptor travels with it             the rest of the body is in that file
    END       -                 the response is complete
    FAILED    a reason          there is no response, or not the rest of it
    DONE      -                 close() has run, the worker is free: always the last message of an exchange

On an interpreter's control channel, to the interpreter::

    WORKER    number; the worker's end of a channel travels with it            start a worker on that channel
    INTERRUPT number, exchange                                                 raise RequestInterrupted in that worker
    STOP      seconds                                                          wait so long for workers, run atexit, end
    PING      -                                                                is anybody there?

and from it::

    READY     -                 the interpreter is set up
    RECORD    level, exchange, text                                            a log record
    REFUSED   application, module, text   an extension module does not load in this interpreter; the application goes
              on without it
    STOPPED   number of workers that had not ended
    PONG      -                 yes
    BROKEN    a reason          it could not be made, or has died
    ALONE     a reason          it could not be made: this Python has its main interpreter only

A daemon process takes connections; the first message on one says what it is for::

    OPEN      what a Bootstrap holds   from here on it is the control channel of an interpreter that is made for it
    QUIT      -                        run the main interpreter's atexit functions, and end the process
"""

from asyncgroups.errors import ProtocolError

__all__ = [
    "ABORT",
    "ABSENT",
    "ALONE",
    "BODY",
    "BODY_END",
    "BROKEN",
    "CHUNK",
    "CREDIT",
    "DONE",
    "DONE_FRAME",
    "END",
    "END_FRAME",
    "FAILED",
    "FILE",
    "FRAME_HEADER",
    "HEAD_LIMIT",
    "INTERRUPT",
    "LACKING",
    "LARGEST_CHUNK",
    "LARGEST_FRAME",
    "LOAD",
    "LOADED",
    "LOADING",
    "OPEN",
    "PING",
    "PONG",
    "QUIT",
    "READY",
    "RECORD",
    "REFUSED",
    "RELOAD",
    "REQUEST",
    "START",
    "STOP",
    "STOPPED",
    "TAKEN",
    "TOKEN",
    "UNFIT",
    "WINDOW",
    "WORKER",
    "Record",
    "Request",
    "Start",
    "begun",
    "blobs",
    "cost",
    "frame",
    "header",
    "numbers",
    "parse_blobs",
    "parse_numbers",
    "parse_record",
    "parse_request",
    "parse_start",
    "parse_texts",
    "record",
    "request",
    "start",
    "texts",
    "unfit",
]

REQUEST = 1
LOAD = 2
BODY = 3
BODY_END = 4
CREDIT = 5
ABORT = 6
RELOAD = 7

LOADING = 16
LOADED = 17
TAKEN = 18
START = 19
CHUNK = 20
FILE = 21
END = 22
FAILED = 23
DONE = 24
UNFIT = 25
LACKING = 26
ABSENT = 27

WORKER = 32
INTERRUPT = 33
STOP = 34
PING = 35

READY = 48
RECORD = 49
REFUSED = 50
STOPPED = 51
BROKEN = 52
PONG = 53
ALONE = 54

OPEN = 64
QUIT = 65

FRAME_HEADER = 5
"""Bytes before each payload: the type and the length."""

WINDOW = 128 * 1024
"""Bytes of a body, as ``cost`` counts them, that may be under way in one direction without having been taken."""

LARGEST_CHUNK = 64 * 1024
"""Bytes of a body in one message: two messages fill a window, so that one is written while the other is read."""

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's or a response's head."""

LARGEST_FRAME = 1024 * 1024
"""Bytes of any payload: a log record with a traceback is the largest."""

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The characters of a method or a header name (RFC 9110 section 5.6.2)."""

_CHEAPEST = 1024
_LEVELS = (10, 20, 30, 40, 50)


def cost(length: int) -> int:
    """The credit, in bytes, that a message with ``length`` bytes of body costs.

    A tiny message occupies about a kilobyte of the kernel's socket buffer (278 of ten bytes fill one of 208 KiB).
    """
    return length if length > _CHEAPEST else _CHEAPEST


def header(kind: int, length: int) -> bytes:
    """The five bytes before a payload of ``length`` bytes."""
    return bytes((kind,)) + length.to_bytes(4)


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    return bytes((kind,)) + len(payload).to_bytes(4) + payload


END_FRAME = frame(END)
DONE_FRAME = frame(DONE)


def numbers(kind: int, *values: int) -> bytes:
    """A frame whose payload is ``values``, eight bytes each."""
    return frame(kind, values[0].to_bytes(8) if len(values) == 1 else b"".join(value.to_bytes(8) for value in values))


def parse_numbers(payload: bytes, count: int) -> tuple[int, ...]:
    """``count`` numbers of a payload.

    Raises ProtocolError for any other length.
    """
    if len(payload) != 8 * count:
        raise ProtocolError(f"a message of {len(payload)} bytes where {count} numbers were due")
    if count == 1:
        return (int.from_bytes(payload),)
    return tuple(int.from_bytes(payload[at : at + 8]) for at in range(0, 8 * count, 8))


def blobs(kind: int, *values: bytes) -> bytes:
    """A frame whose payload is ``values``, each behind its length: they may hold anything."""
    return frame(kind, b"".join([len(value).to_bytes(4) + value for value in values]))


def parse_blobs(payload: bytes) -> list[bytes]:
    """The values of ``blobs``.

    Raises ProtocolError when one is cut off.
    """
    values = []
    at = 0
    while at < len(payload):
        begin = at + 4
        at = begin + int.from_bytes(payload[at:begin])
        if at > len(payload):
            raise ProtocolError("a value that ends too early")
        values.append(payload[begin:at])
    return values


def texts(kind: int, *values: str) -> bytes:
    """A frame whose payload is ``values``, joined by NUL; a NUL within one is shown as an escape."""
    return frame(kind, b"\0".join(value.replace("\0", "\\x00").encode("utf-8", "backslashreplace") for value in values))


def parse_texts(payload: bytes, count: int) -> list[str]:
    """``count`` texts of a payload.

    Raises ProtocolError for any other number of them.
    """
    values = payload.split(b"\0")
    if len(values) != count:
        raise ProtocolError(f"{len(values)} texts where {count} were due")
    return [value.decode("utf-8", "replace") for value in values]


def unfit(application: str, refusal: tuple[str, str], *, kind: str, reason: str) -> bytes:
    """The frame of UNFIT, ``refusal`` being module and text; a reason beyond HEAD_LIMIT loses its middle."""
    encoded = _shortened(reason.encode("utf-8", "backslashreplace"), HEAD_LIMIT)
    return texts(UNFIT, application, *refusal, kind, encoded.decode("utf-8", "replace"))


class Record:
    """A log record: a level of the logging module, the exchange it belongs to (0: none), its text."""

    __slots__ = ("exchange", "level", "text")

    def __init__(self, level: int, exchange: int, text: str) -> None:
        self.level: int = level
        self.exchange: int = exchange
        self.text: str = text


def record(level: int, exchange: int, text: str) -> bytes:
    """The frame of a log record; a text beyond LARGEST_FRAME loses its middle, and says so."""
    encoded = _shortened(text.encode("utf-8", "backslashreplace"), LARGEST_FRAME - 9)
    return frame(RECORD, bytes((level,)) + exchange.to_bytes(8) + encoded)


def _shortened(encoded: bytes, room: int) -> bytes:
    if len(encoded) <= room:
        return encoded
    half = room // 2 - 64
    return encoded[:half] + b"\n[... %d bytes left out ...]\n" % (len(encoded) - 2 * half) + encoded[-half:]


def parse_record(payload: bytes) -> Record:
    """The opposite of ``record``.

    Raises ProtocolError when the payload is too short, or its level none of the logging module's.
    """
    if len(payload) < 9 or payload[0] not in _LEVELS:
        raise ProtocolError("a log record without its level")
    return Record(payload[0], int.from_bytes(payload[1:9]), payload[9:].decode("utf-8", "replace"))


class Request:
    """A request as it crosses: raw parts of the ASGI scope, out of which the worker builds the environ.

    ``script_name`` and ``path_info`` are percent-encoded; ``env`` and ``headers`` are alternating names and values;
    ``asks``: whether LOADED is wanted; ``began``: when it came to the front end, microseconds since the epoch, 0 where
    that is not known.
    """

    application: bytes
    method: bytes
    scheme: bytes
    http_version: bytes
    script_name: bytes
    path_info: bytes
    query_string: bytes
    target: bytes
    server_name: bytes
    server_port: bytes
    client_host: bytes
    client_port: bytes

    __slots__ = (
        *("application", "asks", "began", "body", "client_host", "client_port", "complete", "env", "exchange"),
        *("headers", "http_version", "method", "path_info", "query_string", "scheme", "script_name"),
        *("server_name", "server_port", "target"),
    )

    def __init__(self, fields: list[bytes], *, complete: bool, body: bytes, asks: bool = False) -> None:
        first_header = 2 + _FIXED + 2 * int(fields[1])
        if not fields[0].isdigit() or not fields[1].isdigit() or first_header > len(fields):
            raise ValueError("numbers that are none, or too large")
        self.exchange: int = int(fields[0])
        (
            self.application,
            self.method,
            self.scheme,
            self.http_version,
            self.script_name,
            self.path_info,
            self.query_string,
            self.target,
            self.server_name,
            self.server_port,
            self.client_host,
            self.client_port,
            began,
        ) = fields[2 : 2 + _FIXED]
        self.began: int = int(began)
        self.env: list[bytes] = fields[2 + _FIXED : first_header]
        self.headers: list[bytes] = fields[first_header:]
        self.complete: bool = complete
        self.asks: bool = asks
        self.body: bytes = body
        if len(self.headers) % 2 or len(self.env) % 2:
            raise ValueError("an odd number of names and values")


_FIXED = 13
_COMPLETE = 1
_ASKS = 2


def request(exchange: int, parts: tuple[bytes, ...], env: list[bytes], headers: list[bytes]) -> bytes:
    """The head of a request; ``parts``: twelve of Request from ``application`` to ``client_port``, and ``began``."""
    return b"\0".join((b"%d" % exchange, b"%d" % (len(env) // 2), *parts, *env, *headers))


def parse_request(payload: bytes) -> Request:
    """A request out of the payload that ``start`` made of its head and its first bytes of body.

    Raises ProtocolError when it is not one.
    """
    flags, head, body = _parse_head(payload)
    try:
        return Request(head.split(b"\0"), complete=flags & _COMPLETE != 0, body=body, asks=flags & _ASKS != 0)
    except (ValueError, IndexError):
        raise ProtocolError("a malformed request head") from None


def begun(begin: bytes) -> int:
    """The exchange of the first REQUEST, LOAD or RELOAD in ``begin``, which may end anywhere; -1 without one."""
    at = 0
    while at < len(begin):
        kind, payload = begin[at], at + FRAME_HEADER
        if kind in (REQUEST, LOAD, RELOAD):
            head = payload + 5 if kind == REQUEST else payload  # behind the flags and a length
            number, end, _ = begin[head:].partition(b"\0")
            return int(number) if end and number.isdigit() else -1
        at = payload + int.from_bytes(begin[at + 1 : payload])
    return -1


class Start:
    """The start of a response: the status, the header fields as ASGI wants them, whether ``body`` is all of it."""

    __slots__ = ("body", "complete", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], *, complete: bool, body: bytes) -> None:
        self.status: int = status
        self.headers: list[tuple[bytes, bytes]] = headers
        self.complete: bool = complete
        self.body: bytes = body


def start(kind: int, head: bytes, body: bytes, *, complete: bool, asks: bool = False) -> bytes:
    """The frame of a REQUEST or a START: flags, the head's length, the head, the first bytes of the body.

    asks: in a REQUEST, whether LOADED is wanted.
    """
    length = len(head)
    return b"%c%b%c%b%b%b" % (
        kind,
        (5 + length + len(body)).to_bytes(4),
        (_COMPLETE if complete else 0) | (_ASKS if asks else 0),
        length.to_bytes(4),
        head,
        body,
    )


def parse_start(payload: bytes) -> Start:
    """A response's start.

    Raises ProtocolError when it is not one: the worker checks what an application says, this checks the worker.
    """
    flags, head, body = _parse_head(payload)
    fields = head.split(b"\0")
    status = fields[0]
    if len(fields) % 2 == 0 or len(status) != 3 or not status.isdigit() or b"\n" in head or b"\r" in head:
        raise ProtocolError("a malformed response head")
    if not b"200" <= status <= b"599":
        raise ProtocolError("a malformed response head")
    headers = list(zip(fields[1::2], fields[2::2], strict=True))
    return Start(int(status), headers, complete=flags & _COMPLETE != 0, body=body)


def _parse_head(payload: bytes) -> tuple[int, bytes, bytes]:
    end = 5 + int.from_bytes(payload[1:5])
    if len(payload) < max(5, end):
        raise ProtocolError("a head that ends too early")
    return payload[0], payload[5:end], payload[end:]
