"""Which application answers a request, and in which application group?

Law: pure. No I/O, no clock, no threads; the only state are bounded tables of what has been worked out already.
Imports the standard library, ``asyncgroups.errors`` and the modules of this room.

First the virtual host, then its rules, then the mount, then the name of the group, since %{RESOURCE} needs the mount.
Where a script may lie in a directory somebody else has to look (``Search``); what it finds becomes a mount.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.errors import GroupNameUnresolved, NotMounted, ScriptNotFound
from asyncgroups.selection.files import Files
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.mounts import Mount, Version
from asyncgroups.selection.names import Facts, GroupName
from asyncgroups.selection.rewrite import Request, path_of
from asyncgroups.selection.searches import Found, Search
from asyncgroups.selection.targets import split_target

__all__ = ["Choice", "Found", "Search", "Selection", "split_target"]

DEFAULT_SERVER_NAME = "localhost"
"""The server name in group names where none is configured."""

KNOWN_NAMES = 16_384
"""Names that are kept, at most; those beyond are expanded for each request."""

KNOWN_MERGERS = 4096
"""Merged settings of scripts that are kept, at most; those beyond are merged for each request."""

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Choice(NamedTuple):  # a frozen dataclass takes three times as long to make
    """What was chosen for one request.

    virtual_host: the matched one; the server config where none matched.
    mount: the mount, with all settings merged.
    script_name: text, the mount's path, without the scope's root_path: empty for the root, else ``/shop``.
    path_info: the rest of the path, percent-encoded bytes as the client wrote them.
    process_group: name of the process group; empty for embedded mode.
    application_group: name of the application group, expanded; empty for GLOBAL.
    env: the request's environment, text to text: what rules have set, over it the mount's, and over both what an outer
    ASGI application added.
    version: tells the script from what may stand in its place later; None where that counts for nothing, and for what
    is no script.
    """

    virtual_host: VirtualHost
    mount: Mount
    script_name: str
    path_info: bytes
    process_group: str
    application_group: str
    env: Mapping[str, str]
    version: Version | None = None

    def __repr__(self) -> str:
        return f"<Choice: {self.mount.application} at {self.script_name or '/'} in {self.application_group!r}>"


class Selection:
    """The configured hosts and mounts, ready to choose among.

    process_env: the process's environment, looked up for each %{ENV:x} that the request does not set.
    process_groups: the names of those that there are.
    """

    __slots__ = ("_hosts", "_mergers", "_names", "_process_env", "_process_groups")

    def __init__(
        self, hosts: VirtualHosts, process_env: Mapping[str, str], process_groups: Collection[str] = ()
    ) -> None:
        self._process_groups = process_groups
        self._hosts = hosts
        self._process_env = process_env
        # By identity: hosts and mounts live as long as this object does, and hashing one would cost more than it saves.
        self._names: dict[tuple[int, int, int | None], str] = {}
        # By identity as well; sections live as long as the virtual hosts.
        self._mergers: dict[tuple[int, str, tuple[int, ...]], tuple[Mount, str]] = {}

    def __repr__(self) -> str:
        return f"<Selection: {self._hosts!r}, {len(self._names)} names known>"

    def choose(
        self,
        *,
        host: bytes | None,
        port: int | None,
        raw_path: bytes,
        env: Mapping[str, str] | None,
        request: Callable[[str, str], Request] | None = None,
    ) -> Choice | Search:
        """The application and the group for a request, or what has to be looked for first.

        host: the Host header as it came, bytes; None where there was none.
        port: number of the TCP port the request arrived on; None on a unix socket.
        raw_path: the path to route, percent-encoded bytes (the second of ``split_target``).
        env: what an outer ASGI application added to the request's environment; wins over the configuration's.
        request: gives what rules may depend on for a server name, which may end in ``:port``, and the path that they
        see; without it they are left out.

        Raises NotMounted where no mount covers the path, ScriptNotFound where no script can lie there,
        GroupNameUnresolved where the group's name cannot be told, PatternTooSlow.
        """
        virtual_host = self._hosts.match(host, port)
        if virtual_host.files is not None:
            return self._choose_among(
                virtual_host.files, virtual_host, port=port, raw_path=raw_path, env=env or NO_VARIABLES, request=request
            )
        match = self.mounted(virtual_host, raw_path)
        return self._choice(virtual_host, match, port=port, env={**match[0].env, **env} if env else match[0].env)

    def _choose_among(
        self,
        files: Files,
        virtual_host: VirtualHost,
        *,
        port: int | None,
        raw_path: bytes,
        env: Mapping[str, str],
        request: Callable[[str, str], Request] | None,
    ) -> Choice | Search:
        path = path_of(raw_path)
        variables = NO_VARIABLES
        if request is not None and len(files.rules):
            variables = files.rules.variables(request(self.server_name(virtual_host), path), env)
        match = virtual_host.mounts.match(raw_path) or virtual_host.inherited.match(raw_path)
        candidates = files.trees.locate(raw_path, path, mounted=match[0].path.count("/") if match is not None else -1)
        if candidates:
            return Search(virtual_host, files, candidates, port=port, env=env, variables=variables)
        if candidates is not None:
            raise ScriptNotFound(f"no directory of {virtual_host.place} is for {raw_path[:100]!r}")
        match = match or self.mounted(virtual_host, raw_path)
        return self._choice(virtual_host, match, port=port, env={**variables, **match[0].env, **env})

    def _choice(
        self, virtual_host: VirtualHost, match: tuple[Mount, bytes], *, port: int | None, env: Mapping[str, str]
    ) -> Choice:
        mount, path_info = match
        return Choice(
            virtual_host=virtual_host,
            mount=mount,
            script_name=mount.path,
            path_info=path_info,
            process_group=self.process_group(virtual_host, mount, port=port, env=env),
            application_group=self.group(virtual_host, mount, port=port, env=env),
            env=env,
        )

    def found(self, search: Search, found: Found) -> Choice:
        """The second half of ``choose`` for a script that has been found. Raises GroupNameUnresolved."""
        mount = self.mount_of(search, found)
        host, port = search.virtual_host, search.port
        merged = {**search.variables, **mount.env, **search.env}
        return Choice(
            virtual_host=host,
            mount=mount,
            script_name=mount.path,
            path_info=found.path_info,
            process_group=self.process_group(host, mount, port=port, env=merged),
            # Not kept, as ``group`` would: this mount is gone with its request, and so is its identity.
            application_group=self._expand(mount.application_group, host, mount, port=port, env=merged),
            env=merged,
            version=found.version if mount.script_reloading else None,
        )

    def mount_of(self, search: Search, found: Found) -> Mount:
        """The mount that a script is; made for each request, since there may be any number of scripts."""
        key = (id(search.virtual_host), found.candidate.place, tuple(map(id, found.sections)))
        merged = self._mergers.get(key)
        if merged is None:
            merged = search.files.merge(found.candidate.place, found.sections)
            if len(self._mergers) < KNOWN_MERGERS:
                self._mergers[key] = merged
        pattern, attribute = merged
        return replace(pattern, path=found.script_name, application=f"{found.path}:{attribute}", script=found.path)

    def virtual_host(self, host: bytes | None, port: int | None) -> VirtualHost:
        """The first half of ``choose``: the virtual host, or the server config."""
        return self._hosts.match(host, port)

    def server_name(self, virtual_host: VirtualHost) -> str:
        """The name of a virtual host in names of groups; may end in ``:port``."""
        return virtual_host.server_name or self._hosts.server.server_name or DEFAULT_SERVER_NAME

    def mounted(self, virtual_host: VirtualHost, raw_path: bytes) -> tuple[Mount, bytes]:
        """The second half of ``choose``: the mount, and the rest of the path. Raises NotMounted."""
        match = virtual_host.mounts.match(raw_path) or virtual_host.inherited.match(raw_path)
        if match is None:
            # The client wrote the path: as much of it as a line of the log can bear.
            raise NotMounted(f"no mount of {virtual_host.place} covers {raw_path[:100]!r}")
        return match

    def group(self, virtual_host: VirtualHost, mount: Mount, *, port: int | None, env: Mapping[str, str]) -> str:
        """The name of the application group, as text, that a request to ``mount`` under ``virtual_host`` belongs to.

        Both are of this selection. port: as in ``choose``. env: the request's whole environment.
        Raises GroupNameUnresolved; the message says which mount.
        """
        key = (id(virtual_host), id(mount), port)
        name = self._names.get(key)
        if name is None:
            name = self._expand(mount.application_group, virtual_host, mount, port=port, env=env)
            if not mount.application_group.depends_on_env and len(self._names) < KNOWN_NAMES:
                self._names[key] = name
        return name

    def depends_on_port(self, virtual_host: VirtualHost, mount: Mount, *, env: Mapping[str, str]) -> bool:
        """Whether the groups have different names for different ports. Raises GroupNameUnresolved."""
        names = {
            (choose(virtual_host, mount, port=None, env=env), choose(virtual_host, mount, port=1, env=env))
            for choose in (self.group, self.process_group)
        }
        return any(first != second for first, second in names)

    def process_group(
        self, virtual_host: VirtualHost, mount: Mount, *, port: int | None, env: Mapping[str, str]
    ) -> str:
        """The name of the process group, as text, empty for embedded mode; otherwise as ``group``.

        Raises GroupNameUnresolved, also for a name that no process group has.
        """
        setting = mount.process_group
        if not setting.text:
            return ""
        name = self._expand(setting, virtual_host, mount, port=port, env=env)
        if name and name not in self._process_groups:
            raise GroupNameUnresolved(f"{mount.place}: {setting}: there is no process group {name!a}")
        return name

    def _expand(
        self, setting: GroupName, virtual_host: VirtualHost, mount: Mount, *, port: int | None, env: Mapping[str, str]
    ) -> str:
        server_name = self.server_name(virtual_host)
        facts = Facts(server_name=server_name, port=port, script=mount.path, env=env, process_env=self._process_env)
        try:
            return setting.expand(facts)
        except GroupNameUnresolved as error:
            raise GroupNameUnresolved(f"{mount.place}: {error}") from None
