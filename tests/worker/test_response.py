"""start_response, write and iteration (PEP 3333): what goes out, and what must not."""

import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from asyncgroups.errors import ChannelClosed, ClientDisconnected
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel
from asyncgroups.worker import wsgi
from asyncgroups.worker.wsgi import FAILED, OPEN, READY, WAITING, WHOLE, Response, run

STATES = [WAITING, READY, OPEN, WHOLE, FAILED]


class SafeString(str):
    """As Django's."""

    __slots__ = ()


class Outcome(NamedTuple):
    """What the front end gets to hear."""

    status: int | None
    headers: dict[bytes, bytes]
    body: bytes
    complete: bool
    failed: str | None


@pytest.fixture
def play(front) -> Callable[..., tuple[Outcome, BaseException | None, Response]]:
    """Run an application once; what was heard of it, what it raised, and the response."""

    def play(application: Callable[..., Any], method: bytes = b"GET"):
        with front() as conversation:
            response = Response(conversation.exchange, method)
            raised = None
            try:
                run(application, {}, response)
            except BaseException as error:
                raised = error
            conversation.exchange.done()
            status, headers, body, complete, failed = None, {}, b"", False, None
            heard = conversation.hear()
            assert heard.pop() == (messages.DONE, b"")
            for kind, payload in heard:
                assert not complete
                assert failed is None
                if kind == messages.START:
                    start = messages.parse_start(payload)
                    assert status is None
                    status, headers, body, complete = start.status, dict(start.headers), start.body, start.complete
                    assert len(headers) == len(start.headers)
                elif kind == messages.CHUNK:
                    assert payload
                    body += payload
                elif kind == messages.END:
                    complete = True
                elif kind == messages.FAILED:
                    failed = payload.decode()
                else:
                    raise AssertionError(kind)
            return Outcome(status, headers, body, complete, failed), raised, response

    return play


def answering(status: Any = "200 OK", headers: Any = (), body: Any = (b"hello",)) -> Callable[..., Any]:
    def application(environ, start_response):
        start_response(status, list(headers) if isinstance(headers, tuple) else headers)
        return body

    return application


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_every_transition(front, before: str, after: str) -> None:
    """A response moves along its table, and every other move raises and changes nothing."""
    with front() as conversation:
        response = Response(conversation.exchange, b"GET")
        response.state = before
        if (before, after) in wsgi._TRANSITIONS:
            response._move(after)
            assert response.state is after
        else:
            with pytest.raises(RuntimeError, match="cannot become"):
                response._move(after)
            assert response.state is before


def test_the_table_has_an_end() -> None:
    """What is whole or has failed stays so, and each state can be reached."""
    assert not {before for before, _ in wsgi._TRANSITIONS} & {WHOLE, FAILED}
    assert {after for _, after in wsgi._TRANSITIONS} | {WAITING} == set(STATES)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("200 OK", 200),
        ("200", 200),
        ("204 ", 204),
        ("599 Odd", 599),
        ("404 Größe nicht gefunden", 404),
        (SafeString("201 Made"), 201),
    ],
)
def test_a_status(play, status: str, code: int) -> None:
    """A status is three digits from 200 to 599, with a reason or without one."""
    outcome, raised, _ = play(answering(status))
    assert (outcome.status, outcome.complete, raised) == (code, True, None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, TypeError),
        (b"200 OK", TypeError),
        (None, TypeError),
        ("", ValueError),
        ("OK", ValueError),
        ("20 OK", ValueError),
        ("2000 OK", ValueError),
        ("100 Continue", ValueError),
        ("101 Switching Protocols", ValueError),
        ("199 x", ValueError),
        ("600 x", ValueError),
        ("٢٠٠ OK", ValueError),
        ("²00 OK", ValueError),
        (" 200 OK", ValueError),
        ("200\tOK", ValueError),
        ("200 OK\r\nX: y", ValueError),
        ("200 OK\n", ValueError),
        ("200 \0", ValueError),
        ("200 \x7f", ValueError),
    ],
)
def test_a_bad_status(play, status: object, error: type[Exception]) -> None:
    """A status that must not go out raises in the application's call, and nothing of it goes out."""
    outcome, raised, _ = play(answering(status))
    assert type(raised) is error
    assert outcome == Outcome(None, {}, b"", False, error.__name__)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        ([("X-A", "b")], {b"x-a": b"b"}),
        ([["X-A", "b"]], {b"x-a": b"b"}),
        (iter([("X-A", "b")]), {b"x-a": b"b"}),
        ([("X-A", "")], {b"x-a": b""}),
        ([("X-A", " b c\t")], {b"x-a": b"b c"}),
        ([("X-A", "caf\xe9")], {b"x-a": b"caf\xe9"}),
        ([(SafeString("X-A"), SafeString("b"))], {b"x-a": b"b"}),
        ([("!#$%&'*+-.^_`|~09azAZ", "b")], {b"!#$%&'*+-.^_`|~09azaz": b"b"}),
        ([("Content-Length", " 5 ")], {b"content-length": b"5"}),
    ],
)
def test_headers(play, headers: Any, expected: dict[bytes, bytes]) -> None:
    """Headers go out in lower case, as exact bytes, stripped; Content-Length is made where it is missing."""
    outcome, raised, _ = play(answering(headers=headers))
    assert raised is None
    assert outcome.headers == {b"content-length": b"5"} | expected
    assert all(type(part) is bytes for pair in outcome.headers.items() for part in pair)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (None, TypeError),
        ([None], TypeError),
        ([("X-A",)], TypeError),
        ([("X-A", "b", "c")], TypeError),
        ([(b"X-A", b"b")], TypeError),
        ([("X-A", 5)], TypeError),
        ([("X-A", None)], TypeError),
        ([("X-A", "€")], ValueError),
        ([("É", "b")], ValueError),
        ([("", "b")], ValueError),
        ([("X A", "b")], ValueError),
        ([("X-A:", "b")], ValueError),
        ([("X-A\n", "b")], ValueError),
        ([("X\0A", "b")], ValueError),
        ([("X-A", "b\nSet-Cookie: c")], ValueError),
        ([("X-A", "b\rc")], ValueError),
        ([("X-A", "b\0c")], ValueError),
        ([("X-A", "b\r\n")], ValueError),
        ([(SafeString("X-A"), SafeString("b\r\nc"))], ValueError),
        ([("Content-Length", "five")], ValueError),
        ([("Content-Length", "-5")], ValueError),
        ([("Content-Length", "+5")], ValueError),
        ([("Content-Length", "5_0")], ValueError),
        ([("Content-Length", "")], ValueError),
        ([("Content-Length", "9" * 5000)], ValueError),
        ([("Content-Length", "5"), ("content-length", "6")], ValueError),
        ([("X-A", "b" * messages.HEAD_LIMIT)], ValueError),
        *[
            ([(name, "x")], ValueError)
            for name in [
                *["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE"],
                *["Trailer", "Trailers", "Transfer-Encoding", "Upgrade", "upgrade", "TRANSFER-ENCODING"],
            ]
        ],
    ],
)
def test_bad_headers(play, headers: Any, error: type[Exception]) -> None:
    """A header that must not go out raises in the application's call, and nothing of it goes out."""
    outcome, raised, _ = play(answering(headers=headers))
    assert type(raised) is error
    assert outcome == Outcome(None, {}, b"", False, error.__name__)


def test_the_message_names_what_is_wrong(play) -> None:
    """What is wrong is said in the words of the application's author, however long it is."""
    _, raised, _ = play(answering(headers=[("X-Bad", "a\r\nb" + "c" * 100_000)]))
    assert "X-Bad" in str(raised)
    assert len(str(raised)) < 300


# start_response a second time -----------------------------------------------------------------------------------------


class Oops(Exception):
    pass


def exc_info() -> Any:
    try:
        raise Oops("the first")
    except Oops:
        return sys.exc_info()


def test_a_second_call_is_an_error(play) -> None:
    """A second call without exc_info raises, and the response is none (PEP 3333)."""

    def application(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])

    outcome, raised, _ = play(application)
    assert isinstance(raised, RuntimeError)
    assert outcome.failed == "RuntimeError"
    assert outcome.status is None


@pytest.mark.parametrize(
    "first", [None, ("200 OK", [("X-A", "b")]), ("204 No Content", []), ("200 OK", [("Content-Length", "3")])]
)
def test_exc_info_replaces_what_has_not_gone_out(play, first: Any) -> None:
    """With exc_info a second call replaces status and headers, and nothing of the first is left."""

    def application(environ, start_response):
        if first is not None:
            start_response(*first)
        start_response("500 Internal Server Error", [("X-C", "d")], exc_info())
        return [b"an error page"]

    outcome, raised, _ = play(application)
    assert raised is None
    assert outcome == Outcome(500, {b"x-c": b"d", b"content-length": b"13"}, b"an error page", True, None)


@pytest.mark.parametrize("length", [None, "5"])
def test_exc_info_reraises_once_headers_are_out(play, length: str | None) -> None:
    """When a part has gone out, exc_info's own exception is raised and the response is cut."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", length)] if length else [])
        yield b"part"
        start_response("500 Internal Server Error", [], exc_info())
        yield b"never"

    outcome, raised, _ = play(application)
    assert isinstance(raised, Oops)
    assert raised.__traceback__ is not None
    assert (outcome.status, outcome.body, outcome.complete, outcome.failed) == (200, b"part", False, "Oops")


def test_a_bad_replacement_leaves_the_first(play) -> None:
    """A replacement that must not go out raises; an application that catches that still has its first response."""

    def application(environ, start_response):
        start_response("200 OK", [("X-A", "b")])
        with pytest.raises(ValueError, match="header name"):
            start_response("500 Oops", [("X A", "b")], exc_info())
        return [b"hello"]

    outcome, _, _ = play(application)
    assert (outcome.status, outcome.body) == (200, b"hello")
    assert outcome.headers[b"x-a"] == b"b"


def test_a_later_call_after_a_whole_response(play) -> None:
    """Once all of Content-Length is out, exc_info re-raises and a bare call is an error; the response stays whole."""
    caught = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        for arguments in ([exc_info()], []):
            try:
                start_response("500 Oops", [], *arguments)
            except Exception as error:
                caught.append(type(error))

    outcome, raised, _ = play(application)
    assert (outcome.body, outcome.complete, raised) == (b"hello", True, None)
    assert caught == [Oops, RuntimeError]


# The body -------------------------------------------------------------------------------------------------------------


def generating(*pieces: object, status: str = "200 OK", headers: Any = (), late: bool = False) -> Callable[..., Any]:
    """A generator; ``late`` calls start_response only with the first next()."""

    def generate(start_response):
        if late:
            start_response(status, list(headers))
        yield from pieces

    def application(environ, start_response):
        if not late:
            start_response(status, list(headers))
        return generate(start_response)

    return application


def writing(*pieces: bytes, rest: Any = (), headers: Any = ()) -> Callable[..., Any]:
    def application(environ, start_response):
        write = start_response("200 OK", list(headers))
        for piece in pieces:
            write(piece)
        return rest

    return application


BIG = bytes(range(256)) * 400


@pytest.mark.parametrize(
    ("application", "body", "headers"),
    [
        pytest.param(answering(body=[b"a", b"", b"b"]), b"ab", {b"content-length": b"2"}, id="list"),
        pytest.param(answering(body=[]), b"", {b"content-length": b"0"}, id="empty list"),
        pytest.param(answering(body=()), b"", {b"content-length": b"0"}, id="empty tuple"),
        pytest.param(answering(body=iter([])), b"", {b"content-length": b"0"}, id="empty iterator"),
        pytest.param(answering(body=[BIG]), BIG, {b"content-length": b"%d" % len(BIG)}, id="more than a message"),
        pytest.param(generating(b"a", b"b"), b"ab", {}, id="generator"),
        pytest.param(generating(b"", b"", b"a", late=True), b"a", {}, id="start_response inside a generator"),
        pytest.param(generating(late=True), b"", {b"content-length": b"0"}, id="generator of nothing"),
        pytest.param(generating(BIG[:70_000]), BIG[:70_000], {}, id="a piece larger than a message"),
        pytest.param(writing(b"a", b"b", rest=[b"c"]), b"abc", {}, id="write"),
        pytest.param(writing(rest=[b"c"]), b"c", {b"content-length": b"1"}, id="write nothing"),
        pytest.param(
            writing(b"ab", headers=[("Content-Length", "2")]), b"ab", {b"content-length": b"2"}, id="write all"
        ),
        pytest.param(
            generating(b"abc", b"def", headers=[("Content-Length", "4")]),
            b"abcd",
            {b"content-length": b"4"},
            id="clamped",
        ),
        pytest.param(
            answering(headers=[("Content-Length", "3")]), b"hel", {b"content-length": b"3"}, id="list clamped"
        ),
        pytest.param(
            writing(b"abc", b"d", headers=[("Content-Length", "2")]),
            b"ab",
            {b"content-length": b"2"},
            id="write clamped",
        ),
    ],
)
def test_a_body(play, application: Callable[..., Any], body: bytes, headers: dict[bytes, bytes]) -> None:
    """However an application gives its body, it goes out once, whole, and no more of it than Content-Length says."""
    outcome, raised, response = play(application)
    assert raised is None
    assert outcome == Outcome(200, headers, body, True, None)
    assert response.state is WHOLE


@pytest.mark.parametrize(
    ("application", "error", "body"),
    [
        pytest.param(answering(body=["text"]), TypeError, None, id="str in a list"),
        pytest.param(answering(body="text"), TypeError, None, id="str"),
        pytest.param(answering(body=b"bytes"), TypeError, None, id="bytes, whose pieces are numbers"),
        pytest.param(answering(body=[bytearray(b"x")]), TypeError, None, id="bytearray"),
        pytest.param(answering(body=None), TypeError, None, id="None"),
        pytest.param(generating(b"a", "text"), TypeError, b"a", id="str after bytes"),
        pytest.param(generating("", b"a"), TypeError, None, id="an empty str"),
        pytest.param(lambda environ, start_response: [b"x"], RuntimeError, None, id="no start_response"),
        pytest.param(
            lambda environ, start_response: iter([b"x"]), RuntimeError, None, id="no start_response, iterator"
        ),
        pytest.param(lambda environ, start_response: [], RuntimeError, None, id="no start_response, no body"),
        pytest.param(answering(headers=[("Content-Length", "9")]), RuntimeError, None, id="list too short"),
        pytest.param(generating(b"abc", headers=[("Content-Length", "9")]), RuntimeError, b"abc", id="too short"),
        pytest.param(writing(b"abc", headers=[("Content-Length", "9")]), RuntimeError, b"abc", id="write too short"),
    ],
)
def test_a_body_that_is_none(play, application: Callable[..., Any], error: type[Exception], body: bytes | None) -> None:
    """What is no body, or not all of it, is an error, and the front end learns that the response is not whole."""
    outcome, raised, response = play(application)
    assert type(raised) is error
    assert (outcome.body, outcome.complete, outcome.failed) == (body or b"", False, error.__name__)
    assert (outcome.status is None) == (body is None)
    assert response.state is FAILED


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("build", [answering, generating, writing])
def test_no_body_where_there_must_be_none(play, status: str, build: Callable[..., Any]) -> None:
    """To HEAD, with 204 and 304, no byte of a body goes out, however the application gives one; headers stay."""
    pieces = (b"a", b"b")
    application = {
        answering: lambda: answering(status, (("X-A", "b"),), pieces),
        generating: lambda: generating(*pieces, status=status, headers=(("X-A", "b"),)),
        writing: lambda: writing(*pieces, headers=[("X-A", "b")]),
    }[build]()
    method = b"HEAD" if status == "200 OK" or build is writing else b"GET"
    outcome, raised, _ = play(application, method)
    assert raised is None
    assert (outcome.body, outcome.complete) == (b"", True)
    assert outcome.headers == {b"x-a": b"b"}


def test_head_keeps_content_length(play) -> None:
    """A HEAD response says the length that GET would have, and is not too short for it."""
    outcome, raised, _ = play(answering(headers=[("Content-Length", "500")], body=[]), b"HEAD")
    assert raised is None
    assert outcome.headers == {b"content-length": b"500"}


# close() --------------------------------------------------------------------------------------------------------------


class Closing:
    """An iterable that counts its close() calls."""

    def __init__(self, pieces: Any, *, failing: bool = False) -> None:
        self.pieces = iter(pieces)
        self.closed = 0
        self.failing = failing

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        piece = next(self.pieces)
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1
        if self.failing:
            raise Oops("close")


@pytest.mark.parametrize(
    ("pieces", "headers", "error"),
    [
        ([b"a", b"b"], [], None),
        ([], [], None),
        ([b"abc", b"d", b"e", b"f"], [("Content-Length", "2")], None),
        ([Oops()], [], Oops),
        ([b"a", Oops()], [], Oops),
        ([b"a", "b"], [], TypeError),
        ([b"a", SystemExit(3)], [], SystemExit),
        ([b"a", KeyboardInterrupt()], [], KeyboardInterrupt),
        ([b"a"], [("Content-Length", "9")], RuntimeError),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_close_runs_once(
    play, pieces: list[Any], headers: Any, error: type[BaseException] | None, method: bytes
) -> None:
    """close() runs exactly once, after the last piece, whatever happens before."""
    iterable = Closing(pieces)
    _, raised, response = play(answering(headers=headers, body=iterable), method)
    if method == b"GET" or pieces[:1] == [b"a"] or error is Oops:
        assert raised is None or error is None or type(raised) is error
    assert iterable.closed == 1
    response.close()
    assert iterable.closed == 1


def test_a_failing_close_comes_after_a_whole_response(play) -> None:
    """An exception in close() is raised, and takes nothing back of a response that is whole."""
    iterable = Closing([b"a"], failing=True)
    outcome, raised, _ = play(answering(headers=[("Content-Length", "1")], body=iterable))
    assert isinstance(raised, Oops)
    assert (outcome.body, outcome.complete, outcome.failed) == (b"a", True, None)
    assert iterable.closed == 1


def test_nothing_goes_out_before_the_first_piece(front) -> None:
    """Headers wait for the first byte of body: until then exc_info may replace them (PEP 3333)."""
    with front() as conversation:
        response = Response(conversation.exchange, b"GET")
        write = response.start_response("200 OK", [])
        write(b"")
        assert conversation.hear() == []
        write(b"x")
        assert [kind for kind, _ in conversation.hear()] == [messages.START]


def test_an_endless_iterable_ends_with_its_length(play) -> None:
    """An iterable that goes on past Content-Length is asked for one more piece, and then closed, not run for ever."""
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield b"x"

    outcome, raised, _ = play(answering(headers=[("Content-Length", "3")], body=endless()))
    assert (outcome.body, outcome.complete, raised) == (b"xxx", True, None)
    assert asked <= 5


# Credit and the client's leaving --------------------------------------------------------------------------------------


class Impatient(Channel):
    """Raises where it would have to wait."""

    __slots__ = ()

    def receive(self) -> tuple[int, bytes]:
        frame = self.receive_nowait()
        if frame is None:
            raise ChannelClosed("it would have to wait")
        return frame


@pytest.mark.parametrize("given", [0, 1, 5])
def test_no_more_goes_out_than_there_is_credit_for(front, given: int) -> None:
    """What may be under way is a window and what has been given back, then the worker waits."""
    with front() as conversation:
        conversation.worker.__class__ = Impatient
        exchange = conversation.exchange
        exchange.start(b"200", b"", complete=False)
        for _ in range(given):
            conversation.say(messages.numbers(messages.CREDIT, 8192))
        sent = 0
        try:
            while True:
                exchange.chunk(bytes(8192))
                sent += 8192
        except ClientDisconnected:
            pass  # Impatient
        room = messages.WINDOW - messages.cost(0) + given * 8192
        assert sent == room // 8192 * 8192
        assert sum(len(body) for kind, body in conversation.hear() if kind == messages.CHUNK) == sent


def test_an_abort_is_noticed_with_the_next_write(front) -> None:
    """Once the front end has said that nobody waits, the next write raises an OSError with the reason."""
    with front() as conversation:
        response = Response(conversation.exchange, b"GET")
        write = response.start_response("200 OK", [])
        write(b"x")
        conversation.say(messages.frame(messages.ABORT, b"the client has gone"))
        with pytest.raises(OSError, match="the client has gone"):
            write(b"y")
        response.fail("ClientDisconnected")
        assert response.state is FAILED


def test_an_abort_behind_the_credit_is_noticed(front) -> None:
    """Who waited for credit, and has got it together with an ABORT, sends nothing any more."""
    with front() as conversation:
        exchange = conversation.exchange
        exchange.start(b"200", b"", complete=False)
        exchange.chunk(bytes(messages.WINDOW - messages.cost(0)))
        sent = len(conversation.hear())
        conversation.say(
            messages.numbers(messages.CREDIT, 8192) + messages.frame(messages.ABORT, b"the client has gone")
        )
        with pytest.raises(ClientDisconnected, match="the client has gone"):
            exchange.chunk(bytes(8192))
        assert len(conversation.hear()) == 0 < sent
