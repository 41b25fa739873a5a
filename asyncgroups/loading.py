"""Loads every application in its application group, as ``serve`` would, and measures it.

May import ``frontend``, ``host``, ``config``, ``selection``. Guarantees:

- An application is loaded by the same supervisor, pool and worker that its requests would have, in an interpreter with
  its group's settings; the applications of one group share it.
- One group after another: its interpreter is closed, within bounds, before the next group's is made, however many
  ``limits.groups`` allows. GLOBAL, which nothing can throw away, comes last.
- Each load is bounded by ``timeouts.startup``, and begins when one that is stuck has been given up. An application in
  GLOBAL that keeps the main interpreter's GIL for longer takes the process with it: exit status ``HAS_SAID_WHY``, with
  a sentence on stderr.
- A cancellation closes the interpreter at hand as well, and waits for that.
"""

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from asyncgroups.config import Configuration
from asyncgroups.errors import ApplicationGroupsError, GroupNameUnresolved
from asyncgroups.frontend.lifecycle import stop_apart
from asyncgroups.frontend.preload import Unloaded, load
from asyncgroups.frontend.supervisor import Supervisor
from asyncgroups.host.ending import deadline
from asyncgroups.host.group import label
from asyncgroups.selection import Selection
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import GroupSettings, Mount

__all__ = ["DOES_NOT_LOAD", "HAS_SAID_WHY", "Group", "Loaded", "groups_of", "load_groups", "seconds_to_end"]

_log = logging.getLogger("asyncgroups")

DOES_NOT_LOAD = 3
"""The exit status when an application does not load."""

HAS_SAID_WHY = 93
"""The exit status of a process that an application keeps from going on; none that applications are likely to use."""

_NOTHING = "builtins:object"
"""Loaded first of all: what only the first interpreter of a process costs is charged to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An application group and what is mounted in it.

    name: of the group, empty for GLOBAL; the text of the setting where the name depends on the request.
    process_group: name of the process group. isolation: ``isolation = "process" (mount[0].isolation)``, empty for the
    default. applications: ``module:attribute`` and the settings of its first mount.
    """

    name: str
    process_group: str
    isolation: str = ""
    applications: Mapping[str, GroupSettings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of one application.

    application: ``module:attribute``. group: the group's name as logs show it.
    failure: None where it has loaded, else the name of the exception, or ``timeout``.
    seconds: from the request to load it until the answer, the making of the interpreter included for a group's first.
    memory: bytes by which the process's proportional set (without it, the resident set) has grown meanwhile; None where
    the system does not say.
    refused: extension modules that refused to be loaded in an interpreter of its own, and that the application does
    without or fails for.
    isolation: what its group is in, ``interpreter`` or ``process``; None for GLOBAL. why: the setting, or the extension
    module that has moved it; empty for the default.
    """

    application: str
    group: str
    failure: str | None
    seconds: float
    memory: int | None
    refused: tuple[str, ...]
    isolation: str | None
    why: str


def groups_of(configuration: Configuration, *, process_env: Mapping[str, str]) -> list[Group]:
    """Every group that requests can reach, in the order of the file, GLOBAL last; each application once in each.

    That GLOBAL is this process's. A name that depends on the port is expanded for each port of ``bind``. process_env:
    for %{ENV:x}.
    """
    selection = configuration.selection(process_env)
    names: dict[tuple[str, str], str] = {}
    applications: dict[tuple[str, str], dict[str, GroupSettings]] = {}
    isolation: dict[tuple[str, str], str] = {}
    for host, mount, _ in configuration.mounts():
        for port in dict.fromkeys(configuration.ports):
            expanded, name = _name(selection, host, mount, port)
            key = (_process_group(selection, host, mount, port), expanded)
            names[key] = name
            isolation.setdefault(key, _isolation(mount))
            applications.setdefault(key, {}).setdefault(mount.application, mount.settings)
    groups = [
        Group(name=names[key], process_group=key[0], isolation=isolation[key], applications=applications[key])
        for key in applications
    ]
    return sorted(groups, key=lambda group: not group.name and not group.process_group)


def _isolation(mount: Mount) -> str:
    """The setting, and where it was written."""
    place = mount.origins.get("isolation")
    return f'isolation = "{mount.settings.isolation}" ({place})' if place is not None else ""


def _process_group(selection: Selection, host: VirtualHost, mount: Mount, port: int | None) -> str:
    """The name of the process group; where it depends on the request this process stands in."""
    try:
        return selection.process_group(host, mount, port=port, env=mount.env)
    except GroupNameUnresolved:
        return ""


def _name(selection: Selection, host: VirtualHost, mount: Mount, port: int | None) -> tuple[str, str]:
    """The name of the group, or what stands in for it; and what to call it."""
    text = str(mount.application_group)
    try:
        name = selection.group(host, mount, port=port, env=mount.env)
        # Where the port is not known yet any will do to tell the groups apart, and none is to be shown.
        is_known = port != 0 or not selection.depends_on_port(host, mount, env=mount.env)
    except GroupNameUnresolved:
        # Which of these share a group the requests will say.
        return f"{text} {mount.application}", text
    return name, name if is_known else text


def seconds_to_end(configuration: Configuration) -> float:
    """What an interpreter has for its end, its threads' and its atexit functions': ``timeouts.interrupt``, or 1 s."""
    return max(1.0, configuration.timeouts.interrupt)


async def load_groups(
    configuration: Configuration,
    groups: Sequence[Group],
    *,
    environ: Mapping[bytes, bytes],
    tell: Callable[[Loaded], None],
    doing: Callable[[str], None],
) -> None:
    """Load them; ``tell`` gets one application after the other. environ: the process's environment.

    doing: gets what is about to be done, in words, before it is: an application can end the process.
    Why an application does not load is logged.
    """
    if groups:
        first = replace(next(iter(groups[0].applications.values())), isolation="interpreter")
        warming_up = Group(name=_NOTHING, process_group="", applications={_NOTHING: first})
        await _load_group(configuration, warming_up, environ=environ, doing=doing)
    for group in groups:
        for loaded in await _load_group(configuration, group, environ=environ, doing=doing):
            tell(loaded)


async def _load_group(
    configuration: Configuration, group: Group, *, environ: Mapping[bytes, bytes], doing: Callable[[str], None]
) -> list[Loaded]:
    key = (group.process_group, group.name)
    begun: list[str] = []
    refused: dict[str, dict[str, None]] = {application: {} for application in group.applications}

    def note(application: str, module: str, _: str) -> None:
        # A thread that the application has started is nobody's: what was being loaded must have started it.
        refused.get(application, refused[begun[-1]])[module] = None

    supervisor = Supervisor(
        # One more for each application that is stuck in the one before; what waits for that is no request.
        limits=configuration.limits.model_copy(update={"groups": len(group.applications), "backlog": 1}),
        timeouts=configuration.timeouts.model_copy(
            update={"graceful": 0.0, "interrupt": seconds_to_end(configuration), "queue": 0.0}
        ),
        global_threads=configuration.global_threads,
        environ=environ,
        process_groups={name: replace(one, processes=1) for name, one in configuration.process_groups.items()},
        on_refusal=note,
    )
    results: list[tuple[str, Unloaded | None, float, int | None]] = []
    try:
        for application, settings in group.applications.items():
            if results and (before := results[-1][1]) is not None and before.is_stuck:
                # Until its worker comes back, or its interpreter is given up: nobody else is charged with that.
                await _load(supervisor, group, _NOTHING, settings)
            begun.append(application)
            doing(f"{application!r} was loading in application group {label(group.name)}")
            with _bounded(application, group, configuration):
                _trim()
                memory, start = _memory(supervisor.process_groups.pids), time.perf_counter()
                unloaded = await _load(supervisor, group, application, settings)
                seconds, growth = time.perf_counter() - start, _growth(memory, supervisor.process_groups.pids)
            results.append((application, unloaded, seconds, growth))
    finally:
        doing(f"application group {label(group.name)} was ending")
        await stop_apart(supervisor.stop)
    # Only now everything that the interpreter had to say has been heard.
    is_apart = supervisor.isolation.is_apart(key, next(iter(group.applications.values())))
    return [
        Loaded(
            application=application,
            group=label(group.name, group.process_group),
            failure=unloaded.word if unloaded is not None else None,
            seconds=seconds,
            memory=growth,
            refused=tuple(refused[application]),
            isolation=("process" if is_apart else "interpreter") if group.name else None,
            why=supervisor.isolation.why(key) or group.isolation,
        )
        for application, unloaded, seconds, growth in results
    ]


async def _load(supervisor: Supervisor, group: Group, application: str, settings: GroupSettings) -> Unloaded | None:
    find = partial(supervisor.pool_of, (group.process_group, group.name), settings)
    try:
        unloaded = await load(supervisor, find, application)
    except ApplicationGroupsError as error:
        unloaded = Unloaded(type(error).__name__, str(error))
    if unloaded is not None and unloaded.sentence is not None:
        _log.error("[%s] %r does not load: %s", label(group.name, group.process_group), application, unloaded.sentence)
    return unloaded


def _bounded(application: str, group: Group, configuration: Configuration) -> contextlib.AbstractContextManager[None]:
    """What can still end an application that keeps the main interpreter from running."""
    seconds = configuration.timeouts.startup
    if group.name or group.process_group or not seconds:
        return contextlib.nullcontext()
    return deadline(
        seconds + seconds_to_end(configuration),
        status=HAS_SAID_WHY,
        words=f"asyncgroups: {application!r} does not load within {seconds:g} s (timeouts.startup) and keeps the main "
        "interpreter's GIL: this is the end of the process",
    )


# Memory ---------------------------------------------------------------------------------------------------------------


def _memory(daemons: Sequence[int] = ()) -> int | None:
    """The proportional set of this process and of ``daemons`` in bytes (proc_pid_smaps(5)); else the resident set."""
    each = [_memory_of(name) for name in ("self", *map(str, daemons))]
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


def _memory_of(process: str) -> int | None:
    try:
        with open(f"/proc/{process}/smaps_rollup", "rb") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith(b"Pss:"))
    except OSError, StopIteration:
        pass
    try:
        with open(f"/proc/{process}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError, ValueError, IndexError:
        return None


def _growth(before: int | None, daemons: Sequence[int]) -> int | None:
    after = _memory(daemons)
    return after - before if before is not None and after is not None else None


def _trim() -> None:
    """Give back what closed interpreters have left: the next one would grow into it unseen (malloc_trim(3), glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
