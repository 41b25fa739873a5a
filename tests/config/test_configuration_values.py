"""What one value of the configuration may be."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncgroups.config import Configuration, Document, from_mapping
from asyncgroups.config.problems import lines_of
from asyncgroups.config.words import FileWords
from asyncgroups.errors import ConfigurationError


def configured(tmp_path: Path, text: str) -> Configuration:
    mapping = tomllib.loads(text + '\n[[mount]]\npath = "/"\napp = "shop:application"\n')
    return from_mapping(mapping, base=tmp_path, source="test")


def test_defaults(tmp_path: Path) -> None:
    """A mount is all that a configuration needs; the rest has the documented defaults."""
    configuration = configured(tmp_path, "")
    assert configuration.bind == ("127.0.0.1:8000",)
    assert configuration.log_level == "info"
    assert configuration.global_threads == 15
    assert configuration.tls is None
    assert configuration.limits.model_dump() == {"groups": 100, "backlog": 100, "request_body": 2**30}
    assert configuration.timeouts.model_dump() == {
        "startup": 60.0, "queue": 45.0, "request": 0.0, "interrupt": 5.0, "graceful": 15.0
    }  # fmt: skip
    ((host, mount, inherited),) = configuration.mounts()
    assert (host, inherited) == (configuration.server, False)
    assert str(mount.application_group) == "%{RESOURCE}"
    assert (mount.path, mount.process_group.text, mount.preload, dict(mount.env)) == ("", "", False, {})
    assert (mount.settings.threads, mount.settings.python_path, mount.settings.process_env) == (1, (), ())
    assert mount.settings.app_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("localhost", "localhost:8000"),
        ("example.com:443", "example.com:443"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::]", "[::]:8000"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
        ("fd://3", "fd://3"),
        ("unix:/run/ag.sock", "unix:/run/ag.sock"),
        ("unix:ag.sock", "unix:{folder}/ag.sock"),
    ],
)
def test_addresses(written: str, meant: str, tmp_path: Path) -> None:
    """An address is complete in the configuration: with its port, and its path absolute."""
    configuration = configured(tmp_path, f'bind = ["{written}"]')
    assert configuration.bind == (meant.format(folder=tmp_path),)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1", 1),
        ('"1"', 1),
        ('"12 B"', 12),
        ('"10 kB"', 10_000),
        ('"10 MB"', 10_000_000),
        ('"2GB"', 2_000_000_000),
        ('"64KiB"', 65_536),
        ('"1 MiB"', 2**20),
        ('"1 GiB"', 2**30),
        ('"1 tib"', 2**40),
        ('"unlimited"', None),
    ],
)
def test_sizes(written: str, size: int | None, tmp_path: Path) -> None:
    """A size is a number of bytes, a number with a decimal or binary unit, or unlimited."""
    assert configured(tmp_path, f"limits.request_body = {written}").limits.request_body == size


@pytest.mark.parametrize(
    "written", ["0", "-1", "1.5", "true", '""', '"1.5 GiB"', '"-1 MB"', '"1 XB"', '"GiB"', "[1]", '"\\u0661 MB"']
)
def test_what_is_no_size(written: str, tmp_path: Path) -> None:
    """What is no size is refused, zero included: it might mean nothing at all, or no limit."""
    with pytest.raises(ConfigurationError, match=r"limits\.request_body: must be a number of bytes"):
        configured(tmp_path, f"limits.request_body = {written}")


@pytest.mark.parametrize("written", ["0", "0.25", "3600"])
def test_seconds(written: str, tmp_path: Path) -> None:
    """Seconds are whole or not, and always a float afterwards."""
    seconds = configured(tmp_path, f"timeouts.queue = {written}").timeouts.queue
    assert isinstance(seconds, float)
    assert seconds == float(written)


@pytest.mark.parametrize(
    "name", ["www.example.com", "www.example.com:8080", "localhost", "127.0.0.1", "[::1]", "[::1]:8080", "a_b.c-d.e."]
)
def test_server_names(name: str, tmp_path: Path) -> None:
    """A server name is kept as it is written."""
    assert configured(tmp_path, f'server_name = "{name}"').server.server_name == name


LONGEST = ".".join(["x" * 49] * 5) + ".xyz"


@pytest.mark.parametrize("name", [LONGEST, f"{LONGEST}.", f"{LONGEST}:65535"], ids=["name", "dot", "port"])
def test_the_longest_server_name(name: str, tmp_path: Path) -> None:
    """A name has 253 characters at most, an alias too; no message about a longer one, or a longer key, is long."""
    assert configured(tmp_path, f'server_name = "{name}"').server.server_name == name
    for text in (
        f'server_name = "x{name}"',
        f'[[virtual_host]]\nserver_name = "x"\nserver_alias = ["*.x{LONGEST}"]',
        f'server_name = "{"x" * 100_000}"',
        f"{'x' * 100_000} = 1",
        f'[[mount]]\npath = "/x"\napp = "{"x" * 100_000}"',
    ):
        with pytest.raises(ConfigurationError) as caught:
            configured(tmp_path, text)
        assert len(str(caught.value)) < 250


def test_frozen(tmp_path: Path) -> None:
    """Nothing of a configuration can be changed once it is there."""
    configuration = configured(tmp_path, "")
    with pytest.raises(AttributeError):
        configuration.global_threads = 3  # type: ignore[misc]  # the very thing that must fail
    with pytest.raises(ValueError, match="frozen"):
        configuration.limits.groups = 3


def test_secrets_stay_inside(tmp_path: Path) -> None:
    """The password of the key shows in no repr and in no message."""
    (tmp_path / "tls.pem").touch()
    tls = 'certfile = "tls.pem"\nkeyfile = "tls.pem"\n'
    configuration = configured(tmp_path, tls + 'keyfile_password = "hunter2"')
    assert configuration.tls is not None
    assert configuration.tls.keyfile_password == "hunter2"
    assert configuration.tls.certfile == str(tmp_path / "tls.pem")
    assert "hunter2" not in repr(configuration) + repr(configuration.tls)
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, tls + "keyfile_password = 271828")
    assert "271828" not in str(caught.value)


@pytest.mark.parametrize("value", ['"hunter2"', "271828", '["hunter2"]', "{ PIN = 271828 }", "{ PIN = ['hunter2'] }"])
def test_a_process_environment_stays_inside(value: str, tmp_path: Path) -> None:
    """What is wrong in process_env is told without a word of what stands there; other variables are quoted."""
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, f"process_env = {value}")
    assert re.search("hunter2|271828", str(caught.value)) is None
    with pytest.raises(ConfigurationError, match=r"not 271828|not 'hunter2'|not a list"):
        configured(tmp_path, f"env = {value}")


def test_json_schema() -> None:
    """An editor can be given the model: it names the keys of the file, with a description of each."""
    schema = Document.model_json_schema()
    assert {"bind", "mount", "virtual_host", "global", "limits", "timeouts"} <= schema["properties"].keys()
    assert all("description" in schema["properties"][key] for key in ("bind", "server_name", "application_group"))


@pytest.mark.parametrize(
    ("loc", "text"),
    [
        (("threads",), "threads"),
        (("mount", 0, "env", "A"), "mount[0].env.A"),
        (("virtual_host", 1, "mount", 2), "virtual_host[1].mount[2]"),
        (("env", "A B"), 'env."A B"'),
        (("env", "a\nb"), 'env."a\\nb"'),
    ],
)
def test_places(loc: tuple[str | int, ...], text: str) -> None:
    """A place is written as TOML would write it, on one line."""
    assert FileWords().place(loc) == text


def test_lines() -> None:
    """Each table and key has the line it begins on, through everything that TOML lets stand in between."""
    text = """\
# [[mount]]
a = '''
[[mount]]
''' # b = 1
b.c = "# [\\"" # =
d = [ # [
  "]", {e = 1},
]
f = \"\"\"
x = 1 \\\"\"\"\"\"\"
[[g]]
h = 1
[[ g ]] # [
"h" = 2
[g.i]
'j.k' = 3
[[g.l]]
m = 1
[[g.l]]
[n]
"" . "x=[" = 1
"""
    tomllib.loads(text)
    assert lines_of(text) == {
        ("a",): 2, ("b",): 5, ("b", "c"): 5, ("d",): 6, ("f",): 9,
        ("g",): 11, ("g", 0): 11, ("g", 0, "h"): 12, ("g", 1): 13, ("g", 1, "h"): 14,
        ("g", 1, "i"): 15, ("g", 1, "i", "j.k"): 16,
        ("g", 1, "l"): 17, ("g", 1, "l", 0): 17, ("g", 1, "l", 0, "m"): 18, ("g", 1, "l", 1): 19,
        ("n",): 20, ("n", ""): 21, ("n", "", "x=["): 21,
    }  # fmt: skip


KEYS = st.sampled_from(
    [*Document.model_fields, "global", "path", "app", "server_alias", "request_body", "A", "A=B", ""]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=8)
    | st.sampled_from(["/", "/a", "a:b", "%{GLOBAL}", "%{SERVR}", "x.example:80", "unix:", "[::1]", ".", "\0"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


# The first text that hypothesis draws costs a second: it builds its tables of Unicode.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_mapping_is_taken_or_refused(table: dict[str, object]) -> None:
    """Whatever stands in a file, the answer is a configuration or a ConfigurationError with at least one problem."""
    outcome: tuple[object, ...]
    try:
        outcome = from_mapping(table, base=Path(__file__).parent, source="test").mounts()
    except ConfigurationError as error:
        outcome = error.problems
    assert outcome
    assert all(outcome)


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("www.example.com:80", "an alias has no port"),
        ("*.example.com:80", "an alias has no port"),
        ("[::1]:8080", "an alias has no port"),
        ("*.[::1]", "an address has no names below it"),
    ],
)
def test_what_is_no_alias(alias: str, reason: str, tmp_path: Path) -> None:
    """An alias has no port, also behind an IPv6 address, and a wildcard is for names."""
    text = f'[[virtual_host]]\nserver_name = "a.example.com"\nserver_alias = ["{alias}"]\n'
    with pytest.raises(ConfigurationError, match=rf"server_alias\[0\]: {re.escape(repr(alias))}: {reason}"):
        configured(tmp_path, text)
