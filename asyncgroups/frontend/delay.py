"""How long to wait before what has failed is tried again. Standard library only.

Law: not thread-safe, it is for whoever has a lock; waits for nothing, and starts no timer.
"""

import time

__all__ = ["Delay"]

_FIRST = 0.5


class Delay:
    """Grows with each failure, and is none after a success. longest: seconds."""

    def __init__(self, *, longest: float) -> None:
        self.seconds: float = 0.0
        """What holds now."""
        self._longest = longest
        self._over_at = 0.0

    def __repr__(self) -> str:
        return f"<Delay of {self.seconds:g} s{'' if self.is_over else ', not over'}>"

    @property
    def is_over(self) -> bool:
        """Whether it may be tried again."""
        return time.monotonic() >= self._over_at

    @property
    def has_grown(self) -> bool:
        """Whether it has failed more than once since it last succeeded."""
        return self.seconds > _FIRST

    def begin(self, *, failed: bool) -> None:
        """From now on. failed: whether what ends now has done no good at all."""
        self.seconds = min(max(2 * self.seconds, _FIRST), self._longest) if failed else 0.0
        self._over_at = time.monotonic() + self.seconds
