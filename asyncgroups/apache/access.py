"""Require, Order, Allow, Deny: whether nobody at all may have something.

Law: pure. Imports the standard library and ``apache.reading``.

Access depends on addresses, users and the like, which nobody here looks at: known is only what is granted to all or
denied to all. Where it depends, the answer is that it is not known, and a remark says so.
Source: mod_authz_core (several Require are one <RequireAny>), mod_access_compat. Both have to grant it, and what a
narrower section says with one of them leaves the other one as it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from asyncgroups.apache.reading import Statement, walk

__all__ = ["KEYS", "Access", "Denials", "is_of_access", "refusing"]

KEYS = frozenset({"allow", "deny", "order", "require", "requireall", "requireany", "requirenone", "satisfy"})
OF_ORDER = frozenset({"allow", "deny", "order"})

type Denials = Mapping[bool, tuple[bool, Statement]]
"""Whether nobody may have it, and which statement says so: for those that are of mod_access_compat, and the others."""


@dataclass(slots=True)
class Access:
    """What one section says of access.

    required: for each Require and its like whether all are granted it; None where that depends.
    order: of Order, in small letters; None where there is none. allows, denies: whether Allow and Deny are for all.
    """

    required: list[bool | None] = field(default_factory=list)
    order: str | None = None
    allows: list[bool] = field(default_factory=list)
    denies: list[bool] = field(default_factory=list)

    def add(self, statement: Statement) -> bool | None:
        """Take one statement; None where what it says depends on who asks."""
        words = [word.lower() for word in statement.arguments]
        is_for_all = words == ["from", "all"]
        match statement.key:
            case "order":
                self.order = "".join(words)
            case "allow":
                self.allows.append(is_for_all)
                return is_for_all or None
            case "deny":
                self.denies.append(is_for_all)
                return is_for_all or None
            case "satisfy":
                return None
            case _:
                self.required.append(granted := _granted(statement))
                return granted
        return True

    def denials(self, before: Denials, statement: Statement) -> Denials:
        """What is denied when ``statement`` has been taken; ``before``: when it had not."""
        if statement.key == "satisfy":
            return before
        denied = {}
        if self.required:
            denied[False] = _any(self.required) is False
        if self.allows or self.denies or self.order is not None:
            # The last one in Order has the last word, and is what counts where neither says anything.
            is_open = self.order in (None, "deny,allow")
            denied[True] = (
                not self.allows and True in self.denies if is_open else not self.allows or True in self.denies
            )
        return {
            **before,
            **{kind: (one, statement) for kind, one in denied.items() if kind is (statement.key in OF_ORDER)},
        }


def refusing(denials: Denials) -> Statement | None:
    """The statement that denies access; None where it may be had."""
    return next((by for denied, by in denials.values() if denied), None)


def is_of_access(statement: Statement) -> bool:
    """Whether something in a section says who may have what it is for."""
    return any(one.key in KEYS for one in walk(statement.body or ()))


def _granted(statement: Statement) -> bool | None:
    inside = [_granted(one) for one in statement.body or () if one.key in KEYS]
    words = [word.lower() for word in statement.arguments]
    match statement.key, words:
        case "requireall", _:
            return False if False in inside else True if inside and None not in inside else None
        case "requireany", _:
            return _any(inside)
        case "requirenone", _:
            return False if True in inside else None
        case "require", ["all", ("granted" | "denied") as word]:
            return word == "granted"
        case "require", ["not", "all", ("granted" | "denied") as word]:
            return word == "denied"
        case _:
            return None


def _any(granted: Iterable[bool | None]) -> bool | None:
    found = list(granted)
    return True if True in found else None if None in found or not found else False
