"""``wsgi.input`` and ``wsgi.file_wrapper`` (PEP 3333). Standard library, ``wire`` and ``worker``.

``wsgi.errors`` is a ``journal.LineStream``.
"""

from __future__ import annotations

import os
import stat

from asyncgroups.worker.exchange import Exchange

__all__ = ["FileWrapper", "Input", "regular_file"]

_BLOCK = 64 * 1024


class Input:
    """The request body as a file, read as it arrives; it ends where the body ends (``wsgi.input_terminated``).

    ``length``, bytes, is CONTENT_LENGTH where the request has one: nothing beyond it is ever returned.
    Each method raises ClientDisconnected, an OSError, when the client left before its body was complete.
    """

    __slots__ = ("_at", "_exchange", "_piece", "_rest")

    def __init__(self, exchange: Exchange, length: int | None) -> None:
        self._exchange = exchange
        self._rest = length
        self._piece = b""
        self._at = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end; all of the rest for None and negative sizes."""
        if size is None or size < 0:
            pieces = []
            while self._fill():
                pieces.append(self._piece[self._at :] if self._at else self._piece)
                self._at = len(self._piece)
            return b"".join(pieces) if len(pieces) != 1 else pieces[0]
        piece, at = self._piece, self._at
        if 0 < size <= len(piece) - at:
            self._at = at + size
            return piece[at : at + size]
        pieces = []
        while size > 0 and self._fill():
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            pieces.append(part)
        return b"".join(pieces)

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line with its newline, or its first ``size`` bytes; empty only at the end, or for a size of 0."""
        limit = -1 if size is None or size < 0 else size
        pieces = []
        while limit and self._fill():
            stop = len(self._piece) if limit < 0 else min(len(self._piece), self._at + limit)
            newline = self._piece.find(b"\n", self._at, stop)
            end = stop if newline < 0 else newline + 1
            part = self._piece[self._at : end]
            self._at = end
            pieces.append(part)
            if newline >= 0:
                break
            if limit > 0:
                limit -= len(part)
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Lines, until they hold ``hint`` bytes or the body ends; all of them for None, 0 and negative hints."""
        lines: list[bytes] = []
        held = 0
        while line := self.readline():
            lines.append(line)
            held += len(line)
            if hint is not None and 0 < hint <= held:
                break
        return lines

    def __iter__(self) -> Input:
        return self

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration

    def _fill(self) -> bool:
        """Have something in hand; False at the end."""
        if self._at < len(self._piece):
            return True
        if self._rest == 0:
            return False
        piece = self._exchange.take()
        if self._rest is not None:
            if len(piece) > self._rest:
                piece = piece[: self._rest]
            self._rest -= len(piece)
        self._piece, self._at = piece, 0
        return bool(piece)


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over ``filelike``'s blocks of ``blksize`` bytes (PEP 3333).

    Returned as it is for a regular file, it goes out without the worker: the front end gets a descriptor of its own.
    """

    def __init__(self, filelike: Readable, blksize: int = _BLOCK) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close: Callable[[], object] = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        if block := self.filelike.read(self.blksize):
            return block
        raise StopIteration


def regular_file(filelike: object) -> tuple[int, int] | None:
    """The descriptor of a regular file, positioned where ``filelike`` stands, and how many bytes follow.

    None for everything else. An exact type is asked for, because things that are no files have a ``fileno()`` as well:
    a ``GzipFile`` gives the one of the compressed file.
    """
    if type(filelike).__name__ not in _BINARY_FILES or type(filelike).__module__ != "_io":
        return None
    try:
        descriptor = filelike.fileno()  # type: ignore[attr-defined]  # each of them has one
        position = filelike.tell()  # type: ignore[attr-defined]  # as above
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        os.lseek(descriptor, position, os.SEEK_SET)
    except (OSError, ValueError):
        return None
    return descriptor, max(0, status.st_size - position)


_BINARY_FILES = frozenset({"BufferedReader", "BufferedRandom", "FileIO"})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Readable(Protocol):
        """What PEP 3333 asks of the argument."""

        def read(self, size: int, /) -> bytes: ...
