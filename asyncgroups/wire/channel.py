"""A channel: frames over one end of a socket pair.

Standard library only: ``_socket``, because ``socket`` costs an interpreter 48 ms.

Guarantees:

- An end is a file descriptor with one owner, who closes it; the other side's end is never touched.
- A worker waits in ``receive`` only. It sends no more than it has credit for, and a window fits into the socket's
  buffer, so that its ``send`` does not block; should it, ``shut`` on the other side wakes it.
- On the event loop's side several threads may write, the reaper's next to the loop's: a message goes out whole. The
  kernel splits what is larger than some pages, and what another thread writes may come in between.
- ``shut`` may be called from any thread, at any time, any number of times: both sides then see ChannelClosed.
- What the other side says is checked: a frame beyond LARGEST_FRAME is a ProtocolError.
"""

import _socket
import errno
import os
import select
import sys
import threading

from asyncgroups.errors import ChannelClosed, ChannelUnread, ProtocolError
from asyncgroups.wire import messages

__all__ = ["Channel", "Frames", "discard", "pair"]

# A read costs the allocation of what it may return: 18 microseconds for 256 KiB, next to nothing for these.
_READ = 16 * 1024
_READ_ON = messages.WINDOW + 1024  # all that can be there in a stream of large messages
_LOOK = 4096
# As many descriptors as a message can have (SCM_MAX_FD): those without room the kernel closes, and waits.
_ANCILLARY = _socket.CMSG_SPACE(4 * 253)
_UNCLAIMED = 16
_TOO_MANY = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
"""File descriptors that may have come and not been taken off: each comes with a message, and few come at once."""
_BUFFER = 512 * 1024
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


class Frames:
    """Bytes in, frames out; no I/O."""

    __slots__ = ("_at", "_bytes")

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def __len__(self) -> int:
        return len(self._bytes) - self._at

    def feed(self, received: bytes) -> None:
        """Take ``received`` bytes."""
        self._bytes = self._bytes[self._at :] + received if self._at < len(self._bytes) else received
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """The next whole frame, as its type and its payload; None where there is none yet.

        Raises ProtocolError for a frame that is too large.
        """
        buffer, at = self._bytes, self._at
        body = at + messages.FRAME_HEADER
        if len(buffer) < body:
            return None
        length = int.from_bytes(buffer[at + 1 : body])
        if length > messages.LARGEST_FRAME:
            raise ProtocolError(f"a frame of {length} bytes")
        end = body + length
        if len(buffer) < end:
            return None
        self._at = end
        return buffer[at], buffer[body:end]

    def rest(self) -> bytes:
        """All that ``next`` has not returned."""
        return self._bytes[self._at :]

    def peek(self) -> int:
        """The type of what ``next`` would return or refuse; -1 where it would return None."""
        buffer, at = self._bytes, self._at
        body = at + messages.FRAME_HEADER
        if len(buffer) < body:
            return -1
        length = int.from_bytes(buffer[at + 1 : body])
        return buffer[at] if length > messages.LARGEST_FRAME or len(buffer) >= body + length else -1


class Channel:
    """One end: blocking for a worker, non-blocking for the front end."""

    __slots__ = ("_frames", "_is_half_sent", "_poll", "_read_size", "_sending", "_socket", "descriptors", "torn")

    def __init__(self, descriptor: int, *, blocking: bool) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._socket.setblocking(blocking)
        # A thread that waits in recv() is woken as well whenever the other side has read something (unix_write_space in
        # Linux), which costs both sides 15 microseconds per request; one that waits in poll() for input is not.
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._frames = Frames()
        self._read_size = _READ
        self._sending = threading.Lock()  # not for the blocking side's ``send``: that may wait, and ``shut`` wakes it
        self._is_half_sent = False
        """Whether the rest of a message is what has to come next."""
        self.descriptors: list[int] = []
        """File descriptors that have come, in their order; whoever takes one off the list closes it."""
        self.torn: bool = False
        """Whether an interrupt has hit a read: what that had taken is lost, and with it where the messages begin."""

    def __repr__(self) -> str:
        return f"<Channel fd {self.fileno()}>"

    def fileno(self) -> int:
        """The descriptor's number, -1 once closed."""
        return self._socket.fileno()

    # The blocking side ------------------------------------------------------------------------------------------------

    def receive(self) -> tuple[int, bytes]:
        """The next frame; waits for it.

        What wakes the wait: a frame, or the end of the other side. Raises ChannelClosed, ProtocolError.
        """
        while (frame := self._frames.next()) is None:
            self._poll.poll()
            self.read()
        return frame

    def receive_nowait(self) -> tuple[int, bytes] | None:
        """The next frame if it is there. Raises ChannelClosed, ProtocolError."""
        while (frame := self._frames.next()) is None:
            if not self.read(_socket.MSG_DONTWAIT):
                return None
        return frame

    def look(self) -> bytes:
        """The first bytes of what has come, which stay; empty where nothing has. Raises ChannelClosed."""
        try:
            begin = self._socket.recv(_LOOK, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            begin = b""
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        else:
            if not begin:
                raise ChannelClosed("the other side has closed the channel")
        return self._frames.rest() + begin

    def stop_reading(self) -> None:
        """Let ``receive`` raise ChannelClosed once it has returned what is there. From any thread."""
        try:
            with self._sending:  # as in close()
                self._socket.shutdown(_socket.SHUT_RD)
        except OSError:
            pass  # closed already

    def send(self, *parts: bytes | memoryview) -> None:
        """Write ``parts`` in one go. Raises ChannelClosed."""
        try:
            total = sum(map(len, parts))
            sent = self._socket.sendmsg(parts) if len(parts) > 1 else self._socket.send(parts[0])
            if sent < total:
                self._socket.sendall(b"".join(parts)[sent:])
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def send_descriptor(self, frame: bytes, descriptor: int) -> None:
        """Write a short ``frame`` and hand a copy of ``descriptor`` to the other side (``man 7 unix``, SCM_RIGHTS).

        Raises ChannelClosed, and BlockingIOError where too many wait for the other side already: nothing was written.
        """
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
        try:
            self._socket.sendmsg([frame], [rights])
        except OSError as error:
            if error.errno in _TOO_MANY:
                raise BlockingIOError(error.errno, error.strerror) from None
            raise ChannelClosed(str(error)) from None

    # The event loop's side --------------------------------------------------------------------------------------------

    def frame(self) -> tuple[int, bytes] | None:
        """The next frame among what ``read`` has taken. Raises ProtocolError."""
        return self._frames.next()

    def peek(self) -> int:
        """The type of what ``frame`` would return or refuse; -1 where it would return None."""
        return self._frames.peek()

    @property
    def is_stream(self) -> bool:
        """Whether the last read has returned much: more is likely to be there soon."""
        return self._read_size == _READ_ON

    def read(self, flags: int = 0) -> bool:
        """Take what is there, for ``frame``; False where there was nothing. Raises ChannelClosed, ProtocolError."""
        if self.torn:
            raise ChannelClosed("an interrupt has torn a message")
        self.torn = True  # until what has come is kept
        try:
            received, ancillary, _, _ = self._socket.recvmsg(self._read_size, _ANCILLARY, _CLOEXEC | flags)
        except BlockingIOError:
            self.torn = False
            return False
        except ConnectionResetError as error:  # unix_release_sock() in Linux: there was something in its queue
            self.torn = False
            raise ChannelUnread(str(error)) from None
        except OSError as error:
            self.torn = False
            raise ChannelClosed(str(error)) from None
        for level, kind, rights in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.descriptors += (
                    int.from_bytes(rights[at : at + 4], sys.byteorder, signed=True)
                    for at in range(0, len(rights) - 3, 4)
                )
        if received:
            self._read_size = _READ_ON if len(received) >= _READ else _READ
            self._frames.feed(received)
        self.torn = False
        if not received:
            raise ChannelClosed("the other side has closed the channel")
        if len(self.descriptors) > _UNCLAIMED:
            raise ProtocolError("more file descriptors than messages that have one")
        return True

    def send_nowait(self, *parts: bytes | memoryview) -> int:
        """Write what the socket takes of ``parts``, the rest of which is to come next; how many bytes that was.

        Raises ChannelClosed.
        """
        try:
            with self._sending:
                if len(parts) > 1:
                    sent, total = self._socket.sendmsg(parts), sum(map(len, parts))
                else:
                    sent, total = self._socket.send(parts[0]), len(parts[0])
                self._is_half_sent = sent < total
                return sent
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def say(self, frame: bytes) -> None:
        """Write a short ``frame`` now, or, where the socket does not take it, shut the channel: the last resort.

        Raises ChannelClosed.
        """
        try:
            with self._sending:
                is_said = not self._is_half_sent and self._socket.send(frame) == len(frame)
        except BlockingIOError:
            is_said = False
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        if not is_said:
            self.shut()
            raise ChannelClosed("the worker does not read its channel")

    # Both -------------------------------------------------------------------------------------------------------------

    def shut(self) -> None:
        """End the conversation for both sides; wakes whoever waits in it. The descriptor stays open."""
        try:
            with self._sending:  # as in close()
                self._socket.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # closed already, or the other side has gone

    def close(self) -> None:
        """Close this end. By its owner, once nobody waits on it. Unread file descriptors are closed too."""
        while self.descriptors:
            discard(self.descriptors.pop())
        with self._sending:  # another thread may be about to use the number, which is another channel's a moment later
            self._socket.close()


def discard(descriptor: int) -> None:
    """Close a descriptor that came from the other side, without waiting.

    The last one to close a socket with SO_LINGER (``man 7 socket``) would wait for whoever is to read from that.
    """
    try:
        end = _socket.socket(fileno=descriptor)
        try:
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, bytes(8))
        finally:
            end.detach()
    except OSError:
        pass  # it is no socket
    try:
        os.close(descriptor)
    except OSError:
        pass  # it is closed, whatever its file system has to say


def pair() -> tuple[Channel, int]:
    """A new channel: the front end's end, and the descriptor of the worker's end, for its owner to be.

    Raises OSError when the process has no descriptors left.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
    for end in (ours, theirs):
        # A window and a head must fit with the kernel's overhead; the kernel caps this at net.core.wmem_max.
        end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _BUFFER)
    return Channel(ours.detach(), blocking=False), theirs.detach()
