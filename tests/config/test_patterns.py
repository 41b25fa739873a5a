"""Regular expressions: what is read as Apache reads it, and that no path stalls."""

import contextlib
import hashlib
import threading
import time

import pytest

from asyncgroups.config.patterns import BUDGET, LONGEST_TEXT, Expression
from asyncgroups.errors import PatternSyntaxError, PatternTooSlow


@pytest.mark.parametrize(
    ("expression", "text", "groups"),
    [
        ("^/~([^/]+)", "/~alice/x", ("/~alice", "alice")),
        ("b", "abc", ("b",)),
        ("^/(a)?(b)", "/b", ("/b", None, "b")),
        ("^/a$", "/a", ("/a",)),
        ("^/a$", "/a\n", None),
        ("^/(a$|b)", "/a\n", None),
        (r"^/a\$$", "/a$", ("/a$",)),
        ("^/[$]x", "/$x", ("/$x",)),
        ("^/[]$]$", "/$", ("/$",)),
        ("^/[^]$]$", "/a\n", None),
        ("^/[[:digit:]$]+$", "/4$2", ("/4$2",)),
        (r"^/[\]$]+$", "/]$", ("/]$",)),
        ("(?m)^a$", "a\nb", ("a",)),
        ("(?i)^/ABC", "/abc", ("/abc",)),
        ("^/(?!neg)look", "/look", ("/look",)),
        ("^/(?!neg)", "/negative", None),
        (r"^/(a)\1$", "/aa", ("/aa", "a")),
        ("^/(?>a+)b", "/aab", ("/aab",)),
        ("^/a++a", "/aaa", None),
        ("^/(?<user>a)$", "/a", ("/a", "a")),
        (r"^/\w+$", "/é", None),
        ("^/.$", "/é", ("/é",)),
        ("^/.$", "/\udce9", ("/\udce9",)),
        ("[[a]", "[", ("[",)),
    ],
)
def test_search(expression: str, text: str, groups: tuple[str | None, ...] | None) -> None:
    """Expressions are searched for anywhere, ``$`` is the very end, and classes hold ASCII letters."""
    assert Expression(expression).search(text) == groups


def test_nocase() -> None:
    """With ``nocase`` capital and small ASCII letters are the same."""
    assert Expression("^/shop$", nocase=True).search("/SHOP") == ("/SHOP",)
    assert Expression("^/shop$").search("/SHOP") is None
    assert Expression("^/é$", nocase=True).search("/É") is None


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("(a", "missing )\n    (a\n     ^"),
        ("a)", "unbalanced parenthesis\n    a)\n     ^"),
        ("*a", "nothing to repeat\n    *a\n    ^"),
        ("[z-a]", "bad character range\n    [z-a]\n        ^"),
        ("[a", "unterminated character set\n    [a\n     ^"),
        ("\\", "bad escape (end of pattern)\n    \\\n    ^"),
        ("(?u)a", "ASCII, LOCALE and UNICODE flags are mutually incompatible\n    (?u)a\n    ^^^^^"),
    ],
)
def test_no_expression(expression: str, said: str) -> None:
    """What is no regular expression is refused with a caret under what is wrong."""
    with pytest.raises(PatternSyntaxError) as caught:
        Expression(expression)
    assert str(caught.value) == said


HOSTILE = [
    ("^/(a|aa)+$", "/" + "a" * 60 + "!"),
    (r"^(.*)/(.*)/(.*)/(.*)/(.*)/(.*)\.wsgi$", "/" * 2000),
    ("^/(a|a)*$", "/" + "a" * 60 + "!"),
    ("^/(a+)+$", "/" + "a" * 60 + "!"),
    ("^/(?:a?){40}a{40}$", "/" + "a" * 39),
    ("^/((a|b)*c|(a|ab)*)$", "/" + "ab" * 40 + "!"),
    ("a*a*a*a*b", "a" * 8000),
    ("x*$", "x" * 8000 + "y"),
]


def test_too_many_brackets() -> None:
    """What the engine cannot read for its depth is refused in words as well."""
    with pytest.raises(PatternSyntaxError, match="the expression is nested too deeply"):
        Expression("(" * 3000 + "a" + ")" * 3000)


@pytest.mark.parametrize(("expression", "text"), HOSTILE, ids=[expression for expression, _ in HOSTILE])
def test_hostile_paths(expression: str, text: str) -> None:
    """An expression that might take for ever on a path has an answer in milliseconds, or is given up then."""
    compiled = Expression(expression)
    begun = time.thread_time()
    with contextlib.suppress(PatternTooSlow):
        assert compiled.search(text) in (None, ("",))
    assert time.thread_time() - begun < 25 * BUDGET


@pytest.mark.parametrize(("expression", "text"), HOSTILE[:2], ids=[expression for expression, _ in HOSTILE[:2]])
def test_given_up(expression: str, text: str) -> None:
    """What is given up has had its time, and says what it is about."""
    compiled = Expression(expression)
    begun = time.thread_time()
    with pytest.raises(PatternTooSlow, match="takes too long on '/"):
        compiled.search(text)
    assert time.thread_time() - begun >= BUDGET


def test_long_paths() -> None:
    """What is longer than a line of a request in Apache is not searched; what is told of a long path is short."""
    assert Expression("^/~([^/]+)").search("/~" + "a" * (LONGEST_TEXT - 2)) is not None
    with pytest.raises(PatternTooSlow) as caught:
        Expression("^/(a|aa)+$").search("/" + "a" * (LONGEST_TEXT - 2) + "!")
    assert len(str(caught.value)) < 300
    # One step of the engine goes through all of the text here, and 60,000 of them take a tenth of a second.
    begun = time.thread_time()
    with pytest.raises(PatternTooSlow, match="is not for 60001 characters"):
        Expression(r"\w+\d").search("/" + "a" * 60_000)
    assert time.thread_time() - begun < 5 * BUDGET


def test_other_threads_take_no_time_of_ours() -> None:
    """However busy the process is, an ordinary match is never too slow: the engine's clock is the whole process's."""
    ended = threading.Event()
    block = b"x" * 1_000_000

    def burn() -> None:
        while not ended.is_set():
            hashlib.sha256(block).digest()  # without the GIL

    threads = [threading.Thread(target=burn) for _ in range(3)]
    compiled = Expression(r"^(.*)/(.*)\.wsgi$")
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert compiled.search("/~alice/wsgi-scripts/app.txt") is None
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_shown() -> None:
    """An expression is shown as it was written."""
    assert str(Expression("^/a$")) == "^/a$"
    assert repr(Expression("^/a$")) == "<Expression: ^/a$>"
