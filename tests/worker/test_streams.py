"""``wsgi.input`` against ``io.BytesIO``, and what is a file that the front end can send by itself."""

# ruff: noqa: SIM115 - open files are what is tested, and what is tested closes them

import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncgroups.errors import ClientDisconnected
from asyncgroups.wire import messages
from asyncgroups.worker.streams import FileWrapper, Input, regular_file

pieces = st.lists(st.text("ab\n", min_size=1, max_size=12).map(str.encode), max_size=8)
size = st.one_of(st.none(), st.integers(-2, 15))
call = st.one_of(
    st.tuples(st.sampled_from(["read", "readline", "readlines"]), size),
    st.tuples(st.sampled_from(["read", "readline", "readlines", "__next__"]), st.just("none given")),
)


def do(stream: Any, name: str, argument: object) -> object:
    """What a call returns, or that the iteration is over."""
    try:
        return getattr(stream, name)(*([] if argument == "none given" else [argument]))
    except StopIteration:
        return StopIteration


@settings(max_examples=400, deadline=None)
@given(pieces=pieces, calls=st.lists(call, max_size=8), length=st.one_of(st.none(), st.integers(0, 100)))
@example(pieces=[b"ab"], calls=[("readline", 1), ("readline", 1), ("readline", 1)], length=None)
@example(pieces=[b"a\n", b"b"], calls=[("read", 1), ("readlines", 1), ("read", 5)], length=2)
def test_it_reads_as_bytes_io_does(front, pieces, calls, length) -> None:
    """However the body was cut and whatever is called, each call returns what it returns on an ``io.BytesIO``.

    With CONTENT_LENGTH, that of the body up to there.
    """
    oracle = io.BytesIO(b"".join(pieces)[:length])
    with front(pieces) as conversation:
        stream = Input(conversation.exchange, length)
        for name, argument in calls:
            assert do(stream, name, argument) == do(oracle, name, argument)
        assert list(stream) == list(oracle)
        assert do(stream, "read", 1) == b""
        assert do(stream, "readline", "none given") == b""


@settings(max_examples=200, deadline=None)
@given(pieces=pieces, calls=st.lists(call, max_size=8), surplus=st.one_of(st.none(), st.integers(1, 10)))
def test_a_client_that_leaves_is_never_the_end_of_a_body(front, pieces, calls, surplus) -> None:
    """When the client left, reads return what had come before, and then raise an OSError: never an early end."""
    body = b"".join(pieces)
    with front(pieces, aborted="the client has gone") as conversation:
        stream = Input(conversation.exchange, None if surplus is None else len(body) + surplus)
        found = b""
        raised = None
        for name, argument in [*calls, *[("read", 4)] * (len(body) + 2)]:
            try:
                part = do(stream, name, argument)
            except ClientDisconnected as error:
                raised = str(error)
                break
            assert part is not StopIteration
            assert part or argument == 0  # empty only where nothing was asked for
            found += b"".join(part) if isinstance(part, list) else part
            assert body.startswith(found)
        assert raised == "the client has gone"
        with pytest.raises(OSError, match="the client has gone"):
            stream.read()


def test_a_body_of_known_length_that_has_come_is_whole_without_its_end(front) -> None:
    """CONTENT_LENGTH bytes are the body: nothing more is waited for, and a client that leaves takes nothing along."""
    with front([b"12345"], aborted="the client has gone") as conversation:
        stream = Input(conversation.exchange, 5)
        assert stream.read() == b"12345"
        assert stream.read() == b""


def test_the_channels_end_is_a_client_that_left(front) -> None:
    """An application that reads when the front end lets go of the channel gets the same OSError."""
    with front([b"12345", b"678"], aborted="") as conversation:
        conversation.channel.shut()
        stream = Input(conversation.exchange, None)
        assert stream.read(5) == b"12345"
        with pytest.raises(ClientDisconnected):
            stream.read()


def test_each_byte_is_given_back_as_credit_once(front) -> None:
    """What the application takes is told to the front end, in steps of a quarter of a window, never more."""
    piece = messages.LARGEST_CHUNK // 4
    with front([bytes(piece)] * 6) as conversation:
        stream = Input(conversation.exchange, None)
        told = 0
        for _ in range(6):
            stream.read(piece)
            told += sum(
                messages.parse_numbers(body, 1)[0] for kind, body in conversation.hear() if kind == messages.TAKEN
            )
        assert messages.WINDOW // 4 <= told <= 6 * piece
        assert told % piece == 0


# wsgi.file_wrapper ----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize(
    ("opened", "position"),
    [
        pytest.param(lambda path: open(path, "rb"), 0, id="buffered"),
        pytest.param(lambda path: open(path, "rb"), 4, id="offset"),
        pytest.param(lambda path: open(path, "rb"), 10, id="at the end"),
        pytest.param(lambda path: open(path, "rb"), 25, id="past the end"),
        pytest.param(lambda path: open(path, "rb", buffering=0), 3, id="unbuffered"),
        pytest.param(lambda path: open(path, "r+b"), 5, id="for update"),
    ],
)
def test_a_regular_file(path: Path, opened: Callable[[Path], Any], position: int) -> None:
    """A regular file gives its descriptor, positioned where the file object stands, and how many bytes follow."""
    with opened(path) as file:
        file.seek(position)
        found = regular_file(file)
        assert found is not None
        descriptor, length = found
        assert length == max(0, 10 - position)
        assert os.read(descriptor, 100) == b"0123456789"[position:]


def test_a_file_that_was_read_in_part(path: Path) -> None:
    """What a buffer has read ahead has not been taken: the descriptor is set back to where the reader is."""
    with open(path, "rb") as file:
        assert file.readline(3) == b"012"
        found = regular_file(file)
        assert found == (file.fileno(), 7)
        assert os.read(file.fileno(), 100) == b"3456789"


def test_a_file_that_was_just_written() -> None:
    """A temporary file that an application has filled and rewound goes out whole."""
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100_000)
        file.seek(0)
        found = regular_file(file)
        assert found is not None
        assert found[1] == 100_000


class Pretender:
    """Has a descriptor, but what it reads is something else."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.fileno = file.fileno
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size).upper()

    def close(self) -> None:
        self.file.close()


class Upper(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        return (super().read(size) or b"").upper()


def compressed(path: Path) -> gzip.GzipFile:
    path.write_bytes(gzip.compress(b"0123456789"))
    return gzip.GzipFile(path)


def closed(path: Path) -> Any:
    file = open(path, "rb")
    file.close()
    return file


def piped(_: Path) -> Any:
    reading, writing = os.pipe()
    os.write(writing, b"0123456789")
    os.close(writing)
    return open(reading, "rb")


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(compressed, id="GzipFile"),
        pytest.param(lambda path: open(path, encoding="utf-8"), id="text"),
        pytest.param(lambda path: io.BytesIO(b"0123456789"), id="BytesIO"),
        pytest.param(piped, id="pipe"),
        pytest.param(lambda path: Pretender(open(path, "rb")), id="has a fileno()"),
        pytest.param(Upper, id="a subclass"),
        pytest.param(lambda path: open("/dev/zero", "rb"), id="device"),
        pytest.param(closed, id="closed"),
    ],
)
def test_what_is_no_regular_file(path: Path, opened: Callable[[Path], Any]) -> None:
    """Whatever gives other bytes than those at its descriptor's position, or has none, is read by its own methods."""
    file = opened(path)
    try:
        assert regular_file(file) is None
    finally:
        file.close()


def test_file_wrapper_gives_blocks_and_closes(path: Path) -> None:
    """The wrapper is an iterable over blocks, and closes the file it wraps, where that can be closed (PEP 3333)."""
    file = open(path, "rb")
    wrapper = FileWrapper(file, 4)
    assert list(wrapper) == [b"0123", b"4567", b"89"]
    wrapper.close()
    assert file.closed

    class Bare:
        def read(self, size: int) -> bytes:
            return b""

    assert not hasattr(FileWrapper(Bare()), "close")
