"""The keys of an ASGI scope that say where a request goes -> the root path, and the path to route.

Law: pure. Text and bytes in, bytes out.
Imports the standard library.

ASGI has ``raw_path`` (bytes as the client sent them, optional), ``path`` (text, decoded) and ``root_path`` (text,
decoded). Servers and frameworks differ in all three: in whether ``path`` begins with ``root_path``, in how ``path``
shows bytes that are no UTF-8, in whether ``raw_path`` follows when ``path`` is changed. ``raw_path`` alone can tell
``%2F`` from ``/``, but ``path`` is what middleware rewrites: so raw bytes count as long as they say what it says.

Below a mount of Starlette's or FastAPI's ``root_path`` is the server's root path, which ``path`` may lack, and after it
the mount's, which ``path`` has. ``app_root_path``, a key of Starlette's own, is the first of the two.
"""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["quote", "split_target"]

_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# RFC 9112 section 3.2.2. Anything with a scheme and an authority, since proxies send more than http.
_SCHEME_AND_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+://[^/]*+")

_SLASH = re.compile(rb"/|%2[Ff]")

_PLAIN = re.compile(rb"/[^%?]*")

# Printable ASCII, but for the percent sign and for what would end a path.
_SAFE = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"%?#")


def split_target(
    raw_path: bytes | None, path: str, root_path: str, *, app_root_path: str | None = None
) -> tuple[bytes, bytes]:
    """The scope's root path, and the path below it that is to be routed; both percent-encoded bytes.

    raw_path, path, root_path, app_root_path: the scope's keys of these names; raw_path is None where the server gives
    none, app_root_path where no framework has mounted the application.

    The first is ``root_path``, without a slash at its end, whether or not the path begins with it. The second begins
    with ``/``; or is empty, where the path is just ``root_path``; or is ``*`` or an authority, which stay as they are.
    Source: ASGI specification, "HTTP Connection Scope"; RFC 9112 section 3.2.
    """
    path_bytes = _encode(path)
    if raw_path == path_bytes and not root_path and _PLAIN.fullmatch(path_bytes):
        return b"", path_bytes  # the usual request

    root = b""
    if root_path.strip("/"):
        # PEP 3333: SCRIPT_NAME is empty or begins with a slash.
        root = _encode(root_path.rstrip("/") if root_path.startswith("/") else "/" + root_path.rstrip("/"))
    stripped, rest = _agree(raw_path, path_bytes)
    # A framework may have taken (its own part of) the root off ``path`` already: not twice then.
    if rest.startswith(b"/") and root and not (stripped and root.endswith((stripped, _replaced(stripped)))):
        outer = app_root_path.rstrip("/") if app_root_path is not None else None
        if outer is not None and root_path.startswith(outer) and root_path[len(outer) :][:1] in ("", "/"):
            mounted = root_path[len(outer) :].strip("/")
            front = _encode(f"/{mounted}") if mounted else b""
            return _below_mount(root, front, path=_origin_form(path_bytes), rest=rest)
        rest = _below(root, rest)
    return quote(root), rest


def _agree(raw_path: bytes | None, path: bytes) -> tuple[bytes, bytes]:
    """What ``path`` lacks at its front of ``raw_path``, decoded; and what ``path`` says, percent-encoded."""
    path = _origin_form(path)
    if raw_path is None:
        return b"", quote(path)
    # A query has no place in raw_path; some servers leave it there.
    raw_path = _origin_form(raw_path.partition(b"?")[0])
    if not path and not raw_path.startswith(b"/"):
        return b"", raw_path
    decoded = unquote_to_bytes(raw_path)
    if decoded == path:
        return b"", raw_path
    before = _length_before(decoded, path)
    if before is None:
        return b"", quote(path)
    raw_tail = raw_path[_raw_offset(raw_path, before) :]
    # The slash that the framework cut at may be an encoded one, at which nothing can be routed. It has cut all the
    # same, and has judged what it left: the root path must not come off that once more.
    return decoded[:before], raw_tail if raw_tail[:1] == path[:1] else quote(path)


def _length_before(decoded: bytes, path: bytes) -> int | None:
    """How many bytes of ``decoded`` stand before ``path``, which is its end; None where it is not."""
    if decoded.endswith(path):
        return len(decoded) - len(path)
    # In the ``path`` of most servers bytes that are no UTF-8 have been replaced by U+FFFD, and are lost; slashes never.
    if path.startswith(b"/") and _replaced(decoded).endswith(path):
        return len(decoded.rsplit(b"/", path.count(b"/"))[0])
    return None


def _replaced(decoded: bytes) -> bytes:
    """``decoded`` as it is in the ``path`` of most servers."""
    return decoded.decode("utf-8", "replace").encode()


def _below(root: bytes, rest: bytes) -> bytes:
    """``rest`` without ``root`` at its front; all of it where it does not begin with it, or ends no segment there."""
    if not unquote_to_bytes(rest).startswith(root):
        return rest
    below = rest[_raw_offset(rest, len(root)) :]
    return below if below[:1] in (b"", b"/") else rest


def _below_mount(root: bytes, mounted: bytes, *, path: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """``root`` quoted, and ``rest`` without what ``path`` has of it at its front: all, or the end that is ``mounted``.

    The framework has compared text: an encoded slash was one, and U+FFFD stood for bytes that are no UTF-8.
    """
    for front in (root, mounted):
        if path.startswith(front) and path[len(front) :][:1] in (b"", b"/"):
            slashes = [slash.span() for slash in _SLASH.finditer(rest)]
            slashes.append((len(rest), len(rest)))
            start, end = slashes[front.count(b"/")]
            return quote(root[: len(root) - len(front)]) + rest[:start], b"/" * (start < end) + rest[end:]
    return quote(root), rest


def _raw_offset(raw: bytes, count: int) -> int:
    """Where in ``raw`` the bytes after the first ``count`` decoded ones begin."""
    offset = count
    for escape in _ESCAPE.finditer(raw):
        if escape.start() >= offset:
            break
        offset += 2
    return offset


def _origin_form(target: bytes) -> bytes:
    """``target`` without scheme and authority, if it has them; an empty path is then ``/`` (RFC 9110 section 4.2.3)."""
    if target.startswith(b"/"):
        return target
    absolute = _SCHEME_AND_AUTHORITY.match(target)
    return target if absolute is None else target[absolute.end() :] or b"/"


def _encode(text: str) -> bytes:
    """UTF-8, with the bytes that ``surrogateescape`` hid in the text; surrogates that hide none survive as well."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def quote(path: bytes) -> bytes:
    """A decoded path, bytes, percent-encoded; as it is where that changes nothing: asking costs a tenth of doing."""
    return quote_from_bytes(path, safe=_SAFE).encode("ascii") if path.translate(None, _SAFE) else path
