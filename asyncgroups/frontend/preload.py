"""Loads an application without a request, where its requests would have it loaded. Imports ``frontend``, ``wire``.

Guarantees:

- It waits for ``timeouts.startup`` at the most, and for a worker as a request does; a cancellation gives that back.
- Where an extension module refuses, its group is moved, and it is loaded there.
- The end of the server interrupts it at once: nobody waits for an answer.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from asyncgroups.errors import ApplicationFailed, ApplicationGroupsError, RequestTimedOut, ShuttingDown
from asyncgroups.frontend.lease import GroupMoved, Lease, State
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.frontend.taking import take
from asyncgroups.host.pool import Member, Pool
from asyncgroups.wire import messages

__all__ = ["Unloaded", "load", "load_in", "load_once"]

_PLACES = 2
"""Where a group may be: in an interpreter, and in a process of its own."""


class Unloaded(NamedTuple):
    """Why an application did not load.

    word: the name of the exception, text. sentence: what to say where the log has said nothing yet; None where it has.
    """

    word: str
    sentence: str | None

    @property
    def is_stuck(self) -> bool:
        """Whether it may still be loading: its worker is not free."""
        return self.word == "timeout" and self.sentence is not None  # an exception may be called like that

    def __str__(self) -> str:
        return self.sentence or "the log has the reason"


async def load(supervisor: Supervisor, find: Callable[[], Pool], application: str) -> Unloaded | None:
    """Load ``application``, ``module:attribute`` or ``/path:callable``, in the interpreter of ``find``'s pool.

    Returns what went wrong, None where nothing did; the log has the traceback. Waits for ``timeouts.startup`` at the
    most. Raises as ``take`` does.
    """
    for _ in range(_PLACES):
        try:
            return await load_once(supervisor, find, application=application)
        except GroupMoved:
            continue
    return Unloaded("ImportError", "its application group has no place where it loads")


async def load_once(
    supervisor: Supervisor, find: Callable[[], Pool], *, application: str, again: bool = False
) -> Unloaded | None:
    """As ``load``, but raises GroupMoved where the group moves. again: execute the script also if it was executed.

    Raises ShuttingDown.
    """
    _go_on(supervisor)
    number = supervisor.number()
    first = messages.texts(messages.RELOAD if again else messages.LOAD, str(number), application)
    lease = await take(supervisor, find, number, first=lambda _: first)
    assert lease is not None  # no client, that could have left
    return await _load(supervisor, lease, application, first)


async def load_in(supervisor: Supervisor, member: Member, *, application: str) -> Unloaded | None:
    """As ``load``, in one interpreter of a pool that takes no requests yet. Raises GroupMoved, ShuttingDown."""
    _go_on(supervisor)
    number = supervisor.number()
    first = messages.texts(messages.LOAD, str(number), application)
    try:
        worker = member.pool.claim(member, number)
        try:
            lease = Lease(supervisor, worker)
        except BaseException:
            member.pool.release(worker)
            raise
    except (ApplicationGroupsError, OSError) as error:
        return Unloaded(type(error).__name__, str(error))
    return await _load(supervisor, lease, application, first)


def _go_on(supervisor: Supervisor) -> None:
    """Raises ShuttingDown where the end has begun: what begins a moment later is interrupted as it does."""
    if supervisor.loads.are_forgone:
        raise ShuttingDown("the server shuts down")


async def _load(supervisor: Supervisor, lease: Lease, application: str, first: bytes) -> Unloaded | None:
    try:
        lease.be_load()
        lease.on_loaded = partial(lease.pool.proven.add, application)
        if lease.sent < len(first):
            await lease.write(first, lease.sent)
        while lease.state is not State.DONE:
            await lease.next()
    except GroupMoved:
        raise
    except ApplicationFailed as error:
        return Unloaded(str(error), None)
    except RequestTimedOut:
        return Unloaded("timeout", f"it did not load within {supervisor.timeouts.startup:g} s (timeouts.startup)")
    except ApplicationGroupsError as error:
        return Unloaded(type(error).__name__, str(error))
    finally:
        lease.end("nobody waits for it to load")
    return None
