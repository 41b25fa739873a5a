"""Which groups have processes of their own, and what is said of it."""

import logging

import pytest

from asyncgroups.frontend.isolation import Isolation, Refusal
from asyncgroups.selection.mounts import GroupSettings

SHOP, BACK, GLOBAL = ("", "shop"), ("back", "shop"), ("back", "")
REFUSAL = Refusal("shop:application", "numpy._core", "does not support loading in subinterpreters")


def settings(isolation: str) -> GroupSettings:
    return GroupSettings(app_dir="/srv", isolation=isolation)


PLACES = {
    "auto": (SHOP, "auto", (False, True), (True, False)),
    "a process": (SHOP, "process", (True, False), (True, False)),
    "an interpreter": (SHOP, "interpreter", (False, False), (True, False)),
    "GLOBAL": (GLOBAL, "auto", (False, False), (False, False)),
    "GLOBAL, whatever it is set to": (GLOBAL, "process", (False, False), (False, False)),
}


@pytest.mark.parametrize(("key", "setting", "before", "after"), PLACES.values(), ids=PLACES)
def test_where_a_group_is(
    key: tuple[str, str], setting: str, before: tuple[bool, bool], after: tuple[bool, bool]
) -> None:
    """Apart, and movable: by its setting, and after it was moved; GLOBAL neither, ever."""
    isolation, own = Isolation(), settings(setting)
    assert (isolation.is_apart(key, own), isolation.is_movable(key, own)) == before
    isolation.move(key, REFUSAL)
    assert (isolation.is_apart(key, own), isolation.is_movable(key, own)) == after


def test_a_python_with_one_interpreter(caplog: pytest.LogCaptureFixture) -> None:
    """Under auto the named groups of its process group are apart, and those of no other; it is said once."""
    isolation = Isolation()
    with caplog.at_level(logging.INFO, "asyncgroups"):
        isolation.leave_alone("back")
        isolation.leave_alone("back")
    assert [isolation.is_apart(key, settings("auto")) for key in (BACK, GLOBAL, SHOP)] == [True, False, False]
    assert not isolation.is_apart(BACK, settings("interpreter"))
    assert [isolation.why(key) for key in (BACK, SHOP)] == ["its Python has one interpreter", ""]
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each group and module, whether it moves, fails or goes on; every time to who has asked to be told."""
    told: list[tuple[str, ...]] = []
    isolation = Isolation(lambda *what: told.append(what))
    for _ in range(2):
        isolation.go_without(SHOP, *REFUSAL)
        isolation.fail(BACK, REFUSAL)
        isolation.move(("", "other"), REFUSAL)
    isolation.go_without(SHOP, "", "other", "text")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "WARNING", "WARNING"]
    assert told == [tuple(REFUSAL)] * 4 + [("", "other", "text")]
    assert all('isolation = "process"' in record.getMessage() for record in caplog.records)
    assert caplog.messages[-1].startswith("[shop] an application: the extension module other refuses")
    assert isolation.why(("", "other")) == "numpy._core refuses subinterpreters"


def test_what_is_remembered_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A daemon process that lies fills neither the memory nor the log."""
    isolation = Isolation()
    for number in range(3000):
        isolation.go_without(BACK, "a:b", f"module{number}" + 100_000 * "x", "no")
    assert len(caplog.records) == len(isolation._told[BACK]) == 100
    assert max(len(name) for known in isolation._told[BACK] for name in known) == 200


def test_what_a_liar_leaves_to_others(caplog: pytest.LogCaptureFixture) -> None:
    """However much is said of one application group, another one's is said as well."""
    isolation = Isolation()
    for number in range(3000):
        isolation.go_without(BACK, "a:b", f"module{number}", "no")
    caplog.clear()
    isolation.go_without(SHOP, *REFUSAL)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
