"""Every application of tests/apps, well-behaved or not, in each kind of group, under each server."""

import hashlib
import re

import httpx
import pytest

from tests.bridge.site import GOOD, LABELS, Log, names
from tests.serving import APPS, Server

TEXT = {"content-type": "text/plain"}
MANY = b"".join(bytes([number % 251]) * (1 + number * number) for number in range(300))
UPLOAD = b"first line\nsecond\n\nlast one " + b"x" * 5000

# name: status, headers, body; for those that are not told in a test of their own.
EXPECTED: dict[str, tuple[int, dict[str, str], bytes]] = {
    "hello": (200, TEXT, b"hello"),
    "tuple_of_pieces": (200, TEXT, b"one two"),
    "generator": (200, TEXT, b"one two three"),
    "many_pieces": (200, TEXT, MANY),
    "start_in_empty_generator": (404, TEXT | {"x-from": "generator"}, b""),
    "start_in_generator": (201, TEXT | {"x-from": "generator"}, b"made"),
    "empty_pieces": (200, TEXT, b"at last"),
    "empty_list": (200, TEXT, b""),
    "write_only": (200, TEXT, b"written twice"),
    "write_and_iterate": (200, TEXT, b"written, then returned"),
    "no_content": (204, {}, b""),
    "not_modified": (304, {"etag": '"x"'}, b""),
    "exact_length": (200, TEXT | {"content-length": "10"}, b"0123456789"),
    "echo": (200, TEXT, UPLOAD),
    "echo_lines": (200, TEXT, UPLOAD),
    "digest": (200, TEXT, hashlib.sha256(UPLOAD).hexdigest().encode()),
    "exc_info_replaces": (503, TEXT | {"x-second": "yes"}, b"replaced"),
    "exc_info_replaces_in_generator": (503, TEXT | {"x-second": "yes"}, b"replaced"),
    "exc_info_replaces_length": (503, TEXT | {"x-second": "yes"}, b"replaced"),
    "exc_info_replaces_no_content": (503, TEXT | {"x-second": "yes"}, b"replaced"),
    "file": (200, TEXT, (APPS / "bridge_good.py").read_bytes()),
    "file_like": (200, TEXT, b"like a file"),
    "closeable": (200, TEXT, b"class based"),
    "cookies": (200, TEXT | {"set-cookie": "a=1, c=2", "x-between": "b"}, b"cookies"),
    "latin_1": (200, TEXT | {"x-name": "J\xfcrgen"}, b"latin"),
    "errors": (200, TEXT, b"see the log"),
}


@pytest.mark.parametrize("folder", ["", "validated/"], ids=["plain", "validated"])
@pytest.mark.parametrize("name", GOOD)
def test_well_behaved_application(server: Server, group: str, log: Log, folder: str, name: str) -> None:
    """It answers what it says, to GET or POST, and without a body to HEAD; nothing of it is logged as an error."""
    with server.client() as client:
        path = f"/{group}/{folder}{name}"
        response = client.post(path, content=UPLOAD) if name in ("echo", "echo_lines", "digest") else client.get(path)
        head = client.head(path)

    status, headers, body = EXPECTED.get(name, (200, {"content-type": "application/json"}, response.content))
    assert response.status_code == head.status_code == status
    assert {key: response.headers.get(key) for key in headers} == headers
    if name in ("hello", "tuple_of_pieces"):  # the validator makes an iterator of a list, whose length nobody knows
        assert response.headers.get("content-length") == (None if folder else str(len(body)))
    assert response.content == body
    assert "x-first" not in response.headers, "exc_info replaces the headers"
    assert head.content == b""
    said = str(log) if name != "errors" else log.wait_for("unfinished line")
    assert "Traceback" not in said
    assert "WSGIWarning" not in said, "wsgiref.validate warns of what it does not like"


def test_validator_sees_the_call_of_close(server: Server, group: str) -> None:
    """close() runs once for each response, also through the validator, which complains where it does not."""
    with server.client() as client:
        before = int(client.get(f"/{group}/validated/closeable").headers["x-closed-before"])
        after = int(client.get(f"/{group}/validated/closeable").headers["x-closed-before"])
    assert after == before + 1


CUT = 0
"""Instead of a status: 200, and a body whose end does not come."""

BAD: dict[str, tuple[int, bytes, str]] = {
    # name: status, body (of CUT: what had been given before it), what the log names
    "raises_at_once": (500, b"", "LookupError"),
    "raises_after_start": (500, b"", "LookupError"),
    "raises_before_first_piece": (500, b"", "LookupError"),
    "raises_in_mid_stream": (CUT, b"some of it", "LookupError"),
    "raises_short_of_its_length": (CUT, b"some of it", "LookupError"),
    "raises_after_write": (CUT, b"some of it", "LookupError"),
    "raises_in_iter": (500, b"", "LookupError"),
    "raises_in_close": (200, b"all of it", "LookupError"),
    "raises_system_exit": (500, b"", "SystemExit"),
    "raises_keyboard_interrupt": (500, b"", "KeyboardInterrupt"),
    "raises_stop_iteration": (500, b"", "StopIteration"),
    "raises_what_has_no_str": (500, b"", "Unprintable"),
    "recurses": (500, b"", "RecursionError"),
    "never_starts": (500, b"", "RuntimeError"),
    "never_starts_empty": (500, b"", "RuntimeError"),
    "never_starts_generator": (500, b"", "RuntimeError"),
    "starts_twice": (500, b"", "a second time"),
    "starts_again_in_mid_stream": (CUT, b"some of it", "a second time"),
    "exc_info_in_mid_stream": (CUT, b"some of it", "LookupError"),
    "status_is_a_number": (500, b"", "TypeError"),
    "status_is_bytes": (500, b"", "TypeError"),
    "headers_too_large": (500, b"", "ValueError"),
    "header_name_is_bytes": (500, b"", "TypeError"),
    "header_value_is_a_number": (500, b"", "TypeError"),
    "header_is_no_pair": (500, b"", "TypeError"),
    "header_is_none": (500, b"", "TypeError"),
    "length_is_no_number": (500, b"", "ValueError"),
    "length_is_negative": (500, b"", "ValueError"),
    "length_twice": (500, b"", "ValueError"),
    "returns_none": (500, b"", "TypeError"),
    "returns_a_number": (500, b"", "TypeError"),
    "returns_str": (500, b"", "TypeError"),
    "returns_list_of_str": (500, b"", "TypeError"),
    "returns_list_of_bytearray": (500, b"", "TypeError"),
    "yields_str": (500, b"", "TypeError"),
    "yields_str_in_mid_stream": (CUT, b"some of it", "TypeError"),
    "writes_str": (500, b"", "TypeError"),
    "list_short_of_its_length": (500, b"", "10 bytes before"),
    "empty_short_of_its_length": (500, b"", "20 bytes before"),
    "generator_short_of_its_length": (CUT, b"some of it", "10 bytes before"),
}
for application in names("bridge_bad"):
    if application.startswith(("status_", "header_", "hop_by_hop_")):
        BAD.setdefault(application, (500, b"", "ValueError"))

TOLERATED: dict[str, tuple[int, dict[str, str], bytes]] = {
    # name: status, headers, body; nothing is logged
    "list_beyond_its_length": (200, {"content-length": "5"}, b"01234"),
    "generator_beyond_its_length": (200, {"content-length": "5"}, b"01201"),
    "write_beyond_its_length": (200, {"content-length": "5"}, b"01234"),
    "body_with_no_content": (204, {}, b""),
    "generated_body_with_no_content": (204, {}, b""),
    "body_with_not_modified": (304, {"etag": '"x"'}, b""),
    "bare_status": (200, {}, b"x"),
    "status_without_reason": (404, {}, b"x"),
    "subclass_of_str": (200, {"x-text": "safe"}, b"x"),
    "exc_info_by_keyword": (503, TEXT, b"x"),
    "headers_of_lists": (200, {"x-text": "lists"}, b"x"),
    "headers_in_a_tuple": (200, {"x-text": "tuple"}, b"x"),
    "length_with_spaces": (200, {"content-length": "1"}, b"x"),
}
del BAD["status_without_reason"]


def test_no_misbehaviour_without_its_expected_outcome() -> None:
    """Each application of bridge_bad is in one of the two tables."""
    assert sorted([*BAD, *TOLERATED]) == sorted(names("bridge_bad"))


@pytest.mark.parametrize("name", BAD)
def test_misbehaving_application(server: Server, group: str, log: Log, name: str) -> None:
    """500, or a cut body; one log record with group and traceback; none of it at the client; the worker goes on."""
    status, body, cause = BAD[name]
    path = f"/{group}/{name}"
    received = b""
    with server.client() as client, client.stream("GET", path) as response:
        assert response.status_code == (status or 200)
        assert not {"x-evil", "x-a", "x a", "x"} & set(response.headers)
        if status is CUT:
            pieces = response.iter_raw()
            while len(received) < len(body):
                received += next(pieces)
            with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
                next(pieces)
        else:
            received = response.read()
    assert received == (body or b"500 Internal Server Error\n")

    said = log.wait_for(cause)
    record = re.search(rf"\[{re.escape(LABELS[group])} #\d+\] (?:exception in|close\(\) of) 'bridge_bad:{name}'", said)
    assert record is not None, said
    if name != "raises_what_has_no_str":
        assert "Traceback (most recent call last)" in said[record.start() :]
    assert said.count("exception in 'bridge_bad") + said.count("close() of 'bridge_bad") == 1
    assert server.get(f"/{group}/hello").content == b"hello", "its worker is free, and in good health"


@pytest.mark.parametrize("name", TOLERATED)
def test_application_whose_answer_is_put_right(server: Server, group: str, log: Log, name: str) -> None:
    """What does no harm is taken as it was meant; a body is clamped to its length, and dropped where none is due."""
    status, headers, body = TOLERATED[name]
    with server.client() as client:
        for _ in range(2):  # the second on the same connection: nothing of the first was left on it
            response = client.get(f"/{group}/{name}")
            assert (response.status_code, response.content) == (status, body)
            assert {key: response.headers.get(key) for key in headers} == headers
            assert status != 204 or "content-length" not in response.headers, "RFC 9110 section 8.6"
    assert "Traceback" not in str(log)
    assert "ERROR" not in str(log)
