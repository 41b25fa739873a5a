"""Which slot a key belongs to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.host.rendezvous import ranking

KEYS = [b"user-%d" % number for number in range(8000)]


@given(st.binary(max_size=64), st.integers(1, 40))
def test_an_order_of_all_slots(key: bytes, slots: int) -> None:
    """Every slot stands in it once, and it is always the same."""
    order = ranking(key, slots)
    assert sorted(order) == list(range(1, slots + 1))
    ranking.cache_clear()
    assert ranking(key, slots) == order


def test_it_is_the_same_in_every_process() -> None:
    """A restart of the server, or another Python, moves no key: the order depends on nothing else."""
    orders = [ranking(key, 4) for key in (b"", b"a", b"mia")]
    assert orders == [(1, 4, 3, 2), (2, 1, 3, 4), (1, 2, 3, 4)]


@given(st.binary(max_size=64), st.integers(2, 40))
def test_the_others_keep_their_order(key: bytes, slots: int) -> None:
    """With one slot more a key moves to that or stays: what is not served changes nothing among those that are."""
    assert tuple(slot for slot in ranking(key, slots) if slot != slots) == ranking(key, slots - 1)


def test_evenness() -> None:
    """Each slot gets its share of keys that look alike, and the keys of one that is not served go to all others."""
    for slots in (2, 4, 7):
        orders = [ranking(key, slots) for key in KEYS]
        share = len(KEYS) / slots
        assert all(0.9 * share < count < 1.1 * share for count in Counter(order[0] for order in orders).values())
        moved = Counter(order[1] for order in orders if order[0] == 1)
        share /= max(1, slots - 1)
        assert len(moved) == slots - 1
        assert all(0.75 * share < count < 1.25 * share for count in moved.values())
