"""WSGI applications in named application groups, each in a Python interpreter of its own, behind any ASGI server.

The public names are loaded when they are first used (PEP 562): every application's interpreter runs this file on its
way to ``asyncgroups.worker``, so it imports nothing at all, not even from the standard library.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncgroups.asgi import ApplicationGroups
    from asyncgroups.config import Mount, VirtualHost
    from asyncgroups.errors import (
        ApplicationGroupsError,
        ClientDisconnected,
        ConfigurationError,
        GroupNameSyntaxError,
        RequestInterrupted,
        StartFailed,
    )

__all__ = [
    "ApplicationGroups",
    "ApplicationGroupsError",
    "ClientDisconnected",
    "ConfigurationError",
    "GroupNameSyntaxError",
    "Mount",
    "RequestInterrupted",
    "StartFailed",
    "VirtualHost",
    "__version__",
]

__version__ = "0.1.0"

_HOME = {
    "ApplicationGroups": "asyncgroups.asgi",
    "ApplicationGroupsError": "asyncgroups.errors",
    "ClientDisconnected": "asyncgroups.errors",
    "ConfigurationError": "asyncgroups.errors",
    "GroupNameSyntaxError": "asyncgroups.errors",
    "Mount": "asyncgroups.config",
    "RequestInterrupted": "asyncgroups.errors",
    "StartFailed": "asyncgroups.errors",
    "VirtualHost": "asyncgroups.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    from importlib import import_module  # noqa: PLC0415 - see the first lines

    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
