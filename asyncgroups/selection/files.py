"""All that one virtual host, or the server config, has of files: what leads to scripts, and what holds for them.

Law: declarations only. Imports the standard library, ``selection.directories``, ``selection.mounts``,
``selection.rewrite`` and ``selection.trees``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncgroups.selection.directories import Section, Sections
from asyncgroups.selection.mounts import Mount
from asyncgroups.selection.rewrite import Rules
from asyncgroups.selection.trees import Trees

__all__ = ["Files", "Merge"]

type Merge = Callable[[str, tuple[Section, ...]], tuple[Mount, str]]
"""(place, covering) -> the settings of a script that a request has led to, as a mount; the name of its callable.

place: of the candidate that it was found by; a mount by pattern brings settings of its own, which count first.
covering: the sections that it falls into, the least specific first. Path and application of the mount are empty, and it
has no script: they are the caller's to fill in. Its place and origins say where the settings come from.
Pure; raises nothing. Made by ``config``, which alone merges settings.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What of files is configured in a virtual host, the server's share of it included.

    trees: from URL paths to directories. sections: what holds in directories, the server's and its own.
    rules: those that set variables. follow_symlinks: whether links are followed where no section says anything; in
    users' directories only sections count. merge: the settings of a script.
    """

    trees: Trees
    sections: Sections
    rules: Rules
    follow_symlinks: bool = False
    merge: Merge = field(repr=False, compare=False)
