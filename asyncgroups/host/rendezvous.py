"""Which of some slots does a key belong to? Rendezvous hashing. Standard library.

Law: pure. The same key and the same number of slots give the same order, in every process and after every restart.

Every slot draws a number for a key; the key belongs to the slot with the highest one, and where that is not served to
the next: so what happens to a slot moves its own keys only, evenly to the others (Thaler and Ravishankar 1998, "Using
Name-Based Mappings to Increase Hit Rates").
"""

from functools import lru_cache
from hashlib import blake2b

__all__ = ["ranking"]

KNOWN_KEYS = 1024
"""Keys whose order is kept, at most; those beyond are ranked for each request."""


@lru_cache(KNOWN_KEYS)
def ranking(key: bytes, slots: int) -> tuple[int, ...]:
    """The numbers 1 to ``slots`` in the order in which they are to be asked for ``key``."""
    drawn = {
        slot: blake2b(key, digest_size=8, salt=slot.to_bytes(blake2b.SALT_SIZE)).digest()
        for slot in range(1, slots + 1)
    }
    return tuple(sorted(drawn, key=lambda slot: (drawn[slot], slot), reverse=True))
