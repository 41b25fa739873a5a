"""Reading Apache's configuration: the form of its files, what is included, what counts, what is wrong."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.apache.lines import arguments_of
from asyncgroups.apache.reading import DEEPEST_INCLUDE, Statement, read, walk
from asyncgroups.errors import ConfigurationError


def told(statements: tuple[Statement, ...]) -> list[object]:
    """The statements without their places: (name, arguments…), and a list of what is in a section after it."""
    result: list[object] = []
    for one in statements:
        result.append((one.name, *one.arguments))
        if one.body is not None:
            result.append(told(one.body))
    return result


@pytest.fixture
def reading(tmp_path: Path):
    def reading(text: str, **options: dict[str, str]):
        (tmp_path / "httpd.conf").write_bytes(text.encode())
        return read(tmp_path / "httpd.conf", **options)

    return reading


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \t ", []),
        ("a b\tc", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a b' c", ["a b", "c"]),
        ('"a \\" b" c', ['a " b', "c"]),
        ("'a \\' b' c", ["a ' b", "c"]),
        ('"it\'s" \'a "b"\'', ["it's", 'a "b"']),
        ('""', [""]),
        ('a ""', ["a", ""]),
        ('a"b c"d', ['a"b', 'c"d']),
        ('"a"b', ["a", "b"]),
        ('"never closed', ["never closed"]),
        ('"a\\\\" b', ["a\\", "b"]),
        ("a\\\\b", ["a\\b"]),
        ("a\\b \\.wsgi$", ["a\\b", "\\.wsgi$"]),
        ('"\\.wsgi$"', ["\\.wsgi$"]),
        ('"a\\\'b"', ["a\\'b"]),
        ("a#b # c", ["a#b", "#", "c"]),
        ("{a b}", ["{a", "b}"]),
        ('"a\\', ["a\\"]),
    ],
)
def test_arguments(text: str, words: list[str]) -> None:
    """Arguments end at blanks unless they are quoted; a backslash escapes a backslash and, inside quotes, the quote."""
    assert arguments_of(text) == words


@given(st.lists(st.text(st.sampled_from("ab \"'\\#$"), max_size=5), max_size=4))
def test_arguments_come_back(words: list[str]) -> None:
    """Whatever is quoted and escaped comes back as it was."""
    quoted = " ".join('"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"')) for word in words)
    assert arguments_of(quoted) == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n\n   # another\n", []),
        ("ServerName a", [("ServerName", "a")]),
        ("\ufeffServerName a\n", [("ServerName", "a")]),
        ("  ServerName \t a  \r\nListen 80\r\n", [("ServerName", "a"), ("Listen", "80")]),
        ("A b \\\n  c\\\nd\n", [("A", "b", "cd")]),
        ("A b \\\r\n c\r\n", [("A", "b", "c")]),
        ("# a \\\nServerName b\nListen 80\n", [("Listen", "80")]),
        ("A b\\", [("A", "b\\")]),
        ("A b\\\n", [("A", "b")]),
        ("ClearModuleList\n", [("ClearModuleList",)]),
        ("<Directory /a>\nB c\n</Directory>\n", [("Directory", "/a"), [("B", "c")]]),
        ('<directory "/a b">\n</DIRECTORY>', [("directory", "/a b"), []]),
        ("<Directory ~ ^/a>\n</Directory >\n", [("Directory", "~", "^/a"), []]),
        ("<VirtualHost *:80 [::1]:80>\n</VirtualHost>", [("VirtualHost", "*:80", "[::1]:80"), []]),
        ('<Location "/a>b">\n</Location>', [("Location", "/a>b"), []]),
        ("<Else>\nA b\n</Else>\n", [("Else",), [("A", "b")]]),
        ("<A a>\n<B b>\n<C c>\nD d\n</C>\n</B>\n</A>\n", [("A", "a"), [("B", "b"), [("C", "c"), [("D", "d")]]]]),
        ("<Perl>\n$x = <<A;\nA\n</Perl>\nB c\n", [("B", "c")]),
        ('RewriteRule "^/a b" - "[E=X:a b]"\n', [("RewriteRule", "^/a b", "-", "[E=X:a b]")]),
        ("é ü\n", [("é", "ü")]),
    ],
)
def test_form(reading, text: str, expected: list[object]) -> None:
    """Lines, continuations, comments, sections."""
    assert told(reading(text).statements) == expected


def test_encoding(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 stay what they are: names of files have no encoding."""
    (tmp_path / "a.conf").write_bytes(b"Alias /\xe9 /srv/\xe9\n# \xff\n")
    (statement,) = read(tmp_path / "a.conf").statements
    assert statement.arguments[1].encode("utf-8", "surrogateescape") == b"/srv/\xe9"


def test_places(reading, tmp_path: Path) -> None:
    """Each statement knows the file and the line that it begins on."""
    (tmp_path / "more.conf").write_text("\nB b\n")
    text = "# 1\nA \\\n a\nInclude more.conf\n<C c>\n\n  D d\n</C>\nE e\n"
    places = [(one.name, Path(one.file).name, one.line) for one in walk(reading(text).statements)]
    assert places == [
        ("A", "httpd.conf", 2),
        ("B", "more.conf", 2),
        ("C", "httpd.conf", 5),
        ("D", "httpd.conf", 7),
        ("E", "httpd.conf", 9),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Define A x\nB ${A}", ["x"]),
        ("Define A x y\nB ${A}/${A}", ["x/x"]),
        ('Define A "x y"\nB ${A} "${A} z"', ["x", "y", "x y z"]),
        ("Define A x\nDefine C ${A}z\nB ${C}", ["xz"]),
        ("B ${NOBODY_DEFINES_THIS}", ["${NOBODY_DEFINES_THIS}"]),
        ("Define A x\nUnDefine A\nB ${A}", ["${A}"]),
        ("Define A\nB <${A}>", ["<>"]),
        ("B ${FROM_OUTSIDE}", ["outside"]),
        ("B ${FROM_ENVIRONMENT}", ["environment"]),
        ("Define A x\nB %{A} $A {A}", ["%{A}", "$A", "{A}"]),
        ("B ${A}\nDefine A x", ["${A}"]),
    ],
)
def test_define(reading, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]) -> None:
    """Variables are expanded from where they are defined, before arguments are told apart."""
    monkeypatch.setenv("FROM_ENVIRONMENT", "environment")
    found = reading(text, defines={"FROM_OUTSIDE": "outside"})
    assert [list(one.arguments) for one in found.statements if one.name == "B"] == [expected]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("IfDefine GIVEN", True),
        ("IfDefine !GIVEN", False),
        ("IfDefine DEFINED", True),
        ("IfDefine NOT", False),
        ("IfDefine !NOT", True),
        ("IfModule mod_rewrite.c", True),
        ("IfModule rewrite_module", True),
        ("IfModule !rewrite_module", False),
        ("IfModule mod_proxy.c", False),
        ("IfModule !mod_proxy.c", True),
        ("IfModule core.c", True),
        ("IfModule mod_wsgi.c", True),
        ("IfModule mod_authz_core.c", True),
        ("IfModule !wsgi_module", False),
        ("IfModule mod_so.c", True),
        ("ifmodule http_core.c", True),
        ("IfFile httpd.conf", True),
        ("IfFile !httpd.conf", False),
        ("IfFile /nowhere", False),
        ("IfVersion >= 2.4", True),
        ("IfVersion < 2.4", False),
        ("IfVersion 2.4", True),
        ("IfVersion = 2.2", False),
        ("IfVersion !< 2.4", True),
        ("IfVersion > 2.4.1", True),
        ("IfVersion ~ ^2\\.[24]", True),
        ("IfVersion = /^2\\.2/", False),
        ("IfVersion >=2.4.6", True),
    ],
)
def test_conditions(reading, condition: str, holds: bool) -> None:
    """What is in a section that holds stands in its place; one that does not is among those that were skipped."""
    name = condition.partition(" ")[0]
    text = f"LoadModule rewrite_module mod_rewrite.so\nDefine DEFINED\n<{condition}>\nA b\n</{name}>\n"
    found = reading(text, defines={"GIVEN": ""})
    assert [one.name for one in walk(found.statements) if one.name == "A"] == ["A"] * holds
    assert [one.statement.name for one in found.skipped] == [name] * (not holds)
    assert not found.assumed


def test_nothing_of_what_does_not_hold_counts(reading) -> None:
    """A section that does not hold includes, defines and loads nothing; what is in it is there to be shown."""
    text = (
        "<IfDefine NOT>\nInclude nowhere.conf\nDefine X\n<IfFile httpd.conf>\nDefine X\n</IfFile>\nA b\n</IfDefine>\n"
        "<IfDefine X>\nB c\n</IfDefine>\n"
    )
    found = reading(text)
    assert found.statements == ()
    assert [(one.statement.line, [inner.name for inner in one.statement.body or ()]) for one in found.skipped] == [
        (1, ["Include", "Define", "Define", "A"]),
        (9, ["B"]),
    ]


def test_a_site_alone_says_nothing_of_modules(reading) -> None:
    """Where no module is loaded but mod_wsgi, sections for one are taken to hold, and that is told."""
    found = reading(
        "LoadModule wsgi_module mod_wsgi.so\n"
        "<IfModule mod_x.c>\nA b\n</IfModule>\n<IfModule !mod_x.c>\nB c\n</IfModule>\n"
        "<IfDirective X>\nC d\n</IfDirective>\n<IfModule core.c>\nD e\n</IfModule>\n"
    )
    assert told(found.statements)[1:] == [("A", "b"), ("C", "d"), ("D", "e")]
    assert [one.statement.raw for one in found.assumed] == ["mod_x.c", "X"]
    assert [one.statement.raw for one in found.skipped] == ["!mod_x.c"]


def test_include(reading, tmp_path: Path) -> None:
    """An Include brings one file, all that fit a pattern, or all in a folder, sorted; what they define counts."""
    for name in ("one.conf", "sites/b.conf", "sites/a.conf", "sites/c.txt", "sites/deep/d.conf", "other/a.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"Name {name}\nDefine LAST {name}\n")
    text = (
        f"Include one.conf\nInclude sites/*.conf\nInclude {tmp_path}/s?tes/[bc].*\nInclude sites\nInclude */a.conf\n"
        "IncludeOptional nowhere/*.conf\nIncludeOptional nowhere.conf\n<A a>\nInclude ${WHICH}.conf\n</A>\n"
        "Last ${LAST}\n"
    )
    found = reading(text, defines={"WHICH": "one"})
    names = [one.arguments[0] for one in walk(found.statements) if one.name == "Name"]
    assert names == [
        "one.conf",
        *["sites/a.conf", "sites/b.conf"],
        *["sites/b.conf", "sites/c.txt"],
        *["sites/a.conf", "sites/b.conf", "sites/c.txt", "sites/deep/d.conf"],
        *["other/a.conf", "sites/a.conf"],
        "one.conf",
    ]
    assert told(found.statements)[-3:] == [
        ("A", "a"),
        [("Name", "one.conf"), ("Define", "LAST", "one.conf")],
        ("Last", "one.conf"),
    ]
    assert [Path(one).name for one in found.files[:2]] == ["httpd.conf", "one.conf"]


def test_macros(reading) -> None:
    """A macro's lines stand where it is used, in the section that is open there; the longest parameter counts."""
    found = reading(
        "<Macro Site $n $name @x>\n<VirtualHost *>\nServerName $name.$n\nSetEnv X '@x'\n</VirtualHost>\n</Macro>\n"
        "<IfDefine NOBODY>\nUse Nothing\n</IfDefine>\n<Macro Inner>\nA b\n</Macro>\n"
        "Use site 1 www 'a b'\n<Directory /srv>\nUse Inner\n</Directory>\n"
    )
    assert told(found.statements) == [
        ("VirtualHost", "*"),
        [("ServerName", "www.1"), ("SetEnv", "X", "a b")],
        ("Directory", "/srv"),
        [("A", "b")],
    ]
    assert [one.line for one in walk(found.statements)] == [13, 13, 13, 14, 15]


def test_macros_that_do_not_count(reading) -> None:
    """A macro in a section that does not hold is none, and takes no other one's name."""
    text = "<Macro M>\nA b\n</Macro>\n<IfDefine NOT>\n<Macro M>\nB c\n</Macro>\n</IfDefine>\nUse M\n"
    assert told(reading(text).statements) == [("A", "b")]


def test_macros_that_use_one_another(reading) -> None:
    """A macro that uses itself is told once, and ends."""
    with pytest.raises(ConfigurationError, match=f"macros use one another more than {DEEPEST_INCLUDE} deep") as caught:
        reading("<Macro M>\nUse M\n</Macro>\nUse M\n")
    assert len(caught.value.problems) == 1


def test_server_root(reading, tmp_path: Path) -> None:
    """Relative names start from ServerRoot, from where it stands, and before it from the file's folder."""
    (tmp_path / "root").mkdir()
    (tmp_path / "a.conf").write_text("A here\n")
    (tmp_path / "root/a.conf").write_text("A there\n")
    found = reading(f"Include a.conf\nServerRoot {tmp_path}/root\nInclude a.conf\n")
    assert [one.arguments[0] for one in found.statements if one.name == "A"] == ["here", "there"]
    assert found.server_root == f"{tmp_path}/root"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<Directory /a>\nA b\n", ["1: <Directory> is not closed"]),
        ("<A>\n<B>\n", ["1: <A> is not closed", "2: <B> is not closed"]),
        ("A b\n</Directory>\n", ["2: </Directory> closes nothing"]),
        ("<Directory /a>\n</Location>\n", ["2: </Location> closes <Directory> of line 1"]),
        ("<IfDefine X>\n</IfModule>\n", ["2: </IfModule> closes <IfDefine> of line 1"]),
        ("<Directory /a\n</Directory>\n", ["1: '<Directory /a' has no '>' at its end"]),
        ("Include a\0b\n", ["1: Include: 'a\\x00b': stat: embedded null character in path"]),
        ("Include /dev/zero\n", ["1: Include: /dev/zero is a device or a pipe, and no file"]),
        ("Include /dev/null\n</A>\n", ["2: </A> closes nothing"]),
        ("\nInclude nowhere.conf\n", ["2: Include: there is no file 'nowhere.conf'"]),
        ("Use Nobody a\n", ["1: Use: there is no macro 'Nobody'"]),
        ("<Macro M $a>\nA $a\n</Macro>\nUse M\n", ["4: Use: the macro 'M' takes 1 arguments, not 0"]),
        ("<Macro M>\nA b\n</Macro>\nUndefMacro m\nUse M\n", ["5: Use: there is no macro 'M'"]),
        ("Include no*.conf\n</A>\n", ["1: Include: there is no file 'no*.conf'", "2: </A> closes nothing"]),
    ],
)
def test_what_is_wrong(reading, tmp_path: Path, text: str, said: list[str]) -> None:
    """Every problem of a configuration is told at once, with its file and line."""
    with pytest.raises(ConfigurationError) as caught:
        reading(text)
    assert list(caught.value.problems) == [f"{tmp_path}/httpd.conf:{one}" for one in said]


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is one problem."""
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        read(tmp_path / "nowhere.conf")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read(tmp_path)


def test_files_that_include_one_another(reading, tmp_path: Path) -> None:
    """A file that includes itself is told once, and ends."""
    with pytest.raises(ConfigurationError, match=f"more than {DEEPEST_INCLUDE} deep") as caught:
        reading("Include httpd.conf\n")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("pattern", ["loop", "loop/*.conf", "loop/a.conf", "."])
@pytest.mark.parametrize("name", ["Include", "IncludeOptional"])
def test_what_cannot_be_looked_into(tmp_path: Path, name: str, pattern: str) -> None:
    """Nobody knows what a folder holds that cannot be looked into: that is a problem, even where it is optional."""
    # A link to itself: not even root can follow it, as nobody else can enter a folder that is closed.
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "httpd.conf").write_text(f"ServerRoot {tmp_path}\n{name} {pattern}\n")
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path / "z" / "httpd.conf")
    assert "loop" in str(caught.value)
    assert os.strerror(errno.ELOOP) in str(caught.value)
