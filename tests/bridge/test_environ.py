"""The environ over HTTP, down to the byte."""

import json

import pytest

from tests.bridge.site import LABELS, Log, Raw
from tests.serving import Server


def ask(raw: Raw, target: str, *headers: str, version: str = "1.1") -> dict[str, object]:
    """The environ of a request."""
    raw.send(f"GET {target} HTTP/{version}", "Host: www.example:99", *headers, "Connection: close")
    answer = raw.rest()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])


@pytest.mark.parametrize(
    ("rest", "path_info"),
    [
        ("", ""),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b/", "/a//b/"),
        ("/%FF%00%7f".replace("%00", ""), "/\xff\x7f"),
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/caf%e9", "/caf\xe9"),
        ("/a%2Fb", "/a/b"),
        ("/100%25", "/100%"),
        ("/100%25zz%", "/100%zz%"),
        ("/a+b;c=d", "/a+b;c=d"),
        ("/a/../b/./c", "/a/../b/./c"),
    ],
)
def test_path_info_is_the_bytes_of_the_request(raw: Raw, group: str, rest: str, path_info: str) -> None:
    """Percent-decoded, as latin-1; what is no UTF-8 arrives intact."""
    environ = ask(raw, f"/{group}/environ{rest}?q")
    assert environ["SCRIPT_NAME"] == f"/{group}/environ"
    assert environ["PATH_INFO"] == path_info
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == f"/{group}/environ{rest}?q"


def test_script_name_is_bytes_as_well(raw: Raw) -> None:
    """A mount's path that is no ASCII is its UTF-8 bytes as latin-1."""
    environ = ask(raw, "/r%C3%A9sum%c3%a9%20x/%E9")
    assert environ["SCRIPT_NAME"] == "/r\xc3\xa9sum\xc3\xa9 x"
    assert environ["PATH_INFO"] == "/\xe9"


@pytest.mark.parametrize("query", ["", "a=%FF&b=%2F+c&&=", "?a?b", "%zz", "a=b;c"])
def test_query_string_is_untouched(raw: Raw, group: str, query: str) -> None:
    """Nothing is decoded, joined or sorted."""
    assert ask(raw, f"/{group}/environ?{query}")["QUERY_STRING"] == query


def test_absolute_form(raw: Raw, group: str) -> None:
    """Scheme and authority are no part of the path, and select nothing (RFC 9112 section 3.2.2)."""
    environ = ask(raw, f"http://evil.example:8/{group}/environ/x?q=1")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (f"/{group}/environ", "/x")
    assert (environ["QUERY_STRING"], environ["SERVER_NAME"]) == ("q=1", "bridge.example")


def test_headers(raw: Raw, group: str) -> None:
    """Names in any case; Cookie joined with "; ", others with ","; underscores and Proxy dropped."""
    environ = ask(
        raw,
        f"/{group}/environ",
        "X-MIXED-case: 1",
        "x-mixed-CASE: 2",
        "X-Mixed-Case: 3",
        "COOKIE: a=1",
        "Cookie: b=2",
        "X-Latin: J\xfcrgen",
        "X-Empty:",
        "X_Forwarded_For: spoof",
        "X-Forwarded_For: spoof",
        "X-Forwarded-For: proxy",
        "Proxy: http://evil.example",
        "Content_Length: 7",
        "Authorization: Basic eA==",
        "CONTENT-TYPE: text/plain",
    )
    assert environ["HTTP_X_MIXED_CASE"] == "1,2,3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "J\xfcrgen"
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_X_FORWARDED_FOR"] == "proxy"
    assert "HTTP_PROXY" not in environ
    assert environ["HTTP_AUTHORIZATION"] == "Basic eA=="
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH"} & set(environ)
    assert environ["HTTP_HOST"] == "www.example:99"


def test_server_and_client(server: Server, raw: Raw, group: str) -> None:
    """The names of the server are the configuration's and the socket's, and never the Host header's."""
    address, port = raw.socket.getsockname()
    environ = ask(raw, f"/{group}/environ")
    assert environ["SERVER_NAME"] == "bridge.example"
    assert environ["SERVER_PORT"] == str(server.port)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (address, str(port))
    assert (environ["REQUEST_METHOD"], environ["wsgi.url_scheme"]) == ("GET", "http")
    assert "HTTPS" not in environ


def test_old_protocol(raw: Raw, group: str) -> None:
    """SERVER_PROTOCOL is the client's."""
    assert ask(raw, f"/{group}/environ", version="1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"


@pytest.mark.parametrize(
    ("path", "label", "process_group", "multithread"),
    [
        ("/named/environ", "bridge", "", False),
        ("/global/environ", "", "", False),
        ("/daemon/environ", "bridge", "back", False),
        ("/daemon-global/environ", "", "back", False),
        ("/many", "many", "", True),
    ],
)
def test_wsgi_keys(server: Server, path: str, label: str, process_group: str, multithread: bool) -> None:
    """multithread and multiprocess tell the truth; the group's name is there, and under mod_wsgi's names, too."""
    environ = server.get(path).json()
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.multithread"] is multithread
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    assert environ["asyncgroups.application_group"] == environ["mod_wsgi.application_group"] == label
    assert environ["asyncgroups.process_group"] == environ["mod_wsgi.process_group"] == process_group


def test_wsgi_errors(server: Server, log: Log, group: str) -> None:
    """What is written to wsgi.errors is logged with the group's name, and the lines of one write stay together."""
    server.get(f"/{group}/errors")
    said = log.wait_for("unfinished line")
    label = LABELS[group]
    assert f"[{label} #" in said
    assert "] written to wsgi.errors: one\nand two\n" in said
    assert "] written by writelines\n" in said
