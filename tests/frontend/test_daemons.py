"""The table of process groups, while several threads look at it."""

from collections.abc import Callable, Mapping
from typing import Any

from asyncgroups.config import ProcessSettings
from asyncgroups.frontend.daemons import ProcessGroups
from asyncgroups.selection.mounts import GroupSettings

SETTINGS = GroupSettings(app_dir="/")


class Group:
    """Stands for a process group that has processes; ``meanwhile`` is done once, while somebody asks for them."""

    is_winding_up = False
    meanwhile: Callable[[], object] | None = None

    def __init__(self, settings: ProcessSettings, *, environ: Mapping[bytes, bytes]) -> None:
        self.settings = settings
        self.environ = environ

    def start(self) -> None:
        """It is."""

    @property
    def processes(self) -> list[str]:
        meanwhile, Group.meanwhile = Group.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return ["one"]


def test_a_change_while_somebody_looks() -> None:
    """Who counts the groups without the supervisor's lock loses none of those that are made or replaced meanwhile."""
    make: Any = Group
    groups = ProcessGroups({}, environ={}, make=make)
    first, second = (groups.another(("", name), SETTINGS) for name in "ab")
    Group.meanwhile = lambda: groups.replace(("", "a"), first)
    assert groups.all
    assert groups.all == [first, second]
    groups.replace(("", "b"), second)
    assert groups.all == [first, second]
