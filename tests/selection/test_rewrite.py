"""Rules that set variables: what they match, what they capture, what comes of several of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import GroupNameUnresolved, PatternSyntaxError
from asyncgroups.selection.names import Facts, parse
from asyncgroups.selection.rewrite import Condition, Equal, Request, Rule, Rules, Template, path_of
from asyncgroups.selection.trees import steps


class Regex:
    """A regular expression of the standard library's, which these tests can trust."""

    def __init__(self, text: str) -> None:
        self.text = text

    def search(self, text: str) -> tuple[str | None, ...] | None:
        found = re.search(self.text, text)
        return None if found is None else (found[0], *found.groups())


def request(path: str = "/", **headers: str) -> Request:
    fields = {name.replace("_", "-"): value for name, value in {"host": "www.example.com", **headers}.items()}
    return Request(
        path=path,
        method="GET",
        query="t=red&u=1",
        scheme="https",
        protocol="HTTP/1.1",
        server_name="www.example.com",
        server_port="8443",
        client="192.0.2.1",
        header=lambda name: fields.get(name, ""),
    )


def when(test: str, wanted: str | Equal, *, negated: bool = False, or_next: bool = False) -> Condition:
    pattern = Regex(wanted) if isinstance(wanted, str) else wanted
    return Condition(test=Template(test), wanted=pattern, negated=negated, or_next=or_next)


def rule(path: str, *conditions: Condition, **options: object) -> Rule:
    """A rule; ``env`` is a mapping of names to templates, None unsets."""
    env = options.pop("env", {})
    assert isinstance(env, dict)
    variables = tuple((name, None if value is None else Template(value)) for name, value in env.items())
    return Rule(path=Regex(path), conditions=conditions, env=variables, place="rewrite[0]", **options)  # type: ignore[arg-type]


def test_the_seed() -> None:
    """The seed document's rule takes the user's name from the path, and sets nothing for other paths."""
    rules = Rules([rule(".", when("%{REQUEST_URI}", "^/~([^/]+)"), env={"APPLICATION_GROUP": "~%1"})])
    assert rules.variables(request("/~alice/wsgi-scripts/app.wsgi")) == {"APPLICATION_GROUP": "~alice"}
    assert rules.variables(request("/~alice")) == {"APPLICATION_GROUP": "~alice"}
    assert rules.variables(request("/x/~alice")) == {}


Y = {"Y": "1"}


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ([rule("^/a", env={"X": "1"})], "/a", {"X": "1"}),
        ([rule("^/a", env={"X": "1"})], "/b", {}),
        ([rule("a", env={"X": "$0"})], "/xax", {"X": "a"}),
        ([rule("^/(.)(.)?", env={"X": "$2<$1>$3"})], "/a", {"X": "<a>"}),
        ([rule("^/a", negated=True, env={"X": "<$0>"})], "/b", {"X": "<>"}),
        ([rule("^/a", negated=True, env={"X": "1"})], "/a", {}),
        ([rule("^/", env={"X": "1"}), rule("^/", env={"X": "2"})], "/", {"X": "2"}),
        ([rule("^/", env={"X": "1", "Y": ""}), rule("^/", env={"X": None, "Z": None})], "/", {"Y": ""}),
        ([rule("^/", env={"X": "1"}), rule("^/", env={"Y": "<%{ENV:X}%{ENV:Z}>"})], "/", {"X": "1", "Y": "<1>"}),
        ([rule("^/", env={"X": "1", "Y": "%{ENV:X}2"})], "/", {"X": "1", "Y": "12"}),
        ([rule("^/", is_last=True, env={"X": "1"}), rule("^/", env={"Y": "1"})], "/", {"X": "1"}),
        ([rule("^/b", is_last=True), rule("^/", env={"Y": "1"})], "/", {"Y": "1"}),
        ([rule("^/", skip=1), rule("^/", env={"X": "1"}), rule("^/", env={"Y": "1"})], "/", {"Y": "1"}),
        ([rule("^/b", skip=1), rule("^/", env={"X": "1"})], "/", {"X": "1"}),
        ([rule("^/", skip=9), rule("^/", env={"X": "1"})], "/", {}),
        ([rule("^/b", is_chained=True), rule("^/", is_chained=True, env={"X": "1"}), rule("^/", env=Y)], "/", {}),
        ([rule("^/b", is_chained=True), rule("^/", env={"X": "1"}), rule("^/", env={"Y": "1"})], "/", {"Y": "1"}),
        ([rule("^/", is_chained=True, env={"X": "1"}), rule("^/b"), rule("/", env=Y)], "/", {"X": "1", "Y": "1"}),
        ([rule("^/b", is_chained=True)], "/", {}),
        ([], "/", {}),
    ],
)
def test_rules(rules: list[Rule], path: str, expected: dict[str, str]) -> None:
    """Every rule that matches sets its variables, in order; chains, skips and the last rule are as in Apache."""
    assert Rules(rules).variables(request(path)) == expected


YES, NO = Equal("www.example.com"), Equal("other")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([when("%{HTTP_HOST}", r"^(www)\.")], "www"),
        ([when("%{HTTP_HOST}", "^blog")], None),
        ([when("%{HTTP_HOST}", "^blog", negated=True)], ""),
        ([when("%{HTTP_HOST}", "^(www)", negated=True)], None),
        ([when("%{HTTP_HOST}", YES)], ""),
        ([when("%{HTTP_HOST}", Equal("WWW.EXAMPLE.COM"))], None),
        ([when("%{HTTP_HOST}", Equal("WWW.EXAMPLE.COM", nocase=True))], ""),
        ([when("%{HTTP_HOST}", NO, negated=True)], ""),
        ([when("%{HTTP_HOST}", "(www)"), when("%{REQUEST_METHOD}", "^(GET)$")], "GET"),
        ([when("%{HTTP_HOST}", "(www)"), when("%{REQUEST_METHOD}", Equal("GET"))], "www"),
        ([when("%{HTTP_HOST}", "(www)"), when("%{REQUEST_METHOD}", "x", negated=True)], "www"),
        ([when("%{HTTP_HOST}", "(www)"), when("%{REQUEST_METHOD}", "x")], None),
        ([when("x", NO, or_next=True), when("%{HTTP_HOST}", "(www)")], "www"),
        ([when("x", "(x)", or_next=True), when("%{HTTP_HOST}", "(www)")], "x"),
        ([when("x", "(x)", or_next=True), when("x", NO), when("y", NO)], None),
        ([when("x", "(x)", or_next=True), when("x", NO), when("y", "(y)")], "y"),
        ([when("x", NO, or_next=True), when("x", NO, or_next=True), when("x", NO)], None),
        ([when("x", NO, or_next=True), when("x", "(x)", or_next=True), when("x", NO)], "x"),
        ([when("x", NO), when("x", "(x)", or_next=True), when("x", NO)], None),
        ([when("ab", "(a)", negated=True, or_next=True), when("x", Equal("x"))], ""),
        ([when("$1", "^(a)")], "a"),
        ([when("%1", "^$")], ""),
        ([when("ab", "(a)(b)"), when("%2%1", "^(ba)$")], "ba"),
    ],
)
def test_conditions(conditions: list[Condition], expected: str | None) -> None:
    """All conditions have to hold, but for those joined by [OR]; ``%1`` is of the last expression that matched."""
    found = Rules([rule("^/(a)", *conditions, env={"X": "%1"})]).variables(request("/a"))
    assert found.get("X") == expected


@pytest.mark.parametrize(
    ("templates", "group"),
    [
        (("%{HTTP:x-tenant}",), None),
        (("%1",), None),
        (("$0",), None),
        ((r"\%{$1}",), None),
        (("$0", "%{ENV:A}"), None),
        (("~%1",), None),
        ((r"\%{GLOBAL}",), ""),
        ((r"\%{GLOBAL}", "%{ENV:A}"), ""),
        (("%{ENV:OUTER}",), "www.example.com"),
    ],
)
def test_what_a_client_writes_is_no_variable(templates: tuple[str, ...], group: str | None) -> None:
    """What a client writes is never expanded in a group's name, least of all to the main interpreter's."""
    text = "%{GLOBAL}"
    asked = request(text, x_tenant=text)
    rules = [rule("%.(GLOBAL).|/", when("%{HTTP:x-tenant}", "(.+)"), env={"A": template}) for template in templates]
    env = Rules(rules).variables(asked, {"OUTER": "%{SERVER}"})
    facts = Facts(server_name="www.example.com", port=None, script="/x", env=env, process_env={})
    if group is not None:
        assert parse("%{ENV:A}").expand(facts) == group
        return
    with pytest.raises(GroupNameUnresolved):
        parse("%{ENV:A}").expand(facts)


def test_nothing_is_left_of_another_rule() -> None:
    """What one rule has captured another rule does not see."""
    first = rule("^/(a)", when("b", "(b)"), env={"X": "$1%1"})
    assert Rules([first, rule("^/", env={"Y": "<$1%1>"})]).variables(request("/a")) == {"X": "ab", "Y": "<>"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("%{REQUEST_URI}|%{REQUEST_METHOD}|%{QUERY_STRING}", "/a|GET|t=red&u=1"),
        ("%{REQUEST_SCHEME} %{HTTPS} %{SERVER_PROTOCOL}", "https on HTTP/1.1"),
        ("%{SERVER_NAME}:%{SERVER_PORT} %{REMOTE_ADDR}", "www.example.com:8443 192.0.2.1"),
        ("%{HTTP_HOST} %{HTTP:Host} %{HTTP:X-Tenant} %{HTTP:X-None}", "www.example.com www.example.com red "),
        ("%{HTTP_USER_AGENT}", "curl"),
        ("100%", "100%"),
        ("5$", "5$"),
        ("$x %x", "$x %x"),
        (r"\$1\%1\\ \%{x}", r"$1%1\ %{x}"),
        ("$10", "a0"),
        ("%{ENV:OUTER}", "outer"),
        ("ä$1ö", "äaö"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    """Groups, variables and what a backslash escapes are expanded; a ``$`` or ``%`` before anything else is itself."""
    rules = Rules([rule("^/(a)", env={"X": template})])
    found = rules.variables(request("/a", x_tenant="red", user_agent="curl"), {"OUTER": "outer"})
    assert found == {"OUTER": "outer", "X": expected}
    assert str(Template(template)) == template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("%{REQUEST_FILENAME}", "unknown variable %{REQUEST_FILENAME}"),
        ("a%{}", "unknown variable %{}"),
        ("%{HTTP:}", "unknown variable %{HTTP:}"),
        ("%{ENV:}", "unknown variable %{ENV:}"),
        ("a %{HTTP_HOST", "the variable is not closed"),
        ("%{HTTP_HOST} %{X", "the variable is not closed"),
    ],
)
def test_no_template(template: str, said: str) -> None:
    """A variable that there is none of, or that is not closed, is refused with a caret under it."""
    with pytest.raises(PatternSyntaxError, match=re.escape(said)) as caught:
        Template(template)
    assert "^" in str(caught.value)


def test_literal() -> None:
    """A template knows whether it says the same for every request."""
    assert Template(r"a\$1%").is_literal
    assert not Template("a$1").is_literal


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        (b"/", "/"),
        (b"", "/"),
        (b"*", "/"),
        (b"/a/b", "/a/b"),
        (b"/a/b/", "/a/b/"),
        (b"//a///b//", "/a/b/"),
        (b"/%7Ealice", "/~alice"),
        (b"/a%2Fb/%2f", "/a%2Fb/%2F"),
        (b"/a%20b", "/a b"),
        (b"/%C3%A9", "/é"),
        (b"/%E9", "/\udce9"),
        (b"/a/../b", "/a/../b"),
        (b"///", "/"),
    ],
)
def test_path(raw_path: bytes, path: str) -> None:
    """The path that rules see is decoded and has single slashes; an encoded slash separates nothing."""
    assert path_of(raw_path) == path


@given(
    st.lists(st.sampled_from([b"/", b"%2F", b"%2f", b"~", b"%7E", b"a", b"b", b"%", b"."]), max_size=10).map(b"".join)
)
def test_rules_see_the_user_that_scripts_are_looked_for(raw_path: bytes) -> None:
    """The first name that a script is looked for under is the first segment that rules see."""
    names = [step.name for step in steps(b"/" + raw_path)]
    if names and names[0]:
        assert path_of(b"/" + raw_path).split("/")[1] == names[0]


def test_repr() -> None:
    """The repr tells how many there are."""
    assert repr(Rules([rule("a"), rule("b")])) == "<Rules: 2>"
    assert len(Rules([])) == 0
