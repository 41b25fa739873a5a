"""The key of a request, and the cookie for one: what counts, what does not, and what the application sees of it."""

import re
from http.cookies import SimpleCookie
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.config import KeySource, ProcessSettings, Sticky
from asyncgroups.frontend.request import Head
from asyncgroups.frontend.sticky import LONGEST_KEY, Key, Source, WithCookie, sources
from asyncgroups.wire.messages import TOKEN

PROCESS_ENV = {"TENANT": "of the process", "EMPTY": ""}


def scope(*headers: tuple[bytes, bytes], **changes: Any) -> Any:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "headers": headers,
        "client": ("192.0.2.1", 5000),
        **changes,
    }


def source(text: str, *, name: str = "back") -> Source:
    """A source of its own, as of a server of its own."""
    kind, _, argument = text.partition(":")
    sticky = Sticky(text, KeySource(kind), argument)
    return sources({name: ProcessSettings(name=name, sticky=sticky)}, process_env=PROCESS_ENV)[name]


def test_only_what_is_sticky() -> None:
    """Other process groups have no source of keys, and cost nothing."""
    assert sources({"back": ProcessSettings(name="back")}, process_env={}) == {}


KEYS: list[tuple[str, Any, dict[str, str], bytes | None]] = [
    ("client", scope(), {}, b"192.0.2.1"),
    ("client", scope(client=("2001:db8::1", 1)), {}, b"2001:db8::1"),
    ("client", scope(client=None), {}, None),
    ("client", scope(client=("", None)), {}, None),
    ("header:X-User", scope((b"x-user", b"mia")), {}, b"mia"),
    ("header:x-user", scope((b"X-USER", b"mia")), {}, b"mia"),
    ("header:X-User", scope((b"x-user", b"a"), (b"y", b"z"), (b"x-user", b"b")), {}, b"a,b"),
    ("header:X-User", scope((b"x-users", b"mia"), (b"y", b"x-user")), {}, None),
    ("header:X-User", scope((b"x-user", b"")), {}, None),
    ("header:X-User", scope((b"x-user", b"\xff" * 64)), {}, b"\xff" * 64),
    ("environment:TENANT", scope(), {"TENANT": "of the request"}, b"of the request"),
    ("environment:TENANT", scope(), {}, b"of the process"),
    ("environment:TENANT", scope(), {"TENANT": ""}, None),
    ("environment:NONE", scope(), {}, None),
    ("environment:EMPTY", scope(), {}, None),
    ("environment:X", scope(), {"X": "\udcff\u2028"}, b"\xed\xb3\xbf\xe2\x80\xa8"),
]


@pytest.mark.parametrize(("text", "scope", "env", "key"), KEYS)
def test_keys(text: str, scope: Any, env: dict[str, str], key: bytes | None) -> None:
    """Each is what its setting says; where there is nothing there is no key."""
    assert source(text)(Head(scope), MappingProxyType(env)) == Key(key, None)


def test_a_long_key() -> None:
    """It is kept as something short, which still tells two of them apart."""
    found = [source("header:X")(Head(scope((b"x", b"x" * 60_000 + end))), {}).value for end in (b"a", b"a", b"b")]
    assert found[0] == found[1] != found[2]
    assert all(key is not None and len(key) <= LONGEST_KEY for key in found)


# Cookies --------------------------------------------------------------------------------------------------------------


def ask(source: Source, *cookies: bytes, **changes: Any) -> tuple[Key, list[bytes]]:
    """The key, and the Cookie fields that are left."""
    head = Head(scope(*((b"cookie", one) for one in cookies), **changes))
    key = source(head, {})
    assert head.fields[::2] == [b"cookie"] * (len(head.fields) // 2)
    return key, head.fields[1::2]


def issued(source: Source) -> tuple[bytes, bytes]:
    """A cookie as a client sends it back, and its key."""
    key, _ = ask(source)
    assert key.cookie is not None
    assert key.value is not None
    return key.cookie.partition(b";")[0], key.value


def test_a_cookie_is_set_once() -> None:
    """Where there was none a new one is set; it brings the same key again, and none is set then."""
    cookie = source("cookie")
    sent, value = issued(cookie)
    assert ask(cookie, sent) == (Key(value, None), [])
    assert issued(cookie)[1] != value


@pytest.mark.parametrize(
    ("changes", "attributes"),
    [
        ({}, "Path=/; HttpOnly; SameSite=Lax"),
        ({"scheme": "https"}, "Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"root_path": "/site", "path": "/site/x", "raw_path": b"/site/x"}, "Path=/site; HttpOnly; SameSite=Lax"),
        ({"root_path": "/a/b c/"}, "Path=/a/b%20c; HttpOnly; SameSite=Lax"),
        ({"root_path": "/a;Domain=example.com"}, "Path=/; HttpOnly; SameSite=Lax"),
        ({"root_path": "//a"}, "Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_what_the_cookie_says(changes: dict[str, Any], attributes: str) -> None:
    """It is out of scripts' reach, for this application alone, and where the connection is encrypted for such ones."""
    key, _ = ask(source("cookie"), **changes)
    assert key.cookie is not None
    assert re.fullmatch(rf"asyncgroups-back=[0-9a-f]{{64}}; {re.escape(attributes)}", key.cookie.decode())
    assert "asyncgroups-back" in SimpleCookie(key.cookie.decode())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_its_name(name: str) -> None:
    """It is a token (RFC 6265 section 4.1.1), neither long nor another process group's."""
    found, other = (issued(source("cookie", name=one))[0].partition(b"=")[0] for one in (name, name + "_"))
    assert not found.translate(None, TOKEN)
    assert len(found) <= 80
    assert found != other


def forged(sent: bytes, value: bytes) -> dict[str, bytes]:
    name, _, content = sent.partition(b"=")
    return {
        "another identity": name + b"=" + bytes(content[31::-1]) + content[32:],
        "no signature": name + b"=" + value,
        "another signature": name + b"=" + value + b"0" * 32,
        "cut": sent[:-1],
        "longer": sent + b"0",
        "in capitals": name + b"=" + content.upper(),
        "empty": name + b"=",
        "no value": name,
        "quoted": name + b'="' + content + b'"',
        "no ASCII": name + b"=" + b"\xff" * 64,
        "a group of this name elsewhere": issued(source("cookie"))[0],
        "another group of this server": _of_another_group,
    }


_both = sources(
    {name: ProcessSettings(name=name, sticky=Sticky("cookie", KeySource.COOKIE)) for name in ("back", "other")},
    process_env={},
)
_of_another_group = b"asyncgroups-back=" + issued(_both["other"])[0].partition(b"=")[2]


@pytest.mark.parametrize("how", forged(*issued(_both["back"])))
def test_a_cookie_that_is_not_ours(how: str) -> None:
    """Forged, foreign or cut it counts for nothing, and the application does not see it; a new one is set."""
    sent, value = issued(_both["back"])
    wrong = forged(sent, value)[how]
    key, left = ask(_both["back"], b"a=b; " + wrong)
    assert key.value not in (None, value, issued(_both["other"])[1])
    assert key.cookie is not None
    assert left == [b"a=b"]


def test_several_of_one_name() -> None:
    """The first valid one counts, in however many fields they come; none is left."""
    cookie = source("cookie")
    (first, value), (second, _) = issued(cookie), issued(cookie)
    wrong = first[:-1] + (b"0" if first[-1:] != b"0" else b"1")
    assert ask(cookie, b"a=b; " + wrong + b"; " + first, b"c=d", second + b";" + wrong) == (
        Key(value, None),
        [b"a=b", b"c=d"],
    )


OURS = b"asyncgroups-back=0123"


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (b"%s", []),
        (b"a=1; %s; b=2", [b"a=1; b=2"]),
        (b"a=1;%s;b=2", [b"a=1;b=2"]),
        (b"%s; a=1", [b"a=1"]),
        (b"a=1; %s", [b"a=1"]),
        (b"a=1; %s;", [b"a=1;"]),
        (b" \t%s ; a=1", [b"a=1"]),
        (b'a="x y"; %s;; =b;c ; \xff', [b'a="x y";; =b;c ; \xff']),
        (b"a=%s", [b"a=%s"]),
        (b"x%s; a=1", [b"x%s; a=1"]),
        (b"ASYNCGROUPS-BACK=1", [b"ASYNCGROUPS-BACK=1"]),
        (b"asyncgroups-backs=1", [b"asyncgroups-backs=1"]),
        (b"%s; %s", []),
        (b"%s; a=1; %s", [b"a=1"]),
    ],
)
def test_what_is_left_of_the_others(sent: bytes, left: list[bytes]) -> None:
    """Other cookies reach the application as they came, byte for byte; a field with none in it does not."""
    assert ask(source("cookie"), sent.replace(b"%s", OURS))[1] == [one.replace(b"%s", OURS) for one in left]


PIECES = st.lists(
    st.sampled_from([b"a=1", b" b=2", b" asyncgroups-back=x", b"asyncgroups-back", b" asyncgroups-backs=1", b"", b' "'])
)


@given(PIECES)
def test_any_cookie_field(pieces: list[bytes]) -> None:
    """Whatever it is made of: ours are gone, and the rest stands there in its order."""
    _, left = ask(source("cookie"), b";".join(pieces))
    kept = [piece.strip() for piece in pieces if piece.strip().partition(b"=")[0] != b"asyncgroups-back"]
    assert b"".join(left).replace(b" ", b"").replace(b";", b"") == b"".join(kept)


def test_a_form_of_another_site() -> None:
    """It brings no cookie, which says nothing of whether its client has one: none takes the place of that."""
    cookie = source("cookie")
    sent, value = issued(cookie)
    elsewhere = (b"sec-fetch-site", b"cross-site")
    for method, expected in (("POST", Key(None, None)), ("GET", None)):
        key = cookie(Head(scope(elsewhere, method=method)), {})
        assert (key == expected) if expected else key.cookie
    assert cookie(Head(scope(elsewhere, (b"cookie", sent), method="POST")), {}) == Key(value, None)
    assert cookie(Head(scope((b"sec-fetch-site", b"same-origin"), method="POST")), {}).cookie


@pytest.mark.anyio
async def test_the_response() -> None:
    """The cookie comes after what the application sets; other events are passed on as they are."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    with_cookie = WithCookie(send, b"a=b")
    head = {"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"c=d")]}
    body = {"type": "http.response.body", "body": b"x"}
    await with_cookie(head)
    await with_cookie(body)
    assert sent == [{**head, "headers": [(b"set-cookie", b"c=d"), (b"set-cookie", b"a=b")]}, body]
    assert len(head["headers"]) == 1  # type: ignore[arg-type]
