"""Scripts in directories and users' directories, asked for through the whole ASGI application on a real tree."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncgroups import ApplicationGroups, config
from asyncgroups.explanation import Target, explain
from tests.oracle import tree
from tests.serve.urls import NOT_FOUND, SERVED, W, group_of, make
from tests.serving import until


class Answer(NamedTuple):
    """What a client gets. told: what the script says."""

    status: int
    body: bytes
    told: dict[str, Any]


type Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site")
    make(root)
    return root


@pytest.fixture(scope="module")
def ask(root: Path) -> Iterator[Ask]:
    groups = ApplicationGroups.from_file(root / "site.toml")

    def ask(raw_path: bytes, *, host: bytes = b"www.example.com", method: str = "GET") -> Answer:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw_path).decode(errors="replace"),
            "raw_path": raw_path,
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", host)],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 4000),
        }
        portal.call(groups, scope, receive, send)
        said = dict(sent[0]["headers"]).get(b"x-said", b"{}")
        return Answer(sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:]), json.loads(said))

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(groups.running()):
        yield ask


@pytest.mark.parametrize(("raw_path", "group", "script", "path_info"), SERVED)
def test_served(ask: Ask, root: Path, raw_path: bytes, group: str, script: str, path_info: str) -> None:
    """A script runs in its group, with its SCRIPT_NAME and PATH_INFO."""
    answer = ask(raw_path)
    assert answer.status == 200
    told = answer.told
    assert (told["group"], told["script"], told["path_info"]) == (group, f"{root}/{script}", path_info)
    assert quote(told["script_name"], safe="/~").encode() == quote(unquote(raw_path), safe="/~").encode().replace(
        b"//", b"/"
    ).removesuffix(quote(path_info, safe="/~").encode())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("raw_path", NOT_FOUND)
def test_not_found(ask: Ask, raw_path: bytes, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is no script is not found, whatever it is, and the log has one line on it."""
    caplog.set_level(logging.INFO, "asyncgroups")
    answer = ask(raw_path, method=method)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")
    (record,) = [one for one in caplog.records if one.levelno >= logging.INFO]
    assert record.levelno == logging.INFO
    assert record.message.isprintable()
    assert len(record.message) < 1000


@pytest.mark.parametrize("raw_path", [W + b"/app.wsgi", b"/~bob/wsgi-scripts/app.wsgi"])
def test_no_users_elsewhere(ask: Ask, raw_path: bytes) -> None:
    """Where a virtual host has no users there are none of the server's."""
    assert ask(raw_path, host=b"bare.example.com").status == 404


TOKENS = [b"/", b"//", b".", b"..", b"%2e", b"%2F", b"%252f", b"\\", b"%5c", b"%00", b"%0a", b"~", b"%7e", b"\xc3\xa9"]
NAMES = [
    *[b"~alice", b"%7Ebob", b"~mallory", b"~eve", b"~frank", b"alice", b"bob", b"home", b"public_html"],
    *[b"wsgi-scripts", b"app.wsgi", b"foo", b"sub", b"deep.wsgi", b"to-bob.wsgi", b"secret.wsgi", b"off", b"sites"],
    *[b"red", b"shop", b"index.html", b".git"],
]
SEGMENTS = st.one_of(st.sampled_from([b"/" + name for name in NAMES]), st.sampled_from(NAMES), st.sampled_from(TOKENS))
USERS = st.tuples(
    st.sampled_from([b"/~alice", b"/%7Ebob", b"//~mallory", b"/~alice/../~bob", b"/~eve", b"/~alice%2f..%2fbob"]),
    st.sampled_from([b"/wsgi-scripts", b"/wsgi-scripts/", b"/wsgi-scripts/..", b"", b"/wsgi-scripts/bob"]),
    st.lists(SEGMENTS, max_size=3).map(b"".join),
).map(b"".join)
PATHS = st.one_of(USERS, st.lists(SEGMENTS, max_size=7).map(b"".join).map(lambda path: b"/" + path))


@settings(max_examples=400, deadline=None)
@given(raw_path=PATHS)
@example(raw_path=b"/~alice/wsgi-scripts/app.wsgi")
@example(raw_path=b"/~mallory/wsgi-scripts/own.wsgi")
def test_whatever_path_is_written(ask: Ask, root: Path, raw_path: bytes) -> None:
    """A script of a user runs in that user's group and no other one does; what does not run is not found, or shown."""
    answer = ask(raw_path)
    assert answer.status in (200, 404)
    assert b"def application" not in answer.body
    if answer.status == 404:
        return
    script = Path(answer.told["script"]).relative_to(root)
    assert answer.told["group"] == group_of(root, script)
    target = Target("http", b"www.example.com", 80, raw_path.replace(b"\xc3\xa9", b"%C3%A9"))
    explained = explain(config.read(str(root / "site.toml")), target, env={}, process_env={})
    assert explained.refusal is None
    assert (explained.script, explained.application_group) == (str(root / script), answer.told["group"])


def test_a_rule_that_takes_too_long(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """A path on which an expression takes too long is answered 500, and the log says once which one it is."""
    answer = ask(b"/slow/" + b"a" * 60 + b"!")
    assert answer.status == 500
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "the regular expression '^/slow/(a|aa)+$' takes too long on '/slow/aaaa" in record.message


def test_a_script_that_is_gone(ask: Ask, root: Path) -> None:
    """A script that is deleted is not found any more, a moment later, and found when it is back."""
    path = root / "htdocs/gone.wsgi"
    path.write_text(tree.APPLICATION)
    assert ask(b"/gone.wsgi").status == 200
    path.unlink()
    until(lambda: ask(b"/gone.wsgi").status == 404, 10)
    path.write_text(tree.APPLICATION)
    assert ask(b"/gone.wsgi").status == 200
