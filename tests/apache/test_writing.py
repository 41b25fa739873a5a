"""What is written is TOML, reads well, and gives the same mapping back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.apache.writing import toml

scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.booleans(), st.integers(-9, 99), st.floats(0, 9)
)
keys = st.text(st.sampled_from("aB_-. \"'\\é\n"), max_size=4) | st.sampled_from(
    ["directory", "process_group", "userdir"]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
mounts = st.lists(st.dictionaries(keys.filter(lambda key: key != "mount"), values, max_size=3), min_size=1, max_size=2)
mappings = st.builds(
    lambda own, below, hosts, groups: (
        own
        | {"mount": below}
        | {"virtual_host": [{**host, "mount": below} for host in hosts], "process_group": groups}
        | {"userdir": own}
    ),
    st.dictionaries(keys, values, max_size=3),
    mounts,
    mounts,
    st.dictionaries(keys, st.dictionaries(keys, values, max_size=2), min_size=1, max_size=2),
)


@given(mappings)
def test_comes_back(mapping: dict[str, object]) -> None:
    """Whatever is written reads back as it was."""
    assert tomllib.loads(toml(mapping)) == mapping


def test_form() -> None:
    """Keys come before tables, tables have headers, expressions are literal strings, long lists take several lines."""
    mapping = {
        "server_name": "www.example.com",
        "mount": [{"match": r"^/a\.b", "script": "/srv/'\\1'/a", "env": {"A B": "c\td"}}],
        "threads": 4,
        "process_group": {"a.b": {"processes": 2}},
        "rewrite": [{"condition": [{"test": "%{HTTP_HOST}", "match": "x" * 90}]}],
        "preload": True,
        "env": {},
    }
    assert toml(mapping) == (
        'server_name = "www.example.com"\n'
        "threads = 4\n"
        "preload = true\n"
        "env = {}\n"
        "\n[[mount]]\n"
        "match = '^/a\\.b'\n"
        "script = \"/srv/'\\\\1'/a\"\n"
        'env = { "A B" = "c\\td" }\n'
        '\n[process_group."a.b"]\n'
        "processes = 2\n"
        "\n[[rewrite]]\n"
        "condition = [\n"
        f'    {{ test = "%{{HTTP_HOST}}", match = "{"x" * 90}" }},\n'
        "]\n"
    )


def test_bytes_that_are_no_text() -> None:
    """What TOML cannot hold is replaced, or refused."""
    assert toml({"a": "/srv/\udce9"}) == 'a = "/srv/\ufffd"\n'
    with pytest.raises(TypeError, match="no value"):
        toml({"a": None})
