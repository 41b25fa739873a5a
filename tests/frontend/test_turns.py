"""Whose turn it is: fairness, shares, and nothing that is forgotten."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.frontend.turns import Place, Turns

OF_TREE, OF_DIRECTORY = 3, 2
PLACES = [(tree, directory) for tree in "ab" for directory in "xyz"]


@pytest.fixture
def turns() -> Turns[str]:
    return Turns(of_tree=OF_TREE, of_directory=OF_DIRECTORY)


def test_in_turn(turns: Turns[str]) -> None:
    """Trees take turns, so do their directories; one directory's come as they have come."""
    for task in ("ax1", "ax2", "ax3", "ay1", "bx1"):
        turns.put(task, (task[0], task[1]))
    assert len(turns) == 5
    taken = []
    while (turn := turns.take()) is not None:
        taken.append(turn[0])
        assert turn[1] == (turn[0][0], turn[0][1])
    assert taken == ["ax1", "bx1", "ay1", "ax2"]
    assert (len(turns), turns.is_any, turns.waiting(("a", "x"))) == (1, False, (1, 1))
    turns.over(("a", "y"))  # the tree has a turn again, the directory has none
    assert not turns.is_any
    turns.over(("a", "x"))
    assert turns.take() == ("ax3", ("a", "x"))


def test_dropped(turns: Turns[str]) -> None:
    """What waits no longer is not begun, and what has been begun, or never came, is nothing to drop."""
    for task in ("one", "two"):
        turns.put(task, ("a", "x"))
    turns.drop("one", ("a", "x"))
    turns.drop("one", ("a", "x"))
    turns.drop("three", ("b", "x"))
    assert len(turns) == 1
    assert turns.take() == ("two", ("a", "x"))
    turns.drop("two", ("a", "x"))
    assert turns.take() is None
    turns.over(("a", "x"))
    assert turns._trees == {}


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from(PLACES)), st.sampled_from([("take",), ("over",), ("drop",)])
        ),
        max_size=60,
    )
)
def test_whatever_comes(steps: list[tuple[object, ...]]) -> None:
    """Something is begun whenever its shares allow it, and never beyond them; in the end nothing is remembered."""
    turns = Turns[int](of_tree=OF_TREE, of_directory=OF_DIRECTORY)
    waiting: dict[int, Place] = {}
    begun: list[Place] = []
    for number, (step, *place) in enumerate(steps):
        if step == "put":
            waiting[number] = place[0]  # type: ignore[assignment]  # mypy cannot see that it is one
            turns.put(number, waiting[number])
        elif step == "drop" and waiting:
            first = next(iter(waiting))
            turns.drop(first, waiting.pop(first))
        elif step == "over" and begun:
            turns.over(begun.pop())
        elif step == "take":
            trees, directories = Counter(tree for tree, _ in begun), Counter(begun)
            may = {one for one in waiting.values() if trees[one[0]] < OF_TREE and directories[one] < OF_DIRECTORY}
            assert turns.is_any is bool(may)
            taken = turns.take()
            assert (taken is not None) is bool(may)
            if taken is not None:
                assert taken[1] in may
                assert taken[0] == min(task for task, one in waiting.items() if one == taken[1])
                begun.append(waiting.pop(taken[0]))
        assert (len(turns), turns.begun) == (len(waiting), len(begun))
    for task, one in waiting.items():
        turns.drop(task, one)
    for one in begun:
        turns.over(one)
    assert turns._trees == {}
