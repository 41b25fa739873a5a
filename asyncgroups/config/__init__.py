"""The configuration: its model, its TOML reader, and what the rest of the program sees of it.

Law: frozen. It opens and reads the one file it is given, asks whether the files and folders named in it exist, and
does nothing else: no logging, no sockets, no environment. All errors of a file are reported at once.

    values          what one value may be
    sticky          what sends requests to one process
    model           the keys of each table
    words           what places and problems are called, in a file and in Python
    problems        what is wrong with one configuration, and on which line
    processes       the tables of process groups
    contexts        server configuration -> virtual host -> mount, merged; the rules between them
    configuration   the result
    reader          the way in
    httpd           an Apache configuration instead of a file of ours
    declared        the same, written in Python
    schema          the same as others see it

May import pydantic, ``selection`` and ``errors``.
"""

from asyncgroups.config.configuration import Configuration, Mounted, ProcessSettings, Tls
from asyncgroups.config.declared import (
    Arguments,
    LimitArguments,
    Mount,
    Options,
    ProcessGroupArguments,
    TimeoutArguments,
    VirtualHost,
    declared,
)
from asyncgroups.config.model import Document, Limits, Timeouts
from asyncgroups.config.reader import Override, from_mapping, is_apache, read
from asyncgroups.config.schema import schema
from asyncgroups.config.sticky import KeySource, Sticky
from asyncgroups.config.values import WsgiApplication

__all__ = [
    "Arguments",
    "Configuration",
    "Document",
    "KeySource",
    "LimitArguments",
    "Limits",
    "Mount",
    "Mounted",
    "Options",
    "Override",
    "ProcessGroupArguments",
    "ProcessSettings",
    "Sticky",
    "TimeoutArguments",
    "Timeouts",
    "Tls",
    "VirtualHost",
    "WsgiApplication",
    "declared",
    "from_mapping",
    "is_apache",
    "read",
    "schema",
]
