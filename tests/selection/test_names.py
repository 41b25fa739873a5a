"""The grammar and the expansion of group names, against the seed document and section 6 of the design."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncgroups.errors import GroupNameSyntaxError, GroupNameUnresolved
from asyncgroups.selection.names import Facts, GroupName, parse, split_server_name

NOTHING: Mapping[str, str] = MappingProxyType({})


def facts(
    server_name: str = "www.example.com",
    *,
    port: int | None = 80,
    script: str = "/wsgi-scripts/foo",
    env: Mapping[str, str] = NOTHING,
    process_env: Mapping[str, str] = NOTHING,
) -> Facts:
    return Facts(server_name=server_name, port=port, script=script, env=env, process_env=process_env)


@pytest.mark.parametrize(
    ("setting", "given_facts", "name"),
    [
        ("%{GLOBAL}", facts(), ""),
        ("", facts(), ""),
        ("%{SERVER}", facts(port=80), "www.example.com"),
        ("%{SERVER}", facts(port=443), "www.example.com"),
        ("%{SERVER}", facts(port=8080), "www.example.com:8080"),
        ("%{RESOURCE}", facts(port=8080), "www.example.com:8080|/wsgi-scripts/foo"),
        ("%{RESOURCE}", facts(), "www.example.com|/wsgi-scripts/foo"),
        ("%{RESOURCE}", facts(script=""), "www.example.com|"),
        ("%{ENV:APPLICATION_GROUP}", facts(env={"APPLICATION_GROUP": "~grumpy"}), "~grumpy"),
        ("my-group", facts(), "my-group"),
    ],
)
def test_seed_table(setting: str, given_facts: Facts, name: str) -> None:
    """Every example of the WSGIApplicationGroup document, and every line of the design's table, holds as written."""
    assert parse(setting).expand(given_facts) == name


@pytest.mark.parametrize(
    ("server_name", "port", "name"),
    [
        ("www.example.com", None, "www.example.com"),
        ("www.example.com:8080", 80, "www.example.com:8080"),
        ("www.example.com:8080", None, "www.example.com:8080"),
        ("www.example.com:80", 8000, "www.example.com"),
        ("www.example.com:443", 8000, "www.example.com"),
        ("WWW.Example.com", 8000, "WWW.Example.com:8000"),
        ("[2001:db8::1]", 8000, "[2001:db8::1]:8000"),
        ("[2001:db8::1]:8080", 80, "[2001:db8::1]:8080"),
        ("localhost", 8000, "localhost:8000"),
    ],
)
def test_server_name_and_port(server_name: str, port: int | None, name: str) -> None:
    """The port in the server name beats the socket's, 80, 443 and a unix socket leave none, and the case is kept."""
    assert parse("%{SERVER}").expand(facts(server_name, port=port)) == name
    assert parse("%{RESOURCE}").expand(facts(server_name, port=port, script="/x")) == f"{name}|/x"


@pytest.mark.parametrize(
    ("env", "process_env", "name"),
    [
        ({"G": "one"}, {}, "one"),
        ({}, {"G": "two"}, "two"),
        ({"G": "one"}, {"G": "two"}, "one"),
        ({"G": "%{GLOBAL}"}, {}, ""),
        ({"G": "%{SERVER}"}, {}, "www.example.com:8080"),
        ({}, {"G": "%{RESOURCE}"}, "www.example.com:8080|/wsgi-scripts/foo"),
        ({"G": "x" * 255}, {}, "x" * 255),
        ({"G": "Käse 100%"}, {}, "Käse 100%"),
    ],
)
def test_environment_variable(env: dict[str, str], process_env: dict[str, str], name: str) -> None:
    """%{ENV:x} is the request's value, else the process's; another variable for a value is expanded once more."""
    assert parse("%{ENV:G}").expand(facts(port=8080, env=env, process_env=process_env)) == name


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "set neither for this request nor in the process's environment"),
        ("", "empty"),
        ("%{ENV:GROUP}", "expanded once more"),
        ("%{ENV:OTHER}", "expanded once more"),
        ("%{SERVR}", "expanded once more"),
        ("a-%{SERVER}", "expanded once more"),
        (" %{SERVER}", "expanded once more"),
        ("x" * 256, "256 characters"),
        ("%{" + "x" * 10_000, "10002 characters"),
        ("a\nb", "control characters"),
        ("a\0b", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\x85b", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\udcffb", "control characters"),
        (7, "of type int"),
    ],
)
def test_unresolved_variable(value: str | None, reason: str) -> None:
    """A variable without a usable value is an error of status 500 that names the variable and says what is wrong."""
    env = {} if value is None else {"GROUP": value}
    with pytest.raises(GroupNameUnresolved, match=reason) as caught:
        parse("%{ENV:GROUP}").expand(facts(env=env, process_env={"OTHER": "x"}))
    assert "variable GROUP " in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert caught.value.status == 500


def test_empty_value_hides_process() -> None:
    """A variable that the request sets to nothing is set: the process's value does not take its place."""
    with pytest.raises(GroupNameUnresolved, match="empty"):
        parse("%{ENV:G}").expand(facts(env={"G": ""}, process_env={"G": "x"}))


def test_value_of_a_text_subclass() -> None:
    """A value of a framework's own text type becomes a name of the exact type, since names cross interpreters."""

    class SafeString(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

    assert type(parse("%{ENV:G}").expand(facts(env={"G": SafeString("x")}))) is str


@pytest.mark.parametrize(
    ("text", "span", "message"),
    [
        ("%{SERVR}", (2, 7), "did you mean %{SERVER}?"),
        ("%{server}", (2, 8), "did you mean %{SERVER}?"),
        ("%{SERVER_NAME}", (2, 13), "did you mean %{SERVER}?"),
        ("%{ RESOURCE }", (2, 12), "did you mean %{RESOURCE}?"),
        ("%{RESSOURCE}", (2, 11), "did you mean %{RESOURCE}?"),
        ("%{GLOBL}", (2, 7), "did you mean %{GLOBAL}?"),
        ("%{GLOBAL:x}", (2, 10), "did you mean %{GLOBAL}?"),
        ("%{env:GROUP}", (2, 11), "did you mean %{ENV:GROUP}?"),
        ("%{ENVV:GROUP}", (2, 12), "did you mean %{ENV:GROUP}?"),
        ("%{ENV}", (2, 5), "did you mean %{ENV:variable}?"),
        ("%{HTTP_HOST}", (2, 11), "there are %{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable}"),
        ("%{}", (2, 2), "the variable has no name"),
        ("%{ENV:}", (6, 6), "needs the name of an environment variable"),
        ("%{ENV:A=B}", (7, 8), "'='"),
        ("%{ENV:%{SERVER}", (7, 8), "'{'"),
        ("%{GLOBAL", (0, 8), "no closing brace"),
        ("%{", (0, 2), "no closing brace"),
        ("%{GLOBAL}}", (9, 10), "must be the whole name"),
        ("%{GLOBAL} ", (9, 10), "must be the whole name"),
        ("%{ENV:x}-a", (8, 10), "must be the whole name"),
        ("a-%{ENV:x}", (2, 10), "must be the whole name"),
        ("a-%{ENV:x}-b", (2, 10), "must be the whole name"),
        ("a-%{ENV", (2, 7), "must be the whole name"),
        ("a\0b", (1, 2), "U+0000"),
        ("a\nb", (1, 2), "U+000A"),
        ("%{ENV:a\tb}", (7, 8), "U+0009"),
        ("\ud800", (0, 1), "U+D800"),
    ],
)
def test_syntax_error(text: str, span: tuple[int, int], message: str) -> None:
    """What is no group name is refused with a caret under the wrong part, and a guess where one is near."""
    with pytest.raises(GroupNameSyntaxError) as caught:
        parse(text)
    assert caught.value.text == text
    assert caught.value.span == span
    assert message in caught.value.message


def test_caret() -> None:
    """The text of a syntax error shows the setting, and carets under the wrong part of it."""
    with pytest.raises(GroupNameSyntaxError) as caught:
        parse("%{SERVR}")
    assert str(caught.value).splitlines() == [
        "unknown variable %{SERVR}; did you mean %{SERVER}?",
        "    %{SERVR}",
        "      ^^^^^",
    ]


@pytest.mark.parametrize(
    "text", ["%", "%GLOBAL", "{GLOBAL}", "100%", "% {GLOBAL}", "%%", "a}b", "~user", "mañana", " "]
)
def test_explicit_names(text: str) -> None:
    """Text without the two characters that begin a variable is itself, whatever else is in it."""
    assert parse(text).expand(facts()) == text


@pytest.mark.parametrize(
    ("text", "is_literal", "depends_on_env"),
    [
        ("shop", True, False),
        ("", True, False),
        ("%{GLOBAL}", True, False),
        ("%{SERVER}", False, False),
        ("%{RESOURCE}", False, False),
        ("%{ENV:x}", False, True),
    ],
)
def test_what_a_name_depends_on(text: str, is_literal: bool, depends_on_env: bool) -> None:
    """A name knows whether it is one for all requests, and whether the request's environment has a say in it."""
    name = parse(text)
    assert (name.is_literal, name.depends_on_env) == (is_literal, depends_on_env)


def test_the_variable_that_a_name_depends_on() -> None:
    """%{ENV:x} names it; nothing else has one."""
    assert parse("%{ENV:A.B c}").variable == "A.B c"
    assert [parse(text).variable for text in ("", "shop", "%{GLOBAL}", "%{SERVER}", "%{RESOURCE}")] == [None] * 5


def test_equal_as_written() -> None:
    """Two names are one key exactly when their settings are written the same, and text gives the setting back."""
    assert {parse("%{SERVER}"): 1}[GroupName("%{SERVER}")] == 1
    assert parse("%{GLOBAL}") != parse("")
    assert str(parse("%{SERVER}")) == "%{SERVER}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("www.example.com", ("www.example.com", None)),
        ("www.example.com:8080", ("www.example.com", 8080)),
        ("www.example.com:", ("www.example.com", None)),
        ("[::1]:8080", ("[::1]", 8080)),
        ("[::1]", ("[::1]", None)),
        ("::1", ("::1", None)),
        ("[::1]8080", ("[::1]8080", None)),
        ("www.example.com:000080", ("www.example.com:000080", None)),
        ("www.example.com:http", ("www.example.com:http", None)),
        ("www.example.com:0", ("www.example.com:0", None)),
        ("www.example.com:65535", ("www.example.com", 65535)),
        ("www.example.com:65536", ("www.example.com:65536", None)),
        ("www.example.com:٨٠", ("www.example.com:٨٠", None)),
        ("www.example.com:80\n", ("www.example.com:80\n", None)),
        (":80", (":80", None)),
        ("", ("", None)),
    ],
)
def test_split_server_name(text: str, parts: tuple[str, int | None]) -> None:
    """A port is one to five ASCII digits after the host's last colon, within range; all else is part of the name."""
    assert split_server_name(text) == parts


HOSTS = st.from_regex(r"[a-z]([a-z0-9.-]{0,20}[a-z0-9])?|\[[0-9a-f:]{2,20}\]", fullmatch=True)
PORTS = st.integers(1, 65535)
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40)


@given(PRINTABLE.filter(lambda text: "%{" not in text))
def test_any_text_is_a_name(text: str) -> None:
    """Without a variable in it every printable text is a literal name, and stands for itself."""
    name = parse(text)
    assert name.is_literal
    assert name.expand(facts()) == text


PIECES = ["%{", "}", "%", "{", ":", "=", "GLOBAL", "SERVER", "RESOURCE", "ENV", "ENV:", "ENV:x", "x", "\0", "é", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_parse_or_caret(text: str) -> None:
    """Whatever is written parses, or is refused with a span inside it; with %{ in it nothing parses but a variable."""
    try:
        name = parse(text)
    except GroupNameSyntaxError as error:
        start, end = error.span
        assert 0 <= start <= end <= len(text)
        assert "%{" in text or "\0" in text
    else:
        assert str(name) == text
        assert "\0" not in text
        if "%{" in text:
            variable = text.removeprefix("%{").removesuffix("}")
            assert text == f"%{{{variable}}}"
            assert variable in {"GLOBAL", "SERVER", "RESOURCE"} or variable.startswith("ENV:")
            assert not set("{}=") & set(variable)


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="={}"), min_size=1),
    PRINTABLE.filter(lambda value: value not in {"%{GLOBAL}", "%{SERVER}", "%{RESOURCE}"}),
)
@example("APPLICATION_GROUP", "%{SERVER")
def test_any_variable(variable: str, value: str) -> None:
    """Every variable that an environment can hold can be named, and a plain value of it is the group's name."""
    name = parse(f"%{{ENV:{variable}}}")
    if value and "%{" not in value:
        assert name.expand(facts(env={variable: value})) == value
        assert name.expand(facts(process_env={variable: value})) == value
    else:
        with pytest.raises(GroupNameUnresolved):
            name.expand(facts(env={variable: value}))


@given(HOSTS, PORTS)
def test_name_can_be_split_again(host: str, port: int) -> None:
    """What %{SERVER} puts together comes apart into the same host and port, so no two servers get one name."""
    name = parse("%{SERVER}").expand(facts(host, port=port))
    assert split_server_name(name) == (host, None if port in {80, 443} else port)
    assert parse("%{SERVER}").expand(facts(f"{host}:{port}", port=1)) == name


@given(st.text(max_size=30))
def test_split_server_name_loses_nothing(text: str) -> None:
    """Any text comes apart into a name and a port in range, and the two say the same as the text did."""
    name, port = split_server_name(text)
    if port is None:
        assert text in {name, f"{name}:"}
    else:
        assert 1 <= port <= 65535
        assert text.startswith(f"{name}:")
        assert int(text.removeprefix(f"{name}:")) == port
