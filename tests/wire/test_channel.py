"""A channel over a real socket pair: order, bounds, what wakes whom, and who owns which descriptor."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from asyncgroups.errors import ChannelClosed, ChannelUnread, ProtocolError
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, Frames, discard, pair

PATIENCE = 20.0


@contextmanager
def conversation() -> Iterator[tuple[Channel, Channel]]:
    """The two ends of a channel: the front end's, and the worker's."""
    ours, descriptor = pair()
    theirs = Channel(descriptor, blocking=True)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def hear_all(channel: Channel) -> list[tuple[int, bytes]]:
    """Every frame that is there."""
    found = []
    while (frame := channel.receive_nowait()) is not None:
        found.append(frame)
    return found


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def wait_until_it_waits(thread: threading.Thread) -> None:
    """Return when ``thread`` sleeps in the kernel, which Linux tells."""
    deadline = threading.Event()
    for _ in range(2000):
        with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "S":
                return
        deadline.wait(0.005)
    raise AssertionError("the thread does not wait")


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_messages_arrive_in_their_order_both_ways() -> None:
    """What one end sends, in one part or several, the other receives whole and in its order."""
    with conversation() as (ours, theirs):
        for number in range(50):
            ours.say(messages.numbers(messages.CREDIT, number))
            theirs.send(messages.header(messages.CHUNK, 3), b"%03d" % number)
        assert [messages.parse_numbers(body, 1)[0] for _, body in hear_all(theirs)] == list(range(50))
        assert hear_all(ours) == [(messages.CHUNK, b"%03d" % number) for number in range(50)]


@pytest.mark.parametrize("size", [1, 10, 1024, 1025, 4096, messages.LARGEST_CHUNK])
@pytest.mark.parametrize("head", [0, messages.HEAD_LIMIT])
def test_a_window_fits_without_blocking(size: int, head: int) -> None:
    """A worker within its credit never waits in send, with nobody reading, whatever the size of its messages."""
    with conversation() as (ours, theirs):
        theirs._socket.setblocking(False)  # would raise ChannelClosed where it had to wait
        start = messages.start(messages.START, b"x" * head, b"", complete=False)
        credit = messages.WINDOW - messages.cost(0)
        theirs.send(start)
        sent = []
        while credit >= messages.cost(size):
            credit -= messages.cost(size)
            theirs.send(messages.header(messages.CHUNK, size), b"y" * size)
            sent.append(size)
        theirs.send(messages.END_FRAME, messages.DONE_FRAME)
        heard = hear_all(ours)
        assert [len(body) for kind, body in heard if kind == messages.CHUNK] == sent
        assert heard[-1] == (messages.DONE, b"")


def test_a_window_of_request_body_fits_without_blocking() -> None:
    """The front end can write a head and a whole window to a worker that does not read."""
    with conversation() as (ours, theirs):
        frame = messages.start(messages.REQUEST, b"x" * messages.HEAD_LIMIT, b"", complete=False)
        assert ours.send_nowait(frame) == len(frame)
        for _ in range(messages.WINDOW // messages.cost(1)):
            ours.say(messages.frame(messages.BODY, b"z"))
        ours.say(messages.frame(messages.BODY_END))
        assert hear_all(theirs)[-1] == (messages.BODY_END, b"")


@pytest.mark.parametrize("ending", ["shut here", "shut there", "closed there"])
def test_the_end_wakes_who_waits_for_a_message(elsewhere: ThreadPoolExecutor, ending: str) -> None:
    """A worker that waits for a message learns of the channel's end, whoever ends it."""
    with conversation() as (ours, theirs):
        started: Future[threading.Thread] = Future()

        def wait() -> None:
            started.set_result(threading.current_thread())
            theirs.receive()

        waiting = elsewhere.submit(wait)
        wait_until_it_waits(started.result(PATIENCE))
        {"shut here": theirs.shut, "shut there": ours.shut, "closed there": ours.close}[ending]()
        assert isinstance(waiting.exception(PATIENCE), ChannelClosed)


def test_the_end_wakes_who_waits_in_send(elsewhere: ThreadPoolExecutor) -> None:
    """A worker that is blocked in a send, beyond all credit, is woken by the front end's shut: the last resort."""
    with conversation() as (ours, theirs):
        started: Future[threading.Thread] = Future()

        def flood() -> None:
            started.set_result(threading.current_thread())
            while True:
                theirs.send(messages.frame(messages.CHUNK, bytes(messages.LARGEST_CHUNK)))

        flooding = elsewhere.submit(flood)
        wait_until_it_waits(started.result(PATIENCE))
        ours.shut()
        assert isinstance(flooding.exception(PATIENCE), ChannelClosed)


def test_shut_any_number_of_times() -> None:
    """Both sides may shut as often as they like, closed or not, and every use afterwards says ChannelClosed."""
    with conversation() as (ours, theirs):
        for end in (ours, theirs, ours):
            end.shut()
        for use in (
            ours.read,
            theirs.receive,
            theirs.receive_nowait,
            lambda: theirs.send(messages.DONE_FRAME),
            lambda: theirs.send(messages.DONE_FRAME, b""),
            lambda: ours.send_nowait(messages.DONE_FRAME),
            lambda: ours.say(messages.DONE_FRAME),
            lambda: ours.send_descriptor(messages.DONE_FRAME, 0),
        ):
            with pytest.raises(ChannelClosed):
                use()
        ours.close()
        ours.close()
        ours.shut()
        ours.stop_reading()
        assert ours.fileno() == -1
        with pytest.raises(ChannelClosed):
            ours.read()


def test_what_was_said_before_the_end_is_heard() -> None:
    """Messages that were sent before an end was closed or shut still arrive."""
    for end in (Channel.close, Channel.shut):
        with conversation() as (ours, theirs):
            theirs.send(messages.END_FRAME + messages.DONE_FRAME)
            end(theirs)
            assert ours.read()
            assert ours.frame() == (messages.END, b"")
            assert ours.frame() == (messages.DONE, b"")
            with pytest.raises(ChannelClosed):
                ours.read()


@pytest.mark.parametrize("on_its_way", [False, True])
@pytest.mark.parametrize("shut", [False, True])
@pytest.mark.parametrize(("taken", "error"), [(0, ChannelUnread), (3, ChannelUnread), (7, ChannelClosed)])
def test_an_end_tells_whether_all_has_been_read(
    *, taken: int, error: type[ChannelClosed], shut: bool, on_its_way: bool
) -> None:
    """Of what was sent last, also where the other end has never arrived, and after a ``shut``, which says less."""
    ours, descriptor = pair()
    ours.say(messages.frame(messages.ABORT, b"xy"))
    if taken:
        assert len(os.read(descriptor, taken)) == taken
    if on_its_way:
        carrier, other = pair()
        carrier.send_descriptor(messages.frame(messages.WORKER), descriptor)
        os.close(descriptor)
        os.close(other)
        carrier.close()
    else:
        os.close(descriptor)
    if shut:
        ours.shut()
    with pytest.raises(ChannelClosed) as raised:
        ours.receive_nowait()
    assert raised.type is error
    ours.close()


def test_stop_reading_is_heard_after_what_is_there() -> None:
    """``stop_reading`` lets what has come be received, then ends the wait; sending still works."""
    with conversation() as (ours, theirs):
        ours.say(messages.numbers(messages.CREDIT, 1))
        theirs.stop_reading()
        assert theirs.receive()[0] == messages.CREDIT
        with pytest.raises(ChannelClosed):
            theirs.receive()
        theirs.send(messages.DONE_FRAME)
        assert hear_all(ours) == [(messages.DONE, b"")]


def test_a_look_takes_nothing() -> None:
    """What has come is there to be received afterwards; a part of a message as well."""
    with conversation() as (ours, theirs):
        assert theirs.look() == b""
        ours.say(messages.numbers(messages.CREDIT, 1) + messages.END_FRAME[:2])
        assert theirs.look() == theirs.look() == messages.numbers(messages.CREDIT, 1) + messages.END_FRAME[:2]
        assert theirs.receive()[0] == messages.CREDIT
        ours.say(messages.END_FRAME[2:])
        assert theirs.look() == messages.END_FRAME
        assert theirs.receive() == (messages.END, b"")
        ours.shut()
        with pytest.raises(ChannelClosed):
            theirs.look()


def test_a_side_that_does_not_read_is_let_go() -> None:
    """``say`` does not wait for a full socket: it ends the channel rather than lose a part of a message."""

    def for_ever(action: Callable[[], object]) -> None:
        for _ in range(10_000):
            action()

    with conversation() as (ours, theirs):
        with pytest.raises(ChannelClosed):
            for_ever(lambda: ours.say(messages.frame(messages.BODY, bytes(4096))))
        with pytest.raises(ChannelClosed):
            for_ever(theirs.receive)


def test_what_another_thread_says_comes_before_or_after() -> None:
    """A message that one thread writes is not torn by another one's: the kernel takes a large one in pieces."""
    with conversation() as (ours, theirs):
        real = ours._socket
        saying = threading.Thread(target=ours.say, args=(messages.frame(messages.ABORT, b"x"),))

        class Slow:
            """Stands for a socket that takes two pieces one after the other."""

            def sendmsg(self, parts: Any) -> int:
                sent = real.send(parts[0])
                saying.start()
                saying.join(0.1)
                return sent + real.send(parts[1])

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        ours._socket = Slow()
        assert ours.send_nowait(messages.header(messages.BODY, 4), b"body") == 9
        saying.join(PATIENCE)
        ours._socket = real
        assert [theirs.receive(), theirs.receive()] == [(messages.BODY, b"body"), (messages.ABORT, b"x")]


@pytest.mark.parametrize("use", [Channel.shut, Channel.stop_reading, lambda end: end.say(messages.DONE_FRAME)])
def test_an_end_that_is_closed_while_another_thread_uses_it(use: Callable[[Channel], None]) -> None:
    """It is closed after that: its number may be another channel's at once."""
    ours, descriptor = pair()
    real = ours._socket
    closing = threading.Thread(target=ours.close)

    class Slow:
        """Stands for a socket whose user is about to call the kernel."""

        def shutdown(self, how: int) -> None:
            self.wait()
            real.shutdown(how)

        def send(self, part: bytes) -> int:
            self.wait()
            return real.send(part)

        def wait(self) -> None:
            closing.start()
            closing.join(0.05)
            assert real.fileno() >= 0

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    ours._socket = Slow()
    use(ours)
    closing.join(PATIENCE)
    assert real.fileno() == -1
    os.close(descriptor)


def test_nothing_is_said_in_the_middle_of_a_message() -> None:
    """Where a part of a message waits for room the channel is ended rather than something else put into it."""
    frame = messages.frame(messages.BODY, bytes(messages.LARGEST_FRAME))
    with conversation() as (ours, theirs):
        ours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sent = ours.send_nowait(frame)
        assert sent < len(frame)
        assert len(os.read(theirs.fileno(), sent)) == sent  # there is room again
        with pytest.raises(ChannelClosed):
            ours.say(messages.DONE_FRAME)
        assert os.read(theirs.fileno(), sent) == b""
    with conversation() as (ours, theirs):
        ours._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        rest, heard = memoryview(frame), None
        while rest:
            rest = rest[ours.send_nowait(rest) :]
            heard = theirs.receive_nowait()
        assert heard is not None
        ours.say(messages.DONE_FRAME)
        assert theirs.receive() == (messages.DONE, b"")


def test_a_frame_beyond_the_bound_is_nobodys_message() -> None:
    """A length beyond the bound is a ProtocolError on either side, and nothing of it is returned."""
    with conversation() as (ours, theirs):
        theirs.send(messages.header(messages.CHUNK, messages.LARGEST_FRAME + 1))
        assert ours.read()
        with pytest.raises(ProtocolError):
            ours.frame()
        ours.say(messages.header(messages.BODY, messages.LARGEST_FRAME + 1))
        with pytest.raises(ProtocolError):
            theirs.receive()


class Interrupted(BaseException):
    pass


class Interrupting(Frames):
    """An interrupt hits when bytes have left the socket and have not been kept."""

    def feed(self, received: bytes) -> None:
        raise Interrupted


def test_a_torn_channel_is_of_no_use() -> None:
    """After an interrupt in the middle of a read no byte is taken for the beginning of a message any more."""
    with conversation() as (ours, theirs):
        theirs._frames = Interrupting()
        ours.say(messages.frame(messages.BODY, b"lost"))
        with pytest.raises(Interrupted):
            theirs.receive()
        theirs._frames = Frames()
        assert theirs.torn
        ours.say(messages.frame(messages.BODY, b"next"))
        for read in (theirs.receive, theirs.receive_nowait, theirs.read):
            with pytest.raises(ChannelClosed, match="torn"):
                read()


@pytest.mark.parametrize("ended", [False, True])
def test_a_channel_is_not_torn_by_what_is_usual(ended: bool) -> None:
    """Neither finding nothing nor finding the end tears a channel."""
    with conversation() as (ours, theirs):
        if ended:
            theirs.close()
            with pytest.raises(ChannelClosed):
                ours.read()
        else:
            assert ours.receive_nowait() is None
        assert not ours.torn


def test_descriptors_travel_in_their_order() -> None:
    """Each descriptor arrives as a copy, with the frame it was sent with, and belongs to whoever takes it."""
    with conversation() as (ours, theirs):
        pipes = [os.pipe() for _ in range(5)]
        for number, (_, writing) in enumerate(pipes):
            ours.send_descriptor(messages.numbers(messages.WORKER, number), writing)
            os.close(writing)
        for number, (reading, _) in enumerate(pipes):
            kind, body = theirs.receive()
            assert (kind, messages.parse_numbers(body, 1)) == (messages.WORKER, (number,))
            copy = theirs.descriptors.pop(0)
            assert not os.get_inheritable(copy)
            os.write(copy, b"%d" % number)
            os.close(copy)
            assert os.read(reading, 10) == b"%d" % number
            os.close(reading)


@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_descriptors_that_nobody_takes_are_closed(read: bool) -> None:
    """Closing an end closes the descriptors that came and were not taken, also those that were never read."""
    reading, writing = os.pipe()
    with conversation() as (ours, theirs):
        ours.send_descriptor(messages.numbers(messages.WORKER, 1), writing)
        os.close(writing)
        if read:
            theirs.receive()
            assert is_open(theirs.descriptors[0])
        theirs.close()
        assert os.read(reading, 1) == b""  # the end of the file: no copy of the other end is left
    os.close(reading)


def test_a_descriptor_that_is_none_is_not_sent() -> None:
    """A closed descriptor cannot be handed over, and the sender learns of it."""
    with conversation() as (ours, _):
        reading, writing = os.pipe()
        os.close(reading)
        os.close(writing)
        with pytest.raises(ChannelClosed):
            ours.send_descriptor(messages.DONE_FRAME, writing)


def test_more_descriptors_than_the_other_side_takes() -> None:
    """Nothing is written of what has no place; what came before it arrives, and then there is place again."""
    with conversation() as (ours, theirs):
        sent = 0

        def send() -> None:
            nonlocal sent
            while sent < 100_000:
                ours.send_descriptor(messages.numbers(messages.WORKER, sent), 0)
                sent += 1

        with pytest.raises(BlockingIOError):
            send()
        for number in range(sent):
            assert messages.parse_numbers(theirs.receive()[1], 1) == (number,)
            os.close(theirs.descriptors.pop(0))
        ours.send_descriptor(messages.numbers(messages.WORKER, sent), 0)
        assert messages.parse_numbers(theirs.receive()[1], 1) == (sent,)


def test_closing_one_end_leaves_the_other_ends_descriptor_alone() -> None:
    """An end closes its own descriptor and no other."""
    ours, descriptor = pair()
    ours.close()
    assert is_open(descriptor)
    os.close(descriptor)


def test_repr_is_a_status_line() -> None:
    """``repr`` names the descriptor that an operator finds in /proc."""
    with conversation() as (ours, _):
        assert repr(ours) == f"<Channel fd {ours.fileno()}>"


def lingering() -> tuple[int, list[socket.socket]]:
    """A connection with much to send, whose last owner would wait with its close; and what it stands on."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(65536))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 10))
    return ours.detach(), [listener, theirs]


def test_a_descriptor_that_lingers() -> None:
    """Whoever lets go of what the other side has sent does not wait for that."""
    descriptor, others = lingering()
    began = time.monotonic()
    discard(descriptor)
    assert time.monotonic() - began < 5
    assert not is_open(descriptor)
    for one in others:
        one.close()


def test_descriptors_that_linger_together() -> None:
    """Nor does it where more of them come with a message than any message has."""
    with conversation() as (ours, theirs):
        all_others = []
        descriptors = []
        for _ in range(3):
            descriptor, others = lingering()
            descriptors.append(descriptor)
            all_others += others
        with socket.socket(fileno=os.dup(theirs.fileno())) as sender:
            socket.send_fds(sender, [messages.END_FRAME], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        began = time.monotonic()
        assert ours.read()
        ours.close()
        assert time.monotonic() - began < 5
        for one in all_others:
            one.close()


def test_a_descriptor_of_no_socket() -> None:
    """It is closed as well, and one that is closed already is no error."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    discard(descriptor)
    assert not is_open(descriptor)
    discard(descriptor)
