"""The tables of the configuration file and their keys; the sentence under a key is its description in the JSON schema.

Law: declarations only; what a value may be stands in ``values``, what two values have to do with each other in
``contexts``. ``None`` means "not given here". May import pydantic, ``config.sticky``, ``config.texts`` and
``config.values``.
"""

import itertools
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from asyncgroups.config.sticky import StickySetting
from asyncgroups.config.texts import (
    HANDLERS,
    CallableName,
    Extension,
    FieldName,
    Folders,
    Handler,
    PatternText,
    Text,
    UserName,
)
from asyncgroups.config.values import (
    ISOLATIONS,
    LOG_LEVELS,
    Application,
    Backlog,
    Bind,
    Groups,
    GroupText,
    HostAlias,
    HostName,
    Isolation,
    LogLevel,
    MountPath,
    Niceness,
    PathText,
    ProcessGroup,
    ProcessGroupName,
    Seconds,
    Secret,
    SecretVariableValue,
    Size,
    Switch,
    Threads,
    Umask,
    VariableName,
    VariableValue,
    must_be,
)

__all__ = [
    "GLOBAL_THREADS",
    "PROCESS_GROUPS",
    "AliasSection",
    "ConditionSection",
    "DirectorySection",
    "Document",
    "FileSettings",
    "GlobalSection",
    "Limits",
    "MountSection",
    "ProcessGroupSection",
    "RewriteSection",
    "Section",
    "Settings",
    "Timeouts",
    "UserdirSection",
    "VirtualHostSection",
]

GLOBAL_THREADS = 15
"""Of a main interpreter, where nothing else is said: as WSGIDaemonProcess has it."""

PROCESS_GROUPS = "process_group.*"
"""What the reader calls the tables [process_group.NAME]: in TOML they and the setting process_group share a key."""

# TOML has lists, a frozen model has tuples: pydantic's strict mode would not turn one into the other.
type Many[Item] = Annotated[tuple[Item, ...], Field(strict=False)]
type Variables = Annotated[dict[VariableName, VariableValue], Field(json_schema_extra={"additionalProperties": False})]
type SecretVariables = Annotated[
    dict[VariableName, SecretVariableValue], Field(json_schema_extra={"additionalProperties": False})
]


class Section(BaseModel):
    """What holds for every table: unknown keys are errors, "4" is no number, nothing changes afterwards."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class Settings(Section):
    """The keys that the server configuration, a virtual host, a directory and a mount share."""

    application_group: GroupText | None = None
    """Name of the application group: %{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} or any other text
    (WSGIApplicationGroup)."""
    process_group: ProcessGroup | None = None
    """Name of a [process_group.NAME], or a variable as for application_group; "" or %{GLOBAL} is the server's own
    process (WSGIProcessGroup)."""
    isolation: Annotated[Isolation, must_be(f"one of {', '.join(ISOLATIONS)}")] | None = None
    """What keeps the application group apart from others: "interpreter", "process" (a daemon process of its own), or
    "auto", an interpreter and, for extension modules that refuse to be loaded there, a process."""
    threads: Threads | None = None
    """Threads that live in the group's interpreter, at most 1000."""
    callable: CallableName | None = None
    """Name of the application in a script (WSGICallableObject)."""
    script_reloading: Switch | None = None
    """Whether a script is loaded anew when its file has changed (WSGIScriptReloading)."""
    env: Variables | None = None
    """Variables of each request's environment (SetEnv)."""
    process_env: SecretVariables | None = None
    """Variables of os.environ in the group's interpreter."""
    python_path: Many[PathText] | None = None
    """Further folders of the group's sys.path, relative to this file."""
    app_dir: PathText | None = None
    """First folder of the group's sys.path, relative to this file."""


def _one_of(*choices: tuple[str, ...]) -> JsonDict:
    """In the JSON schema: the keys of exactly one choice are given."""
    return {"oneOf": [{"required": [*keys]} for keys in choices]}


class MountSection(Settings):
    """[[mount]]: a URL path bound to an application (WSGIScriptAlias)."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "allOf": [_one_of(("path",), ("match",)), _one_of(("app",), ("script",))],
            "dependencies": {"match": ["script"]},
        }
    )

    path: MountPath | None = None
    """URL path, decoded; "/" is the root."""
    match: PatternText | None = None
    """Regular expression instead of a path; its groups stand in script as \\1 to \\9 (WSGIScriptAliasMatch)."""
    app: Application | None = None
    """The WSGI application, "module:attribute"."""
    script: PathText | None = None
    """Script file in place of app, relative to this file."""
    preload: Switch | None = None
    """Whether the application is loaded before the first request."""


class AliasSection(Section):
    """[[alias]]: a URL path bound to a directory, in which there may be scripts (Alias)."""

    path: MountPath
    """URL path, decoded; "/" is the root."""
    directory: PathText
    """The directory, relative to this file."""


class UserdirSection(Section):
    """[userdir]: /~user bound to a directory of that user's (UserDir)."""

    path: Folders | None = None
    """Directory, or several of which the first that exists counts, relative to this file; "*" is the user's name."""
    enabled: Many[UserName] | None = None
    """The only users who have one; by default all (UserDir enabled)."""
    disabled: Many[UserName] | None = None
    """Users who have none (UserDir disabled)."""


class DirectorySection(Settings):
    """[[directory]]: what holds for files in a directory and below it (<Directory>, <DirectoryMatch>)."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_one_of(("path",), ("match",)))

    path: PathText | None = None
    """Directory, relative to this file; "*", "?" and "[]" stand for characters of one name (<Directory>)."""
    match: PatternText | None = None
    """Regular expression instead of a path, searched for in the whole path of a file (<DirectoryMatch>)."""
    handler: Annotated[Handler, must_be(f"one of {', '.join(HANDLERS)}")] | None = None
    """Whether files are scripts: "wsgi-script", or "none", the default (SetHandler)."""
    extensions: Many[Extension] | None = None
    """Ends of names, such as ".wsgi", that a script has to have one of; by default any will do (AddHandler)."""
    follow_symlinks: Switch | None = None
    """Whether symbolic links are followed there (Options FollowSymLinks)."""


class ConditionSection(Section):
    """[[rewrite.condition]]: what a rule asks beyond the path (RewriteCond)."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra=_one_of(
            ("host",),
            ("method",),
            *itertools.product(("test", "header"), ("match", "not_match", "equals", "not_equals")),
        )
    )

    test: Text | None = None
    """What is looked at, with variables such as %{HTTP_HOST}, %{HTTP:field} and %{ENV:variable} in it."""
    host: PatternText | None = None
    """Regular expression that the Host header has to match; in place of test and match."""
    method: PatternText | None = None
    """Regular expression that the method has to match; in place of test and match."""
    header: FieldName | None = None
    """Name of the header field that is looked at; in place of test."""
    match: PatternText | None = None
    """Regular expression that it has to match."""
    not_match: PatternText | None = None
    """Regular expression that it must not match."""
    equals: Text | None = None
    """Text that it has to be."""
    not_equals: Text | None = None
    """Text that it must not be."""
    nocase: Switch = False
    """Whether capital and small letters are the same ([NC])."""
    or_next: Switch = False
    """Whether it is enough if this condition or the next one holds ([OR])."""


class RewriteSection(Section):
    """[[rewrite]]: variables of the request's environment, from its path, host and headers (RewriteRule)."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_one_of(("match",), ("not_match",)))

    match: PatternText | None = None
    """Regular expression that the path has to match."""
    not_match: PatternText | None = None
    """Regular expression that the path must not match."""
    nocase: Switch = False
    """Whether capital and small letters are the same ([NC])."""
    condition: Many[ConditionSection] = ()
    """What else has to hold (RewriteCond)."""
    env: Variables | None = None
    """Variables that it sets; $1 is a group of match, %1 one of the last condition that matched ([E=NAME:VALUE])."""
    unset: Many[VariableName] = ()
    """Variables that it takes away ([E=!NAME])."""
    chain: Switch = False
    """Whether the rule after it is tried only if this one has matched ([C])."""
    skip: Backlog = 0
    """Number of the rules after it that are left out if it has matched ([S])."""
    last: Switch = False
    """Whether no rule is tried after it if it has matched ([L])."""


class FileSettings(Settings):
    """The keys that the server configuration and a virtual host share."""

    preload: Switch | None = None
    """Whether applications are loaded before the first request."""
    document_root: PathText | None = None
    """Directory that the root of all URLs stands for, after mounts and aliases, relative to this file
    (DocumentRoot)."""
    follow_symlinks: Switch | None = None
    """Whether symbolic links are followed where no [[directory]] says anything; in users' directories only these count
    (Options FollowSymLinks)."""
    alias: Many[AliasSection] = ()
    """URL paths bound to directories (Alias)."""
    userdir: UserdirSection | None = None
    """Users' directories (UserDir)."""
    directory: Many[DirectorySection] = ()
    """What holds for files in directories (<Directory>)."""
    rewrite: Many[RewriteSection] | None = None
    """Rules that set variables; a virtual host's own are in place of the server's (RewriteRule)."""
    mount: Many[MountSection] = ()
    """URL paths bound to applications (WSGIScriptAlias); a virtual host has the server's too, after its own."""


class VirtualHostSection(FileSettings):
    """[[virtual_host]]: the applications of one server name (<VirtualHost>)."""

    server_name: HostName
    """Host name, with a port where it should count (ServerName)."""
    server_alias: Many[HostAlias] = ()
    """Other names of the same host, "*." in front stands for any (ServerAlias)."""
    default: Switch = False
    """Whether it answers for the names that are nobody's; by default the server configuration does."""


class GlobalSection(Section):
    """[global]: the main interpreter."""

    threads: Threads = GLOBAL_THREADS
    """Threads of the main interpreter's pool, which runs the application group %{GLOBAL}, at most 1000."""


class Limits(Section):
    """[limits]: what a client can make the server hold."""

    groups: Groups = 100
    """Interpreters alive at once; past it requests are answered 503."""
    backlog: Backlog = 100
    """Requests that wait for one group; past it requests are answered 503."""
    request_body: Size = 2**30
    """Largest request body in bytes, or with a unit, or "unlimited"; past it requests are answered 413."""


class Timeouts(Section):
    """[timeouts]: seconds. 0 is no limit for startup, queue and request, and not to wait for interrupt and graceful."""

    startup: Seconds = 60.0
    """How long an interpreter may take to start and load its first application."""
    queue: Seconds = 45.0
    """How long a request may wait for a worker; past it requests are answered 503."""
    request: Seconds = 0.0
    """How long an application may take for one request before it is interrupted."""
    interrupt: Seconds = 5.0
    """From the interrupt of a request until its interpreter is given up."""
    graceful: Seconds = 15.0
    """How long running requests may go on after the server was told to stop."""


class ProcessGroupSection(Section):
    """[process_group.NAME]: daemon processes (WSGIDaemonProcess)."""

    default: Switch = False
    """Whether it is the process group of what says nothing else: of the server configuration."""
    processes: Threads = 1
    """Daemon processes of the group (processes=)."""
    threads: Threads | None = None
    """Threads of each application group in each process, where its mount and virtual host say nothing else (threads=);
    by default 15 for %{GLOBAL}, and for the others what the server configuration says."""
    sticky: StickySetting | None = None
    """What sends requests to one and the same process as long as it lives: "cookie" (signed, and set by the server),
    "client" (the address), "header:NAME" or "%{ENV:variable}"; by default a request goes to any."""
    python: PathText | None = None
    """The python that the processes run, 3.12 or later, of a virtual environment perhaps, relative to this file; by
    default the server's (python-home=)."""
    python_path: Many[PathText] = ()
    """Further folders of sys.path in each interpreter, relative to this file (python-path=)."""
    home: PathText | None = None
    """Working directory of the processes, relative to this file; by default the server's (home=)."""
    process_env: SecretVariables | None = None
    """Variables of os.environ in the processes."""
    user: VariableValue | None = None
    """User that the processes run as, a name or a number in quotes; for a server that root has started (user=)."""
    group: VariableValue | None = None
    """Group that they run as; by default the user's (group=)."""
    umask: Umask | None = None
    """Their umask, octal: "027" (umask=)."""
    cpu_priority: Niceness | None = None
    """Their niceness: -20 is the most favourable, which root alone may give (cpu-priority=)."""
    memory_limit: Size = None
    """Largest amount of memory that a process may have for its own (RLIMIT_DATA), in bytes or with a unit; past it an
    allocation fails (memory-limit=)."""
    display_name: VariableValue | None = None
    """What process lists show (display-name=)."""
    startup_timeout: Seconds = 15.0
    """Seconds a process has to be ready; 0 is no limit (startup-timeout=)."""
    maximum_requests: Backlog = 0
    """Requests after which a process is replaced; 0 is no limit (maximum-requests=)."""
    restart_interval: Seconds = 0.0
    """Seconds after which a process is replaced; 0 is no limit (restart-interval=)."""
    inactivity_timeout: Seconds = 0.0
    """Seconds without a request after which a process that has had one is replaced; 0 is no limit
    (inactivity-timeout=)."""
    request_timeout: Seconds | None = None
    """Seconds an application may take for one request before it is interrupted; 0 is no limit, and timeouts.request is
    the default (request-timeout=)."""
    graceful_timeout: Seconds = 15.0
    """Seconds for the requests of a process that is replaced; then they are interrupted (graceful-timeout=)."""
    shutdown_timeout: Seconds = 5.0
    """Seconds after that until the process is ended by force (shutdown-timeout=)."""


class Document(FileSettings):
    """The whole file; the top level is the server configuration."""

    bind: Many[Bind] = ("127.0.0.1:8000",)
    """Addresses to listen on: "host:port", "unix:PATH", "fd://NUMBER" (Listen)."""
    server_name: HostName | None = None
    """Host name of the server, with a port where names of groups should have one (ServerName)."""
    log_level: Annotated[LogLevel, must_be(f"one of {', '.join(LOG_LEVELS)}")] = "info"
    """Least level of what is logged."""
    certfile: PathText | None = None
    """TLS certificate with its chain, relative to this file."""
    keyfile: PathText | None = None
    """TLS private key, relative to this file."""
    keyfile_password: Secret | None = None
    """Password of the private key."""
    ca_certs: PathText | None = None
    """Certificates of the authorities that clients' certificates are checked against."""
    process_groups: Annotated[dict[ProcessGroupName, ProcessGroupSection] | None, Field(alias=PROCESS_GROUPS)] = None
    """Daemon processes (WSGIDaemonProcess)."""
    global_: Annotated[GlobalSection, Field(alias="global")] = GlobalSection()
    """The main interpreter."""
    limits: Limits = Limits()
    """What a client can make the server hold."""
    timeouts: Timeouts = Timeouts()
    """Seconds that things may take."""
    virtual_host: Many[VirtualHostSection] = ()
    """The applications of further server names (<VirtualHost>)."""
