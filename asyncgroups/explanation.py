"""What a request for a URL would get, and which setting in which context decided.

Law: a configuration, a request and two environments in, an explanation out; only for scripts the file system is asked.
The choice itself is the one that serves requests: ``frontend.request.Head`` makes it of an ASGI scope such as the
server's, ``frontend.choosing`` looks for scripts.
May import ``origins``, ``frontend.choosing``, ``frontend.request``, ``config``, ``selection``, ``worker.environ`` and
``errors``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

import idna
from asgiref.typing import HTTPScope

from asyncgroups.config import Configuration
from asyncgroups.errors import (
    ApplicationGroupsError,
    FilesUnreachable,
    GroupNameUnresolved,
    NotMounted,
    PatternTooSlow,
    ScriptNotFound,
)
from asyncgroups.frontend.choosing import look, version_of
from asyncgroups.frontend.request import Head
from asyncgroups.origins import ByRules, Known, Origins
from asyncgroups.selection import Choice, Found, Search, Selection
from asyncgroups.selection.directories import Section
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import Mount
from asyncgroups.selection.names import DEFAULT_PORTS
from asyncgroups.selection.rewrite import path_of
from asyncgroups.worker.environ import unquote as unquote_to_bytes

__all__ = ["Explanation", "Target", "explain", "parse_url", "plain", "rows_of"]

_PATH = re.compile(r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)" + _PATH.pattern)
_AUTHORITY = re.compile(r"(?:[^@]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]{0,5}))?")
_MOUNTS_NAMED = 10
_WAITS_FOR_PORT = "; with 0 for a port that is known at the start only"


class Target(NamedTuple):
    """Where a request goes.

    scheme: ``http`` or ``https``. host: the Host header, bytes; None where the URL names no host. port: number of the
    TCP port that it arrives on; None for a unix socket. raw_path: percent-encoded bytes, without the query. query:
    percent-encoded bytes, without ``?``.
    """

    scheme: str
    host: bytes | None
    port: int | None
    raw_path: bytes
    query: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request would get.

    virtual_host: text, the server name of the matched virtual host, as written; None for a server config without one.
    mount: text, the URL path of the mount, ``/`` for the root; None where a script has been looked for.
    script: absolute path of the script; None where the application is none.
    sections: places of the ``[[directory]]`` that the script falls into, the least specific first.
    variables: what rules have set for this request, text to text.
    script_name, path_info: text, as UTF-8; bytes that are none appear as ``\\xff``.
    process_group: name of the process group; empty for embedded mode.
    sticky: text, the process group's setting of that name; None where requests have no key.
    application_group: name of the application group, expanded; empty for GLOBAL.
    isolation: the setting: ``auto``, ``interpreter`` or ``process``; None for GLOBAL.
    application: ``module:attribute``.
    decided_by: for virtual_host, process_group, application_group and isolation, for mount, script, sections, variables
    and sticky where there are any, a sentence that names setting, context and line.
    refusal: why there is no response from the application: nothing is mounted there, there is no script, or the group's
    name cannot be told; what could not be decided then is None.
    """

    virtual_host: str | None
    mount: str | None = None
    script: str | None = None
    sections: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default=MappingProxyType({}))
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
        found = _PATH.match(url)
        assert found is not None
        return Target("http", None, port, _encode(found["path"]), _encode(found["query"] or ""))
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
    path, query = _encode(found["path"]) or b"/", _encode(found["query"] or "")
    if not authority["port"]:
        return Target(scheme, host, DEFAULT_PORTS[scheme], path, query)
    number = int(authority["port"])
    return Target(scheme, b"%s:%d" % (host, number), number, path, query)


def explain(
    configuration: Configuration,
    target: Target,
    *,
    env: Mapping[str, str],
    process_env: Mapping[str, str],
    method: str = "GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Explanation:
    """What a request to ``target`` would get.

    env: what an outer ASGI application would add to the request's environment. process_env: the process's environment.
    method: of the request. headers: its fields but for Host, names and values, bytes. Raises RequestRefused.
    """
    selection = configuration.selection(process_env)
    head = Head(_scope(target, env, method=method, headers=headers))
    virtual_host = selection.virtual_host(head.host, head.port)
    source = Origins(configuration)
    decided_by = {"virtual_host": source.of_virtual_host(virtual_host, host=target.host, port=target.port)}
    outcome = _Outcome()
    by_rules = ByRules()
    try:
        by_rules = _by_rules(selection, virtual_host, head, env)
        outcome = _outcome(selection, head)
    except NotMounted:
        # Encoded, as it came: an encoded slash separates nothing.
        path = target.raw_path.decode("ascii")
        refusal = NotMounted(f"nothing is mounted at {path!r} in {virtual_host.place}{_what_is_in(virtual_host)}")
        outcome = _Outcome(refusal=refusal)
    except (ScriptNotFound, PatternTooSlow) as error:
        outcome = _Outcome(refusal=error)
    except OSError as error:
        outcome = _Outcome(refusal=FilesUnreachable(str(error)))
    if by_rules.variables:
        decided_by["variables"] = source.of_variables(by_rules)
    choice, mount, found = outcome.choice, outcome.mount, outcome.found
    if mount is None:
        return Explanation(
            virtual_host=virtual_host.server_name,
            variables=by_rules.variables,
            decided_by=decided_by,
            refusal=outcome.refusal,
        )
    sections = found.sections if found is not None else _sections_of(virtual_host, mount)
    application_group = choice.application_group if choice is not None else None
    process_group = choice.process_group if choice is not None else None
    if choice is None and mount.process_group.is_literal:
        process_group = mount.process_group.text
    decided_by |= source.of_place(mount, virtual_host, found=found)
    if sections:
        decided_by["sections"] = source.of_sections(sections)
    known = Known(env, mount, by_rules, process_env)
    decided_by["process_group"] = source.of_process_group(mount, known)
    decided_by["application_group"] = source.of_application_group(mount, known)
    if _waits_for_port(selection, virtual_host, mount, {**by_rules.variables, **mount.env, **env}, port=target.port):
        decided_by["application_group"] += _WAITS_FOR_PORT
    if application_group != "":
        decided_by["isolation"] = source.of_isolation(mount)
    settings = configuration.process_groups.get(process_group) if process_group else None
    sticky = settings.sticky if settings is not None else None
    if settings is not None and sticky is not None:
        decided_by["sticky"] = source.of_sticky(settings)
    return Explanation(
        virtual_host=virtual_host.server_name,
        mount=(mount.path or "/") if found is None else None,
        script=mount.script,
        sections=tuple(section.place for section in sections),
        variables=by_rules.variables,
        script_name=mount.path,
        path_info=_text(outcome.path_info),
        process_group=process_group,
        sticky=sticky.text if sticky is not None else None,
        application_group=application_group,
        isolation=mount.settings.isolation if application_group != "" else None,
        application=mount.application,
        decided_by=decided_by,
        refusal=outcome.refusal,
    )


def plain(explanation: Explanation) -> dict[str, object]:
    """What JSON can hold of it: all but the refusal."""
    values = {one.name: getattr(explanation, one.name) for one in fields(explanation) if one.name != "refusal"}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def rows_of(explanation: Explanation) -> list[tuple[str, str | None, str | None]]:
    """What there is to tell, for people: a name, a value, and what has decided it."""
    why = explanation.decided_by
    rows: list[tuple[str, str | None, str | None]] = [
        ("virtual host", explanation.virtual_host or "*", why["virtual_host"])
    ]
    if explanation.mount is not None:
        rows.append(("mount", explanation.mount, why["mount"]))
    if explanation.script is not None:
        rows.append(("script", explanation.script, why["script"]))
    if explanation.sections:
        rows.append(("directories", ", ".join(explanation.sections), why["sections"]))
    if explanation.variables:
        rows.append(("variables", ", ".join(explanation.variables), why["variables"]))
    if explanation.application is None:
        return rows
    is_embedded, is_global = explanation.process_group == "", explanation.application_group == ""
    rows += [
        ("SCRIPT_NAME", explanation.script_name, None),
        ("PATH_INFO", explanation.path_info, None),
        ("process group", "embedded" if is_embedded else explanation.process_group, why["process_group"]),
    ]
    if explanation.sticky is not None:
        rows.append(("sticky", explanation.sticky, why["sticky"]))
    group = "%{GLOBAL}" if is_global else explanation.application_group
    return [
        *rows,
        ("application group", group, why["application_group"]),
        ("isolation", explanation.isolation, why.get("isolation")),
        ("application", explanation.application, None),
    ]


class _Outcome(NamedTuple):
    """How far a request comes."""

    mount: Mount | None = None
    path_info: bytes = b""
    found: Found | None = None
    choice: Choice | None = None
    refusal: ApplicationGroupsError | None = None


def _outcome(selection: Selection, head: Head) -> _Outcome:
    """Raises NotMounted, ScriptNotFound, PatternTooSlow, OSError."""
    try:
        choice = head.choose(selection)
    except GroupNameUnresolved as error:
        mount, path_info = selection.mounted(selection.virtual_host(head.host, head.port), head.route)
        return _Outcome(mount, path_info, refusal=error)
    if isinstance(choice, Search):
        found = look(choice)
        mount = selection.mount_of(choice, found)
        try:
            return _Outcome(mount, found.path_info, found, selection.found(choice, found))
        except GroupNameUnresolved as error:
            return _Outcome(mount, found.path_info, found, refusal=error)
    try:
        if choice.mount.script is not None:
            version_of(choice.mount.script)
    except ScriptNotFound as error:
        return _Outcome(choice.mount, choice.path_info, choice=choice, refusal=error)
    return _Outcome(choice.mount, choice.path_info, choice=choice)


def _by_rules(selection: Selection, virtual_host: VirtualHost, head: Head, env: Mapping[str, str]) -> ByRules:
    """Raises PatternTooSlow."""
    if virtual_host.files is None or not len(virtual_host.files.rules):
        return ByRules()
    places: dict[str, str] = {}
    request = head.facts(selection.server_name(virtual_host), path_of(head.route))
    variables = virtual_host.files.rules.variables(request, env, places=places)
    return ByRules({name: variables[name] for name in places if name in variables}, places)


def _sections_of(virtual_host: VirtualHost, mount: Mount) -> tuple[Section, ...]:
    if virtual_host.files is None or mount.script is None:
        return ()
    return virtual_host.files.sections.covering(mount.script)


def _waits_for_port(
    selection: Selection, virtual_host: VirtualHost, mount: Mount, env: Mapping[str, str], *, port: int | None
) -> bool:
    if port != 0:
        return False
    try:
        return selection.depends_on_port(virtual_host, mount, env=env)
    except GroupNameUnresolved:
        return False


def _scope(target: Target, env: Mapping[str, str], *, method: str, headers: Sequence[tuple[bytes, bytes]]) -> HTTPScope:
    """The scope of a request, as servers make it."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": target.scheme,
        "path": unquote(target.raw_path.decode("ascii")),
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": [*([(b"host", target.host)] if target.host is not None else []), *headers],
        "server": ("", target.port),
        "asyncgroups": {"env": dict(env)},
    }
    return cast(HTTPScope, scope)


def _what_is_in(virtual_host: VirtualHost) -> str:
    paths = [mount.path or "/" for table in (virtual_host.mounts, virtual_host.inherited) for mount in table]
    more = f" and {len(paths) - _MOUNTS_NAMED} more" if len(paths) > _MOUNTS_NAMED else ""
    mounts = f", whose mounts are {', '.join(paths[:_MOUNTS_NAMED])}{more}" if paths else ", which has no mounts"
    trees = virtual_host.files.trees if virtual_host.files is not None else None
    places = (*trees.places, *trees.patterns) if trees is not None else ()
    return f"{mounts}; nor do {', '.join(places)} lead anywhere" if places else mounts


def _encode(path: str) -> bytes:
    """Percent-encoded as clients do it, UTF-8 (RFC 3987 section 3.1); what is encoded stays as it is."""
    return quote(path, safe="%/:@!$&'()*+,;=~[]|", errors="surrogateescape").encode("ascii")


def _text(path: bytes) -> str:
    return unquote_to_bytes(path).decode("utf-8", "backslashreplace")
