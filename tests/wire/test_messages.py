"""The vocabulary: what is said arrives, and what is no message is a ProtocolError and nothing else."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncgroups.errors import ProtocolError
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Frames

field = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"0"))
pairs = st.lists(st.tuples(field, field), max_size=6).map(lambda pairs: [part for pair in pairs for part in pair])
body = st.binary(max_size=200)

PARTS = [
    *["application", "method", "scheme", "http_version", "script_name", "path_info", "query_string", "target"],
    *["server_name", "server_port", "client_host", "client_port"],
]


def payload(frame: bytes, kind: int) -> bytes:
    """What ``frame`` carries, once its type and length have been found right."""
    assert frame[0] == kind
    assert int.from_bytes(frame[1:5]) == len(frame) - messages.FRAME_HEADER
    return frame[messages.FRAME_HEADER :]


@given(
    number=st.integers(0, 2**63),
    when=st.integers(0, 2**63),
    parts=st.tuples(*[field] * len(PARTS)),
    env=pairs,
    headers=pairs,
    body=body,
    complete=st.booleans(),
    asks=st.booleans(),
)
def test_a_request_arrives_as_it_was_said(
    number: int,
    when: int,
    parts: tuple[bytes, ...],
    env: list[bytes],
    headers: list[bytes],
    body: bytes,
    complete: bool,
    asks: bool,
) -> None:
    """Every part of a request crosses unchanged, whatever bytes but NUL it is made of."""
    began = b"%d" % when
    head = messages.request(number, (*parts, began), env, headers)
    frame = messages.start(messages.REQUEST, head, body, complete=complete, asks=asks)
    found = messages.parse_request(payload(frame, messages.REQUEST))
    assert (found.exchange, found.env, found.headers) == (number, env, headers)
    assert (*(getattr(found, name) for name in PARTS), b"%d" % found.began) == (*parts, began)
    assert (found.body, found.complete, found.asks) == (body, complete, asks)


@given(
    status=st.integers(100, 999),
    headers=st.lists(st.tuples(field, field), max_size=6),
    body=body,
    complete=st.booleans(),
)
def test_a_start_arrives_as_it_was_said(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, complete: bool
) -> None:
    """A response's head crosses unchanged; a line break in it, or a status that is none, never gets past the parser."""
    head = b"\0".join([b"%d" % status, *(part for pair in headers for part in pair)])
    crossing = payload(messages.start(messages.START, head, body, complete=complete), messages.START)
    if b"\n" in head or b"\r" in head or not 200 <= status <= 599:
        with pytest.raises(ProtocolError):
            messages.parse_start(crossing)
        return
    found = messages.parse_start(crossing)
    assert (found.status, found.headers, found.body, found.complete) == (status, headers, body, complete)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=4), st.integers(0, 4))
def test_numbers(values: list[int], count: int) -> None:
    """Numbers cross unchanged, and any other number of them than was due is an error."""
    crossing = payload(messages.numbers(messages.TAKEN, *values), messages.TAKEN)
    if count == len(values):
        assert messages.parse_numbers(crossing, count) == tuple(values)
    else:
        with pytest.raises(ProtocolError):
            messages.parse_numbers(crossing, count)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=4), st.integers(1, 4))
def test_texts(values: list[str], count: int) -> None:
    """Texts cross, a NUL in one shown as an escape, and any other number of them than was due is an error."""
    crossing = payload(messages.texts(messages.REFUSED, *values), messages.REFUSED)
    if count == len(values):
        assert messages.parse_texts(crossing, count) == [value.replace("\0", "\\x00") for value in values]
    else:
        with pytest.raises(ProtocolError):
            messages.parse_texts(crossing, count)


@given(st.sampled_from([10, 20, 30, 40, 50]), st.integers(0, 2**63), st.text(max_size=50))
def test_a_record_arrives_as_it_was_said(level: int, exchange: int, text: str) -> None:
    """A log record crosses with its level and its exchange; what UTF-8 cannot say of its text is escaped."""
    found = messages.parse_record(payload(messages.record(level, exchange, text), messages.RECORD))
    assert (found.level, found.exchange) == (level, exchange)
    assert found.text == text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("level", [0, 1, 60, 255])
def test_a_record_of_no_level(level: int) -> None:
    """Another process may say what it likes: a level that the logging module does not have is an error."""
    with pytest.raises(ProtocolError):
        messages.parse_record(payload(messages.record(level, 0, "text"), messages.RECORD))


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(0, 10))
def test_blobs(values: list[bytes], cut: int) -> None:
    """Values of any bytes cross unchanged; one that is cut off is an error."""
    crossing = payload(messages.blobs(messages.OPEN, *values), messages.OPEN)
    assert messages.parse_blobs(crossing) == values
    if values and 0 < cut <= len(values[-1]):
        with pytest.raises(ProtocolError):
            messages.parse_blobs(crossing[:-cut])


@pytest.mark.parametrize("character", ["x", "é", "\U0001f40d", "\ud800"])
@pytest.mark.parametrize("surplus", [-1, 0, 1, 100_000])
def test_the_longest_record(character: str, surplus: int) -> None:
    """A text of any length fits a frame; one that is too long loses its middle, and says how much."""
    width = len(character.encode("utf-8", "backslashreplace"))
    text = "beginning " + character * ((messages.LARGEST_FRAME + surplus) // width) + " end"
    crossing = payload(messages.record(40, 7, text), messages.RECORD)
    assert len(crossing) <= messages.LARGEST_FRAME
    found = messages.parse_record(crossing).text
    assert found.startswith("beginning ")
    assert found.endswith(" end")
    assert "bytes left out" in found


@pytest.mark.parametrize(
    ("length", "price"), [(0, 1024), (1, 1024), (1023, 1024), (1024, 1024), (1025, 1025), (65536, 65536)]
)
def test_cost(length: int, price: int) -> None:
    """A message costs its length, and no less than what it occupies in a socket's buffer."""
    assert messages.cost(length) == price


HEAD = messages.request(3, tuple(b"%d" % n for n in range(13)), [b"A", b"1"], [b"host", b"x"])


def crossing(head: bytes) -> bytes:
    return payload(messages.start(messages.REQUEST, head, b"", complete=True), messages.REQUEST)


@pytest.mark.parametrize(
    "malformed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\1\0\0\0", id="no length"),
        pytest.param(b"\1\0\0\0\0", id="no head"),
        pytest.param(b"\1\xff\xff\xff\xff" + HEAD, id="a head longer than the message"),
        pytest.param(crossing(HEAD)[:-1], id="one byte short"),
        pytest.param(crossing(HEAD.rpartition(b"\0")[0]), id="a name without a value"),
        pytest.param(crossing(b"\0".join(HEAD.split(b"\0")[:14])), id="a part too few"),
        pytest.param(crossing(HEAD.replace(b"\x0012\0", b"\0now\0")), id="a time that is none"),
        pytest.param(crossing(b"x" + HEAD[1:]), id="no number"),
        pytest.param(crossing(b"" + HEAD[1:]), id="an empty number"),
        pytest.param(crossing(b"-3" + HEAD[1:]), id="a negative number"),
        pytest.param(crossing(b"3_0" + HEAD[1:]), id="a number as Python writes it"),
        pytest.param(crossing(b"9" * 5000 + HEAD[1:]), id="a number of 5000 digits"),
        pytest.param(crossing(b"3\0x" + HEAD[3:]), id="variables that are not counted"),
        pytest.param(crossing(b"3\0-1" + HEAD[3:]), id="less than no variables"),
        pytest.param(crossing(b"3\0" + b"3" + HEAD[3:]), id="more variables than there are fields"),
    ],
)
def test_a_malformed_request(malformed: bytes) -> None:
    """What is no request is refused, and no part of it is taken for another."""
    with pytest.raises(ProtocolError):
        messages.parse_request(malformed)


@pytest.mark.parametrize(
    "head",
    [b"", b"20", b"2000", b"2x0", "٢٠٠".encode(), b"200\0name", b"200\0a\0b\0c", b"200\0a\nb\0c", b"200\0a\0b\r\nc: d"],
)
def test_a_malformed_start(head: bytes) -> None:
    """What is no response's head is refused, and no line break gets into one."""
    with pytest.raises(ProtocolError):
        messages.parse_start(payload(messages.start(messages.START, head, b"", complete=True), messages.START))


noise = st.one_of(
    st.binary(max_size=80),
    # a right beginning gets further
    st.lists(st.sampled_from([b"\0", b"1", b"3", b"-1", b"200", b"x", b"\xff", b"\r\n", b"a"]), max_size=40).map(
        lambda parts: crossing(b"".join(parts))
    ),
    st.builds(lambda cut, junk: crossing(HEAD)[:cut] + junk, st.integers(0, len(HEAD) + 5), st.binary(max_size=10)),
)


@pytest.mark.parametrize(
    "parse",
    [
        messages.parse_request,
        messages.parse_start,
        messages.parse_record,
        lambda noise: messages.parse_numbers(noise, 2),
        lambda noise: messages.parse_texts(noise, 3),
    ],
    ids=["request", "start", "record", "numbers", "texts"],
)
@settings(max_examples=300, deadline=None)
@given(noise=noise)
def test_noise(parse: Callable[[bytes], object], noise: bytes) -> None:
    """Whatever comes over a channel, a parser returns what it was made for or raises ProtocolError."""
    try:
        parse(noise)
    except ProtocolError:
        pass


frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=8)


@given(frames=frames, cuts=st.lists(st.integers(0, 600), max_size=12), tail=st.binary(max_size=4))
def test_frames_come_out_however_they_were_cut(frames: list[tuple[int, bytes]], cuts: list[int], tail: bytes) -> None:
    """Frames come out whole and in their order, however the stream was cut, and the rest waits for more."""
    stream = b"".join(messages.frame(kind, body) for kind, body in frames) + tail
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    found, at, reader = [], 0, Frames()
    for end in ends:
        reader.feed(stream[at:end])
        at = end
        while (frame := reader.next()) is not None:
            found.append(frame)
    assert found == frames
    assert len(reader) == len(tail)


@given(frames=frames, cuts=st.lists(st.integers(0, 600), max_size=12), delays=st.lists(st.integers(0, 3), min_size=1))
def test_a_look_at_the_next_frame(frames: list[tuple[int, bytes]], cuts: list[int], delays: list[int]) -> None:
    """``peek`` says what ``next`` will return, and whether it will, though more came before that was asked for."""
    stream = b"".join(messages.frame(kind, body) for kind, body in frames)
    found, at, reader = [], 0, Frames()
    for turn, end in enumerate(sorted({min(cut, len(stream)) for cut in cuts})):
        reader.feed(stream[at:end])
        at = end
        for _ in range(delays[turn % len(delays)]):
            expected, frame = reader.peek(), reader.next()
            assert expected == (frame[0] if frame else -1)
            found += [frame] if frame else []
    reader.feed(stream[at:])
    while reader.peek() >= 0:
        found.append(reader.next())  # type: ignore[arg-type]
    assert found == frames
    assert reader.next() is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_frames_out_of_noise(pieces: list[bytes]) -> None:
    """Noise makes frames, or a ProtocolError, and never a frame beyond the bound."""
    reader = Frames()
    try:
        for piece in pieces:
            reader.feed(piece)
            while (frame := reader.next()) is not None:
                assert len(frame[1]) <= messages.LARGEST_FRAME
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("length", "refused"), [(messages.LARGEST_FRAME, False), (messages.LARGEST_FRAME + 1, True), (2**32 - 1, True)]
)
def test_the_bound_of_a_frame(length: int, refused: bool) -> None:
    """A frame beyond the bound is refused by its length, before any of it has been kept."""
    reader = Frames()
    reader.feed(messages.header(messages.CHUNK, length))
    if refused:
        assert reader.peek() == messages.CHUNK
        with pytest.raises(ProtocolError, match=str(length)):
            reader.next()
        return
    assert reader.next() is None
    reader.feed(bytes(length))
    frame = reader.next()
    assert frame is not None
    assert len(frame[1]) == length


def test_each_type_of_message_has_a_number_of_its_own() -> None:
    """No two messages share a type, and each type is one byte."""
    kinds = [
        getattr(messages, name)
        for name in messages.__all__
        if name.isupper() and name not in {"FRAME_HEADER", "HEAD_LIMIT", "LARGEST_CHUNK", "LARGEST_FRAME", "WINDOW"}
        if isinstance(getattr(messages, name), int)
    ]
    assert len(kinds) == len(set(kinds)) > 20
    assert all(0 < kind < 256 for kind in kinds)


@given(number=st.integers(0, 2**63), late=st.lists(st.sampled_from([messages.CREDIT, messages.BODY, messages.ABORT])))
def test_what_is_about_to_begin(number: int, late: list[int]) -> None:
    """The number of the first REQUEST or LOAD, behind what is late; as long as too little is there, none."""
    before = b"".join(messages.frame(kind, b"12345678") for kind in late)
    head = messages.request(number, (*(b"a",) * len(PARTS), b"1"), [], [])
    for frame in (
        messages.start(messages.REQUEST, head, b"body", complete=True),
        messages.texts(messages.LOAD, str(number), "a:b"),
    ):
        assert messages.begun(before + frame) == number
        assert messages.begun(before + frame + frame[:7]) == number
        end = frame.index(b"\0", 10 if frame[0] == messages.REQUEST else 5)
        assert {messages.begun((before + frame)[:size]) for size in range(len(before) + end)} <= {-1}
