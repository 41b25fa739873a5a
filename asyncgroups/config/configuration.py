"""The configuration as the rest of the program sees it.

Law: frozen, checked before it is made, and complete: every path absolute, every setting merged.
May import ``selection``, ``errors``, ``config.model``, ``config.problems``, ``config.sticky`` and ``config.values``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.config.model import GLOBAL_THREADS, Limits, Timeouts
from asyncgroups.config.problems import lines_of
from asyncgroups.config.sticky import Sticky
from asyncgroups.config.values import LogLevel, WsgiApplication
from asyncgroups.config.words import FileWords
from asyncgroups.errors import PatternTooSlow
from asyncgroups.selection import Selection
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.mounts import Mount

__all__ = ["Configuration", "Mounted", "ProcessSettings", "Tls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files that TLS needs, as absolute paths; in hypercorn's words."""

    certfile: str
    keyfile: str
    keyfile_password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """A process group.

    name: of the group. processes: their number. threads: of the main interpreter of each process. python: path of the
    interpreter. python_path: paths of further folders. home: path of the working directory. process_env: variables of
    their environment, text to text. sticky: what a request's key is, None where requests have none. user, group:
    numbers. groups: numbers of further ones. umask: a number. cpu_priority: niceness. memory_limit: bytes, None for no
    limit. display_name: what process lists show.
    maximum_requests: a number, 0 for no limit. startup_timeout, restart_interval, inactivity_timeout, request_timeout:
    seconds, 0 for no limit. graceful_timeout, shutdown_timeout: seconds. What is None is as for this process.
    """

    name: str
    processes: int = 1
    threads: int = GLOBAL_THREADS
    python: str | None = None
    python_path: tuple[str, ...] = ()
    home: str | None = None
    sticky: Sticky | None = None
    process_env: Mapping[str, str] = field(default=MappingProxyType({}), repr=False)
    display_name: str | None = None
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    umask: int | None = None
    cpu_priority: int | None = None
    memory_limit: int | None = None
    startup_timeout: float = 15.0
    maximum_requests: int = 0
    restart_interval: float = 0.0
    inactivity_timeout: float = 0.0
    request_timeout: float | None = None
    graceful_timeout: float = 15.0
    shutdown_timeout: float = 5.0


class Mounted(NamedTuple):
    """A mount in the virtual host that serves it.

    inherited: whether it is one of the server's, with the settings of this virtual host merged in.
    """

    virtual_host: VirtualHost
    mount: Mount
    inherited: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Configuration:
    """A configuration that has passed every check.

    source: name of the file, or what stands in its place, text.
    text: the content of the file; None where there is none.
    bind: addresses to listen on, each ``host:port``, ``[ipv6]:port``, ``unix:/absolute/path`` or ``fd://number``.
    server: the server configuration.
    virtual_hosts: the virtual hosts in the order of the file.
    default: the one of them that answers for every name that is nobody's; None for the server configuration.
    global_threads: number of threads of the main interpreter's pool.
    log_level: one of critical, error, warning, info, debug.
    limits: ``groups`` and ``backlog`` are numbers; ``request_body`` is in bytes, None for unlimited.
    timeouts: ``startup``, ``queue``, ``request``, ``interrupt`` and ``graceful`` in seconds.
    tls: None where the server speaks plain HTTP.
    process_groups: name to settings; the server's own process has no name and is not among them.
    applications: name, as ``Mount.application`` has it, to the callable object that was given instead.
    remarks: what could not be told in our words of an Apache configuration, or is not there, a line each.
    """

    source: str
    text: str | None = None
    bind: tuple[str, ...]
    server: VirtualHost
    virtual_hosts: tuple[VirtualHost, ...]
    default: VirtualHost | None = None
    global_threads: int
    log_level: LogLevel
    limits: Limits
    timeouts: Timeouts
    tls: Tls | None
    applications: Mapping[str, WsgiApplication]
    process_groups: Mapping[str, ProcessSettings] = field(default=MappingProxyType({}))
    remarks: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int | None, ...]:
        """The TCP port of each address in ``bind``: None for a unix socket, 0 where it is known at the start only."""
        return tuple(
            None if address.startswith("unix:") else 0 if address.startswith("fd:") else int(address.rpartition(":")[2])
            for address in self.bind
        )

    def lines(self) -> dict[str, int]:
        """The line, from 1, at which each place of the file begins: ``mount[0].path``. Reads all of it, each time."""
        if self.text is None:
            return {}
        words = FileWords()
        return {words.place(loc): line for loc, line in lines_of(self.text).items()}

    def selection(self, process_env: Mapping[str, str]) -> Selection:
        """The virtual hosts and mounts, ready to choose among. process_env: the process's environment, for %{ENV:x}."""
        hosts = VirtualHosts(self.server, self.virtual_hosts, default=self.default)
        return Selection(hosts, process_env, self.process_groups.keys())

    def mounts(self) -> tuple[Mounted, ...]:
        """Every mount in every virtual host that serves it, the server configuration first.

        A mount of the server appears once more for each virtual host that inherits it, where its group can be another.
        """
        return tuple(
            Mounted(host, mount, inherited)
            for host in (self.server, *self.virtual_hosts)
            for table, inherited in ((host.mounts, False), (host.inherited, True))
            for mount in table
        )

    def asked(self) -> tuple[str, ...]:
        """Places of what only the file system can be asked about: aliases, user directories, patterns and the like."""
        hosts = (self.server, *self.virtual_hosts)
        trees = [host.files.trees for host in hosts if host.files is not None]
        places = [place.partition(" in ")[0] for one in trees for place in (*one.places, *one.patterns)]
        return tuple(dict.fromkeys(places))

    def warnings(self) -> tuple[str, ...]:
        """What may not be meant, a line each: mounts whose application groups are as many as clients write URLs."""
        found: dict[str, None] = {}
        for files in (host.files for host in (self.server, *self.virtual_hosts) if host.files is not None):
            for place, script in files.trees.fixed:
                try:
                    mount, _ = files.merge(place, files.sections.covering(script))
                except PatternTooSlow:
                    continue  # so will each of its requests be
                if mount.application_group.text == "%{RESOURCE}":
                    sentence = "under %{RESOURCE} each URL that a client writes is a group of its own, of one script"
                    found[f"{place.partition(' in ')[0]}: {sentence}; give it an application_group"] = None
        return tuple(found)

    def __repr__(self) -> str:
        mounts = sum(1 for mounted in self.mounts() if not mounted.inherited)
        hosts = len(self.virtual_hosts)
        return f"<Configuration {self.source}: {mounts} mounts, {hosts} virtual hosts on {', '.join(self.bind)}>"
