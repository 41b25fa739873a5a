"""What interpreters and processes are told at their start, made of settings.

Law: pure. Imports ``host.interpreters`` and ``selection.mounts``.
"""

import os
from collections.abc import Iterable, Mapping

from asyncgroups.config import WsgiApplication
from asyncgroups.frontend.isolation import Key
from asyncgroups.frontend.processes import ProcessGroup
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.selection.mounts import GroupSettings

__all__ = ["embedded", "encoded", "in_processes"]


def encoded(variables: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """Variables as an environment has them."""
    return {os.fsencode(name): os.fsencode(value) for name, value in variables}


def embedded(
    key: Key,
    settings: GroupSettings,
    *,
    global_threads: int,
    environ: Mapping[bytes, bytes],
    applications: Mapping[str, WsgiApplication],
) -> Bootstrap:
    """For an interpreter of this process. global_threads, applications: what GLOBAL has; environ: of the process."""
    process_group, application_group = key
    is_global = not application_group
    app_dir = (settings.app_dir,)
    is_last = is_global and settings.host_path_first
    return Bootstrap(
        process_group=process_group,
        application_group=application_group,
        threads=global_threads if is_global else settings.threads,
        path=settings.python_path if is_last else app_dir + settings.python_path,
        path_end=app_dir if is_last else (),
        environ=None if is_global else tuple((dict(environ) | encoded(settings.process_env)).items()),
        applications=applications if is_global else None,
    )


def in_processes(key: Key, settings: GroupSettings, *, group: ProcessGroup, is_apart: bool) -> Bootstrap:
    """For one in each process of ``group``. is_apart: whether those are its own."""
    process_group, application_group = key
    is_main = is_apart or not application_group
    return Bootstrap(
        process_group=process_group,
        application_group=application_group,
        threads=settings.threads if application_group else group.settings.threads,
        path=(settings.app_dir, *settings.python_path, *group.settings.python_path),
        environ=None if is_main else tuple({**group.environ, **encoded(settings.process_env)}.items()),
    )
