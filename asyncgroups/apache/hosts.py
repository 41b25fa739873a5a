"""<VirtualHost> -> the names of ``[[virtual_host]]``, and who answers for the names that are nobody's.

Law: pure. Imports the modules of this room.

In Apache address and port choose among virtual hosts before names do. The first one of those that are left answers for
unknown names; the server configuration answers only where no virtual host listens.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.tables import Table

__all__ = ["is_reached", "name", "ports_of"]

TAKEN = "is a name of {} already, which answers"

_WILDCARD = re.compile(r"(?i)(?:\*|_default_)(?::|\Z)")


def is_reached(server: Mapping[str, object], sections: Sequence[Statement]) -> bool:
    """Whether the server configuration answers requests: on a port that no virtual host has, or without any."""
    covered = [ports_of(section) for section in sections]
    return not sections or (None not in covered and bool(_listened(server).difference(*filter(None, covered))))


def name(sections: Sequence[Statement], server: Table, *, remarks: Remarks) -> None:
    """Give the virtual hosts of ``server``, one for each section, the names that they answer to."""
    hosts: list[Table] = server["virtual_host"]
    own = server.get("server_name", "").partition(":")[0]
    is_open = is_reached(server, sections)
    if not is_open:
        hosts[0]["default"] = True
        server.pop("server_name", None)
    for number, (section, host) in enumerate(zip(sections, hosts, strict=True), start=1):
        if "server_name" not in host:
            # It has the server's.
            host["server_name"] = own or f"unnamed-{number}.invalid"
            if not own:
                remarks.add(section, f"has no ServerName; it is called {host['server_name']}")
    listened = _listened(server)
    names = Counter([own.lower()] * is_open)
    for host in hosts:
        names.update(set(_names(host)))
    for section, host in zip(sections, hosts, strict=True):
        ports = ports_of(section) or set()
        if ":" not in host["server_name"] and len(ports) == 1 and _is_shared(host, names):
            host["server_name"] += f":{min(ports)}"
        elif ports and (is_open or not ports >= listened):
            meaning = f"answers on port {', '.join(sorted(ports))} in Apache; here its names lead to it on every port"
            remarks.add(section, meaning)
        if addresses := [one for one in section.arguments if not _WILDCARD.match(one)]:
            meaning = f"answers on {', '.join(addresses)} in Apache; here its names lead to it on every address"
            remarks.add(section, meaning)
    _take_names(sections, hosts, remarks)


def _take_names(sections: Sequence[Statement], hosts: Sequence[Table], remarks: Remarks) -> None:
    """A name that several have on a port is the first one's, as in Apache; so is what the first one's ``*.`` covers."""
    taken: dict[tuple[str, object], Statement] = {}

    def first(text: str, port: str, section: Statement) -> Statement:
        ports = [port, frozenset(ports_of(section) or ())]
        for one in (*_wider(text), _compared(text)):
            for other in (taken.get((one, port), section) for port in ports):
                if other is not section:
                    return other
        taken.update(((_compared(text), port), section) for port in ports)
        return section

    for number, (section, host) in enumerate(zip(sections, hosts, strict=True), start=1):
        text, colon, port = host["server_name"].partition(":")
        if (other := first(text, port, section)) is not section:
            remarks.add(section, f"{text} {TAKEN.format(other.place)}")
            host["server_name"] = f"unnamed-{number}.invalid{colon}{port}"
        for alias in list(host.get("server_alias", ())):
            if (other := first(alias, port, section)) is not section:
                remarks.add(host.set_by.get("server_alias"), f"{alias} {TAKEN.format(other.place)}")
                host["server_alias"].remove(alias)


def _names(host: Table) -> Iterator[str]:
    yield from map(_compared, (host["server_name"], *host.get("server_alias", ())))


def _is_shared(host: Table, names: Mapping[str, int]) -> bool:
    """Whether another virtual host has one of its names as well. names: how many have which."""
    own = set(_names(host))
    return any(names[one] > 1 or any(wider in names and wider not in own for wider in _wider(one)) for one in own)


def _compared(name: str) -> str:
    return name.lower().removesuffix(".")


def _wider(name: str) -> list[str]:
    """What may stand in a ServerAlias and covers a name as well."""
    parts = _compared(name).split(".")
    return [".".join(["*", *parts[number:]]) for number in range(1, len(parts))]


def _listened(server: Mapping[str, object]) -> set[str]:
    """The ports that the server listens on."""
    bind = server.get("bind")
    return {address.rpartition(":")[2] for address in bind} if isinstance(bind, list) else set()


def ports_of(section: Statement) -> set[str] | None:
    """The ports that a virtual host listens on; None for all."""
    ports = {one.rpartition(":")[2] for one in section.arguments if not one.endswith("]")}
    return ports if ports and all(port.isdigit() for port in ports) else None
