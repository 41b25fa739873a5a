"""SetEnvIf and BrowserMatch -> ``[[rewrite]]``.

Law: pure. Imports the standard library and the modules of this room.

They come before the rules of mod_rewrite, and count in virtual hosts as well. Where Apache looks at the path as the
client wrote it, a rule sees it decoded.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from asyncgroups.apache.reading import Statement
from asyncgroups.apache.tables import Table
from asyncgroups.apache.words import MEANINGS

__all__ = ["KEYS", "conditional"]

KEYS = frozenset({"setenvif", "setenvifnocase", "browsermatch", "browsermatchnocase"})

ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "request_uri": "%{REQUEST_URI}",
        "request_method": "%{REQUEST_METHOD}",
        "request_protocol": "%{SERVER_PROTOCOL}",
        "remote_addr": "%{REMOTE_ADDR}",
    }
)
UNKNOWN = frozenset({"remote_host", "server_addr"})

OF_APACHE = frozenset(
    {
        *["nokeepalive", "downgrade-1.0", "force-response-1.0", "redirect-carefully", "gzip-only-text/html", "no-gzip"],
        *["force-gzip", "no-brotli", "ssl-unclean-shutdown", "force-no-vary", "suppress-error-charset", "dontlog"],
        *["proxy-nokeepalive", "proxy-sendcl", "proxy-sendchunked", "force-proxy-request-1.0", "no-cache"],
    }
)
"""Variables that Apache itself asks, for what it sends and how."""

_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")
_PIECE = re.compile(r"\\(.)|\$([0-9])|(.)", re.DOTALL)


def conditional(statement: Statement, known: Sequence[Table]) -> tuple[Table | None, str | None]:
    """The rule for a statement, and what a remark says.

    known: the rules before it: what they set can be asked for as well. Source: SetEnvIf.
    """
    words = statement.arguments
    if statement.key.startswith("browsermatch"):
        words = ("User-Agent", *words)
    if len(words) < 3:
        return None, "has no variable"
    attribute, pattern, *assignments = words
    if {one.partition("=")[0].lstrip("!").lower() for one in assignments} <= OF_APACHE:
        return None, None
    if attribute.lower() == "authorization" and assignments == ["HTTP_AUTHORIZATION=$1"]:
        return None, None  # applications always see it
    if attribute.lower() in UNKNOWN or _SPECIAL.search(attribute):
        return None, MEANINGS["setenvif"]
    if attribute.lower() in ATTRIBUTES:
        test = ATTRIBUTES[attribute.lower()]
    elif any(attribute in one.get("env", {}) for one in known):
        test = f"%{{ENV:{attribute}}}"
    else:
        test = f"%{{HTTP:{attribute}}}"
    condition = Table({"test": test, "match": pattern}, made_by=statement)
    if statement.key.endswith("nocase"):
        condition["nocase"] = True
    rule = Table({"match": "^", "condition": [condition]}, made_by=statement)
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if name.startswith("!"):
            rule.setdefault("unset", []).append(name[1:])
        else:
            # Without groups in the pattern Apache takes the value as it stands.
            text = _template(value, has_groups=_SPECIAL.search(pattern) is not None) if equals else "1"
            rule.setdefault("env", {})[name] = text
    return rule, None


def _template(value: str, *, has_groups: bool) -> str:
    """A value with ``$1`` in it as a rule has it, where a condition's groups are ``%1``."""
    if not has_groups:
        return re.sub(r"\\|[$%](?=[0-9{])", r"\\\g<0>", value)
    text = ""
    for escaped, group, character in _PIECE.findall(value):
        literal = escaped or character
        text += f"%{group}" if group else f"\\{literal}" if literal in "\\$%" else literal
    return text
