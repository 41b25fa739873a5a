"""What the header fields of a response may be. Standard library only; no I/O. Pure.

The worker says which of an application's it does not let out, and why; the front end asks again what a worker says,
which may be a process that is not to be trusted: what it lets out, its clients and the proxies before it will obey.
"""

from asyncgroups.wire.messages import TOKEN

__all__ = ["CONTROLS", "HOP_BY_HOP", "are_sound"]

CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)
"""What no value holds: control characters but the tab (RFC 9110 section 5.5)."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Names of fields that are the server's own business (RFC 9110 section 7.6.1, PEP 3333: "other HTTP features")."""


def are_sound(fields: list[tuple[bytes, bytes]]) -> bool:
    """Whether a response may have these fields: names, in lower case, and values."""
    names = [name for name, _ in fields]
    letters = b"".join(names)
    values = b"".join([value for _, value in fields])
    return (
        b"" not in names
        and not letters.translate(None, TOKEN)
        and letters == letters.lower()
        and len(values.translate(None, CONTROLS)) == len(values)
        and HOP_BY_HOP.isdisjoint(names)
        and (b"content-length" not in names or _is_one_length(fields))
    )


def _is_one_length(fields: list[tuple[bytes, bytes]]) -> bool:
    lengths = {value for name, value in fields if name == b"content-length"}
    return len(lengths) == 1 and all(map(bytes.isdigit, lengths))
