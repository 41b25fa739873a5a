"""What the mounts of one application group have to agree about, since a group has it only once.

Law: pure. Notes every problem and goes on. May import ``selection`` and ``config.merging``, ``config.problems``,
``config.values``, ``config.words``.
"""

from collections.abc import Collection, Sequence

from asyncgroups.config.merging import GLOBAL, Placed, literal
from asyncgroups.config.problems import Problems
from asyncgroups.config.values import shown
from asyncgroups.config.words import Loc
from asyncgroups.selection.names import GroupName

__all__ = ["check_groups"]


def check_groups(mounts: Sequence[Placed], *, limit: int, dropped: Collection[Loc], problems: Problems) -> None:
    """Whether mounts of one group agree, and whether there may be as many groups as they name.

    limit: the setting ``limits.groups``. dropped: places of wrong values that were left out.
    """
    names = _check_settings(mounts, problems)
    if not any(loc in dropped for loc in (("limits",), ("limits", "groups"))):
        _check_number(names, limit=limit, problems=problems)


def _check_settings(mounts: Sequence[Placed], problems: Problems) -> list[str]:
    """The names of the groups; those that are not literal are unknown yet."""
    place = problems.words.place
    first_of: dict[tuple[GroupName, str], Placed] = {}
    known: set[tuple[Loc, str, object]] = set()
    for placed in mounts:
        name = literal(placed.mount.application_group)
        if name is None:
            continue
        first = first_of.setdefault((placed.mount.process_group, name), placed)
        group = f"application group {shown(name) if name else '%{GLOBAL}'}"
        for key in (key for key in placed.origins if key in first.origins):
            setting, other = placed.origins[key], first.origins[key]
            # What is wrong with a mount of the server's is not told again for each virtual host that inherits it.
            if setting.value == other.value or (placed.loc, key, setting.value) in known:
                continue
            known.add((placed.loc, key, setting.value))
            if key == "process_env":
                # By name only: the values are where people keep their passwords.
                names = sorted({variable for variable, _ in set(setting.value) ^ set(other.value)})
                said, instead = f"another value of {', '.join(names)}", " than"
            else:
                said, instead = (
                    setting.told((*placed.loc, key), place=place),
                    f", but {other.told((*first.loc, key), place=place)}",
                )
            here = "here" if placed.mount.place == place(placed.loc) else f"for {placed.mount.place}"
            sentence = f"{said} {here}{instead} for {first.mount.place}, in one and the same {group}"
            problems.add((*placed.loc, key), sentence)
    own = [name for process_group, name in first_of if name != GLOBAL and not process_group.text]
    elsewhere = [f"{group}:{name or '%{GLOBAL}'}" for group, name in first_of if group.text]
    return [*own, *elsewhere]


def _check_number(names: Sequence[str], *, limit: int, problems: Problems) -> None:
    """Interpreters live as long as the server: a group beyond ``limits.groups`` would never have one."""
    if limit < len(names):
        told = ", ".join(map(shown, names[:5])) + (", …" if len(names) > 5 else "")
        sentence = f"{limit} is less than the {len(names)} application groups that mounts name: {told}"
        problems.add(("limits", "groups"), sentence)
