"""What holds for all rooms: the order in which their files run, and what Ctrl-C means to what they start."""

import signal
from collections import Counter

import pytest

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]

SLOW = frozenset({"bridge", "commands", "embed", "examples", "hosts", "oracle", "processes", "scripts", "serve"})
"""Rooms that start servers, or wait for clocks."""


def pytest_configure() -> None:
    """Who runs the tests in the background of a shell has them ignore SIGINT, and with them all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of slow rooms come first, be it with two tests: what still runs when all others are done is short.

    With `--no-loadscope-reorder`, else pytest-xdist orders files by the number of their tests alone.
    """
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.parent.name not in SLOW, -tests[item.path], item.path))
