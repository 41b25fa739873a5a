"""From an ASGI scope to the head that crosses to the worker. Pure. Imports ``selection``, ``wire``, ``errors``."""

import re
from collections.abc import Mapping

from asgiref.typing import HTTPScope

from asyncgroups.errors import HeadTooLarge, RequestRefused, ScriptNotFound
from asyncgroups.selection import Choice, Search, Selection, split_target
from asyncgroups.selection.names import DEFAULT_PORTS, split_server_name
from asyncgroups.selection.rewrite import Request
from asyncgroups.selection.targets import quote
from asyncgroups.wire import messages

__all__ = ["Head"]

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#@]*)")


class Head:
    """What the front end itself has to know of a request: its fields, and where it is to be routed."""

    __slots__ = ("content_length", "fields", "host", "port", "root", "route", "scope")

    root: bytes
    route: bytes

    def __init__(self, scope: HTTPScope) -> None:
        self.scope: HTTPScope = scope
        self.host: bytes | None = None
        self.content_length: int | None = None
        self.fields: list[bytes] = []
        app_root_path = scope.get("app_root_path")
        self.root, self.route = split_target(
            scope.get("raw_path"),
            scope["path"],
            scope.get("root_path") or "",
            app_root_path=app_root_path if isinstance(app_root_path, str) else None,
        )
        if not self.route.startswith(b"/") and self.route:
            if self.route != b"*":
                raise RequestRefused(f"the target {self.route[:80]!r} is no path")
            self.route = b"/"  # OPTIONS * asks the server as a whole (RFC 9110 section 9.3.7); PATH_INFO has a slash
        server = scope.get("server")
        # The specification says int; granian says str.
        self.port: int | None = int(server[1]) if server and server[1] is not None else None
        chunked = False
        length_at = None
        for raw_name, value in scope["headers"]:
            name = raw_name.lower()
            if name == b"host":
                if self.host is not None and self.host != value:
                    raise RequestRefused("two Host headers")  # RFC 9112 section 3.2
                self.host = value
            elif name == b"content-length":
                if not value.isdigit() or len(value) > 20 or self.content_length not in (None, int(value)):
                    raise RequestRefused(f"Content-Length is {value[:40]!r}")
                if length_at is not None:
                    continue  # once more the same
                self.content_length = int(value)
                length_at = len(self.fields)
            elif name == b"transfer-encoding":
                chunked = True
            self.fields += (name, value)
        method = scope["method"].encode("utf-8", "replace")
        if not method or method.translate(None, messages.TOKEN):
            raise RequestRefused(f"the method is {scope['method'][:40]!r}")  # HTTP/2 servers let anything through
        if chunked and length_at is not None:
            # RFC 9112 section 6.3: Transfer-Encoding overrides it, and it must not reach an application.
            del self.fields[length_at : length_at + 2]
            self.content_length = None
        target = scope.get("raw_path") or b""
        if target[:1] != b"/" and (absolute := _ABSOLUTE.match(target)) is not None:
            # RFC 9112 section 3.2.2: what the target says, not what the header does.
            self.host = absolute[1]
            kept = [at for at in range(0, len(self.fields), 2) if self.fields[at] != b"host"]
            self.fields = [b"host", self.host, *(part for at in kept for part in self.fields[at : at + 2])]

    def choose(self, selection: Selection) -> Choice | Search:
        """The mount and the group, or what has to be looked for. Raises as ``Selection.choose`` does."""
        return selection.choose(
            host=self.host, port=self.port, raw_path=self.route, env=_outer_env(self.scope), request=self.facts
        )

    def facts(self, server_name: str, path: str) -> Request:
        """What rules may depend on. server_name: may end in ``:port``. path: as ``rewrite.path_of`` gives it."""
        scope = self.scope
        scheme = scope.get("scheme") or "http"
        name, port = split_server_name(server_name)
        port = port or self.port
        client = scope.get("client")
        return Request(
            path=path,
            method=scope["method"],
            query=_text(scope.get("query_string") or b""),
            scheme=scheme,
            protocol=f"HTTP/{scope.get('http_version', '1.1')}",
            server_name=name,
            server_port=str(port if port is not None else DEFAULT_PORTS.get(scheme, 80)),
            client=client[0] if client else "",
            header=self._header,
        )

    def _header(self, name: str) -> str:
        # What came more than once is one field (RFC 9110 section 5.3, RFC 9113 section 8.2.3).
        wanted, fields = name.encode(), self.fields
        separator = b"; " if wanted == b"cookie" else b", "
        return _text(separator.join([fields[at + 1] for at in range(0, len(fields), 2) if fields[at] == wanted]))

    def encode(self, choice: Choice, exchange: int, *, began: float = 0.0) -> bytes:
        """The head as it crosses, of a request that came at ``began``, seconds since the epoch; 0 if that is not known.

        Raises HeadTooLarge, RequestRefused, ScriptNotFound.
        """
        scope = self.scope
        scheme = scope.get("scheme") or "http"
        server = scope.get("server")
        client = scope.get("client")
        script_name = choice.script_name
        query = scope.get("query_string") or b""
        target = scope.get("raw_path") or self.root + self.route
        name, port = choice.virtual_host.server_name, self.port
        if name is None:
            name = server[0] if server and port is not None else "localhost"
        else:
            name = split_server_name(name)[0]
        try:
            application = choice.mount.application.encode()
        except UnicodeEncodeError:
            raise ScriptNotFound(f"{choice.mount.application!a} is no UTF-8, as paths of scripts are") from None
        parts = (
            application,
            scope["method"].encode("latin-1"),
            scheme.encode("latin-1"),
            scope.get("http_version", "1.1").encode("latin-1"),
            self.root + quote(script_name.encode("utf-8", "surrogateescape")) if script_name else self.root,
            choice.path_info,
            query,
            target.partition(b"?")[0] + b"?" + query if query else target,
            name.encode(),
            b"%d" % (port if port is not None else DEFAULT_PORTS.get(scheme, 80)),
            client[0].encode("latin-1", "replace") if client else b"",
            b"%d" % int(client[1]) if client and client[1] is not None else b"",
            b"%d" % (began * 1_000_000),
        )
        env: list[bytes] = []
        for key, value in choice.env.items():
            try:
                env += (key.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            except UnicodeEncodeError:
                raise RequestRefused(f"the environment variable {key[:40]!a} of the request is no Unicode") from None
        head = messages.request(exchange, parts, env, self.fields)
        if len(head) > messages.HEAD_LIMIT:
            raise HeadTooLarge(f"the head of the request takes {len(head)} bytes, more than {messages.HEAD_LIMIT}")
        if head.count(b"\0") != len(parts) + len(env) + len(self.fields) + 1:
            raise RequestRefused("a NUL in the head of the request")  # RFC 9110 section 5.5
        return head


def _text(value: bytes) -> str:
    """As rules see it."""
    return value.decode("utf-8", "surrogateescape")


def _outer_env(scope: HTTPScope) -> Mapping[str, str] | None:
    """``scope["asyncgroups"]["env"]``: what an outer ASGI application adds, the counterpart of Apache's notes."""
    ours = scope.get("asyncgroups")
    if ours is None:
        return None
    env = ours.get("env") if isinstance(ours, dict) else None
    if not isinstance(env, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in env.items()):
        raise TypeError('scope["asyncgroups"] is {"env": {name: value}}, names and values being str')
    return env
