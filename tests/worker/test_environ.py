"""The environ, built out of what a client may send."""

import string
import time
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncgroups.wire import messages
from asyncgroups.wire.messages import Request
from asyncgroups.worker import environ as environs
from asyncgroups.worker.environ import EnvironBuilder, header_value, unquote
from asyncgroups.worker.journal import LineStream
from asyncgroups.worker.module import VERSION
from asyncgroups.worker.streams import FileWrapper

PARTS = {
    "application": b"shop:application",
    "method": b"GET",
    "scheme": b"http",
    "http_version": b"1.1",
    "script_name": b"",
    "path_info": b"/",
    "query_string": b"",
    "target": b"/",
    "server_name": b"www.example.com",
    "server_port": b"8000",
    "client_host": b"192.0.2.1",
    "client_port": b"5000",
    "began": b"1795376044000001",
}


class NoJournal:
    """Records are kept."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str]] = []

    def record(self, level: int, text: str) -> None:
        self.records.append((level, text))


ERRORS = LineStream(NoJournal(), 40, "wsgi.errors")
NOW = 1795376044.818114
BUILDER = EnvironBuilder(process_group="", application_group="shop", threads=2, errors=ERRORS)


def request(headers=(), env=(), **parts: bytes) -> Request:
    fields = {**PARTS, **parts}
    assert fields.keys() == PARTS.keys()
    head = messages.request(
        1, tuple(fields.values()), [p for pair in env for p in pair], [p for pair in headers for p in pair]
    )
    frame = messages.start(messages.REQUEST, head, b"", complete=True)
    return messages.parse_request(frame[messages.FRAME_HEADER :])


def build(headers=(), env=(), builder: EnvironBuilder = BUILDER, **parts: bytes) -> dict[str, object]:
    return builder.build(request(headers, env, **parts), None)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text("%0aAfFgG/é", max_size=30).map(str.encode))
@example(b"%FF%00%2f%")
@example(b"%%41")
def test_unquote(path: bytes) -> None:
    """Percent-encoding is taken off as the standard library does it: invalid triplets stay, any byte may come out."""
    assert unquote(path) == unquote_to_bytes(path)


def test_an_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environ of a plain request has what PEP 3333 and mod_wsgi's applications expect, and nothing else."""
    monkeypatch.setattr(environs, "time", lambda: NOW)
    assert build(
        [(b"host", b"www.example.com:8000")],
        env=[(b"SITE", b"main")],
        script_name=b"/a%20b",
        path_info=b"/caf%C3%A9/%FF",
        query_string=b"q=%20\xff",
        target=b"/a%20b/caf%C3%A9/%FF?q=%20\xff",
    ) == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "asyncgroups",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/a b",
        "PATH_INFO": "/caf\xc3\xa9/\xff",
        "QUERY_STRING": "q=%20\xff",
        "REQUEST_URI": "/a%20b/caf%C3%A9/%FF?q=%20\xff",
        "RAW_URI": "/a%20b/caf%C3%A9/%FF?q=%20\xff",
        "REQUEST_SCHEME": "http",
        "SERVER_NAME": "www.example.com",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "5000",
        "HTTP_HOST": "www.example.com:8000",
        "SITE": "main",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "wsgi.errors": ERRORS,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "asyncgroups.process_group": "",
        "asyncgroups.application_group": "shop",
        "mod_wsgi.process_group": "",
        "mod_wsgi.application_group": "shop",
        "mod_wsgi.version": VERSION,
        "mod_wsgi.callable_object": "application",
        "mod_wsgi.script_name": "/a b",
        "mod_wsgi.path_info": "/caf\xc3\xa9/\xff",
        "mod_wsgi.request_id": "1",
        "mod_wsgi.thread_id": 1,
        "mod_wsgi.request_start": 1795376044.000001,
        "mod_wsgi.application_start": NOW,
    }


@pytest.mark.parametrize(
    ("parts", "expected", "absent"),
    [
        ({"scheme": b"https"}, {"wsgi.url_scheme": "https", "HTTPS": "on"}, []),
        ({"scheme": b"http"}, {"wsgi.url_scheme": "http"}, ["HTTPS"]),
        ({"client_host": b"", "client_port": b""}, {}, ["REMOTE_ADDR", "REMOTE_PORT"]),
        ({"http_version": b"2"}, {"SERVER_PROTOCOL": "HTTP/2"}, []),
        ({"method": b"PROPFIND"}, {"REQUEST_METHOD": "PROPFIND"}, []),
    ],
)
def test_parts(parts: dict[str, bytes], expected: dict[str, str], absent: list[str]) -> None:
    """Each part of a request has its variable, and a part that there is none of has none."""
    environ = build(**parts)
    assert environ.items() >= expected.items()
    assert not environ.keys() & set(absent)


@pytest.mark.parametrize(("threads", "multithread"), [(1, False), (2, True), (15, True)])
def test_multithread_tells_the_truth(threads: int, multithread: bool) -> None:
    """``wsgi.multithread`` says whether the group has more than one thread."""
    builder = EnvironBuilder(process_group="", application_group="", threads=threads, errors=ERRORS)
    assert build(builder=builder)["wsgi.multithread"] is multithread


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"content-type", b"text/plain")], {"CONTENT_TYPE": "text/plain"}),
        ([(b"Content-Length", b"12")], {"CONTENT_LENGTH": "12"}),
        ([(b"x-a", b"1"), (b"X-A", b"2"), (b"x-A", b"3")], {"HTTP_X_A": "1,2,3"}),
        ([(b"cookie", b"a=1"), (b"cookie", b"b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([(b"host", b"one"), (b"host", b"two")], {"HTTP_HOST": "one"}),
        ([(b"content-length", b"1"), (b"content-length", b"1")], {"CONTENT_LENGTH": "1"}),
        ([(b"content-type", b"a/b"), (b"content-type", b"c/d")], {"CONTENT_TYPE": "a/b"}),
        ([(b"x-a", b"caf\xe9")], {"HTTP_X_A": "caf\xe9"}),
        ([(b"x-a", b"")], {"HTTP_X_A": ""}),
        ([(b"x_a", b"forged"), (b"x-a", b"1")], {"HTTP_X_A": "1"}),
        ([(b"content_length", b"9"), (b"content_type", b"x")], {}),
        ([(b"proxy", b"http://evil"), (b"Proxy", b"http://evil"), (b"PROXY", b"x")], {}),
        ([(b"x-\xdfl-verify", b"forged")], {"HTTP_X_\xdfL_VERIFY": "forged"}),
    ],
)
def test_headers(headers: list[tuple[bytes, bytes]], expected: dict[str, str]) -> None:
    """Headers become the variables of PEP 3333, joined as their RFCs say, and no name can be forged."""
    bare = build()
    assert {name: value for name, value in build(headers).items() if name not in bare} == expected


name = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=8).map(str.encode) | st.sampled_from(
    [b"cookie", b"Cookie", b"proxy", b"host", b"content-type", b"content-length", b"X-Forwarded-For"]
)
value = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b""))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(name | st.binary(min_size=1, max_size=4).filter(lambda raw: b"\0" not in raw), value), max_size=12
    )
)
def test_any_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Every value of every usable name is there, in its order, under one name per name, and none is another's."""
    expected: dict[str, list[str]] = {}
    for raw, text in headers:
        lowered = raw.lower()
        if b"_" in lowered or lowered == b"proxy":
            continue
        # ASCII letters only: no case mapping of Unicode makes one name of two
        key = "".join(c.upper() if c.isascii() else c for c in lowered.decode("latin-1")).replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        expected.setdefault(key, []).append(text.decode("latin-1"))
    bare = build()
    found = {name: text for name, text in build(headers).items() if name not in bare}
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        match key:
            case "HTTP_COOKIE":
                assert found[key] == "; ".join(values)
            case "HTTP_HOST" | "CONTENT_TYPE" | "CONTENT_LENGTH":
                assert found[key] == values[0]
            case _:
                assert found[key] == ",".join(values)
    assert all(ord(c) < 256 for key, text in found.items() for c in [*key, *text])


def test_the_environ_is_the_requests_own() -> None:
    """What an application writes into one environ is in no other."""
    first = build()
    first["wsgi.version"] = first["own"] = "changed"
    assert build()["wsgi.version"] == (1, 0)
    assert "own" not in build()


def test_a_variable_cannot_change_what_the_request_is() -> None:
    """``env`` settings are variables beside those of the request, never in their place."""
    environ = build(
        [(b"host", b"x")], env=[(b"REQUEST_METHOD", b"PUT"), (b"PATH_INFO", b"/etc"), (b"HTTP_HOST", b"evil")]
    )
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["HTTP_HOST"]) == ("GET", "/", "x")


def seconds(headers: int) -> float:
    """The least of some measurements, of what this thread has had of the processor."""
    one = request([(b"x-many", b"v" * 4)] * headers)
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()
        BUILDER.build(one, None)
        best = min(best, time.thread_time() - began)
    return best


def test_many_headers_of_one_name_take_linear_time() -> None:
    """Ten times the headers of one name take about ten times the time, not a hundred times (CVE-2025-14550)."""
    assert seconds(100_000) < 35 * seconds(10_000)


def test_the_memory_of_names_is_bounded() -> None:
    """A client that varies its header names fills no memory that outlives its request."""
    builder = EnvironBuilder(process_group="", application_group="", threads=1, errors=ERRORS)
    for number in range(2000):
        assert build([(b"x-%d" % number, b"1")], builder=builder)[f"HTTP_X_{number}"] == "1"
        build([(b"y" * (200 + number), b"1")], builder=builder)
    assert len(builder._names) <= 512
    assert max(map(len, builder._names)) < 64


def test_header_value() -> None:
    """The first value of a header, by its lower-case name; names are never mistaken for values."""
    fields = [b"b", b"a", b"a", b"1", b"a", b"2"]
    assert header_value(fields, b"a") == b"1"
    assert header_value(fields, b"1") is None


def test_the_environ_of_a_script() -> None:
    """A script has a file name, in the bytes of its path, and what mod_wsgi says of scripts; a module has none."""
    environ = build(application="/srv/caf\u00e9:1/app.wsgi:second".encode(), script_name=b"/x")
    assert environ["SCRIPT_FILENAME"] == "/srv/caf\xc3\xa9:1/app.wsgi"
    assert environ["mod_wsgi.callable_object"] == "second"
    assert (environ["mod_wsgi.request_handler"], environ["mod_wsgi.handler_script"]) == ("wsgi-script", "")
    plain = build(env=[(b"SCRIPT_FILENAME", b"/etc/passwd")])
    assert "mod_wsgi.request_handler" not in plain
    assert build(application=b"/a.wsgi:f", env=[(b"SCRIPT_FILENAME", b"/x")])["SCRIPT_FILENAME"] == "/a.wsgi"
