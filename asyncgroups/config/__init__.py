"""The configuration: its model, its TOML reader, and what the rest of the program sees of it.

Law: frozen. It opens and reads the one file it is given, asks whether the files and folders named in it exist, and
does nothing else: no logging, no sockets, no environment. All errors of a file are reported at once.

    values          what one value may be
    model           the keys of each table
    problems        a wrong value's place in the file, and a sentence about it
    contexts        server configuration -> virtual host -> mount, merged; the rules between them
    configuration   the result
    reader          the way in

May import pydantic, ``selection`` and ``errors``.
"""

from asyncgroups.config.configuration import Configuration, Mounted, Tls
from asyncgroups.config.model import Document, Limits, Timeouts
from asyncgroups.config.reader import Override, from_mapping, read

__all__ = [
    "Configuration",
    "Document",
    "Limits",
    "Mounted",
    "Override",
    "Timeouts",
    "Tls",
    "from_mapping",
    "read",
]
