"""What a request for a URL would get, and which setting in which context decided.

Law: pure. A configuration, a URL and two environments in, an explanation out. The choice itself is the one that serves
requests: ``frontend.request.Head`` makes it of an ASGI scope such as the server's.
May import ``frontend.request``, ``config``, ``selection``, ``worker.environ`` and ``errors``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

import idna
from asgiref.typing import HTTPScope

from asyncgroups.config import Configuration, ProcessSettings
from asyncgroups.config.words import FileWords
from asyncgroups.errors import ApplicationGroupsError, GroupNameUnresolved, NotMounted
from asyncgroups.frontend.request import Head
from asyncgroups.selection import Selection
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import Mount
from asyncgroups.selection.names import DEFAULT_PORTS, GroupName, split_server_name
from asyncgroups.worker.environ import unquote as unquote_to_bytes

__all__ = ["Explanation", "Target", "explain", "parse_url"]

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)")
_AUTHORITY = re.compile(r"(?:[^@]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]{0,5}))?")
_MOUNTS_NAMED = 10
_WAITS_FOR_PORT = "; with 0 for a port that is known at the start only"


class Target(NamedTuple):
    """Where a request goes.

    scheme: ``http`` or ``https``. host: the Host header, bytes; None where the URL names no host. port: number of the
    TCP port that it arrives on; None for a unix socket. raw_path: percent-encoded bytes, without the query.
    """

    scheme: str
    host: bytes | None
    port: int | None
    raw_path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request would get.

    virtual_host: text, the server name of the matched virtual host, as written; None for a server config without one.
    mount: text, the URL path of the mount, ``/`` for the root.
    script_name, path_info: text, as UTF-8; bytes that are none appear as ``\\xff``.
    process_group: name of the process group; empty for embedded mode.
    sticky: text, the process group's setting of that name; None where requests have no key.
    application_group: name of the application group, expanded; empty for GLOBAL.
    isolation: the setting: ``auto``, ``interpreter`` or ``process``; None for GLOBAL.
    application: ``module:attribute``.
    decided_by: for virtual_host, mount, process_group, application_group and isolation, and for sticky where there is
    one, a sentence that names setting, context and line.
    refusal: why there is no response from the application: nothing is mounted there, or the group's name cannot be
    told; what could not be decided then is None.
    """

    virtual_host: str | None
    mount: str | None = None
    script_name: str | None = None
    path_info: str | None = None
    process_group: str | None = None
    sticky: str | None = None
    application_group: str | None = None
    isolation: str | None = None
    application: str | None = None
    decided_by: Mapping[str, str]
    refusal: ApplicationGroupsError | None = None


def parse_url(url: str, *, port: int | None) -> Target:
    """Where a request for ``url`` goes: ``http://host:port/path``, or a path alone, for no host in particular.

    port: that of a path alone. What a browser would encode is encoded; nothing else is changed, ``..`` included.
    Raises ValueError, with a sentence.
    """
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"{url!r} is no URL: write %20 for a space, and no control characters")
    if url.startswith("/"):
        return Target("http", None, port, _encode(re.split("[?#]", url, maxsplit=1)[0]))
    found = _URL.match(url)
    if found is None or found["scheme"].lower() not in DEFAULT_PORTS:
        raise ValueError(f'{url!r} is no URL: it begins with http://, with https://, or is a path that begins with "/"')
    authority = _AUTHORITY.fullmatch(found["authority"])
    if authority is None or not (authority["port"] is None or int(authority["port"] or "1") in range(1, 65536)):
        raise ValueError(f"{url!r} is no URL: {found['authority']!r} is no host name with or without a port")
    scheme = found["scheme"].lower()
    try:
        # Clients send names of other than ASCII characters as A-labels, of IDNA 2008 after the mapping that browsers
        # do (RFC 5890, UTS 46). Python's own codec is of IDNA 2003.
        host = authority["host"].encode() if authority["host"].isascii() else idna.encode(authority["host"], uts46=True)
    except UnicodeError:
        raise ValueError(f"{url!r} is no URL: {authority['host']!r} is no host name") from None
    path = _encode(found["path"]) or b"/"
    if not authority["port"]:
        return Target(scheme, host, DEFAULT_PORTS[scheme], path)
    number = int(authority["port"])
    return Target(scheme, b"%s:%d" % (host, number), number, path)


def explain(
    configuration: Configuration, target: Target, *, env: Mapping[str, str], process_env: Mapping[str, str]
) -> Explanation:
    """What a request to ``target`` would get.

    env: what an outer ASGI application would add to the request's environment. process_env: the process's environment.
    """
    selection = configuration.selection(process_env)
    head = Head(_scope(target, env))
    source = _Source(configuration)
    virtual_host = selection.virtual_host(head.host, head.port)
    decided_by = {"virtual_host": source.of_virtual_host(virtual_host, target)}
    unresolved: GroupNameUnresolved | None = None
    application_group: str | None = None
    process_group: str | None = None
    try:
        choice = head.choose(selection)
    except NotMounted:
        there = _mounts_of(virtual_host)
        # Encoded, as it came: an encoded slash separates nothing.
        path = target.raw_path.decode("ascii")
        refusal = NotMounted(f"nothing is mounted at {path!r} in {virtual_host.place}{there}")
        return Explanation(virtual_host=virtual_host.server_name, decided_by=decided_by, refusal=refusal)
    except GroupNameUnresolved as error:
        mount, path_info = selection.mounted(virtual_host, head.route)
        process_group = mount.process_group.text if mount.process_group.is_literal else None
        unresolved = error
    else:
        mount, path_info, application_group = choice.mount, choice.path_info, choice.application_group
        process_group = choice.process_group
    settings = configuration.process_groups.get(process_group) if process_group else None
    sticky = settings.sticky if settings is not None else None
    return Explanation(
        virtual_host=virtual_host.server_name,
        mount=mount.path or "/",
        script_name=mount.path,
        path_info=_text(path_info),
        process_group=process_group,
        sticky=sticky.text if sticky is not None else None,
        application_group=application_group,
        isolation=mount.settings.isolation if application_group != "" else None,
        application=mount.application,
        decided_by={
            **decided_by,
            "mount": source.of_mount(mount, virtual_host),
            "process_group": source.of_process_group(mount, env=env, process_env=process_env),
            "application_group": source.of_application_group(mount, env=env, process_env=process_env)
            + (
                _WAITS_FOR_PORT
                if _waits_for_port(selection, virtual_host, mount, {**mount.env, **env}, port=target.port)
                else ""
            ),
            **({"isolation": source.of_isolation(mount)} if application_group != "" else {}),
            **({"sticky": source.of_sticky(settings)} if settings is not None and sticky is not None else {}),
        },
        refusal=unresolved,
    )


class _Source:
    """Where the settings of a configuration were written, in sentences."""

    def __init__(self, configuration: Configuration) -> None:
        self._name = configuration.source
        self._lines = configuration.lines()
        self._server_name = tomllib.loads(configuration.text or "").get("server_name")  # as the file has it

    def of_virtual_host(self, virtual_host: VirtualHost, target: Target) -> str:
        if target.host is None:
            return "the URL names no host: the server config"
        name = virtual_host.name_for(target.host)
        if name is None:
            asked = split_server_name(target.host.decode("latin-1"))[0]
            return f"no virtual host is called {asked} on port {target.port}: the server config"
        key = "server_name" if name == virtual_host.server_name else "server_alias"
        if virtual_host.place == "server config":
            if name == self._server_name:
                return self._written(key, name, key)
            return f"{key} = {_quoted(name)} in the server config"  # or in a command-line option: no line then
        return self._written(key, name, f"{virtual_host.place}.{key}")

    def of_mount(self, mount: Mount, virtual_host: VirtualHost) -> str:
        sentence = self._written("path", mount.path or "/", mount.origins.get("path"))
        inherits = any(one is mount for one in virtual_host.inherited)
        return f"{sentence}, which {virtual_host.place} inherits" if inherits else sentence

    def of_process_group(self, mount: Mount, *, env: Mapping[str, str], process_env: Mapping[str, str]) -> str:
        sentence = self._setting("process_group", mount.process_group.text, mount, default='the default, ""')
        return self._with_variable(
            sentence, mount.process_group, mount, "process_group.env", env=env, process_env=process_env
        )

    def of_sticky(self, settings: ProcessSettings) -> str:
        assert settings.sticky is not None
        place = FileWords().place(("process_group", settings.name, "sticky"))
        return self._written("sticky", settings.sticky.text, place)

    def of_application_group(self, mount: Mount, *, env: Mapping[str, str], process_env: Mapping[str, str]) -> str:
        text = mount.application_group.text
        sentence = self._setting("application_group", text, mount, default="the default, as %{RESOURCE}")
        return self._with_variable(sentence, mount.application_group, mount, "env", env=env, process_env=process_env)

    def of_isolation(self, mount: Mount) -> str:
        return self._setting("isolation", mount.settings.isolation, mount, default="the default")

    def _with_variable(
        self,
        sentence: str,
        name: GroupName,
        mount: Mount,
        origin: str,
        *,
        env: Mapping[str, str],
        process_env: Mapping[str, str],
    ) -> str:
        variable = name.variable
        if variable is None:
            return sentence
        if variable in env:
            return f"{sentence}; {variable} = {_quoted(env[variable])} from --env"
        if variable in mount.env:
            return f"{sentence}; {self._written(variable, mount.env[variable], mount.origins.get(origin))}"
        if variable in process_env:
            return f"{sentence}; {variable} = {_quoted(process_env[variable])} from the process's environment"
        return f"{sentence}; {variable} is not set"

    def _setting(self, key: str, value: str, mount: Mount, *, default: str) -> str:
        return self._written(key, value, mount.origins[key]) if key in mount.origins else default

    def _written(self, key: str, value: str, origin: str | None) -> str:
        """``key = "value" in context (file:line)``."""
        said = f"{key} = {_quoted(value)}"
        if origin is None:
            return said
        if origin.startswith("--"):
            return f"{said} from the command line ({origin})"
        context = origin.removesuffix(key).removesuffix(f'"{key}"').removesuffix(".") or "the server config"
        while origin and origin not in self._lines:  # what stands inside a value has the line of that
            origin = origin.rpartition(".")[0]
        return f"{said} in {context} ({self._name}:{self._lines[origin]})" if origin else f"{said} in {context}"


def _waits_for_port(
    selection: Selection, virtual_host: VirtualHost, mount: Mount, env: Mapping[str, str], *, port: int | None
) -> bool:
    if port != 0:
        return False
    try:
        return selection.depends_on_port(virtual_host, mount, env=env)
    except GroupNameUnresolved:
        return False


def _scope(target: Target, env: Mapping[str, str]) -> HTTPScope:
    """The scope of a GET request, as servers make it."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": target.scheme,
        "path": unquote(target.raw_path.decode("ascii")),
        "raw_path": target.raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", target.host)] if target.host is not None else [],
        "server": ("", target.port),
        "asyncgroups": {"env": dict(env)},
    }
    return cast(HTTPScope, scope)


def _mounts_of(virtual_host: VirtualHost) -> str:
    paths = [mount.path or "/" for table in (virtual_host.mounts, virtual_host.inherited) for mount in table]
    more = f" and {len(paths) - _MOUNTS_NAMED} more" if len(paths) > _MOUNTS_NAMED else ""
    return f", whose mounts are {', '.join(paths[:_MOUNTS_NAMED])}{more}" if paths else ", which has no mounts"


def _encode(path: str) -> bytes:
    """Percent-encoded as clients do it, UTF-8 (RFC 3987 section 3.1); what is encoded stays as it is."""
    return quote(path, safe="%/:@!$&'()*+,;=~[]|", errors="surrogateescape").encode("ascii")


def _text(path: bytes) -> str:
    return unquote_to_bytes(path).decode("utf-8", "backslashreplace")


def _quoted(value: str) -> str:
    """``value`` as TOML writes it; on one line."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in escaped) + '"'
