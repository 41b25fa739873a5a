"""Which application answers a request, and in which application group?

Law: pure. No I/O, no clock, no threads; the only state is a bounded table of names already expanded.
Imports the standard library, ``asyncgroups.errors`` and the modules of this room.

First the virtual host, then the mount, then the name of the group, since %{RESOURCE} needs the mount.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from asyncgroups.errors import GroupNameUnresolved, NotMounted
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.mounts import Mount, Version
from asyncgroups.selection.names import Facts, GroupName
from asyncgroups.selection.targets import split_target

__all__ = ["Choice", "Selection", "split_target"]

DEFAULT_SERVER_NAME = "localhost"
"""The server name in group names where none is configured."""

KNOWN_NAMES = 16_384
"""Names that are kept, at most; those beyond are expanded for each request."""


class Choice(NamedTuple):  # a frozen dataclass takes three times as long to make
    """What was chosen for one request.

    virtual_host: the matched one; the server config where none matched.
    mount: the mount, with all settings merged.
    script_name: text, the mount's path, without the scope's root_path: empty for the root, else ``/shop``.
    path_info: the rest of the path, percent-encoded bytes as the client wrote them.
    process_group: name of the process group; empty for embedded mode.
    application_group: name of the application group, expanded; empty for GLOBAL.
    env: the request's environment, text to text: the mount's, and over it what an outer ASGI application added.
    version: of the script's file as it was found; None for what is no script, and where script_reloading is off.
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

    __slots__ = ("_hosts", "_names", "_process_env", "_process_groups")

    def __init__(
        self, hosts: VirtualHosts, process_env: Mapping[str, str], process_groups: Collection[str] = ()
    ) -> None:
        self._process_groups = process_groups
        self._hosts = hosts
        self._process_env = process_env
        # By identity: hosts and mounts live as long as this object does, and hashing one would cost more than it saves.
        self._names: dict[tuple[int, int, int | None], str] = {}

    def __repr__(self) -> str:
        return f"<Selection: {self._hosts!r}, {len(self._names)} names known>"

    def choose(self, *, host: bytes | None, port: int | None, raw_path: bytes, env: Mapping[str, str] | None) -> Choice:
        """The application and the group for a request.

        host: the Host header as it came, bytes; None where there was none.
        port: number of the TCP port the request arrived on; None on a unix socket.
        raw_path: the path to route, percent-encoded bytes (the second of ``split_target``).
        env: what an outer ASGI application added to the request's environment; wins over the configuration's.

        Raises NotMounted where no mount covers the path, GroupNameUnresolved where the group's name cannot be told.
        """
        virtual_host = self._hosts.match(host, port)
        mount, path_info = self.mounted(virtual_host, raw_path)
        merged = {**mount.env, **env} if env else mount.env
        return Choice(
            virtual_host=virtual_host,
            mount=mount,
            script_name=mount.path,
            path_info=path_info,
            process_group=self.process_group(virtual_host, mount, port=port, env=merged),
            application_group=self.group(virtual_host, mount, port=port, env=merged),
            env=merged,
        )

    def virtual_host(self, host: bytes | None, port: int | None) -> VirtualHost:
        """The first half of ``choose``: the virtual host, or the server config."""
        return self._hosts.match(host, port)

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
        server_name = virtual_host.server_name or self._hosts.server.server_name or DEFAULT_SERVER_NAME
        facts = Facts(server_name=server_name, port=port, script=mount.path, env=env, process_env=self._process_env)
        try:
            return setting.expand(facts)
        except GroupNameUnresolved as error:
            raise GroupNameUnresolved(f"{mount.place}: {error}") from None
