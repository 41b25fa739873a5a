"""Host header -> virtual host.

Law: pure. The virtual hosts are indexed once and never change; no I/O, no clock.
Imports the standard library, ``selection.files``, ``selection.names`` and ``selection.mounts``.

The client's Host header only ever chooses among the names that are configured, and the port in it counts for nothing:
which socket the request arrived on is not for the client to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from asyncgroups.selection.files import Files
from asyncgroups.selection.mounts import MountTable
from asyncgroups.selection.names import split_server_name

__all__ = ["VirtualHost", "VirtualHosts", "split_server_name"]

LONGEST_HOST = 255
"""Bytes in the longest host name that wildcards are tried for (RFC 1035 section 2.3.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """A ``<VirtualHost>``, or the server config, with the mounts that it offers.

    server_name: text, a host name that may end in ``:port``; None where none is configured.
    server_alias: further host names; one that begins with ``*.`` stands for every name below a domain. Raises
    ValueError for a ``*`` anywhere else.
    mounts: the virtual host's own.
    inherited: the server's mounts with this virtual host's settings merged in; for paths that ``mounts`` do not cover.
    files: what leads to scripts in directories, and the rules; None where nothing of it is configured.
    place: where it stands in the configuration, for messages: ``virtual_host[0]``.
    Source: Apache's ServerName and ServerAlias.
    """

    server_name: str | None
    server_alias: tuple[str, ...] = ()
    mounts: MountTable
    inherited: MountTable
    files: Files | None = None
    place: str

    def __post_init__(self) -> None:
        for name in (self.server_name or "", *(alias.removeprefix("*.") for alias in self.server_alias)):
            if "*" in name:
                raise ValueError(f"{self.place}: {name!r}: no '*' but in an alias that begins with '*.'")

    def name_for(self, host_header: bytes | str) -> str | None:
        """The one of its names, as written, that a Host header stands for; None where none does.

        As in ``VirtualHosts.match``: an exact name comes before a wildcard, a longer wildcard before a shorter one.
        """
        wanted = _host_in(host_header)
        names = (self.server_name, *self.server_alias) if self.server_name is not None else self.server_alias
        folded = {name: _fold(split_server_name(name)[0]) for name in names}
        wildcards = [name for name, key in folded.items() if key.startswith("*.") and wanted[1:].endswith(key[1:])]
        exact = [name for name, key in folded.items() if key == wanted]
        return next(iter(exact + sorted(wildcards, key=len, reverse=True)), None)


class _Sharers:
    """The virtual hosts that share one name, by the port in their server_name."""

    __slots__ = ("by_port",)

    def __init__(self) -> None:
        self.by_port: dict[int | None, VirtualHost] = {}

    def pick(self, port: int | None) -> VirtualHost | None:
        # With nobody to share with, the port decides nothing. It may be the one that a proxy in front listens on.
        if len(self.by_port) == 1:
            return next(iter(self.by_port.values()))
        return self.by_port.get(port) or self.by_port.get(None)


class VirtualHosts:
    """All virtual hosts and the server config; one of them answers for every name that is nobody's.

    ``server`` has a name as well, and shares it like the others. Where two have one name and one port the first counts.
    ``default`` is who answers for the names that are nobody's: in Apache the first virtual host, here the server config
    if nobody is named.
    """

    __slots__ = ("_exact", "_wildcards", "default", "server", "virtual_hosts")

    def __init__(
        self, server: VirtualHost, virtual_hosts: Iterable[VirtualHost], *, default: VirtualHost | None = None
    ) -> None:
        self.server: VirtualHost = server
        self.default: VirtualHost = server if default is None else default
        self.virtual_hosts: tuple[VirtualHost, ...] = tuple(virtual_hosts)
        self._exact: dict[str, _Sharers] = {}
        self._wildcards: dict[str, _Sharers] = {}  # "*.example.com" under ".example.com"
        for host in (*self.virtual_hosts, server):
            port = None
            names = host.server_alias
            if host.server_name is not None:
                port = split_server_name(host.server_name)[1]
                names = (host.server_name, *names)
            for name in names:
                key = _fold(split_server_name(name)[0])
                index = self._wildcards if key.startswith("*.") else self._exact
                index.setdefault(key.removeprefix("*"), _Sharers()).by_port.setdefault(port, host)

    def __repr__(self) -> str:
        names = [host.server_name or host.place for host in self.virtual_hosts]
        return f"<VirtualHosts: {', '.join([*names, 'server config'])}>"

    def match(self, host_header: bytes | str | None, port: int | None) -> VirtualHost:
        """The virtual host that a request is for; ``default`` where none is.

        host_header: bytes or text as the client sent it, so anything at all; None where there was none.
        port: number of the TCP port the request arrived on; None on a unix socket.

        An exact name comes before a wildcard, a longer wildcard before a shorter one. Among those that share a name it
        is the one with the socket's port in its server_name, else the one with none.
        Source: Apache's name-based virtual hosts.
        """
        if not host_header or not self.virtual_hosts:
            return self.default
        name = _host_in(host_header)
        sharers = self._exact.get(name)
        if sharers is not None and (host := sharers.pick(port)) is not None:
            return host
        if self._wildcards and len(name) <= LONGEST_HOST:
            # From the second character on: "*" stands for one label at least.
            dot = name.find(".", 1)
            while dot >= 0:
                sharers = self._wildcards.get(name[dot:])
                if sharers is not None and (host := sharers.pick(port)) is not None:
                    return host
                dot = name.find(".", dot + 1)
        return self.default


def _host_in(host_header: bytes | str) -> str:
    """The host name in a Host header, folded."""
    # No byte fails to decode as latin-1; names of other than ASCII characters come as A-labels (RFC 5890).
    text = host_header if isinstance(host_header, str) else host_header.decode("latin-1")
    return _fold(split_server_name(text)[0])


def _fold(name: str) -> str:
    """A host name as names are compared: without case (RFC 9110 section 4.2.3) and final dot (RFC 1034 section 3.1)."""
    name = name.lower().removesuffix(".")
    # An IPv6 address in the configuration may lack the brackets that one in a Host header has (RFC 3986 section 3.2.2).
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
