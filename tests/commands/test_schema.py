"""``schema``: what editors are told of the configuration file."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asyncgroups import config
from asyncgroups.config import Document
from asyncgroups.config.model import PROCESS_GROUPS
from tests.commands.conftest import EXAMPLES, Run
from tests.serving import ROOT

BROKEN = ROOT / "tests" / "config" / "broken"
CASES = sorted(path.stem for path in BROKEN.glob("*.toml"))

BEYOND_A_SCHEMA = {
    "empty": "nothing is mounted",
    "groups_that_disagree": "what another mount says",
    "inherited_mounts_disagree": "what another mount says",
    "main_interpreter": "what the group is called",
    "nothing_mounted": "nothing is mounted",
    "nothing_runs": "what is in a directory",
    "users_without_a_path": "what the server says as well",
    "nowhere_to_listen": "an empty list is one",
    "tls_without_certificate": "what stands beside a key",
    "tls_without_key": "what stands beside a key",
}
NO_TOML = {"key_twice", "nested_too_deeply", "process_group_at_the_top", "syntax", "too_many_digits"}

VALIDATOR = jsonschema.Draft7Validator(config.schema())


def errors(table: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(table)]


def test_the_command_prints_it(run: Run) -> None:
    """What is printed is the schema, which is one itself, and says whose it is."""
    result = run("schema")
    assert (result.exit_code, result.stderr) == (0, "")
    schema = json.loads(result.stdout)
    assert schema == config.schema()
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["title"] == "asyncgroups.toml"


TABLES = {"the top level": config.schema(), **config.schema()["definitions"]}


@pytest.mark.parametrize("name", TABLES)
def test_every_key_has_a_description(name: str) -> None:
    """Each key says what it is for, no key may be null, and keys that are not there are refused."""
    table = TABLES[name]
    assert table["additionalProperties"] is False
    assert table["description"]
    for key, about in table["properties"].items():
        assert about["description"], f"{key} of {name}"
        assert "\n" not in about["description"]
        assert "null" not in json.dumps(about)
        assert "$ref" not in about, "what stands beside a reference counts for nothing"


def test_the_defaults_are_those_of_the_configuration() -> None:
    """A file that writes down every default means what an empty one means."""
    schema = config.schema()
    table: dict[str, Any] = {"mount": [{"path": "/", "app": "a:b"}]}
    defaults = {key: about["default"] for key, about in schema["properties"].items() if "default" in about}
    for key in ("global", "limits", "timeouts"):
        name = schema["properties"][key]["allOf"][0]["$ref"].rpartition("/")[2]
        defaults[key] = {one: about["default"] for one, about in schema["definitions"][name]["properties"].items()}
    plain, written = (
        config.from_mapping(one, base=ROOT, source="x", overrides={}) for one in (table, defaults | table)
    )
    assert set(defaults) >= {"application_group", "process_group", "threads", "preload", "app_dir", "bind", "log_level"}
    for key in ("bind", "limits", "timeouts", "global_threads", "log_level"):
        assert getattr(plain, key) == getattr(written, key)
    assert [one.mount for one in plain.mounts()] == [one.mount for one in written.mounts()]
    assert errors(defaults | table) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_valid(example: str) -> None:
    """What is right is right in an editor too."""
    assert errors(tomllib.loads((ROOT / "examples" / example / "asyncgroups.toml").read_text())) == []


def test_the_readmes_configuration_is_valid() -> None:
    """So is what the README shows."""
    block = re.search(
        r"^    # asyncgroups\.toml .*?(?=^\S)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert block is not None
    table = tomllib.loads(re.sub(r"^    ", "", block[0], flags=re.MULTILINE))
    assert table["mount"]
    assert errors(table) == []


@pytest.mark.parametrize("case", [case for case in CASES if case not in NO_TOML])
def test_the_broken_configurations(case: str) -> None:
    """An editor sees what can be known without the other keys and without the file system."""
    table = tomllib.loads((BROKEN / f"{case}.toml").read_text(encoding="utf-8-sig"))
    assert (errors(table) == []) == (case in BEYOND_A_SCHEMA)


def test_the_line_at_the_top_of_a_file(tmp_path: Path) -> None:
    """The line that editors take the schema from is a comment to ``serve``."""
    file = tmp_path / "asyncgroups.toml"
    file.write_text('#:schema ./asyncgroups.schema.json\n\n[[mount]]\npath = "/"\napp = "a:b"\n')
    assert len(config.read(file).mounts()) == 1


SAMPLES = {
    "application_group": ["", "%", "%%", "a%b", "100%", "%{GLOBAL}", "%{ENV:X}", "~mia", "é"],
    "bind": ["localhost", "h:0", "[::1]", "[::1]:1", "unix:x", "fd://3", "0.0.0.0:65535", "a_b"],
    "server_name": ["a", "a.b:1", "[::1]:80", "[::1]", "_x", "127.0.0.1"],
    "server_alias": ["*.a", "a", "[::1]", "x-y"],
    "path": ["/", "//", "/a b", "/é", "/a%", "/~u/", "/%zz"],
    "app": ["a:b", "a.b:c.d", "é:ñ", "_:__"],
    "request_body": [1, "unlimited", "1", "1b", "1 KiB", "10mb", "10 TB", "1 ", "1\tgIb"],
    "sticky": ["cookie", "client", "header:X-User", "header:!", "%{ENV:X}", "%{ENV: é:%}"],
    "startup": [0, 1, 0.5, 31536000],
    "app_dir": [".", " "],
    "env": [{}, {"A": "b"}, {"a b.c": ""}, {"é\n": "x"}],
    "threads": [1, 1000],
    "log_level": ["info"],
    "keyfile_password": ["", "x"],
}
STRUCTURE = {
    "bind": lambda value: {"bind": [value]},
    "server_alias": lambda value: {"virtual_host": [{"server_name": "a", "server_alias": [value]}]},
    "path": lambda value: {"mount": [{"path": value, "app": "a:b"}]},
    "app": lambda value: {"mount": [{"path": "/", "app": value}]},
    "request_body": lambda value: {"limits": {"request_body": value}},
    "sticky": lambda value: {"process_group": {"a": {"sticky": value}}},
    "startup": lambda value: {"timeouts": {"startup": value}},
}


def accepted(key: str, value: object) -> tuple[bool, dict[str, object]]:
    table = STRUCTURE.get(key, lambda value: {key: value})(value)
    # The reader calls these tables by another name than the setting process_group.
    read = {PROCESS_GROUPS: table["process_group"]} if key == "sticky" else table
    try:
        Document.model_validate(read)
    except ValidationError:
        return False, table
    return True, table


@pytest.mark.parametrize("key", SAMPLES)
def test_what_is_accepted_is_valid(key: str) -> None:
    """An editor complains of nothing that ``serve`` takes."""
    for value in SAMPLES[key]:
        is_accepted, table = accepted(key, value)
        assert is_accepted, value
        assert errors(table) == []


ALPHABET = st.sampled_from([*"aZ09_-.:/*[]%{}=@ ~é\n", "%{GLOBAL}", "%{ENV:", "unix:", "fd://", "KiB"])


@given(
    st.sampled_from(sorted(set(SAMPLES) - {"startup", "env", "threads", "log_level"})),
    st.lists(ALPHABET, max_size=8).map("".join),
)
def test_whatever_is_accepted_is_valid(key: str, value: str) -> None:
    """The same of texts that nobody has thought of."""
    is_accepted, table = accepted(key, value)
    if is_accepted:
        assert errors(table) == []
