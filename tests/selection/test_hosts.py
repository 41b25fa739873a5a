"""Host header -> virtual host: by name, alias and the socket's port; the server config for all that is nobody's."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.selection.hosts import VirtualHost, VirtualHosts

Hosting = Callable[..., VirtualHost]


@pytest.fixture(scope="session")
def site(host: Hosting) -> VirtualHosts:
    return VirtualHosts(
        host("www.example.com", aliases=["*.fallback.example"], place="server"),
        [
            host("blog.example.com", aliases=["Blog.Example.ORG", "*.blog.example.com"], place="blog"),
            host("shop.example.com:8080", aliases=["shop.example.org"], place="shop"),
            host("two.example.com:80", aliases=["*.two.example.com"], place="two, 80"),
            host("two.example.com:443", aliases=["*.two.example.com"], place="two, 443"),
            host("three.example.com:8001", place="three, 8001"),
            host("three.example.com", place="three"),
            host("www.example.com:8080", place="www, 8080"),
            host("[2001:DB8::1]", place="brackets"),
            host("2001:db8::2", place="no brackets"),
            host("any.example.net", aliases=["*.example.com", "*.a.b.blog.example.com"], place="any"),
            host(None, aliases=["alias.example.com."], place="no name"),
        ],
    )


@pytest.mark.parametrize(
    ("header", "port", "place"),
    [
        # by name
        (b"blog.example.com", 80, "blog"),
        (b"BLOG.Example.Com", 80, "blog"),
        (b"blog.example.com:80", 80, "blog"),
        (b"blog.example.com:1234", 80, "blog"),
        (b"blog.example.com:", 80, "blog"),
        (b"blog.example.com.", 80, "blog"),
        (b"blog.example.com.:80", 80, "blog"),
        (b"[2001:db8::1]", 80, "brackets"),
        (b"[2001:db8::1]:8000", 8000, "brackets"),
        (b"[2001:db8::2]:8000", 8000, "no brackets"),
        # by alias
        (b"blog.example.org", 80, "blog"),
        (b"alias.example.com", 80, "no name"),
        # by wildcard: longest first, after exact names, never the bare domain
        (b"x.blog.example.com", 80, "blog"),
        (b"x.y.blog.example.com:1", 80, "blog"),
        (b"x.a.b.blog.example.com", 80, "any"),
        (b"a.b.blog.example.com", 80, "blog"),
        (b"x.example.com", 80, "any"),
        (b"example.com", 80, "server"),
        (b".example.com", 80, "server"),
        (b"x.fallback.example", 80, "server"),
        # by port: alone it decides nothing, among those that share a name it is the socket's and not the client's
        (b"shop.example.com", 80, "shop"),
        (b"shop.example.org", None, "shop"),
        (b"two.example.com", 80, "two, 80"),
        (b"two.example.com", 443, "two, 443"),
        (b"two.example.com:80", 443, "two, 443"),
        (b"x.two.example.com", 443, "two, 443"),
        (b"three.example.com", 8001, "three, 8001"),
        (b"three.example.com:8001", 80, "three"),
        (b"three.example.com", None, "three"),
        # the server config has a name, too
        (b"www.example.com", 80, "server"),
        (b"www.example.com:8080", 80, "server"),
        (b"www.example.com", 8080, "www, 8080"),
        # nobody for this port: what is less exact is asked next
        (b"two.example.com", 8000, "any"),
        (b"x.two.example.com", None, "any"),
        # nobody's
        (None, 80, "server"),
        (b"", 80, "server"),
        (b"other.example", 80, "server"),
        (b"*.blog.example.com", 80, "blog"),
        (b"blog.example.comx", 80, "server"),
        (b"xblog.example.org", 80, "server"),
        (b"blog.example.org:80:80", 80, "server"),
        (b"user@blog.example.org", 80, "server"),
        (b"blog.example.org, x", 80, "server"),
        (b"\xff\xfe\x00", 80, "server"),
        (b"[", 80, "server"),
        (b"." * 300, 80, "server"),
        (b"a." * 200 + b"blog.example.com", 80, "server"),
        (b"blog.example.com:" + b"1" * 5000, 80, "server"),
    ],
)
def test_match(site: VirtualHosts, header: bytes | None, port: int | None, place: str) -> None:
    """Exact names beat wildcards, long wildcards short ones; sharers are told apart by port; else the server."""
    assert site.match(header, port).place == place


@pytest.mark.parametrize(
    ("header", "place"), [("Blog.example.com.:80", "blog"), ("", "server"), ("\ud800", "server"), ("é", "server")]
)
def test_match_text(site: VirtualHosts, header: str, place: str) -> None:
    """A Host header that has been decoded already is matched like one in bytes."""
    assert site.match(header, 80).place == place


def test_first_of_two(host: Hosting) -> None:
    """Where two virtual hosts have one name and one port the first in the file answers."""
    first, second = host("a.example", place="first"), host("A.example", place="second")
    assert VirtualHosts(host(None), [first, second]).match(b"a.example", 80) is first


def test_alias_of_itself(host: Hosting) -> None:
    """A virtual host that lists its own name as an alias shares it with nobody: its port still decides nothing."""
    alone = host("a.example:8080", aliases=["A.example"])
    assert VirtualHosts(host(None), [alone]).match(b"a.example", 80) is alone


@pytest.mark.parametrize("header", [None, b"", b"unknown.example", b"[::1]", b"x" * 300])
def test_who_answers_for_unknown_names(host: Hosting, header: bytes | None) -> None:
    """Where one is named it answers for every name that is nobody's; the server config keeps its own name."""
    first, second = host("a.example.com", place="first"), host("b.example.com", place="second")
    server = host("www.example.com", place="server")
    hosts = VirtualHosts(server, [first, second], default=second)
    assert hosts.match(header, 80) is second
    assert hosts.match(b"a.example.com", 80) is first
    assert hosts.match(b"www.example.com", 80) is server
    assert VirtualHosts(server, [first, second]).match(header, 80) is server


def test_no_virtual_hosts(host: Hosting) -> None:
    """Without virtual hosts the server config answers for every name."""
    server = host("www.example.com")
    assert VirtualHosts(server, []).match(b"blog.example.com", 80) is server


@pytest.mark.parametrize(
    ("server_name", "aliases"),
    [("*.example.com", []), (None, ["www.*"]), (None, ["a*.example.com"]), (None, ["*"]), (None, ["*.*.example.com"])],
)
def test_misplaced_wildcard(host: Hosting, server_name: str | None, aliases: list[str]) -> None:
    """A wildcard that would never match is refused, and the message says where it stands."""
    with pytest.raises(ValueError, match=r"^virtual_host\[2\]: "):
        host(server_name, aliases=aliases, place="virtual_host[2]")


def test_repr(host: Hosting) -> None:
    """The repr lists the names that are served."""
    hosts = VirtualHosts(host(None), [host("a.example"), host(None, place="virtual_host[1]")])
    assert repr(hosts) == "<VirtualHosts: a.example, virtual_host[1], server config>"


# The oracle: every virtual host in turn, scored by how exactly it covers the name and the port.


def naive_match(hosts: VirtualHosts, name: str, port: int | None) -> VirtualHost:
    everyone = [*hosts.virtual_hosts, hosts.server]
    best: tuple[int, int, int] = (-1, 0, 0)
    found = hosts.server
    for order, candidate in enumerate(everyone):
        server_name, _, own_port = (candidate.server_name or "").partition(":")
        for pattern in (server_name, *candidate.server_alias):
            wild = pattern.startswith("*.")
            if not pattern or not (name.endswith(pattern[1:]) if wild else name == pattern):
                continue
            sharers = {
                other.server_name.partition(":")[2] if other.server_name else ""
                for other in everyone
                if pattern in {(other.server_name or "").partition(":")[0], *other.server_alias}
            }
            if len(sharers) > 1 and own_port not in {"", str(port)}:
                continue
            exactness = len(pattern) if wild else 1000
            score = (exactness, int(own_port != "" and len(sharers) > 1), -order)
            if score > best:
                best, found = score, candidate
    return found


NAME = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(".".join)
PORT = st.sampled_from([80, 81, 82])
SERVER_NAME = st.one_of(st.none(), NAME, st.builds("{}:{}".format, NAME, PORT))
ALIASES = st.lists(st.one_of(NAME, NAME.map("*.{}".format)), max_size=3)


@given(st.lists(st.tuples(SERVER_NAME, ALIASES), min_size=1, max_size=5), NAME, st.one_of(st.none(), PORT))
def test_index_against_the_oracle(
    host: Hosting, configured: list[tuple[str | None, list[str]]], name: str, port: int | None
) -> None:
    """The index finds the virtual host that comparing all of them finds."""
    everyone = [host(name, aliases=aliases, place=str(i)) for i, (name, aliases) in enumerate(configured)]
    hosts = VirtualHosts(everyone[0], everyone[1:])
    found = hosts.match(name.encode(), port)
    assert found.place == (naive_match(hosts, name, port) if everyone[1:] else everyone[0]).place


@given(st.one_of(st.binary(), st.text()), st.one_of(st.none(), st.integers()))
def test_any_header(site: VirtualHosts, header: bytes | str, port: int | None) -> None:
    """Any bytes and any text in the Host header lead to some configured virtual host, never to an error."""
    assert site.match(header, port) in {site.server, *site.virtual_hosts}


@given(st.sampled_from(["blog.example.com", "two.example.com", "x.example.com", "zzz"]), PORT, st.integers(0, 99999))
def test_port_of_the_header(site: VirtualHosts, name: str, port: int, claimed: int) -> None:
    """A port within range in the Host header changes nothing: it is the client's word against the socket's."""
    header = f"{name}:{max(1, claimed % 65536)}".encode()
    assert site.match(header, port) is site.match(name.encode(), port)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"blog.example.com", "blog.example.com:8080"),
        (b"BLOG.example.com.:1", "blog.example.com:8080"),
        (b"Alias.Example.Org", "alias.example.org"),
        (b"a.blog.example.com", "*.blog.example.com"),
        (b"b.a.blog.example.com", "*.a.blog.example.com"),
        (b"www.blog.example.com", "www.blog.example.com"),
        (b".blog.example.com", None),
        (b"example.com", None),
        (b"", None),
    ],
)
def test_the_name_that_a_host_header_stands_for(host: Hosting, header: bytes, name: str | None) -> None:
    """It is the one that made the choice, as it was written: an exact one first, then the longest wildcard."""
    aliases = ["alias.example.org", "*.blog.example.com", "*.a.blog.example.com", "www.blog.example.com"]
    one = host("blog.example.com:8080", aliases=aliases)
    assert one.name_for(header) == name
    assert (VirtualHosts(host(None, place="server"), [one]).match(header, 80) is one) == (name is not None)
