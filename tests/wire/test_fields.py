"""What the header fields of a response may be, whoever says them."""

import pytest

from asyncgroups.wire.fields import are_sound

SOUND: dict[str, list[tuple[bytes, bytes]]] = {
    "none": [],
    "usual ones": [(b"content-type", b"text/plain"), (b"content-length", b"3"), (b"set-cookie", b"a=b; Path=/")],
    "an empty value, a tab, and no ASCII": [(b"x-a", b""), (b"x-b", b"a\tb"), (b"x-c", b"\xe4\xff")],
    "one length, said twice": [(b"content-length", b"3"), (b"content-length", b"3")],
}

UNSOUND: dict[str, list[tuple[bytes, bytes]]] = {
    "no name": [(b"", b"a")],
    "a space in a name": [(b"a b", b"c")],
    "a colon in a name": [(b"a:b", b"c")],
    "capitals": [(b"Connection", b"close")],
    "a control character": [(b"a", b"b\x01")],
    "DEL": [(b"a", b"b\x7f")],
    "a coding of the transfer": [(b"transfer-encoding", b"chunked")],
    "a word about the connection": [(b"connection", b"keep-alive")],
    "no length": [(b"content-length", b"")],
    "a length that is none": [(b"content-length", b"+3")],
    "two lengths": [(b"content-length", b"3"), (b"content-length", b"4")],
    "two lengths in one": [(b"content-length", b"3, 3")],
}


@pytest.mark.parametrize("fields", SOUND.values(), ids=SOUND)
def test_sound_fields(fields: list[tuple[bytes, bytes]]) -> None:
    """They go out."""
    assert are_sound(fields)


@pytest.mark.parametrize("fields", UNSOUND.values(), ids=UNSOUND)
def test_fields_that_are_not_sound(fields: list[tuple[bytes, bytes]]) -> None:
    """No client, and no proxy in front, gets to see them: it could take another response for what follows."""
    assert not are_sound([(b"content-type", b"text/plain"), *fields])
