"""The configuration: its model, its TOML reader, and what the rest of the program sees of it.

Law: frozen. It opens and reads the one file it is given, asks whether the files and folders named in it exist, and
does nothing else: no logging, no sockets, no environment. All errors of a file are reported at once.

    values          what one value may be
    texts           the same for what is about files and rules
    sticky          what sends requests to one process
    model           the keys of each table
    words           what places and problems are called, in a file and in Python
    problems        what is wrong with one configuration, and on which line
    processes       the tables of process groups
    patterns        regular expressions that give up in time
    rules           the tables of rules
    merging         the settings of all contexts that something stands in, merged
    files           the tables about files
    agreement       what the mounts of one group have to agree about
    contexts        server configuration -> virtual host -> mount: the rules between them
    configuration   the result
    reader          the way in
    httpd           an Apache configuration instead of a file of ours
    arguments       the tables as dicts of a program
    declared        the configuration, written in Python
    schema          the same as others see it

May import pydantic, ``selection`` and ``errors``.
"""

from asyncgroups.config.arguments import (
    AliasArguments,
    ConditionArguments,
    DirectoryArguments,
    LimitArguments,
    ProcessGroupArguments,
    RewriteArguments,
    TimeoutArguments,
    UserdirArguments,
)
from asyncgroups.config.configuration import Configuration, Mounted, ProcessSettings, Tls
from asyncgroups.config.declared import Arguments, Mount, Options, VirtualHost, declared
from asyncgroups.config.model import Document, Limits, Timeouts
from asyncgroups.config.reader import Override, from_mapping, is_apache, read, refusals
from asyncgroups.config.schema import schema
from asyncgroups.config.sticky import KeySource, Sticky
from asyncgroups.config.values import WsgiApplication

__all__ = [
    "AliasArguments",
    "Arguments",
    "ConditionArguments",
    "Configuration",
    "DirectoryArguments",
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
    "RewriteArguments",
    "Sticky",
    "TimeoutArguments",
    "Timeouts",
    "Tls",
    "UserdirArguments",
    "VirtualHost",
    "WsgiApplication",
    "declared",
    "from_mapping",
    "is_apache",
    "read",
    "refusals",
    "schema",
]
