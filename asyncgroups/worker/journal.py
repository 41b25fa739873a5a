"""Log records on their way from an interpreter to the front end. Standard library and ``wire``.

``logging`` is not imported: it belongs to the application, and costs an interpreter that does not use it 38 ms.

Guarantees:

- A record arrives whole: writers hold a lock, and the front end reads the control channel at all times.
- A writer waits for the front end to read, which bounds what a loop of ``print`` can put into memory.
- When the front end has gone, records are dropped, and no exception reaches the application.
- An interrupted writer leaves no lock behind.
- What is said in an exchange goes to the front end whose exchange it is, and waits for no other one.
"""

from __future__ import annotations

import threading

from asyncgroups.errors import ChannelClosed
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "Journal", "LineStream", "Outlet"]

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""The levels of the logging module."""

_LONGEST_LINE = 64 * 1024
_CLOSING_SECONDS = 1.0
"""For a finaliser of an application's, which may keep a thread from its end while that writes."""


class Outlet:
    """Writes to one control channel of an interpreter."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._lock = threading.RLock()  # a finaliser may print while its thread writes

    def tell(self, frame: bytes) -> None:
        """Send ``frame``, whole, or drop it when nobody listens any more."""
        # No `with`: up to 3.14 an interrupt that hits at its beginning leaves the lock acquired.
        try:
            self._lock.acquire()
            self._control.send(frame)
        except ChannelClosed:
            pass  # the server has gone, or has given this interpreter up: there is nobody left to tell
        finally:
            if self._lock._is_owned():  # type: ignore[attr-defined]  # private
                self._lock.release()

    def let_go(self) -> None:
        """After an interrupt, which may have hit right before a release: own nothing."""
        while self._lock._is_owned():  # type: ignore[attr-defined]  # private
            self._lock.release()

    def close(self) -> None:
        """Close the channel; whoever is writing to it stops."""
        self._control.shut()
        if self._lock.acquire(timeout=_CLOSING_SECONDS):
            self._control.close()
            self._lock.release()


class Journal:
    """The control channels of an interpreter, one for each front end: what is said goes to the one that it concerns."""

    def __init__(self, control: Channel) -> None:
        self.exchanges: dict[int, int] = {}
        """Thread identifier to the number of the exchange that the thread is busy with."""
        self.outlets: list[Outlet] = [Outlet(control)]
        """The first one gets what is of no exchange."""
        self.of_threads: dict[int, Outlet] = {}
        """Thread identifier to where what the thread says goes."""

    def tell(self, frame: bytes) -> None:
        """Send ``frame`` to the front end that this thread works for, else to the one that has been there longest."""
        outlet = self.of_threads.get(threading.get_ident())
        if outlet is None:
            try:
                outlet = self.outlets[0]
            except IndexError:
                return  # all have gone
        outlet.tell(frame)

    def let_go(self) -> None:
        """After an interrupt, which may have hit right before a release: own nothing."""
        own = self.of_threads.get(threading.get_ident())
        for outlet in [*self.outlets, own] if own is not None else self.outlets:
            outlet.let_go()  # its own may be none of them any more

    def record(self, level: int, text: str) -> None:
        """Log ``text`` with a level of the logging module, for the exchange that this thread is busy with."""
        self.tell(messages.record(level, self.exchanges.get(threading.get_ident(), 0), text))


class LineStream:
    """A text stream whose lines become log records; ``wsgi.errors``, ``sys.stdout`` and ``sys.stderr`` of a group.

    Lines that are written by one call stay together in one record: a traceback arrives as one. Each thread has a line
    of its own.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    closed = False

    def __init__(self, journal: Journal, level: int, name: str) -> None:
        self._journal = journal
        self._level = level
        self._unfinished = threading.local()
        self.name = name

    def __repr__(self) -> str:
        return f"<LineStream {self.name}>"

    def write(self, text: str) -> int:
        """Write ``text`` (a string); returns its length. Raises TypeError for anything else (PEP 3333)."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        line: str = getattr(self._unfinished, "line", "") + text
        end = line.rfind("\n")
        if end < 0 and len(line) > _LONGEST_LINE:
            end = len(line)
        if end >= 0:
            self._journal.record(self._level, line[:end])
            line = line[end + 1 :]
        self._unfinished.line = line
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``, in one record."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Send an unfinished line."""
        line: str = getattr(self._unfinished, "line", "")
        if line:
            self._unfinished.line = ""
            self._journal.record(self._level, line)

    def close(self) -> None:
        """Flush; the stream stays open, since the server owns it (PEP 3333)."""
        self.flush()

    def isatty(self) -> bool:
        """False."""
        return False

    def readable(self) -> bool:
        """False."""
        return False

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """False."""
        return False

    def fileno(self) -> int:
        """Raises OSError: lines become log records, there is no file."""
        raise OSError("this stream has no file descriptor")

    def __enter__(self) -> LineStream:  # noqa: PYI034 - Self would need typing, 16 ms in every interpreter
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
