"""WSGIDaemonProcess -> ``[process_group.NAME]``.

Law: pure. Imports the standard library, ``apache.reading`` and ``apache.tables``.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.tables import Table

__all__ = ["daemon"]

NUMBERS: Mapping[str, str] = MappingProxyType(
    {
        "processes": "processes",
        "threads": "threads",
        "maximum-requests": "maximum_requests",
        "cpu-priority": "cpu_priority",
    }
)
SECONDS: Mapping[str, str] = MappingProxyType(
    {
        "restart-interval": "restart_interval",
        "inactivity-timeout": "inactivity_timeout",
        "request-timeout": "request_timeout",
        "graceful-timeout": "graceful_timeout",
        "shutdown-timeout": "shutdown_timeout",
        "startup-timeout": "startup_timeout",
    }
)
TEXTS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        # A number is written #1000 in Apache.
        "user": lambda value: re.sub(r"\A#(?=[0-9]+\Z)", "", value),
        "group": lambda value: re.sub(r"\A#(?=[0-9]+\Z)", "", value),
        "umask": lambda value: value.zfill(3),
        "home": str,
    }
)
LOCALES: Mapping[str, str] = MappingProxyType({"lang": "LANG", "locale": "LC_ALL"})
EMPTY = frozenset({"python-path", "python-eggs", "lang", "locale"})
"""Options that say nothing without a value, as mod_wsgi-express writes them."""

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "deadlock-timeout": "a process that does not answer is noticed by itself",
        "interrupt-timeout": "timeouts.interrupt is the time from the interrupt until the process is given up",
        "eviction-timeout": "graceful_timeout is the time for the requests of a process that is replaced",
        "queue-timeout": "timeouts.queue is the time that a request may wait, for all of them",
        "listen-backlog": "limits.backlog is the number of requests that may wait, for all of them",
        "python-eggs": "has no meaning for this Python",
        "cpu-time-limit": "processor time is not limited",
        "virtual-memory-limit": "address space is not limited; memory_limit is what a process may have for its own",
        "stack-size": "the stacks of threads have the system's size",
        "script-user": "whose file a script is is not looked at",
        "script-group": "whose file a script is is not looked at",
        "supplementary-groups": "the processes have the groups of their user",
        "chroot": "the processes see the whole file system",
    }
)


def daemon(statement: Statement) -> tuple[str, Table, str | None]:
    """The group's name, its table, and what a remark says; None where there is nothing to remark.

    Source: WSGIDaemonProcess.
    """
    name, *options = statement.arguments or ("",)
    table = Table(made_by=statement)
    said = []
    for option in options:
        key, _, value = option.partition("=")
        if not value and key in EMPTY:
            continue
        if (number := NUMBERS.get(key)) and value.lstrip("-").isdigit():
            table[number] = int(value)
        elif (seconds := SECONDS.get(key)) and value.isdigit():
            table[seconds] = int(value)
        elif write := TEXTS.get(key):
            table[key] = write(value)
        elif variable := LOCALES.get(key):
            table.setdefault("process_env", {})[variable] = value
        elif key == "python-path":
            table["python_path"] = value.split(":")
        elif key == "python-home":
            table["python"] = f"{value.rstrip('/')}/bin/python"
        elif key == "display-name":
            table["display_name"] = f"(wsgi:{name})" if value == "%{GROUP}" else value
        elif key == "memory-limit" and value.isdigit():
            table["memory_limit"] = int(value)
        else:
            said.append(f"{option}: {MEANINGS.get(key, 'has no counterpart')}")
    return name, table, "; ".join(said) or None
