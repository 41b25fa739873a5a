"""Which application groups run in daemon processes of their own, and why. Imports ``host`` and ``selection``.

An extension module may refuse to be loaded in an interpreter of its own (PEP 489, PEP 684); what it does to its
application group is decided here, and said once. Guarantees:

- A group that was moved into a process stays there as long as the server runs, and there is one warning for it.
- What an application does without is logged once for each module, however many interpreters say so.
- What is remembered is bounded, whatever a daemon process says.
- Waits for nothing. Who calls ``move`` holds a lock of its own; the rest may be called from any thread.
"""

import enum
import logging
from collections.abc import Callable, KeysView
from typing import NamedTuple

from asyncgroups.host.group import contained, label
from asyncgroups.selection.mounts import GroupSettings

__all__ = ["Isolation", "Key", "Place", "Refusal"]

_log = logging.getLogger("asyncgroups")

type Key = tuple[str, str]
"""Names of process group and application group."""

_MOST_TOLD = 100
"""For each application group: none can use up what another one has to say."""

_LONGEST_KNOWN = 200
"""Characters of a name that are remembered."""

_WAY_OUT = 'isolation = "process"'


class Place(enum.Enum):
    """Where the interpreters of an application group are."""

    HERE = "in this process"
    SHARED = "in the processes of its process group"
    APART = "in processes of its own"


class Refusal(NamedTuple):
    """An extension module that refuses.

    application: that needs it, ``module:attribute``; empty where that is not known. module: the extension module's
    name. text: of its ImportError.
    """

    application: str
    module: str
    text: str

    def __str__(self) -> str:
        who = repr(self.application) if self.application else "an application"
        return (
            f"{who}: the extension module {contained(self.module)} refuses to be loaded in an interpreter of its own "
            f"({contained(self.text)})"
        )


class Isolation:
    """The application groups of one server.

    on_refusal: called with application, extension module and its ImportError's text for each module that an application
    goes on without, or that it fails for.
    """

    def __init__(self, on_refusal: Callable[[str, str, str], None] | None = None) -> None:
        self._on_refusal = on_refusal
        self._moved: dict[Key, Refusal] = {}
        self._alone: set[str] = set()
        """Process groups whose Python has its main interpreter only."""
        self._told: dict[Key, set[tuple[str, str]]] = {}

    def __repr__(self) -> str:
        return f"<Isolation: {len(self._moved)} application groups were moved>"

    @property
    def moved(self) -> KeysView[Key]:
        """The groups that have left their interpreters."""
        return self._moved.keys()

    def is_movable(self, key: Key, settings: GroupSettings) -> bool:
        """Whether the group is in an interpreter that it may leave."""
        return bool(key[1]) and settings.isolation == "auto" and not self.is_apart(key, settings)

    def is_apart(self, key: Key, settings: GroupSettings) -> bool:
        """Whether the group has a process of its own."""
        if not key[1]:
            return False  # GLOBAL is the main interpreter of its process
        return (
            settings.isolation == "process"
            or key in self._moved
            or (settings.isolation == "auto" and key[0] in self._alone)
        )

    def place(self, key: Key, settings: GroupSettings) -> Place:
        """Where the group is."""
        if self.is_apart(key, settings):
            return Place.APART
        return Place.SHARED if key[0] else Place.HERE

    def why(self, key: Key) -> str:
        """Why a group has left its interpreter, in a few words; empty where it has not."""
        if key in self._moved:
            return f"{self._moved[key].module} refuses subinterpreters"
        return "its Python has one interpreter" if key[0] in self._alone else ""

    def move(self, key: Key, refusal: Refusal) -> None:
        """Remember that the group has a process of its own, and say so, the first time."""
        if key in self._moved:
            return
        self._moved[key] = refusal
        _log.warning(
            "[%s] %s. The application group is moved into a daemon process of its own; %s for its mount has it there "
            "from the start.",
            label(key[1], key[0]),
            refusal,
            _WAY_OUT,
        )

    def leave_alone(self, process_group: str) -> None:
        """Remember that the processes of a group have their main interpreter only, and say so, the first time."""
        if process_group in self._alone:
            return
        self._alone.add(process_group)
        _log.info(
            "[%s] its Python is older than 3.14.1 and has one interpreter: each application group with isolation = "
            '"auto" has a daemon process of its own',
            process_group,
        )

    def go_without(self, key: Key, *refused: str) -> None:
        """The application goes on without the module. refused: what ``Refusal`` holds."""
        refusal = Refusal(*refused)
        if self._is_new(key, refusal):
            _log.warning(
                "[%s] %s. The application does without; if it needs it, set %s for its mount.",
                label(key[1], key[0]),
                refusal,
                _WAY_OUT,
            )

    def fail(self, key: Key, refusal: Refusal) -> None:
        """The application fails, and must not be moved."""
        if self._is_new(key, refusal):
            _log.error(
                '[%s] %s. Its isolation is "interpreter": set %s for its mount.',
                label(key[1], key[0]),
                refusal,
                _WAY_OUT,
            )

    def _is_new(self, key: Key, refusal: Refusal) -> bool:
        if self._on_refusal is not None:
            self._on_refusal(*refusal)
        told = self._told.setdefault(key, set())
        known = refusal.application[:_LONGEST_KNOWN], refusal.module[:_LONGEST_KNOWN]
        if known in told or len(told) >= _MOST_TOLD:
            return False
        told.add(known)
        return True
