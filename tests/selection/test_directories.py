"""Sections of directories: what a glob covers, in which order sections count, what they settle together."""

import fnmatch
import re
import time
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.directories import WSGI_SCRIPT, Glob, Section, Sections, Settled


class Regex:
    """A regular expression of the standard library's, which these tests can trust."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def search(self, text: str) -> tuple[str | None, ...] | None:
        found = re.search(self.text, text)
        return None if found is None else (found[0], *found.groups())


def section(where: str, **settings: object) -> Section:
    """A section whose place is what it covers; a regular expression after ``~``."""
    pattern = Regex(where.removeprefix("~")) if where.startswith("~") else Glob(where)
    return Section(where=pattern, settings=settings, place=where)


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("/", ["", "/a", "/a/b"], []),
        ("/srv/apps", ["/srv/apps", "/srv/apps/x"], ["/srv", "/srv/app", "/srv/apps2", "/x/srv/apps"]),
        ("/srv/apps/", ["/srv/apps", "/srv/apps/x"], ["/srv/apps2"]),
        ("//srv///apps", ["/srv/apps"], ["/srv"]),
        (
            "/home/*/public_html",
            ["/home/a/public_html", "/home/.b/public_html/x"],
            ["/home/public_html", "/home/a/b/public_html"],
        ),
        ("/a/*", ["/a/b", "/a/b/c"], ["/a"]),
        ("/a/?", ["/a/b", "/a/é"], ["/a/bc", "/a"]),
        ("/a/*b*c", ["/a/bc", "/a/xbxc", "/a/bbcc"], ["/a/b", "/a/cb", "/a/b/c", "/a/bcx"]),
        ("/a/x*", ["/a/x", "/a/xy"], ["/a/y", "/a/yx"]),
        ("/a/**", ["/a/x"], ["/a"]),
        ("/a/[bc]", ["/a/b", "/a/c/x"], ["/a/d", "/a/bc"]),
        ("/a/[!bc]", ["/a/d"], ["/a/b", "/a"]),
        ("/a/[^bc]", ["/a/d"], ["/a/b"]),
        ("/a/[a-c]x", ["/a/bx"], ["/a/dx"]),
        ("/a/[]x]", ["/a/]", "/a/x"], ["/a/y"]),
        ("/a/[a-]", ["/a/-", "/a/a"], ["/a/b"]),
        ("/a/[!]]b", ["/a/xb"], ["/a/]b"]),
        ("/a/[,-9]b", ["/a/.b"], ["/a//b", "/a/b"]),
        (r"/a/\*", ["/a/*"], ["/a/b"]),
        (r"/a/[\\]", ["/a/\\"], ["/a/b"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a/x\n", [], []),
    ],
    ids=repr,
)
def test_glob(glob: str, inside: list[str], outside: list[str]) -> None:
    """A glob covers the directories that it names and those below them; no wildcard stands for a slash."""
    if "\n" in glob:
        with pytest.raises(PatternSyntaxError):
            Glob(glob)
        return
    covers = Glob(glob).covers
    assert [one for one in inside if not covers(one)] == []
    assert [one for one in outside if covers(one)] == []


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("srv", "begins with '/'"),
        ("", "begins with '/'"),
        ("/a/[b", "not closed\n    /a/[b\n       ^"),
        ("/a/[b/]c", "not closed\n    /a/[b/]c\n       ^"),
        ("/a/[b-a]", "'b' comes after 'a'\n    /a/[b-a]\n        ^^^"),
        ("/a/../b", "no '..'"),
        ("/a/.", "no '.'"),
        ("/a\x00b", "control characters"),
    ],
)
def test_glob_that_is_none(glob: str, said: str) -> None:
    """What is no glob is refused in one sentence, with a caret under what is wrong."""
    with pytest.raises(PatternSyntaxError) as caught:
        Glob(glob)
    assert said in str(caught.value)


def test_hostile_name() -> None:
    """A name that fits a glob almost, at every asterisk, is judged in no time."""
    covers = Glob("/" + "*a" * 20 + "b").covers
    begun = time.thread_time()
    assert not covers("/" + "a" * 255)
    assert time.thread_time() - begun < 0.1


component = st.text(st.sampled_from("ab*?[]!-^"), min_size=1, max_size=6).filter(lambda text: text not in (".", ".."))
name = st.text(st.sampled_from("ab-]!^["), min_size=1, max_size=6)


@given(st.lists(component, min_size=1, max_size=3), st.lists(name, min_size=1, max_size=4))
def test_glob_against_fnmatch(globs: list[str], names: list[str]) -> None:
    """Component by component a glob says what the standard library's fnmatch says, for which ``[^`` is no negation."""
    text = "/" + "/".join(globs)
    try:
        glob = Glob(text)
    except PatternSyntaxError:
        return
    expected = len(names) >= len(globs) and all(
        fnmatch.fnmatchcase(one, wanted.replace("[^", "[!")) for one, wanted in zip(names, globs, strict=False)
    )
    assert glob.covers("/" + "/".join(names)) == expected


@pytest.mark.parametrize(
    ("sections", "path", "order"),
    [
        (["/a/b", "/a", "/"], "/a/b/x.wsgi", ["/", "/a", "/a/b"]),
        (["/a/b/", "/*/b", "/a/?"], "/a/b/x.wsgi", ["/a/b/", "/*/b", "/a/?"]),
        (["~^/a", "/a/b/c", "~x", "/a"], "/a/b/c/x.wsgi", ["/a", "/a/b/c", "~^/a", "~x"]),
        (["/a", "/b"], "/b/x.wsgi", ["/b"]),
        (["/a/x.wsgi"], "/a/x.wsgi", []),
        ([r"~b/x\.wsgi$", "~b$"], "/a/b/x.wsgi", [r"~b/x\.wsgi$"]),
        ([], "/a/x.wsgi", []),
    ],
    ids=repr,
)
def test_order(sections: list[str], path: str, order: list[str]) -> None:
    """Sections count from the shortest glob to the longest, then regular expressions; each kind in its order."""
    table = Sections(map(section, sections))
    assert [str(one.place) for one in table.covering(path)] == order
    assert [str(one.place) for one in table.covering(path)] == order  # also from what is kept
    assert len(table) == len(sections)


@given(st.lists(st.sampled_from(["/", "/a", "/a/b", "/*/b", "/a/*", "/?/?", "/a/b/c"]), max_size=8))
def test_the_longer_comes_later(globs: list[str]) -> None:
    """Among the sections of a file none is followed by a shorter one, and none is missing or there twice."""
    found = Sections(map(section, globs)).covering("/a/b/c/x.wsgi")
    depths = [Glob(one.place).depth for one in found]
    assert all(first <= second for first, second in pairwise(depths))
    assert sorted(one.place for one in found) == sorted(globs)


def test_settings_merge() -> None:
    """A more specific section overrides a wider one, tables name by name; each setting knows where it was written."""
    sections = Sections(
        [
            section("/a", application_group="one", threads=2, env={"X": "a", "Y": "a"}),
            section("/a/b", application_group="two", env={"X": "b"}),
        ]
    )
    settled = sections.settle("/a/b/x.wsgi")
    assert dict(settled.values) == {"application_group": "two", "threads": 2, "env": {"X": "b", "Y": "a"}}
    assert dict(settled.places) == {"application_group": "/a/b", "threads": "/a", "env": "/a/b"}
    assert sections.settle("/a/b/y.wsgi") is settled
    assert sections.settle("/c/x.wsgi").values == {}
    wider = sections.settle("/a/x.wsgi").values
    assert isinstance(wider["env"], Mapping)
    assert dict(wider["env"]) == {"X": "a", "Y": "a"}


@pytest.mark.parametrize(
    ("settings", "name", "runs"),
    [
        ({}, "app.wsgi", False),
        ({"handler": WSGI_SCRIPT}, "app.wsgi", True),
        ({"handler": WSGI_SCRIPT}, "foo", True),
        ({"handler": "none"}, "app.wsgi", False),
        ({"extensions": (".wsgi",)}, "app.wsgi", False),
        ({"handler": WSGI_SCRIPT, "extensions": (".wsgi", ".py")}, "app.py", True),
        ({"handler": WSGI_SCRIPT, "extensions": (".wsgi",)}, "app.wsgi.bak", False),
        ({"handler": WSGI_SCRIPT, "extensions": (".wsgi",)}, "app.WSGI", False),
        ({"handler": WSGI_SCRIPT, "extensions": ()}, "app.py", True),
    ],
)
def test_what_is_a_script(settings: dict[str, object], name: str, runs: bool) -> None:
    """A file is a script by the handler of its directory, and by the end of its name where extensions are given."""
    assert Settled(settings, {}).runs(name) is runs


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept up to a number; beyond it they are the same."""
    monkeypatch.setattr("asyncgroups.selection.directories.KNOWN_PATHS", 2)
    sections = Sections([section("/a"), *(section(f"/a/{number}") for number in range(5))])
    for number in range(5):
        assert [one.place for one in sections.covering(f"/a/{number}/x")] == ["/a", f"/a/{number}"]
        assert sections.settle(f"/a/{number}/x").values == {}
    assert len(sections._known) == 2


def test_repr() -> None:
    """The repr lists the sections in the order in which they count."""
    assert repr(Sections([section("~x"), section("/a/b"), section("/a")])) == "<Sections: /a, /a/b, x>"
    assert repr(Sections([])) == "<Sections: none>"
