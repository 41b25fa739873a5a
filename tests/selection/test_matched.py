"""Mounts by pattern: which script a path names, and that what a client writes into it stays a name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.matched import ScriptMatch, ScriptTarget
from asyncgroups.selection.rewrite import path_of


class Regex:
    """A regular expression of the standard library's, which these tests can trust."""

    def __init__(self, text: str) -> None:
        self.text = text

    def search(self, text: str) -> tuple[str | None, ...] | None:
        found = re.search(self.text, text)
        return None if found is None else (found[0], *found.groups())


def locate(pattern: str, target: str, raw_path: bytes) -> tuple[str, str, tuple[str, ...], bytes] | tuple[()] | None:
    match = ScriptMatch(pattern=Regex(pattern), target=ScriptTarget(target), place="mount[0]")
    found = match.locate(path_of(raw_path), raw_path)
    if not found:
        return found
    (candidate,) = found
    return candidate.url, candidate.base, candidate.below, candidate.rest


SITES = (r"^/sites/([^/]+)", r"/srv/\1/app.wsgi")


@pytest.mark.parametrize(
    ("pattern", "target", "raw_path", "expected"),
    [
        (*SITES, b"/sites/red", ("/sites/red", "/srv", ("red", "app.wsgi"), b"")),
        (*SITES, b"/sites/red/", ("/sites/red", "/srv", ("red", "app.wsgi"), b"/")),
        (*SITES, b"/sites/red/x//%2F", ("/sites/red", "/srv", ("red", "app.wsgi"), b"/x//%2F")),
        (*SITES, b"//sites//red//x", ("/sites/red", "/srv", ("red", "app.wsgi"), b"//x")),
        (*SITES, b"/sites/%72ed/x", ("/sites/red", "/srv", ("red", "app.wsgi"), b"/x")),
        (*SITES, b"/sites/%C3%A9", ("/sites/é", "/srv", ("é", "app.wsgi"), b"")),
        (*SITES, b"/sites/", None),
        (*SITES, b"/other/red", None),
        (*SITES, b"/sites/..", ()),
        (*SITES, b"/sites/%2e%2e/x", ()),
        (*SITES, b"/sites/.git", ()),
        (*SITES, b"/sites/a%2Fb", ("/sites/a%2Fb", "/srv", ("a%2Fb", "app.wsgi"), b"")),
        (*SITES, b"/sites/..%2F..", ()),
        (*SITES, b"/sites/a%5Cb", ()),
        (*SITES, b"/sites/a%00b", ()),
        (*SITES, b"/sites/a%0Ab", ()),
        (*SITES, b"/sites/%E9", ()),
        (*SITES, b"/sites/" + b"a" * 256, ()),
        ("^/x", "/srv/app.wsgi", b"/x/y", ("/x", "/srv/app.wsgi", (), b"/y")),
        ("^/x", "/srv/app.wsgi", b"/xy", None),
        ("^/x/", "/srv/app.wsgi", b"/x/y", ("/x", "/srv/app.wsgi", (), b"/y")),
        ("^/", "/srv/app.wsgi", b"/x/y", ("", "/srv/app.wsgi", (), b"/x/y")),
        ("^/(x)?(y)?", r"/srv/\1\2/a", b"/y", ("/y", "/srv", ("y", "a"), b"")),
        ("^/(x)?(y)?", r"/srv/\1/a", b"/y", ()),
        ("^/x(/[a-z]+)?/page", "/srv/app.wsgi", b"/x/de/page/1", ("/x/de/page", "/srv/app.wsgi", (), b"/1")),
        ("^/w/(.+)", r"/srv/\1", b"/w/a/b.wsgi", ("/w/a/b.wsgi", "/srv", ("a", "b.wsgi"), b"")),
        ("^/w/(.+)", r"/srv/\1", b"/w/a/../b.wsgi", ()),
        ("^/w(.+)", r"/srv/\1", b"/w/etc/passwd", ()),
        ("^/w(.+)", r"/srv\1", b"/w/a/b.wsgi", ("/w/a/b.wsgi", "/", ("srv", "a", "b.wsgi"), b"")),
        ("^/w/(.+)", r"/srv/site-\1.wsgi", b"/w/..", ("/w/..", "/srv", ("site-...wsgi",), b"")),
        ("y", "/srv/app.wsgi", b"/x/y", None),
        ("^/(.)", r"/\1/\9", b"/a", ()),
    ],
)
def test_locate(
    pattern: str, target: str, raw_path: bytes, expected: tuple[str, str, tuple[str, ...], bytes] | tuple[()] | None
) -> None:
    """The match is SCRIPT_NAME and ends with a segment; what it has caught is names of files, or there is no script."""
    assert locate(pattern, target, raw_path) == expected


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("srv/app.wsgi", "begins with '/'"),
        (r"\1/app.wsgi", "begins with '/'"),
        (r"/srv/\x/app.wsgi", "before the number of a group\n    /srv/\\x/app.wsgi\n         ^"),
        ("/srv/a\\", "before the number of a group"),
        (r"/srv/../\1", "no '..' in it\n    /srv/../\\1\n         ^^"),
        (r"/srv/\1/.", "no '.' in it"),
    ],
)
def test_no_target(target: str, said: str) -> None:
    """A target is an absolute path without ways up, and its backslashes are groups."""
    with pytest.raises(PatternSyntaxError) as caught:
        ScriptTarget(target)
    assert said in str(caught.value)


PIECES = [b"/", b"..", b".", b"%2e", b"%2f", b"\\", b"%00", b"a", b"b", b"~"]


@given(
    st.sampled_from([r"/srv/\1/app.wsgi", r"/srv/\1", r"/srv/x\1.wsgi", r"/srv\1/a", r"/\1", r"/srv/\1/\1"]),
    st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join),
)
def test_no_way_out(target: str, raw_path: bytes) -> None:
    """Whatever a client writes: what comes out are names, none of them empty, hidden or a way up."""
    found = locate("^/s/?(.*)", target, b"/s/" + raw_path)
    if found:
        _, base, below, rest = found
        assert base in ("/srv", "/")
        assert all(name and not name.startswith(".") and not {"/", "\\", "\0"} & set(name) for name in below)
        assert (b"/s/" + raw_path).endswith(rest)
