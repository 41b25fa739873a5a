"""URL path -> where a script may lie, and which names a path is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.selection.rewrite import path_of
from asyncgroups.selection.trees import Alias, Candidate, Trees, UserDirectories, steps

DOCUMENTS = Alias(path="", target="/htdocs", place="document_root")
USERS = UserDirectories(patterns=("/home/*/public_html",), disabled=frozenset({"root"}), place="userdir")


def alias(path: str, target: str) -> Alias:
    return Alias(path=path, target=target, place=f"alias {path}")


type Told = list[tuple[str, str, tuple[str, ...], bytes]] | None


def told(candidates: tuple[Candidate, ...] | None) -> Told:
    return None if candidates is None else [(one.url, one.base, one.below, one.rest) for one in candidates]


def locate(trees: Trees, raw_path: bytes, mounted: int = -1) -> tuple[Candidate, ...] | None:
    return trees.locate(raw_path, path_of(raw_path), mounted=mounted)


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        (b"/", [("", "/htdocs", (), b"/")]),
        (b"/a/b", [("", "/htdocs", (), b"/a/b")]),
        (b"/cgi", [("/cgi", "/srv/cgi", (), b"")]),
        (b"/cgi/x/y", [("/cgi", "/srv/cgi", (), b"/x/y")]),
        (b"//cgi//x", [("/cgi", "/srv/cgi", (), b"//x")]),
        (b"/c%67i/x", [("/cgi", "/srv/cgi", (), b"/x")]),
        (b"/cgi%2Fx", [("", "/htdocs", (), b"/cgi%2Fx")]),
        (b"/cgis/x", [("", "/htdocs", (), b"/cgis/x")]),
        (b"/cgi/deep/x", [("/cgi/deep", "/srv/deep", (), b"/x")]),
        (b"/~alice", [("/~alice", "/home", ("alice", "public_html"), b"")]),
        (b"/~alice/x", [("/~alice", "/home", ("alice", "public_html"), b"/x")]),
        (b"//%7Ealice//x", [("/~alice", "/home", ("alice", "public_html"), b"//x")]),
        (b"/~%C3%A9/x", [("/~é", "/home", ("é", "public_html"), b"/x")]),
        (b"/~a~b/x", [("/~a~b", "/home", ("a~b", "public_html"), b"/x")]),
        (b"/~webmaster/x", [("/~webmaster", "/srv/webmaster", (), b"/x")]),
        (b"/~root/x", []),
        (b"/~/x", []),
        (b"/~../x", []),
        (b"/~./x", []),
        (b"/~.ssh/x", []),
        (b"/~%2e%2e/x", []),
        (b"/~alice%2fx", [("", "/htdocs", (), b"/~alice%2fx")]),
        (b"/x/~alice", [("", "/htdocs", (), b"/x/~alice")]),
        (b"*", None),
        (b"", None),
        (b"www.example.com:443", None),
    ],
)
def test_locate(raw_path: bytes, expected: Told) -> None:
    """The longest alias counts, then ``/~user``, then the document root; a user's name is one name and no way."""
    trees = Trees(
        [alias("/cgi", "/srv/cgi"), alias("/cgi/deep", "/srv/deep"), alias("/~webmaster", "/srv/webmaster")],
        USERS,
        document_root=DOCUMENTS,
    )
    assert told(locate(trees, raw_path)) == expected


ALIASES = [alias("/a", "/srv/a"), alias("/a/b/c", "/srv/c"), alias("/~x", "/srv/x")]


class Match:
    """A mount by pattern for everything that has an ``m`` in it, but no script for what has two."""

    def locate(self, path: str, raw_path: bytes) -> tuple[Candidate, ...] | None:
        if "m" not in path:
            return None
        return () if path.count("m") > 1 else (Candidate(path, 1, "/srv/m", (), b"", "mount[0]"),)


@pytest.mark.parametrize(
    ("raw_path", "mounted", "base"),
    [
        (b"/a/x", -1, "/srv/a"),
        (b"/a/x", 0, "/srv/a"),
        (b"/a/x", 1, "/srv/a"),
        (b"/a/b/x", 2, None),
        (b"/a/b/c/x", 2, "/srv/c"),
        (b"/a/m", -1, "/srv/a"),
        (b"/z/m", 1, None),
        (b"/z/m", 0, "/srv/m"),
        (b"/z/m", -1, "/srv/m"),
        (b"/z/mm", 0, ""),
        (b"/~m", 0, "/srv/m"),
        (b"/~u/x", 0, "/home"),
        (b"/~u/x", 1, None),
        (b"/~x/x", 0, "/srv/x"),
        (b"/~root/x", 0, ""),
        (b"/z", 0, None),
        (b"/z", -1, "/htdocs"),
        (b"*", 0, None),
    ],
)
def test_what_comes_first(raw_path: bytes, mounted: int, base: str | None) -> None:
    """The longest of mount and alias, of equals the alias; patterns; users; the root's mount; its files."""
    trees = Trees(ALIASES, USERS, document_root=DOCUMENTS, matches=[Match()])
    found = locate(trees, raw_path, mounted)
    assert (None if found is None else "".join(one.base for one in found)) == base


def test_alias_of_the_root() -> None:
    """An alias of the root comes before a mount of the root, and after patterns and users."""
    trees = Trees([alias("", "/all")], USERS, document_root=DOCUMENTS, matches=[Match()])
    assert told(locate(trees, b"/z", 0)) == [("", "/all", (), b"/z")]
    assert told(locate(trees, b"/~u/z", 0)) == [("/~u", "/home", ("u", "public_html"), b"/z")]
    assert told(locate(trees, b"/m", 0)) == [("/m", "/srv/m", (), b"")]


@pytest.mark.parametrize(
    ("pattern", "base", "below"),
    [
        ("/home/*/public_html", "/home", ("u", "public_html")),
        ("/home/*", "/home", ("u",)),
        ("/home/u-*/www/x", "/home", ("u-u", "www", "x")),
        ("/*/www", "/", ("u", "www")),
        ("/users", "/users", ("u",)),
        ("/users/", "/users/", ("u",)),
        ("/a/*/b/*", "/a", ("u", "b", "*")),
    ],
)
def test_patterns_of_user_directories(pattern: str, base: str, below: tuple[str, ...]) -> None:
    """The first asterisk is the user's name; without one the name comes at the end."""
    found = locate(Trees([], UserDirectories(patterns=(pattern,), place="userdir")), b"/~u/x")
    assert found is not None
    (candidate,) = found
    assert (candidate.base, candidate.below) == (base, below)


def test_several_patterns() -> None:
    """Of several patterns each gives a place, in their order; only those that are enabled have any."""
    users = UserDirectories(patterns=("/home/*/www", "/users"), enabled=frozenset({"alice"}), place="userdir")
    assert told(locate(Trees([], users), b"/~alice/x")) == [
        ("/~alice", "/home", ("alice", "www"), b"/x"),
        ("/~alice", "/users", ("alice",), b"/x"),
    ]
    assert locate(Trees([], users), b"/~bob/x") == ()


def test_without_user_directories() -> None:
    """Without user directories ``~`` is a character like others."""
    assert told(locate(Trees(document_root=DOCUMENTS), b"/~alice/x")) == [("", "/htdocs", (), b"/~alice/x")]
    assert locate(Trees(), b"/~alice/x") is None


def test_mistakes() -> None:
    """Two aliases of one path, and a pattern that is no absolute path, are refused with their places."""
    with pytest.raises(ValueError, match=r"alias /a and alias /a have one path: /a"):
        Trees([alias("/a", "/x"), alias("/a", "/y")])
    with pytest.raises(ValueError, match="userdir: 'public_html' is no absolute path"):
        UserDirectories(patterns=("public_html",), place="userdir")


@pytest.mark.parametrize(
    ("raw_path", "names", "reason"),
    [
        (b"/a/b.wsgi", ["a", "b.wsgi"], ""),
        (b"//a///b/", ["a", "b"], ""),
        (b"/a%20b/%C3%A9", ["a b", "é"], ""),
        (b"/100%2525", ["100%25"], ""),
        (b"/a%zz", ["a%zz"], ""),
        (b"", [], ""),
        (b"/", [], ""),
        (b"/a/../b", ["a"], "begins with a dot"),
        (b"/a/%2e%2E/b", ["a"], "begins with a dot"),
        (b"/a/.%2e", ["a"], "begins with a dot"),
        (b"/./a", [], "begins with a dot"),
        (b"/.git/config", [], "begins with a dot"),
        (b"/...", [], "begins with a dot"),
        (b"/a%2Fb", [], "has an encoded slash in it"),
        (b"/a/%2f", ["a"], "has an encoded slash in it"),
        (b"/a%5Cb", [], "has a backslash in it"),
        (b"/a\\b", [], "has a backslash in it"),
        (b"/a%00.wsgi", [], "has a control character in it"),
        (b"/a%0A", [], "has a control character in it"),
        (b"/a%E2%80%A8", [], "has a control character in it"),
        (b"/%E9", [], "is no UTF-8"),
        (b"/%C0%AE%C0%AE/x", [], "is no UTF-8"),
        (b"/" + b"a" * 255, ["a" * 255], ""),
        (b"/" + b"a" * 256, [], "is too long"),
        (b"/" + b"%61" * 255, ["a" * 255], ""),
        (b"/" + b"%61" * 256, [], "is too long"),
        (b"/" + b"a" * 100_000, [], "is too long"),
    ],
)
def test_steps(raw_path: bytes, names: list[str], reason: str) -> None:
    """A segment is the name of one file, or nothing; the first that is nothing is the last, and says why."""
    found = list(steps(raw_path))
    assert [step.name for step in found if step.name] == names
    assert (found[-1].reason if found else "") == reason
    assert [step.name for step in found[:-1] if not step.name] == []


TOKENS = [b"/", b"..", b".", b"%2e", b"%2E", b"%2f", b"%2F", b"%5c", b"\\", b"%00", b"~", b"a", b"b", b"%", b"%C0%AF"]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
def test_no_step_is_a_way(raw_path: bytes) -> None:
    """Whatever a client writes: no name is empty, a dot name, or has a slash, a backslash or a NUL in it; ends grow."""
    found = list(steps(raw_path))
    for step in found:
        assert not step.name.startswith(".")
        assert not {"/", "\\", "\0"} & set(step.name)
        assert bool(step.name) is not bool(step.reason)
    ends = [step.end for step in found]
    assert ends == sorted(set(ends))
    assert all(raw_path[end : end + 1] in (b"", b"/") for end in ends)


def test_repr() -> None:
    """The repr lists the URL paths that lead somewhere."""
    assert repr(Trees([alias("", "/all"), alias("/cgi", "/srv")], USERS)) == "<Trees: /, /cgi, /~>"
    assert repr(Trees([])) == "<Trees: none>"
