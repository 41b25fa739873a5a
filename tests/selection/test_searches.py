"""What is chosen where scripts may lie in directories: mounts, searches, and the mounts that scripts become."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from asyncgroups.config.patterns import Expression
from asyncgroups.errors import GroupNameUnresolved, NotMounted, ScriptNotFound
from asyncgroups.selection import Choice, Found, Search, Selection
from asyncgroups.selection.directories import Glob, Section, Sections
from asyncgroups.selection.files import Files
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.matched import ScriptMatch, ScriptTarget
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable
from asyncgroups.selection.names import parse
from asyncgroups.selection.rewrite import Request, Rule, Rules, Template, path_of
from asyncgroups.selection.trees import Alias, Candidate, Kind, Trees, UserDirectories

VERSION = (1, 2, 3, 4)
SETTINGS = GroupSettings(app_dir="/srv")


class Merging:
    """Merges as ``config`` does, as far as these tests go, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, place: str, covering: tuple[Section, ...]) -> tuple[Mount, str]:
        self.count += 1
        values: dict[str, Any] = {}
        for section in covering:
            values |= section.settings
        return (
            Mount(
                path="",
                application="",
                application_group=parse(values.get("application_group", "%{RESOURCE}")),
                env=values.get("env", {}),
                settings=SETTINGS,
                place=place,
                script_reloading=values.get("script_reloading", True),
            ),
            values.get("callable", "application"),
        )


def section(path: str, number: int, **settings: Any) -> Section:
    return Section(where=Glob(path), settings=settings, place=f"directory[{number}]")


SECTIONS = [
    section("/srv/home/*/web", 0, handler="wsgi-script", application_group="%{ENV:GROUP}"),
    section("/srv/docs", 1, handler="wsgi-script", extensions=(".wsgi",), env={"OWN": "section", "BOTH": "section"}),
    section("/srv/docs/off", 2, handler="none"),
    section("/srv/docs/links", 3, follow_symlinks=True),
    section("/srv/home/*/web/links", 4, follow_symlinks=True),
    section("/srv/docs/second", 5, callable="second", script_reloading=False),
]
RULES = [
    Rule(path=Expression("^/~([^/]+)"), env=(("GROUP", Template("~$1")),), place="rewrite[0]"),
    Rule(path=Expression("^/"), env=(("BOTH", Template("rule")), ("RULE", Template("rule"))), place="rewrite[1]"),
]


@pytest.fixture
def merging() -> Merging:
    return Merging()


@pytest.fixture
def selection(mount: Callable[..., Mount], merging: Merging) -> Selection:
    files = Files(
        trees=Trees(
            [Alias(path="/docs", target="/srv/docs", place="alias[0]")],
            UserDirectories(patterns=("/srv/home/*/web",), disabled=frozenset({"root"}), place="userdir"),
            document_root=Alias(path="", target="/srv/root", place="document_root"),
            matches=[
                ScriptMatch(pattern=Expression("^/m/([^/]+)"), target=ScriptTarget("/srv/m/\\1.wsgi"), place="mount[2]")
            ],
        ),
        sections=Sections(SECTIONS),
        rules=Rules(RULES),
        follow_symlinks=True,
        merge=merging,
    )
    mounts = MountTable([mount("/shop", group="%{ENV:RULE}", env={"BOTH": "mount"}), mount("/docs/mounted")])
    server = VirtualHost(
        server_name="www.example.com", mounts=mounts, inherited=MountTable([]), place="server config", files=files
    )
    bare = VirtualHost(
        server_name="bare.example.com",
        mounts=MountTable([]),
        inherited=MountTable([]),
        place="virtual_host[0]",
        files=Files(trees=Trees(), sections=Sections([]), rules=Rules([]), merge=merging),
    )
    return Selection(VirtualHosts(server, [bare]), {})


def request(server_name: str, path: str) -> Request:
    return Request(path, "GET", "", "http", "HTTP/1.1", server_name, "80", "", lambda _: "")


def choose(
    selection: Selection, raw_path: bytes, env: Mapping[str, str] | None = None, host: bytes | None = None
) -> Choice | Search:
    return selection.choose(host=host, port=80, raw_path=raw_path, env=env, request=request)


def found(candidate: Candidate, path: str, search: Search) -> Found:
    return Found(candidate, path, f"{candidate.url}/x", b"/rest", VERSION, search.files.sections.covering(path))


@pytest.mark.parametrize(
    ("raw_path", "places"),
    [
        (b"/docs/x", ["alias[0]"]),
        (b"/~alice/x", ["userdir"]),
        (b"/m/one/x", ["mount[2]"]),
        (b"/x", ["document_root"]),
        (b"/", ["document_root"]),
        (b"/docs/mounted/x", None),
        (b"/shop", None),
    ],
)
def test_mounts_and_searches(selection: Selection, raw_path: bytes, places: list[str] | None) -> None:
    """What a mount covers is chosen at once; where a script may lie a search says where."""
    chosen = choose(selection, raw_path)
    if places is None:
        assert isinstance(chosen, Choice)
        assert chosen.version is None
    else:
        assert isinstance(chosen, Search)
        assert [one.place for one in chosen.candidates] == places


@pytest.mark.parametrize("raw_path", [b"/~root/x", b"/~/x", b"/m/.x", b"/m/%2e%2e"])
def test_nowhere(selection: Selection, raw_path: bytes) -> None:
    """Where no script can lie nobody is asked to look."""
    with pytest.raises(ScriptNotFound, match=r"^no directory of server config is for b'/"):
        choose(selection, raw_path)


@pytest.mark.parametrize("raw_path", [b"", b"*", b"/x", b"/~alice"])
def test_nothing_is_mounted(selection: Selection, raw_path: bytes) -> None:
    """Where there are files, but none for this path, nothing is mounted."""
    with pytest.raises(NotMounted, match=r"^no mount of virtual_host\[0\] covers"):
        choose(selection, raw_path, host=b"bare.example.com")


def test_who_sets_the_environment(selection: Selection) -> None:
    """An outer application's variables go over those of a mount, and these over those of rules; names see them all."""
    chosen = choose(selection, b"/shop/x", {"OUTER": "outer"})
    assert isinstance(chosen, Choice)
    assert chosen.env == {"BOTH": "mount", "RULE": "rule", "OUTER": "outer"}
    assert chosen.application_group == "rule"
    chosen = choose(selection, b"/shop/x", {"BOTH": "outer", "RULE": "outer"})
    assert isinstance(chosen, Choice)
    assert chosen.env == {"BOTH": "outer", "RULE": "outer"}
    assert chosen.application_group == "outer"


def test_a_script_becomes_a_mount(selection: Selection) -> None:
    """A script that was found has the settings of its directories, its URL for a path, and the variables of rules."""
    search = choose(selection, b"/docs/x/rest", {"OUTER": "outer"})
    assert isinstance(search, Search)
    chosen = selection.found(search, found(search.candidates[0], "/srv/docs/x", search))
    assert chosen.mount.application == "/srv/docs/x:application"
    assert chosen.mount.script == "/srv/docs/x"
    assert (chosen.mount.path, chosen.script_name, chosen.path_info) == ("/docs/x", "/docs/x", b"/rest")
    assert chosen.env == {"OWN": "section", "BOTH": "section", "RULE": "rule", "OUTER": "outer"}
    assert chosen.application_group == "www.example.com|/docs/x"
    assert chosen.version == VERSION
    assert chosen.mount.settings is SETTINGS
    second = selection.found(search, found(search.candidates[0], "/srv/docs/second/x", search))
    assert second.mount.application == "/srv/docs/second/x:second"
    assert second.version is None


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_groups_of_rules(selection: Selection, user: str) -> None:
    """A script's group may depend on what a rule has set."""
    search = choose(selection, f"/~{user}/x".encode())
    assert isinstance(search, Search)
    path = f"/srv/home/{user}/web/x"
    assert selection.found(search, found(search.candidates[0], path, search)).application_group == f"~{user}"
    nothing = search._replace(variables={})
    with pytest.raises(GroupNameUnresolved):
        selection.found(nothing, found(search.candidates[0], path, search))


def test_names_of_scripts_are_their_own(selection: Selection, merging: Merging) -> None:
    """However many scripts come and go, each has its own group; the settings that they share are merged once."""
    names = set()
    for number in range(500):
        search = choose(selection, b"/docs/x")
        assert isinstance(search, Search)
        one = found(search.candidates[0], "/srv/docs/x", search)._replace(script_name=f"/docs/{number}")
        names.add(selection.found(search, one).application_group)
    assert names == {f"www.example.com|/docs/{number}" for number in range(500)}
    assert merging.count == 1


@pytest.mark.parametrize(
    ("kind", "path", "refusal"),
    [
        (Kind.ALIAS, "/srv/docs/x.wsgi", ""),
        (Kind.ALIAS, "/srv/docs/x.txt", "the name of '/srv/docs/x.txt' ends as none of the extensions (directory[1])"),
        (Kind.ALIAS, "/srv/docs/off/x.wsgi", "'/srv/docs/off/x.wsgi' has the handler 'none' (directory[2])"),
        (Kind.ALIAS, "/srv/x.wsgi", "'/srv/x.wsgi' has no handler: it lies in no directory that sets one"),
        (Kind.USER, "/srv/home/alice/web/x", ""),
        (Kind.USER, "/srv/home/alice/x", "'/srv/home/alice/x' has no handler: it lies in no directory that sets one"),
        (Kind.MATCH, "/srv/docs/off/x.txt", ""),
    ],
)
def test_what_is_a_script(selection: Selection, kind: Kind, path: str, refusal: str) -> None:
    """A script has the handler and one of the extensions, or is named by a mount; why one is none is said."""
    search = choose(selection, b"/docs/x")
    assert isinstance(search, Search)
    assert search.refusal(search.candidates[0]._replace(kind=kind), path) == refusal


@pytest.mark.parametrize(
    ("kind", "directory", "follows"),
    [
        (Kind.ALIAS, "/srv/docs", True),
        (Kind.USER, "/srv/home", False),
        (Kind.USER, "/srv/home/alice/web", False),
        (Kind.USER, "/srv/home/alice/web/links", True),
        (Kind.USER, "/srv/home/alice/web/links/below", True),
        (Kind.MATCH, "/srv/docs", True),
    ],
)
def test_who_follows_links(selection: Selection, kind: Kind, directory: str, follows: bool) -> None:
    """Links are followed as the configuration says; in users' directories only where a section does."""
    search = choose(selection, b"/docs/x")
    assert isinstance(search, Search)
    assert search.may_follow(search.candidates[0]._replace(kind=kind), directory) is follows
    closed = search._replace(files=Files(trees=Trees(), sections=Sections(SECTIONS), rules=Rules([]), merge=Merging()))
    says = "links" in directory
    assert closed.may_follow(search.candidates[0]._replace(kind=kind), directory) is says


@pytest.mark.parametrize("path", [b"/m/a%0Ab", b"/m/one%0a", b"/m/%E2%80%A8", b"/m/%ff"])
def test_no_line_breaks_in_names_of_groups(path: bytes) -> None:
    """What a pattern has caught in a URL, and no file is named after, makes no name of a group that breaks a line."""
    match = ScriptMatch(pattern=Expression("^/m/[^/]+"), target=ScriptTarget("/srv/one.wsgi"), place="mount[0]")
    trees = Trees(matches=[match])
    assert trees.locate(b"/m/one/two", "/m/one/two")
    assert trees.locate(path, path_of(path)) == ()
