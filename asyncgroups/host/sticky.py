"""A pool in which a key always goes to the same process, as long as that lives. Standard library and ``wire``.

Guarantees, next to those of ``pool``:

- The processes of a process group stand in slots, 1 to ``slots``; one that is started in place of another has its
  slot. A request with a key goes to the member whose slot ranks highest for the key among those that are served; where
  two are, because one replaces the other, to the later one. So a death moves the dead process's keys alone, until its
  slot is served again.
- A request with a key waits for a worker of its own member, also while others have idle ones; those without a key, and
  those of other members, pass by it. Among those that a worker fits the first one that came gets it.
- A member that has lost a worker keeps its keys until it has said that it lives, or is removed: where its process is
  alive nothing may move, and where it is dead that is known a moment later.
- A slot that has never been served is waited for while its process starts, or no key would go to the same process from
  the first request on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from asyncgroups.host.group import GroupInterpreter
from asyncgroups.host.pool import Member, Pool, State, Ticket
from asyncgroups.host.rendezvous import ranking

__all__ = ["StickyPool"]


class StickyPool(Pool):
    """As ``Pool``, for interpreters that ``add`` and ``remove`` bring and take.

    slots: their number. awaited: those whose processes are about to serve them.
    """

    def __init__(
        self,
        *,
        slots: int,
        awaited: Iterable[int],
        threads: int,
        backlog: int,
        request_timeout: float | None = None,
        on_served: Callable[[Member], None] | None = None,
    ) -> None:
        super().__init__(None, threads=threads, backlog=backlog, request_timeout=request_timeout, on_served=on_served)
        self._slots = slots
        self._awaited = set(awaited)

    def add(self, interpreter: GroupInterpreter, kin: list[Member], *, slot: int = 0) -> Member:
        member = super().add(interpreter, kin, slot=slot)
        self.forgo(slot)  # its keys are served, and go elsewhere when it ends
        return member

    def forgo(self, slot: int) -> None:
        """Wait no more for who is to serve ``slot``: where nobody does its keys go elsewhere."""
        with self._lock:
            self._awaited.discard(slot)
            self._serve_waiting()

    # Under the lock ---------------------------------------------------------------------------------------------------

    def _candidates(self, ticket: Ticket) -> Sequence[Member]:
        if ticket.key is None:
            return self._members
        home = self._home(ticket.key)
        return () if home is None else (home,)

    def _next(self, member: Member) -> Ticket | None:
        for ticket in self._waiting:
            if ticket.key is None or self._home(ticket.key) is member:
                self._waiting.remove(ticket)
                return ticket
        return None

    def _home(self, key: bytes) -> Member | None:
        """The member that a key belongs to; None where there is none, or is to be waited for one."""
        for slot in ranking(key, self._slots):
            for member in reversed(self._members):
                if member.slot == slot and member.state is not State.RETIRED:
                    return member
            if slot in self._awaited:
                return None
        return None
