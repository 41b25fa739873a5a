"""URL path -> what stands under the longest prefix that covers it.

Law: pure. A table is filled once, then only asked; no I/O, no clock.
Imports the standard library.

Paths are compared segment by segment, percent-decoded, as bytes. An encoded slash separates nothing, and empty segments
count for nothing.
"""

import re
from urllib.parse import unquote_to_bytes

__all__ = ["SEGMENT", "PrefixTable"]

# Possessive: a run of slashes or a long segment is read once, never given back.
SEGMENT: re.Pattern[bytes] = re.compile(rb"/++([^/]++)")
"""The next segment of a raw path, and the slashes before it."""


class _Node[Value]:
    """One segment of the trie: the segments that may follow, and what ends here."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[Value]] = {}
        self.value: Value | None = None


class PrefixTable[Value]:
    """Values under URL paths; finds the longest that covers a path.

    A look-up costs as much as the path shares segments with a prefix, however many prefixes there are.
    """

    __slots__ = ("_longest", "_root")

    def __init__(self) -> None:
        self._root = _Node[Value]()
        self._longest = 0  # bytes in the longest segment of any prefix, percent-encoded throughout

    def __repr__(self) -> str:
        return f"<PrefixTable: {', '.join(map(ascii, self._root.children)) or 'empty'}>"

    def put(self, path: str, value: Value) -> Value | None:
        """Add a value under ``path``, in its one spelling (``mounts.normalise_path``).

        Where there is one already that stays, and is given back.
        """
        node = self._root
        for segment in path.encode().split(b"/")[1:]:
            node = node.children.setdefault(segment, _Node())
            self._longest = max(self._longest, 3 * len(segment))
        if node.value is not None:
            return node.value
        node.value = value
        return None

    def match(self, raw_path: bytes) -> tuple[Value, int, int] | None:
        """What stands under the longest prefix that covers ``raw_path``; None without one.

        The second is the number of segments in that prefix, the third how many bytes of ``raw_path`` it is.

        raw_path: percent-encoded bytes, without a query. Only a root covers one that does not begin with ``/`` (``*``,
        an authority, nothing).
        Source: Alias, WSGIScriptAlias ("the first match on a path-component boundary"); here the longest.
        """
        node = self._root
        found, found_depth, found_end = node.value, 0, 0
        position = depth = 0
        while node.children:
            segment = SEGMENT.match(raw_path, position)
            if segment is None:
                break
            name = segment[1]
            if b"%" in name:
                # A longer one is none of ours, and how much is decoded is not for the client to say.
                if len(name) > self._longest:
                    break
                name = unquote_to_bytes(name)
            child = node.children.get(name)
            if child is None:
                break
            node, position, depth = child, segment.end(), depth + 1
            if node.value is not None:
                found, found_depth, found_end = node.value, depth, position
        return None if found is None else (found, found_depth, found_end)
