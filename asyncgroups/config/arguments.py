"""The tables of a configuration as a program writes them: the shapes of the dicts that are given.

Law: declarations only, for type checkers; ``reader`` judges what is given. May import ``config.texts`` and
``config.values``.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict

from asyncgroups.config.texts import Handler
from asyncgroups.config.values import Isolation

__all__ = [
    "AliasArguments",
    "ConditionArguments",
    "DirectoryArguments",
    "LimitArguments",
    "ProcessGroupArguments",
    "RewriteArguments",
    "TimeoutArguments",
    "UserdirArguments",
]


class LimitArguments(TypedDict, total=False):
    """``limits``: as [limits] of ``asyncgroups.toml``."""

    groups: int
    """Interpreters alive at once; past it requests are answered 503."""
    backlog: int
    """Requests that wait for one group; past it requests are answered 503."""
    request_body: int | str
    """Largest request body in bytes, or with a unit ("1 GiB"), or "unlimited"; past it requests are answered 413."""


class TimeoutArguments(TypedDict, total=False):
    """``timeouts``: as [timeouts] of ``asyncgroups.toml``, in seconds."""

    startup: float
    """How long an interpreter may take to start and load its first application; 0 is no limit."""
    queue: float
    """How long a request may wait for a worker; past it requests are answered 503; 0 is no limit."""
    request: float
    """How long an application may take for one request before it is interrupted; 0 is no limit."""
    interrupt: float
    """From the interrupt of a request until its interpreter is given up."""
    graceful: float
    """How long running requests may go on when the application is stopped."""


class ProcessGroupArguments(TypedDict, total=False):
    """One of ``process_groups``: as [process_group.NAME] of ``asyncgroups.toml``."""

    default: bool
    """Whether it is the process group of what says nothing else."""
    processes: int
    """Daemon processes of the group."""
    threads: int
    """Threads of each application group in each process, where its mount and virtual host say nothing else."""
    sticky: str
    """What sends requests to one and the same process: "cookie", "client", "header:NAME" or "%{ENV:variable}"."""
    python: str | os.PathLike[str]
    """The python that the processes run, 3.12 or later; by default this process's."""
    python_path: Sequence[str | os.PathLike[str]]
    """Further folders of sys.path in each interpreter."""
    home: str | os.PathLike[str]
    """Working directory of the processes; by default this process's."""
    process_env: Mapping[str, str]
    """Variables of os.environ in the processes."""
    user: str
    """User that the processes run as, a name or a number; for a server that root has started."""
    group: str
    """Group that they run as; by default the user's."""
    umask: str
    """Their umask, octal: "027"."""
    cpu_priority: int
    """Their niceness."""
    memory_limit: int | str
    """Largest amount of memory that a process may have for its own; past it an allocation fails."""
    display_name: str
    """What process lists show."""
    startup_timeout: float
    """Seconds a process has to be ready; 0 is no limit."""
    maximum_requests: int
    """Requests after which a process is replaced; 0 is no limit."""
    restart_interval: float
    """Seconds after which a process is replaced; 0 is no limit."""
    inactivity_timeout: float
    """Seconds without a request after which a process that has had one is replaced; 0 is no limit."""
    request_timeout: float
    """Seconds an application may take for one request; 0 is no limit, and timeouts["request"] is the default."""
    graceful_timeout: float
    """Seconds for the requests of a process that is replaced."""
    shutdown_timeout: float
    """Seconds after that until the process is ended by force."""


class AliasArguments(TypedDict):
    """One of ``aliases``: as [[alias]] of ``asyncgroups.toml``."""

    path: str
    """URL path, decoded; "/" is the root."""
    directory: str | os.PathLike[str]
    """The directory."""


class UserdirArguments(TypedDict, total=False):
    """``userdir``: as [userdir] of ``asyncgroups.toml``."""

    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    """Directory, or several of which the first that exists counts; "*" is the user's name."""
    enabled: Sequence[str]
    """The only users who have one; by default all."""
    disabled: Sequence[str]
    """Users who have none."""


class DirectoryArguments(TypedDict, total=False):
    """One of ``directories``: as [[directory]] of ``asyncgroups.toml``; it has a path or a match."""

    path: str | os.PathLike[str]
    """Directory; "*", "?" and "[]" stand for characters of one name."""
    match: str
    """Regular expression instead of a path, searched for in the whole path of a file."""
    handler: Handler
    """Whether files are scripts: "wsgi-script", or "none", the default."""
    extensions: Sequence[str]
    """Ends of names, such as ".wsgi", that a script has to have one of; by default any will do."""
    follow_symlinks: bool
    """Whether symbolic links are followed there."""
    application_group: str
    """Name of the application group: %{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} or any other text."""
    process_group: str
    """Name of one of ``process_groups``; "" is this process."""
    isolation: Isolation
    """What keeps groups apart: "interpreter", "process", or "auto", an interpreter where that will do."""
    threads: int
    """Threads that live in each group's interpreter, at most 1000."""
    callable: str
    """Name of the application in a script."""
    script_reloading: bool
    """Whether a script is loaded anew when its file has changed."""
    env: Mapping[str, str]
    """Variables of each request's environment."""
    process_env: Mapping[str, str]
    """Variables of os.environ in the interpreters."""
    python_path: Sequence[str | os.PathLike[str]]
    """Further folders of each interpreter's sys.path."""
    app_dir: str | os.PathLike[str]
    """First folder of each interpreter's sys.path."""


class ConditionArguments(TypedDict, total=False):
    """One of ``condition`` in a rule: as [[rewrite.condition]] of ``asyncgroups.toml``."""

    test: str
    """What is looked at, with variables such as %{HTTP_HOST}, %{HTTP:field} and %{ENV:variable} in it."""
    host: str
    """Regular expression that the Host header has to match; in place of test and match."""
    method: str
    """Regular expression that the method has to match; in place of test and match."""
    header: str
    """Name of the header field that is looked at; in place of test."""
    match: str
    """Regular expression that it has to match."""
    not_match: str
    """Regular expression that it must not match."""
    equals: str
    """Text that it has to be."""
    not_equals: str
    """Text that it must not be."""
    nocase: bool
    """Whether capital and small letters are the same."""
    or_next: bool
    """Whether it is enough if this condition or the next one holds."""


class RewriteArguments(TypedDict, total=False):
    """One of ``rewrites``: as [[rewrite]] of ``asyncgroups.toml``; it has a match or a not_match."""

    match: str
    """Regular expression that the path has to match."""
    not_match: str
    """Regular expression that the path must not match."""
    nocase: bool
    """Whether capital and small letters are the same."""
    condition: Sequence[ConditionArguments]
    """What else has to hold."""
    env: Mapping[str, str]
    """Variables that it sets; $1 is a group of match, %1 one of the last condition that matched."""
    unset: Sequence[str]
    """Variables that it takes away."""
    chain: bool
    """Whether the rule after it is tried only if this one has matched."""
    skip: int
    """Number of the rules after it that are left out if it has matched."""
    last: bool
    """Whether no rule is tried after it if it has matched."""
