"""What sends the requests of one client, user or tenant to one process: the key of a request, and the cookie for one.

Imports ``config``, ``frontend.request``. Guarantees:

- No application sees the cookie of its process group; other cookies reach it as they came, byte for byte.
- A client can choose no key of its own by a cookie: one that has not been signed here, since the server's start and for
  this process group, counts for nothing. What it says is compared in constant time.
- Headers, addresses and variables are believed: who may set them is for the proxy, or the application, in front.
"""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import quote

from asyncgroups.config import KeySource, ProcessSettings
from asyncgroups.frontend.request import Head

__all__ = ["Key", "Source", "WithCookie", "sources"]

LONGEST_KEY = 64
"""Bytes; a longer one is kept as its digest."""

_LONGEST_NAME = 64
_DIGITS = 32
"""Hexadecimal ones of an identity, and of its signature: 128 bits each."""

# A path that a cookie can be bound to as it is (RFC 6265 section 4.1.1): without what would end the attribute.
_PATH = re.compile(rb"(?:/[A-Za-z0-9._~!$&'()*+=:@%-]+)+")


class Key(NamedTuple):
    """What a request says of where it belongs.

    value: bytes, the same for all requests of one key; None for a request without one. cookie: what the response has to
    set, as a Set-Cookie field has it; None for nothing.
    """

    value: bytes | None
    cookie: bytes | None = None


NO_KEY = Key(None)

type Source = Callable[[Head, Mapping[str, str]], Key]
"""The key of a request with this head and this environment; may take fields out of the head."""


def sources(process_groups: Mapping[str, ProcessSettings], *, process_env: Mapping[str, str]) -> Mapping[str, Source]:
    """Where the keys come from, for each process group that is sticky. process_env: the process's environment."""
    secret = secrets.token_bytes(32)
    return {
        name: _source(settings, secret=secret, process_env=process_env)
        for name, settings in process_groups.items()
        if settings.sticky is not None
    }


def _source(settings: ProcessSettings, *, secret: bytes, process_env: Mapping[str, str]) -> Source:
    assert settings.sticky is not None
    match settings.sticky.source:
        case KeySource.COOKIE:
            return _Cookie(settings.name, secret)
        case KeySource.CLIENT:
            return _client
        case KeySource.HEADER:
            return partial(_header, settings.sticky.name.lower().encode())
        case KeySource.ENV:
            return partial(_variable, settings.sticky.name, process_env)


def _client(head: Head, _: Mapping[str, str]) -> Key:
    client = head.scope.get("client")  # None, or without an address, on a unix socket
    return _bounded(client[0].encode("utf-8", "surrogatepass")) if client else NO_KEY


def _header(name: bytes, head: Head, _: Mapping[str, str]) -> Key:
    fields = head.fields
    return _bounded(b",".join([fields[at + 1] for at in range(0, len(fields), 2) if fields[at] == name]))


def _variable(name: str, process_env: Mapping[str, str], _: Head, env: Mapping[str, str]) -> Key:
    value = env.get(name)
    if value is None:
        value = process_env.get(name, "")
    return _bounded(value.encode("utf-8", "surrogatepass"))


def _bounded(value: bytes) -> Key:
    if not value:
        return NO_KEY
    return Key(value if len(value) <= LONGEST_KEY else blake2b(value, digest_size=LONGEST_KEY).digest())


class _Cookie:
    """A random identity and its signature, in a cookie that lives as long as the browser runs."""

    def __init__(self, process_group: str, secret: bytes) -> None:
        name = quote(process_group, safe="")  # whatever that leaves may stand in a token, as does the percent sign
        if len(name) > _LONGEST_NAME:
            name = blake2b(process_group.encode(), digest_size=16).hexdigest()
        self._name = f"asyncgroups-{name}".encode()
        self._secret = hmac.digest(secret, process_group.encode(), "sha256")

    def __call__(self, head: Head, _: Mapping[str, str]) -> Key:
        for value in self._taken_out(head.fields):
            identity = value[:_DIGITS]
            if hmac.compare_digest(value, identity + self._signature(identity)):
                return Key(identity)
        if _is_sent_from_elsewhere(head):
            return NO_KEY
        identity = secrets.token_hex(_DIGITS // 2).encode()
        return Key(identity, self._set(identity + self._signature(identity), head))

    def _signature(self, identity: bytes) -> bytes:
        return hmac.digest(self._secret, identity, "sha256").hex()[:_DIGITS].encode()

    def _set(self, value: bytes, head: Head) -> bytes:
        # Below a root path there may be other applications, each with a process group of this name and keys of its own.
        path = head.root if _PATH.fullmatch(head.root) else b"/"
        secure = b"; Secure" if head.scope.get("scheme") == "https" else b""
        return b"%s=%s; Path=%s; HttpOnly; SameSite=Lax%s" % (self._name, value, path, secure)

    def _taken_out(self, fields: list[bytes]) -> list[bytes]:
        """The values of our cookies among alternating names and values, from which they are removed."""
        found: list[bytes] = []
        at = 0
        while at < len(fields):
            if fields[at] == b"cookie" and self._name in fields[at + 1]:
                fields[at + 1] = self._without(fields[at + 1], found)
                if not fields[at + 1]:
                    del fields[at : at + 2]
                    continue
            at += 2
        return found

    def _without(self, value: bytes, found: list[bytes]) -> bytes:
        """A Cookie field (RFC 6265 section 4.2.1) but for our cookies, whose values join ``found``."""
        kept: list[bytes] = []
        pieces = value.split(b";")
        for piece in pieces:
            name, _, text = piece.partition(b"=")
            if name.strip(b" \t") == self._name:
                found.append(text.strip(b" \t"))
            else:
                kept.append(piece)
        rest = b";".join(kept)
        return rest if kept[:1] == pieces[:1] else rest.lstrip(b" \t")


def _is_sent_from_elsewhere(head: Head) -> bool:
    """Whether a form of another site has been sent to this one: such a request brings no cookie with SameSite=Lax.

    A new one would take the place of the one that its client may well have (Fetch Metadata, "Sec-Fetch-Site").
    """
    if head.scope["method"] in ("GET", "HEAD"):
        return False
    fields = head.fields
    return any(fields[at] == b"sec-fetch-site" and fields[at + 1] == b"cross-site" for at in range(0, len(fields), 2))


class WithCookie:
    """A ``send`` that sets a cookie with whatever response comes, an error of the front end's included."""

    __slots__ = ("_cookie", "_send")

    def __init__(self, send: Callable[[Any], Awaitable[None]], cookie: bytes) -> None:
        self._send = send
        self._cookie = cookie

    async def __call__(self, event: Any) -> None:
        """Send an ASGI event."""
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], (b"set-cookie", self._cookie)]}
        await self._send(event)
