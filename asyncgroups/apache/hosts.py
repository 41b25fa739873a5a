"""<VirtualHost> -> the names of ``[[virtual_host]]``, and who answers for the names that are nobody's.

Law: pure. Imports the modules of this room.

In Apache address and port choose among virtual hosts before names do. The first one of those that are left answers for
unknown names; the server configuration answers only where no virtual host listens.
"""

import re
from collections.abc import Mapping, Sequence

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.tables import Table

__all__ = ["is_reached", "name", "ports_of"]

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
    names = [host["server_name"] for host in hosts] + [own] * is_open
    for section, host in zip(sections, hosts, strict=True):
        ports = ports_of(section) or set()
        if ":" not in host["server_name"] and len(ports) == 1 and names.count(host["server_name"]) > 1:
            host["server_name"] += f":{min(ports)}"
        elif ports and (is_open or not ports >= listened):
            meaning = f"answers on port {', '.join(sorted(ports))} in Apache; here its names lead to it on every port"
            remarks.add(section, meaning)
        if addresses := [one for one in section.arguments if not _WILDCARD.match(one)]:
            meaning = f"answers on {', '.join(addresses)} in Apache; here its names lead to it on every address"
            remarks.add(section, meaning)


def _listened(server: Mapping[str, object]) -> set[str]:
    """The ports that the server listens on."""
    bind = server.get("bind")
    return {address.rpartition(":")[2] for address in bind} if isinstance(bind, list) else set()


def ports_of(section: Statement) -> set[str] | None:
    """The ports that a virtual host listens on; None for all."""
    ports = {one.rpartition(":")[2] for one in section.arguments if not one.endswith("]")}
    return ports if ports and all(port.isdigit() for port in ports) else None
