"""The whole choice: virtual host, mount, name; with the environments merged, and no name from the client."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import GroupNameUnresolved, NotMounted
from asyncgroups.selection import KNOWN_NAMES, Choice, Selection
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.mounts import Mount

Mounting = Callable[..., Mount]
Hosting = Callable[..., VirtualHost]


@pytest.fixture
def selection(mount: Mounting, host: Hosting) -> Selection:
    server_mounts = [
        mount("/shop", group="shop", place="mount[0]"),
        mount("/wsgi-scripts/foo", place="mount[1]"),
        mount("/user", group="%{ENV:TENANT}", env={"TENANT": "nobody", "SITE": "main"}, place="mount[2]"),
        mount("/bare", group="%{ENV:TENANT}", place="mount[3]"),
    ]
    return Selection(
        VirtualHosts(
            host(None, mounts=server_mounts, place="server config"),
            [
                host("www.example.com", aliases=["example.com"], inherited=server_mounts, place="virtual_host[0]"),
                host(
                    "blog.example.com:8080",
                    aliases=["*.blog.example.com"],
                    mounts=[mount("", group="%{SERVER}"), mount("/admin", group="%{GLOBAL}")],
                    inherited=server_mounts,
                    place="virtual_host[1]",
                ),
            ],
        ),
        {"TENANT": "of the process"},
    )


def choose(
    selection: Selection,
    url: str,
    *,
    port: int | None = 80,
    env: dict[str, str] | None = None,
) -> Choice:
    host, slash, path = url.partition("/")
    return selection.choose(host=host.encode() or None, port=port, raw_path=(slash + path).encode(), env=env)


@pytest.mark.parametrize(
    ("url", "port", "script_name", "path_info", "group"),
    [
        ("www.example.com/shop/x", 80, "/shop", b"/x", "shop"),
        ("www.example.com/shop", None, "/shop", b"", "shop"),
        ("www.example.com/wsgi-scripts/foo", 8080, "/wsgi-scripts/foo", b"", "www.example.com:8080|/wsgi-scripts/foo"),
        ("www.example.com/wsgi-scripts//foo/", 443, "/wsgi-scripts/foo", b"/", "www.example.com|/wsgi-scripts/foo"),
        ("www.example.com/wsgi-scripts/foo", None, "/wsgi-scripts/foo", b"", "www.example.com|/wsgi-scripts/foo"),
        ("EXAMPLE.com:99/wsgi-scripts/foo/%2F", 80, "/wsgi-scripts/foo", b"/%2F", "www.example.com|/wsgi-scripts/foo"),
        ("/wsgi-scripts/foo", 80, "/wsgi-scripts/foo", b"", "localhost|/wsgi-scripts/foo"),
        ("nobody.example/wsgi-scripts/foo", 8000, "/wsgi-scripts/foo", b"", "localhost:8000|/wsgi-scripts/foo"),
        ("blog.example.com/shop", 80, "", b"/shop", "blog.example.com:8080"),
        ("x.blog.example.com:7/", 443, "", b"/", "blog.example.com:8080"),
        ("blog.example.com/admin", 80, "/admin", b"", ""),
        ("www.example.com/user/x", 80, "/user", b"/x", "nobody"),
        ("www.example.com/bare", 80, "/bare", b"", "of the process"),
    ],
)
def test_choose(
    selection: Selection, url: str, port: int | None, script_name: str, path_info: bytes, group: str
) -> None:
    """Host, path, name: of the matched virtual host's name and the socket's port, for inherited mounts as well."""
    choice = choose(selection, url, port=port)
    assert (choice.script_name, choice.path_info, choice.application_group) == (script_name, path_info, group)
    assert (choice.mount.path, choice.process_group) == (script_name, "")
    assert choose(selection, url, port=port) == choice


def test_chosen_host(selection: Selection) -> None:
    """The choice says which virtual host it was made under, the server config included."""
    assert choose(selection, "example.com/shop").virtual_host.place == "virtual_host[0]"
    assert choose(selection, "else.example/shop").virtual_host.place == "server config"


def test_environments_merge(selection: Selection) -> None:
    """What an outer application adds joins the mount's environment, wins over it, and names the group."""
    choice = choose(selection, "www.example.com/user", env={"TENANT": "~alice", "MORE": "1"})
    assert choice.application_group == "~alice"
    assert choice.env == {"TENANT": "~alice", "SITE": "main", "MORE": "1"}
    assert choose(selection, "www.example.com/user").env == {"TENANT": "nobody", "SITE": "main"}


def test_environment_is_asked_every_time(selection: Selection) -> None:
    """A name that depends on the environment is never taken from an earlier request."""
    names = [choose(selection, "www.example.com/bare", env={"TENANT": name}).application_group for name in "aba"]
    assert names == ["a", "b", "a"]


def test_server_name_is_inherited(mount: Mounting, host: Hosting) -> None:
    """A virtual host without a name of its own is called as the server is."""
    nameless = host(None, aliases=["alias.example"], mounts=[mount("")])
    selection = Selection(VirtualHosts(host("www.example.com"), [nameless]), {})
    assert choose(selection, "alias.example/").application_group == "www.example.com|"


@pytest.mark.parametrize("url", ["www.example.com/", "www.example.com/shopping", "/nothing", "www.example.com*"])
def test_not_mounted(selection: Selection, url: str) -> None:
    """A path that no mount covers is an error of status 404."""
    with pytest.raises(NotMounted) as caught:
        choose(selection, url)
    assert caught.value.status == 404


def test_not_mounted_in_a_line(selection: Selection) -> None:
    """The message for a path that is not mounted fits a line of the log, whatever the path."""
    with pytest.raises(NotMounted) as caught:
        selection.choose(host=None, port=80, raw_path=b"/\n" * 5000, env=None)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_unresolved_says_where(selection: Selection) -> None:
    """A name that cannot be told is an error that names the mount and the variable."""
    with pytest.raises(GroupNameUnresolved, match=r"^mount\[3\]: %\{ENV:TENANT\}: .*variable TENANT is empty"):
        choose(selection, "www.example.com/bare", env={"TENANT": ""})


@given(st.binary(), st.one_of(st.sampled_from(["shop", "user", "admin"]).map(str.encode), st.binary()))
def test_a_client_makes_no_names(mount: Mounting, host: Hosting, header: bytes, path: bytes) -> None:
    """No Host header and no path brings a group into being that the configuration does not name."""
    mounts = [mount("/shop", group="shop"), mount("/user"), mount("", group="%{SERVER}")]
    server = host("a.example", mounts=mounts)
    selection = Selection(VirtualHosts(server, [host("b.example", aliases=["*.b"], inherited=mounts)]), {})
    for name in (header, header + b".b:81"):
        choice = selection.choose(host=name, port=80, raw_path=b"/" + path, env=None)
        assert choice.application_group in {"shop", "a.example", "b.example", "a.example|/user", "b.example|/user"}


def test_known_names_are_bounded(mount: Mounting, host: Hosting) -> None:
    """However many ports requests arrive on, no more names are kept than the limit; the others are right as well."""
    selection = Selection(VirtualHosts(host("a.example", mounts=[mount("")]), []), {})
    for port in range(1000, 1000 + KNOWN_NAMES + 50):
        assert choose(selection, "/", port=port).application_group == f"a.example:{port}|"
    assert repr(selection) == f"<Selection: <VirtualHosts: server config>, {KNOWN_NAMES} names known>"


def test_expanded_once(mount: Mounting, host: Hosting) -> None:
    """A name that the request's environment has no part in is expanded for the first request and then kept."""
    selection = Selection(VirtualHosts(host("a.example", mounts=[mount("")]), []), {})
    assert choose(selection, "/").application_group is choose(selection, "/").application_group
