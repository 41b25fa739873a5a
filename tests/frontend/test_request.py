"""From an ASGI scope to the head that crosses: what servers say, and what must not get past."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import HeadTooLarge, RequestRefused, ScriptNotFound
from asyncgroups.frontend.request import Head
from asyncgroups.wire import messages


def scope(*headers: tuple[bytes, bytes], **changes: Any) -> Any:
    made = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": None,
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 5000),
        "server": ("127.0.0.1", 8000),
        **changes,
    }
    return {name: value for name, value in made.items() if value is not ...}


def choice(script_name: str = "", path_info: bytes = b"/", server_name: str | None = None, **env: str) -> Any:
    return SimpleNamespace(
        script_name=script_name,
        path_info=path_info,
        env=env,
        mount=SimpleNamespace(application="shop:application"),
        virtual_host=SimpleNamespace(server_name=server_name),
    )


def crossed(scope: Any, chosen: Any = None) -> messages.Request:
    """The request as the worker reads it."""
    head = Head(scope).encode(chosen or choice(), 7)
    frame = messages.start(messages.REQUEST, head, b"", complete=True)
    return messages.parse_request(frame[messages.FRAME_HEADER :])


@pytest.mark.parametrize(
    ("headers", "length", "crossing"),
    [
        ([], None, []),
        ([(b"content-length", b"12")], 12, [b"12"]),
        ([(b"Content-Length", b"0")], 0, [b"0"]),
        ([(b"content-length", b"12"), (b"content-length", b"12")], 12, [b"12"]),
        ([(b"transfer-encoding", b"chunked")], None, []),
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], None, []),
        ([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")], None, []),
        ([(b"content-length", b"5"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")], None, []),
    ],
)
def test_content_length(headers: list[tuple[bytes, bytes]], length: int | None, crossing: list[bytes]) -> None:
    """Content-Length is known; one beside Transfer-Encoding counts for nothing (RFC 9112 section 6.3)."""
    assert Head(scope(*headers)).content_length == length
    fields = crossed(scope(*headers)).headers
    assert [
        value for name, value in zip(fields[::2], fields[1::2], strict=True) if name == b"content-length"
    ] == crossing


@pytest.mark.parametrize(
    "values",
    [[b"x"], [b""], [b"-1"], [b"+1"], [b"1_0"], [b" 1"], [b"1, 1"], [b"0x10"], [b"\xb2"], [b"1", b"2"], [b"9" * 5000]],
)
def test_a_content_length_that_is_none(values: list[bytes]) -> None:
    """What is no length, or more than one, is refused with 400: nobody may have understood it differently before."""
    with pytest.raises(RequestRefused) as refused:
        Head(scope(*[(b"content-length", value) for value in values]))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("changes", "root", "route"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, b"", b"/a%20b"),
        ({"path": "/a b", "raw_path": ...}, b"", b"/a%20b"),
        ({"path": "/app/x", "raw_path": b"/app/x", "root_path": "/app"}, b"/app", b"/x"),
        ({"path": "/application", "raw_path": b"/application", "root_path": "/app"}, b"", b"/application"),
        ({"path": "/x", "raw_path": b"/app/x", "root_path": "/app"}, b"/app", b"/x"),
        ({"path": "", "raw_path": b""}, b"", b""),
        ({"path": "*", "raw_path": b"*", "method": "OPTIONS"}, b"", b"/"),
        ({"path": "http://other.example/x", "raw_path": b"http://other.example/x"}, b"", b"/x"),
        ({"root_path": None}, b"", b"/"),
    ],
)
def test_the_way(changes: dict[str, Any], root: bytes, route: bytes) -> None:
    """root_path is taken off at a segment boundary, absolute targets lose their authority, ``OPTIONS *`` asks for /."""
    head = Head(scope(**changes))
    # Where root_path is no part of the path, it is the outer application's own: it stays in SCRIPT_NAME or not, as
    # selection.targets decides; what is routed is what counts here.
    assert head.route == route
    if root:
        assert head.root == root


@pytest.mark.parametrize("target", ["x", "x/y", "**", "example.com:443", "a?b"])
def test_a_target_that_is_no_path(target: str) -> None:
    """A target that is neither a path nor ``*`` is refused."""
    with pytest.raises(RequestRefused):
        Head(scope(path=target, raw_path=target.encode()))


@pytest.mark.parametrize(
    ("server", "server_name", "scheme", "name", "port"),
    [
        (("127.0.0.1", 8000), None, "http", b"127.0.0.1", b"8000"),
        (("127.0.0.1", "8000"), None, "http", b"127.0.0.1", b"8000"),
        (("::1", 8000), None, "http", b"::1", b"8000"),
        (None, None, "http", b"localhost", b"80"),
        (None, None, "https", b"localhost", b"443"),
        (("/run/ag.sock", None), None, "http", b"localhost", b"80"),
        (("/run/ag.sock", None), None, "https", b"localhost", b"443"),
        (("127.0.0.1", 8000), "www.example.com", "http", b"www.example.com", b"8000"),
        (("/run/ag.sock", None), "www.example.com", "http", b"www.example.com", b"80"),
        (..., "www.example.com", "https", b"www.example.com", b"443"),
    ],
)
def test_server(server: Any, server_name: str | None, scheme: str, name: bytes, port: bytes) -> None:
    """SERVER_NAME is the virtual host's, else the socket's; SERVER_PORT the socket's, on unix sockets the scheme's."""
    request = crossed(scope(server=server, scheme=scheme), choice(server_name=server_name))
    assert (request.server_name, request.server_port) == (name, port)


@pytest.mark.parametrize(
    ("client", "host", "port"),
    [
        (("192.0.2.1", 5000), b"192.0.2.1", b"5000"),
        (["192.0.2.1", "5000"], b"192.0.2.1", b"5000"),
        (("192.0.2.1", None), b"192.0.2.1", b""),
        (("", 0), b"", b"0"),
        (None, b"", b""),
        (..., b"", b""),
    ],
)
def test_client(client: Any, host: bytes, port: bytes) -> None:
    """The client's address crosses as the server gives it, and nothing where there is none."""
    request = crossed(scope(client=client))
    assert (request.client_host, request.client_port) == (host, port)


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"raw_path": b"/%41?x", "path": "/A"}, b"/%41?x"),
        ({"raw_path": b"/%41", "path": "/A", "query_string": b"q=1"}, b"/%41?q=1"),
        ({"raw_path": b"/%41?q=1", "path": "/A", "query_string": b"q=1"}, b"/%41?q=1"),
        ({"raw_path": ..., "path": "/é", "query_string": b"q"}, b"/%C3%A9?q"),
    ],
)
def test_target(changes: dict[str, Any], target: bytes) -> None:
    """The target is what the client wrote, with its query string once."""
    assert crossed(scope(**changes)).target == target


def test_what_crosses() -> None:
    """Every part of the scope crosses as it is, header names in lower case, in the order in which they came."""
    request = crossed(
        scope(
            *[(b"Host", b"x"), (b"X-A", b"caf\xe9"), (b"x-a", b"2")],
            method="POST",
            scheme="https",
            http_version="2",
            query_string=b"q=\xff",
            raw_path=b"/app/shop/a%2Fb",
            path="/app/shop/a/b",
            root_path="/app",
        ),
        choice("/shop 100%/é", b"/a%2Fb", SITE="main", RAW="\udcff"),
    )
    assert (request.exchange, request.application) == (7, b"shop:application")
    assert (request.method, request.scheme, request.http_version) == (b"POST", b"https", b"2")
    assert (request.script_name, request.path_info) == (b"/app/shop%20100%25/%C3%A9", b"/a%2Fb")
    assert request.query_string == b"q=\xff"
    assert request.headers == [b"host", b"x", b"x-a", b"caf\xe9", b"x-a", b"2"]
    assert request.env == [b"SITE", b"main", b"RAW", b"\xff"]


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [(b"x-a", b"1\0x-forged")]},
        {"headers": [(b"x\0a", b"1")]},
        {"query_string": b"q=\0"},
        {"raw_path": b"/\0", "path": "/\0"},
        {"method": "GE\0T"},
        {"client": ("192.0.2.1\0", 1)},
    ],
)
def test_a_nul_is_refused(changes: dict[str, Any]) -> None:
    """A NUL, which separates the parts of a message, gets into none of them."""
    with pytest.raises(RequestRefused):
        crossed(scope(**changes))


@pytest.mark.parametrize("env", [{"A": "\ud800"}, {"\udfff": "b"}], ids=ascii)
def test_a_lone_surrogate_is_refused(env: dict[str, str]) -> None:
    """What an outer application adds to the environment crosses as UTF-8, or not at all; bytes that were none do."""
    with pytest.raises(RequestRefused, match="is no Unicode"):
        crossed(scope(), choice(**env))
    assert crossed(scope(), choice(A="\udcff")).env == [b"A", b"\xff"]


def test_a_head_that_is_too_large() -> None:
    """A head beyond what a message may hold is answered with 431, not cut."""
    with pytest.raises(HeadTooLarge) as refused:
        crossed(scope((b"x-a", b"1" * messages.HEAD_LIMIT)))
    assert refused.value.status == 431
    assert crossed(scope((b"x-a", b"1" * (messages.HEAD_LIMIT - 300)))).headers[0] == b"x-a"


def test_one_host_counts() -> None:
    """Host selects the virtual host, whatever its case; an absolute target beats it; two that differ are refused."""
    assert Head(scope((b"HOST", b"one"), (b"host", b"one"))).host == b"one"
    assert Head(scope()).host is None
    absolute = Head(scope((b"host", b"one"), (b"x", b"y"), raw_path=b"http://u@two:80/p", path="/p"))
    assert (absolute.host, absolute.fields) == (b"two:80", [b"host", b"two:80", b"x", b"y"])
    with pytest.raises(RequestRefused):
        Head(scope((b"HOST", b"one"), (b"host", b"two")))


@pytest.mark.parametrize("method", ["GET /x HTTP/1.1", "", "G\x00T", "G\u20acT"])
def test_methods_that_are_none(method: str) -> None:
    """A method that is no token is refused: HTTP/2 servers let anything through."""
    made = scope()
    made["method"] = method
    with pytest.raises(RequestRefused):
        Head(made)


@pytest.mark.parametrize(
    ("server_name", "changes", "facts"),
    [
        ("www.example.com", {}, ("GET", "", "http", "HTTP/1.1", "www.example.com", "8000", "192.0.2.1")),
        (
            "www.example.com:81",
            {"method": "POST", "query_string": b"a=%20&\xff", "scheme": "https", "http_version": "2"},
            ("POST", "a=%20&\udcff", "https", "HTTP/2", "www.example.com", "81", "192.0.2.1"),
        ),
        ("x", {"server": ("/run/s", None), "client": None}, ("GET", "", "http", "HTTP/1.1", "x", "80", "")),
        ("x", {"server": None, "scheme": "https"}, ("GET", "", "https", "HTTP/1.1", "x", "443", "192.0.2.1")),
    ],
)
def test_what_rules_depend_on(server_name: str, changes: dict[str, Any], facts: tuple[str, ...]) -> None:
    """Rules see the virtual host's name and port, and the rest as the server says it."""
    assert Head(scope(**changes)).facts(server_name, "/path")[:8] == ("/path", *facts)


def test_a_script_whose_path_is_no_utf_8() -> None:
    """A script in a folder whose name is no UTF-8 is not found: its path could not cross."""
    chosen = choice()
    chosen.mount.application = "/srv/\udcff/app.wsgi:application"
    with pytest.raises(ScriptNotFound, match="is no UTF-8"):
        Head(scope()).encode(chosen, 1)


def test_the_fields_that_rules_see() -> None:
    """A field is found in whatever case it came; what came more than once is one; what did not come is empty."""
    header = (
        Head(scope((b"X-A", b"one"), (b"Cookie", b"a=1"), (b"x-a", b"\xfftwo"), (b"cookie", b"b=2")))
        .facts("www.example.com", "/")
        .header
    )
    assert [header(name) for name in ("x-a", "cookie", "x-b")] == ["one, \udcfftwo", "a=1; b=2", ""]


@given(
    headers=st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=6),
    query=st.binary(max_size=6),
)
def test_any_bytes(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    """Any headers and any query string cross unchanged, or are refused: no part is ever taken for another."""
    made = scope(*headers, query_string=query)
    try:
        request = crossed(made)
    except RequestRefused:
        assert b"\0" in query or any(b"\0" in part for pair in headers for part in pair)
        return
    assert request.query_string == query
    assert request.headers == [part for name, value in headers for part in (name.lower(), value)]
