"""What the front end answers by itself."""

from typing import Any

import pytest

from asyncgroups import errors
from asyncgroups.frontend.answers import DRAIN_BYTES, answer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Client:
    """A client that sends these events, and then nothing, and keeps what it is sent."""

    def __init__(self, *events: dict[str, Any], endless: int = 0) -> None:
        self.events = list(events)
        self.endless = endless
        self.received = 0
        self.sent: list[dict[str, Any]] = []
        self.order: list[str] = []

    async def receive(self) -> Any:
        self.order.append("receive")
        self.received += 1
        if self.endless:
            return {"type": "http.request", "body": bytes(self.endless), "more_body": True}
        return self.events.pop(0)

    async def send(self, event: Any) -> None:
        self.order.append(event["type"])
        self.sent.append(event)

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.sent[1:])


RAISED = [
    getattr(errors, name)
    for name in errors.__all__
    if issubclass(getattr(errors, name), errors.ApplicationGroupsError)
    and name not in ("ApplicationGroupsError", "ConfigurationError")
    and not issubclass(getattr(errors, name), errors.SettingSyntaxError)
]


@pytest.mark.parametrize("error", RAISED)
async def test_each_error_has_an_answer(error: type[errors.ApplicationGroupsError]) -> None:
    """An answer has the status of its error, says nothing of what went wrong inside, and when to come back if known."""
    client = Client()
    raised = error("the secret of what went wrong")
    await answer(client.send, raised, method="GET")
    start = client.sent[0]
    headers = dict(start["headers"])
    assert start["status"] == raised.status >= 400
    assert client.body.startswith(b"%d " % raised.status)
    assert b"secret" not in client.body
    assert headers[b"content-length"] == b"%d" % len(client.body)
    assert (b"retry-after" in headers) == (raised.status == 503)
    assert [event.get("more_body") for event in client.sent[1:]] == [False]


async def test_head() -> None:
    """A HEAD request gets the same head, and no body."""
    client = Client()
    await answer(client.send, errors.NotMounted("x"), method="HEAD")
    assert client.body == b""
    assert int(dict(client.sent[0]["headers"])[b"content-length"]) > 0


async def test_the_rest_of_a_body_is_read_before_the_answer_ends() -> None:
    """A client that is still sending gets to read the answer: what it sends is dropped before the end of it."""
    events = [{"type": "http.request", "body": b"x", "more_body": more} for more in (True, True, False)]
    client = Client(*events)
    await answer(client.send, errors.BodyTooLarge("x"), method="POST", receive=client.receive)
    assert client.received == 3
    assert client.order == ["http.response.start", "http.response.body", *["receive"] * 3, "http.response.body"]
    assert client.sent[-1]["more_body"] is False
    assert len(client.body) == int(dict(client.sent[0]["headers"])[b"content-length"])


async def test_a_client_that_leaves_ends_the_reading() -> None:
    """Nothing more is read from a client that has gone."""
    client = Client({"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"})
    await answer(client.send, errors.NotMounted("x"), method="POST", receive=client.receive)
    assert client.received == 2
    assert client.sent[-1]["more_body"] is False


async def test_the_reading_is_bounded() -> None:
    """A client that sends for ever is not read for ever."""
    client = Client(endless=64 * 1024)
    await answer(client.send, errors.NotMounted("x"), method="POST", receive=client.receive)
    assert client.received == DRAIN_BYTES // (64 * 1024)
    assert client.sent[-1]["more_body"] is False
