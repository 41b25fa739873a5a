"""The scope's keys -> the root path and the path to route, as servers and frameworks really fill them."""

import os
import re
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from asyncgroups.selection.targets import split_target


@pytest.mark.parametrize(
    ("raw_path", "path", "expected"),
    [
        (b"/", "/", b"/"),
        (b"/shop/x", "/shop/x", b"/shop/x"),
        (b"", "", b""),
        (b"//a//", "//a//", b"//a//"),
        # the raw form survives where it says the same
        (b"/a%2Fb", "/a/b", b"/a%2Fb"),
        (b"/%61", "/a", b"/%61"),
        (b"/%C3%A9", "/é", b"/%C3%A9"),
        (b"/%zz%", "/%zz%", b"/%zz%"),
        (b"/%2541", "/%41", b"/%2541"),
        ("/é".encode(), "/é", "/é".encode()),
        # servers differ in what they make of bytes that are no UTF-8
        (b"/%FF", "/\ufffd", b"/%FF"),
        (b"/%FF", os.fsdecode(b"/\xff"), b"/%FF"),
        (b"/%E2%82x", "/\ufffdx", b"/%E2%82x"),
        # no raw path
        (None, "/", b"/"),
        (None, "/a b", b"/a%20b"),
        (None, "/é", b"/%C3%A9"),
        (None, "/100%?#", b"/100%25%3F%23"),
        (None, "/%41", b"/%2541"),
        (None, "/a\x7f\n", b"/a%7F%0A"),
        (None, "/\udcff", b"/%FF"),
        (None, "/\ud800", b"/%ED%A0%80"),
        (None, "/~!$&'()*+,;=:@\"<>[]^`{|}\\", b"/~!$&'()*+,;=:@\"<>[]^`{|}\\"),
        (None, "", b""),
        # a query left in
        (b"/a?b=c", "/a", b"/a"),
        (b"/a?b?c", "/a", b"/a"),
        (b"/a%3Fb?c", "/a?b", b"/a%3Fb"),
        (b"/?", "/", b"/"),
        # path rewritten by middleware: it counts
        (b"/old", "/new", b"/new"),
        (b"/old", "/new path", b"/new%20path"),
        (b"/%41", "/%41", b"/%2541"),
        (b"", "/", b"/"),
        (b"/a?b", "/a?b", b"/a%3Fb"),
        (b"*", "/x", b"/x"),
        # absolute form
        (b"http://example.com:80/p", "http://example.com:80/p", b"/p"),
        (b"http://example.com/p%2Fq?x=1", "/p/q", b"/p%2Fq"),
        (b"/p", "http://example.com/p", b"/p"),
        (None, "https://example.com/p q", b"/p%20q"),
        (b"http://example.com", "http://example.com", b"/"),
        (b"http://example.com?x", "http://example.com", b"/"),
        (b"HTTP://[::1]:80//p", "//p", b"//p"),
        (b"/http://example.com/p", "/http://example.com/p", b"/http://example.com/p"),
        # asterisk and authority form
        (b"*", "*", b"*"),
        (b"*", "", b"*"),
        (None, "*", b"*"),
        (b"example.com:443", "example.com:443", b"example.com:443"),
        (b"example.com:443", "", b"example.com:443"),
    ],
)
def test_without_root(raw_path: bytes | None, path: str, expected: bytes) -> None:
    """Raw bytes count as long as they say what the path says, else the path does, quoted; no scheme, no query."""
    assert split_target(raw_path, path, "") == (b"", expected)
    assert split_target(raw_path, path, "/") == (b"", expected)


@pytest.mark.parametrize(
    ("raw_path", "path", "root_path", "expected"),
    [
        # path and raw_path begin with root_path: uvicorn, Starlette's Mount
        (b"/app/x", "/app/x", "/app", (b"/app", b"/x")),
        (b"/app", "/app", "/app", (b"/app", b"")),
        (b"/app/", "/app/", "/app", (b"/app", b"/")),
        (b"/app//x", "/app//x", "/app/", (b"/app", b"//x")),
        (None, "/app/x y", "/app", (b"/app", b"/x%20y")),
        (b"/%61pp/%78", "/app/x", "/app", (b"/app", b"/%78")),
        (b"/caf%C3%A9/x", "/café/x", "/café", (b"/caf%C3%A9", b"/x")),
        (b"/a%20b/x%2Fy", "/a b/x/y", "/a b", (b"/a%20b", b"/x%2Fy")),
        (b"/a%2Fb/app/x", "/a/b/app/x", "/a/b/app", (b"/a/b/app", b"/x")),
        (b"/%FF/x", "/\ufffd/x", "/\udcff", (b"/%FF", b"/x")),
        (b"http://example.com/app/x", "/app/x", "/app", (b"/app", b"/x")),
        # only at the boundary of a segment, and an encoded slash is none
        (b"/application", "/application", "/app", (b"/app", b"/application")),
        (b"/app%2Fx", "/app/x", "/app", (b"/app", b"/app%2Fx")),
        # neither begins with root_path: a proxy took it off
        (b"/x", "/x", "/app", (b"/app", b"/x")),
        (b"/", "/", "/app", (b"/app", b"/")),
        (b"*", "*", "/app", (b"/app", b"*")),
        # path alone lacks it: frameworks that cut path and leave raw_path
        (b"/app/x%2Fy", "/x/y", "/app", (b"/app", b"/x%2Fy")),
        (b"/app", "", "/app", (b"/app", b"")),
        (b"/app/app/x", "/app/x", "/app", (b"/app", b"/app/x")),
        (b"/app/x", "/x", "/srv/app", (b"/srv/app", b"/x")),
        (b"/app/%FF", "/\ufffd", "/app", (b"/app", b"/%FF")),
        (b"/app%2Fx", "/x", "/app", (b"/app", b"/x")),
        # and what they left begins with root_path once more: that is not below it
        (b"/app%2Fapp/x", "/app/x", "/app", (b"/app", b"/app/x")),
        (b"/app%2fapp%2Fx", "/app/x", "/app", (b"/app", b"/app/x")),
        (b"%2Fapp%2Fapp/x", "/app/x", "/app", (b"/app", b"/app/x")),
        (b"/app%2Fapp", "/app", "/app", (b"/app", b"/app")),
        (b"/a/b%2Fa/b/x", "/a/b/x", "/a/b", (b"/a/b", b"/a/b/x")),
        (b"/app%2Fsrv/app/x", "/srv/app/x", "/srv/app", (b"/srv/app", b"/srv/app/x")),
        (b"/app%2Fapp/%FF", "/app/\ufffd", "/app", (b"/app", b"/app/%EF%BF%BD")),
        (b"/%FF/%EF%BF%BD/x", "/\ufffd/x", "/\ufffd", (b"/%EF%BF%BD", b"/%EF%BF%BD/x")),
        (b"/%FF/%FF/x", "/\ufffd/x", "/\ufffd", (b"/%EF%BF%BD", b"/%FF/x")),
        (b"/%FF%2F%FF/x", "/\ufffd/x", "/\ufffd", (b"/%EF%BF%BD", b"/%EF%BF%BD/x")),
        # cut at the front by something that has no part in root_path
        (b"/v1/app/x%2Fy", "/app/x/y", "/app", (b"/app", b"/x%2Fy")),
        # rewritten
        (b"/old", "/app/new", "/app", (b"/app", b"/new")),
        (b"/app/old", "/new", "/app", (b"/app", b"/new")),
        # written without its slash, and with too many at the end
        (b"/app/x", "/app/x", "app", (b"/app", b"/x")),
        (b"/app/x", "/app/x", "/app//", (b"/app", b"/x")),
    ],
)
def test_with_root(raw_path: bytes | None, path: str, root_path: str, expected: tuple[bytes, bytes]) -> None:
    """The root comes off the front once, at a segment boundary, whichever of the keys begin with it."""
    assert split_target(raw_path, path, root_path) == expected


@pytest.mark.parametrize(
    ("path", "root_path", "app_root_path", "expected"),
    [
        # a proxy took /api off, Starlette's Mount added /app to root_path and left path
        ("/app/x", "/api/app", "/api", (b"/api/app", b"/x")),
        ("/app/x", "/api/app", "/api/", (b"/api/app", b"/x")),
        ("/app", "/api/app", "/api", (b"/api/app", b"")),
        ("/app/api/app/x", "/api/app", "/api", (b"/api/app", b"/api/app/x")),
        ("/a/b/x", "/api/a/b", "/api", (b"/api/a/b", b"/x")),
        # it did not
        ("/api/app/x", "/api/app", "/api", (b"/api/app", b"/x")),
        ("/app/x", "/app", "", (b"/app", b"/x")),
        ("/application", "/api/app", "/api", (b"/api/app", b"/application")),
        ("/x", "/api", "/api", (b"/api", b"/x")),
        # none of Starlette's
        ("/app/x", "/api/app", "", (b"/api/app", b"/app/x")),
        ("/app/x", "/api/app", "/other", (b"/api/app", b"/app/x")),
        # the root of the application around ends at a segment's boundary, or is another one
        ("/lication/x", "/application", "/app", (b"/application", b"/lication/x")),
        ("/ication/x", "/app/lication", "/app/l", (b"/app/lication", b"/ication/x")),
    ],
)
def test_with_the_root_of_the_application_around(
    path: str, root_path: str, app_root_path: str, expected: tuple[bytes, bytes]
) -> None:
    """Where path has only the part of root_path that the framework added, that part comes off."""
    for raw_path in (path.encode(), None):
        assert split_target(raw_path, path, root_path, app_root_path=app_root_path) == expected


@pytest.mark.parametrize(
    ("raw_path", "path", "root_path", "app_root_path", "expected"),
    [
        # no root path of the server's
        (b"/outer/x", "/outer/x", "/outer", "", (b"/outer", b"/x")),
        (b"/outer", "/outer", "/outer", "", (b"/outer", b"")),
        (b"/outer/", "/outer/", "/outer", "", (b"/outer", b"/")),
        (b"/outer//x%2Fy", "/outer//x/y", "/outer", "", (b"/outer", b"//x%2Fy")),
        (None, "/outer/x y", "/outer", "", (b"/outer", b"/x%20y")),
        # one that is no part of the path: hypercorn, granian, FastAPI(root_path=...)
        (b"/outer/x", "/outer/x", "/app/outer", "/app", (b"/app/outer", b"/x")),
        (b"/outer", "/outer", "/app/outer", "/app", (b"/app/outer", b"")),
        (b"/a/b/x", "/a/b/x", "/app/a/b", "/app", (b"/app/a/b", b"/x")),
        (b"/outer/outer/x", "/outer/outer/x", "/app/outer", "/app", (b"/app/outer", b"/outer/x")),
        (b"/outer/x", "/outer/x", "app/outer", "app", (b"/app/outer", b"/x")),
        (b"/outer/x", "/outer/x", "/app//outer", "/app/", (b"/app//outer", b"/x")),
        # one that is: uvicorn
        (b"/app/outer/x", "/app/outer/x", "/app/outer", "/app", (b"/app/outer", b"/x")),
        # Starlette compares text, as it stands in the path
        (b"/out%65r/x", "/outer/x", "/app/outer", "/app", (b"/app/out%65r", b"/x")),
        (b"/outer%2Fx", "/outer/x", "/app/outer", "/app", (b"/app/outer", b"/x")),
        (b"/outer%2fx", "/outer/x", "/outer", "", (b"/outer", b"/x")),
        (b"/t/%FF/%FF", "/t/\ufffd/\ufffd", "/app/t/\ufffd", "/app", (b"/app/t/%FF", b"/%FF")),
        (b"/old", "/outer/new", "/app/outer", "/app", (b"/app/outer", b"/new")),
        # mounted at the root
        (b"/x", "/x", "/app", "/app", (b"/app", b"/x")),
        (b"/app/x", "/app/x", "/app", "/app", (b"/app", b"/x")),
        # the path has lost both, or has nothing of the mount
        (b"/outer/x", "/x", "/app/outer", "/app", (b"/app/outer", b"/x")),
        (b"/x", "/x", "/app/outer", "/app", (b"/app/outer", b"/x")),
        (b"/outerx", "/outerx", "/app/outer", "/app", (b"/app/outer", b"/outerx")),
        # no path at all: OPTIONS *
        (b"*", "", "/app", "/app", (b"/app", b"*")),
        (b"*", "", "/app/outer", "/app", (b"/app/outer", b"*")),
        (b"*", "*", "/app", "/app", (b"/app", b"*")),
        (b"", "", "/app", "/app", (b"/app", b"")),
        # somebody else has written root_path since
        (b"/outer/x", "/outer/x", "/outer", "/app", (b"/outer", b"/x")),
    ],
)
def test_below_a_mount(
    raw_path: bytes | None, path: str, root_path: str, app_root_path: str, expected: tuple[bytes, bytes]
) -> None:
    """Of Starlette's root_path the mount's part comes off the path, and the server's where it is there."""
    assert split_target(raw_path, path, root_path, app_root_path=app_root_path) == expected


@pytest.mark.parametrize("errors", ["replace", "surrogateescape"])
@given(raw=st.lists(st.sampled_from([*"/ab%", "%2F", "%C3%A9", "%FF", "%E2%82", "%25", "%4"])).map("".join))
def test_raw_path_survives(errors: str, raw: str) -> None:
    """What the client wrote is routed byte for byte, however the server decoded it for ``path``."""
    raw_path = f"/{raw}".encode()
    assert split_target(raw_path, unquote(f"/{raw}", errors=errors), "") == (b"", raw_path)


@given(st.text().map("/{}".format), st.one_of(st.none(), st.binary(), st.binary().map(b"/%b".__mod__)))
@example("/\ud800", b"/%ED%A0%80")
@example("/a", b"/b/%61")
def test_path_is_what_counts(path: str, raw_path: bytes | None) -> None:
    """Whatever the raw path, what is routed decodes to the path, or the path is what servers make of it."""
    root, rest = split_target(raw_path, path, "")
    decoded = unquote_to_bytes(rest)
    assert root == b""
    assert b"?" not in rest
    assert path in {decoded.decode("utf-8", errors) for errors in ("replace", "surrogateescape")} or (
        decoded == path.encode("utf-8", "surrogatepass")
    )


@pytest.mark.parametrize("errors", ["replace", "surrogateescape"])
@pytest.mark.parametrize("root_path", ["/a", "/a/b", "/\ufffd", "/\ufffd/a"])
@given(st.lists(st.sampled_from(["/", "%2F", "a", "b", "/a", "%2Fa", "%2fb", "%FF", "%EF%BF%BD"])).map("".join))
def test_what_a_dispatcher_left_is_what_counts(root_path: str, errors: str, tail: str) -> None:
    """Where an outer application has cut the root path off, and has judged the rest, nothing more of it comes off."""
    for start in (root_path, root_path.replace("\ufffd", "%FF"), root_path.replace("/", "%2F")):
        raw = quote(start, safe="/%") + tail
        path = unquote(raw, errors=errors)
        left = path.removeprefix(root_path)
        if left == path or not left.startswith("/"):
            continue
        rest = split_target(raw.encode(), left, root_path)[1]
        assert unquote_to_bytes(rest).decode("utf-8", errors) == left


@given(st.text(max_size=20))
def test_quoting(path: str) -> None:
    """A path without raw bytes comes out in printable ASCII, with no byte that ends a path, and decodes to itself."""
    assume("://" not in path)
    rest = split_target(None, path, "")[1]
    assert re.fullmatch(rb"([!\"$&->@-~]|%[0-9A-F]{2})*", rest)
    assert unquote_to_bytes(rest).decode("utf-8", "surrogatepass") == path


ROOTS = st.lists(st.sampled_from(["a", "b", "é", "a b", "%", "a%2Fb"]), min_size=1, max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
BELOW = st.lists(st.sampled_from(["", "c", "d%2Fe", "%C3%A9", "%FF"]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)


@given(ROOTS, BELOW)
@example("/a", "/a/c")
def test_conventions_agree(root_path: str, below: str) -> None:
    """All ways to fill the three keys for one request give one answer: the path below the root as it was written."""
    quoted = quote(root_path)
    expected = (quoted.encode(), below.encode())
    decoded = unquote(below, errors="surrogateescape")
    full = (quoted + below).encode()
    assert split_target(full, root_path + decoded, root_path) == expected
    assert split_target(full, decoded, root_path) == expected
    if not decoded.startswith(root_path):
        assert split_target(below.encode(), decoded, root_path) == expected
        assert unquote_to_bytes(split_target(None, decoded, root_path)[1]) == unquote_to_bytes(below)


SCRAPS = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(["/", "a", "%2F", "é", "\ufffd", "?"])).map("".join))


@given(
    SCRAPS,
    SCRAPS,
    st.one_of(st.none(), st.binary(max_size=20), SCRAPS.map(lambda text: text.encode("utf-8", "surrogatepass"))),
    st.one_of(st.none(), st.integers(0, 12)),
)
def test_any_scope(path: str, root_path: str, raw_path: bytes | None, mounted_at: int | None) -> None:
    """Any values give a root that is empty or begins with a slash, and never an error."""
    app_root_path = None if mounted_at is None else root_path[:mounted_at]
    root, rest = split_target(raw_path, path, root_path, app_root_path=app_root_path)
    assert root == b"" or (root.startswith(b"/") and not root.endswith(b"/"))
    assert b"?" not in rest
