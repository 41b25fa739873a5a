"""SSLEngine and its files -> ``certfile`` and ``keyfile``.

Law: pure. Imports the standard library and the modules of this room.

asyncgroups speaks TLS on all addresses or on none, with one certificate: what Apache does beyond that is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import MEANINGS

__all__ = ["KEYS", "Secured", "secure"]

KEYS = frozenset({"sslengine", "sslcertificatefile", "sslcertificatekeyfile"})

NAMES = {"certfile": "certificatefile", "keyfile": "certificatekeyfile"}

BOTH = (
    "speaks TLS, and asyncgroups does not speak both: left out; a second server with --bind and --certfile can serve it"
)
UNSECURED = "TLS needs certfile and keyfile"


@dataclass(slots=True)
class Secured:
    """What one context says of TLS. ports: that it listens on; None for all."""

    ports: set[str] | None = None
    said: dict[str, Statement] = field(default_factory=dict)

    @property
    def is_on(self) -> bool:
        return "sslengine" in self.said and self._first("sslengine").lower() == "on"

    @property
    def files(self) -> tuple[str, str]:
        return self._first("sslcertificatefile"), self._first("sslcertificatekeyfile")

    def _first(self, key: str) -> str:
        return self.said[key].arguments[0] if key in self.said and self.said[key].arguments else ""


def secure(contexts: Sequence[Secured], server: Table, *, listens: Mapping[str, Statement], remarks: Remarks) -> None:
    """Settle TLS for the whole server.

    contexts: of all virtual hosts, the server first. listens: address, as in ``bind``, to the Listen that says so.
    """
    secured = [one for one in contexts if one.is_on]
    ports = {port for one in secured for port in one.ports or ()}
    bind: list[str] = server.get("bind", [])
    outer = contexts[0].files
    files = {tuple(own or other for own, other in zip(one.files, outer, strict=True)) for one in secured}
    plain = (
        [one for one in bind if one.rpartition(":")[2] not in ports]
        if None not in (one.ports for one in secured)
        else []
    )
    is_whole = len(files) == 1 and all(next(iter(files))) and not plain
    if is_whole:
        for key, file in zip(("certfile", "keyfile"), next(iter(files)), strict=True):
            server[key] = file
            server.set_by[key] = next(
                one.said[f"ssl{NAMES[key]}"] for one in contexts if f"ssl{NAMES[key]}" in one.said
            )
    for one in contexts:
        for key, statement in one.said.items():
            if not is_whole and not (key == "sslengine" and not one.is_on):
                remarks.add(statement, MEANINGS[key])
    for address, statement in listens.items():
        if not is_whole and plain and address.rpartition(":")[2] in ports:
            remarks.add(statement, BOTH)
            server["bind"].remove(address)
        elif not is_whole and statement.arguments[1:2] == ("https",):
            remarks.add(statement, UNSECURED)
