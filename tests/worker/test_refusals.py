"""Extension modules that refuse, and what becomes of it: told to the front end when it is known."""

from collections.abc import Callable

import pytest

from asyncgroups.errors import ClientDisconnected
from asyncgroups.wire import messages
from asyncgroups.worker.exchange import Exchange
from asyncgroups.worker.journal import Journal
from asyncgroups.worker.loader import LoadingFailed
from asyncgroups.worker.refusals import Refusals
from asyncgroups.worker.wsgi import Response, run
from tests.worker.conftest import Conversing

TEXT = "module numpy._core does not support loading in subinterpreters"
FIRST, SECOND = ("numpy._core", TEXT), ("lxml.etree", "module lxml.etree does not support loading in subinterpreters")


def plain() -> None:
    raise ImportError(TEXT)


def wrapped() -> None:
    try:
        plain()
    except ImportError as error:
        raise RuntimeError("the installation is broken") from error


def hidden() -> None:
    try:
        plain()
    except ImportError:
        raise AttributeError("no such thing") from None


def another() -> None:
    raise ValueError("something else")


def circular() -> None:
    error, other = ValueError(), ValueError()
    error.__cause__, other.__cause__ = other, error
    raise error


def raised(action: Callable[[], None]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        action()
    return caught.value


@pytest.mark.parametrize(
    ("action", "found"),
    [(plain, FIRST), (wrapped, FIRST), (hidden, FIRST), (another, None), (circular, None)],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("is_import", [True, False])
def test_whether_an_application_is_unfit(
    front: Conversing, action: Callable[[], None], found: tuple[str, str] | None, is_import: bool
) -> None:
    """It is where its import failed after a refusal, of which the one it came of is named; a mistake only with that."""
    error = LoadingFailed("it failed", is_import=is_import)
    error.__cause__ = raised(action)
    with front() as conversation:
        refusals = Refusals(Journal(conversation.worker))
        exchange = conversation.exchange
        assert refusals.why_unfit(exchange, error) is None
        exchange.refuse(*FIRST)
        exchange.refuse(*SECOND)
        assert refusals.why_unfit(exchange, error) == (found or (SECOND if is_import else None))


def serve(front: Conversing, action: Callable[[Exchange], str]) -> list[int]:
    """The types of the messages of an exchange whose application does ``action``, which returns a status."""
    with front() as conversation:

        def application(environ, start_response):
            start_response(action(conversation.exchange), [])
            return [b"body"]

        response = Response(conversation.exchange, b"GET")
        try:
            run(application, {}, response)
        except Exception:
            pass
        conversation.exchange.done()
        return [kind for kind, _ in conversation.hear()]


def refuse(status: str = "", error: BaseException | None = None) -> Callable[[Exchange], str]:
    def action(exchange: Exchange) -> str:
        exchange.refuse(*FIRST)
        if error is not None:
            raise error
        return status

    return action


ENDS = {
    "nothing refused": (lambda _: "500 Oh", [messages.START, messages.DONE]),
    "fine all the same": (refuse("200 OK"), [messages.START, messages.DONE]),
    "the client's mistake": (refuse("404 Not Found"), [messages.START, messages.DONE]),
    "a framework's page": (refuse("500 Oh"), [messages.LACKING, messages.START, messages.DONE]),
    "an exception": (refuse(error=ValueError()), [messages.LACKING, messages.FAILED, messages.DONE]),
    "the client has gone": (refuse(error=ClientDisconnected("it has gone")), [messages.FAILED, messages.DONE]),
}


@pytest.mark.parametrize(("action", "kinds"), ENDS.values(), ids=ENDS)
def test_how_a_request_ends(front: Conversing, action: Callable[[Exchange], str], kinds: list[int]) -> None:
    """What refused is told before the failure, so that the next request knows of it; and of no other end."""
    assert serve(front, action) == kinds


def test_threads_of_the_application(front: Conversing) -> None:
    """What refuses in no exchange's thread is told at once, once."""
    with front() as conversation:
        refusals = Refusals(Journal(conversation.worker))
        refusals.note(*FIRST)
        refusals.note(*FIRST)
        assert conversation.hear() == [(messages.REFUSED, b"\0".join([b"", *(part.encode() for part in FIRST)]))]


def test_what_is_told_is_bounded(front: Conversing) -> None:
    """Names and texts are an application's: no message is larger than a frame may be."""
    with front() as conversation:
        long = "\U0001f40d" * 100_000
        conversation.exchange.refuse(long, long)
        (refusal,) = conversation.exchange.refusals
        assert len(messages.unfit("a:b", refusal, kind="E", reason=long)) < messages.LARGEST_FRAME
