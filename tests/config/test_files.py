"""The tables about files: what a configuration makes of them, and whose settings a script has."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.config import Configuration, Mount, Override, VirtualHost, declared, from_mapping
from asyncgroups.config.problems import Problems
from asyncgroups.config.words import FileWords, Loc
from asyncgroups.errors import ConfigurationError
from asyncgroups.selection import mounts
from asyncgroups.selection.files import Files
from asyncgroups.selection.hosts import VirtualHost as Host
from asyncgroups.selection.rewrite import Request, path_of
from asyncgroups.selection.trees import Candidate, Kind
from tests.serving import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "apps" / "shop").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "apps" / "shop" / "app.wsgi").touch()
    return tmp_path


def configured(folder: Path, text: str, **keywords: Any) -> Configuration:
    return from_mapping(tomllib.loads(text), base=folder, source="test", **keywords)


def files_of(host: Host) -> Files:
    assert host.files is not None
    return host.files


def located(host: Host, url: str) -> tuple[Candidate, ...] | None:
    raw_path = url.encode()
    match = host.mounts.match(raw_path) or host.inherited.match(raw_path)
    mounted = -1 if match is None else match[0].path.count("/")
    return files_of(host).trees.locate(raw_path, path_of(raw_path), mounted=mounted)


def places(host: Host, url: str) -> list[str]:
    """What leads to files for a URL; a mount's name where it is the mount's."""
    found = located(host, url)
    if found is not None:
        return [candidate.place for candidate in found]
    match = host.mounts.match(url.encode()) or host.inherited.match(url.encode())
    return [] if match is None else [match[0].place]


def merged(folder: Path, host: Host, place: str) -> mounts.Mount:
    """The settings of the script apps/shop/app.wsgi, to which ``place`` has led."""
    files = files_of(host)
    return files.merge(place, files.sections.covering(f"{folder}/apps/shop/app.wsgi"))[0]


def variables(at: Host, url: str = "/", method: str = "GET", **headers: str) -> dict[str, str]:
    request = Request(
        path=path_of(url.encode()),
        method=method,
        query="",
        scheme="http",
        protocol="HTTP/1.1",
        server_name="localhost",
        server_port="80",
        client="127.0.0.1",
        header=lambda name: headers.get(name.replace("-", "_"), ""),
    )
    return files_of(at).rules.variables(request)


# Where a setting is written, the most specific first: all of them, then without the first, and so on.
CONTEXTS = """
{server}
[[directory]]
path = "/"
{root}
[[directory]]
match = 'app\\.wsgi$'
{match}
[[directory]]
path = "apps/*"
{inner}
[[directory]]
path = "apps"
{outer}
[[virtual_host]]
server_name = "www.example.com"
{host}
[[virtual_host.directory]]
path = "apps/shop"
{own}
[[virtual_host.mount]]
{where}
{mount}
"""
ORDER = ["mount", "match", "own", "inner", "outer", "root", "host", "server"]
WHERE = {
    "path": 'path = "/x"\nscript = "apps/shop/app.wsgi"',
    "match": "match = '^/x'\nscript = 'apps/shop/app.wsgi'",
}


@pytest.mark.parametrize("kind", WHERE)
def test_a_script_has_the_settings_of_the_most_specific_context(kind: str, folder: Path) -> None:
    """Mount, sections (expressions, then from the longest on), virtual host, server; for every kind of script alike."""
    for number in range(len(ORDER)):
        contexts = dict.fromkeys(ORDER, "")
        for level, name in list(enumerate(ORDER))[number:]:
            contexts[name] = f'threads = {level + 1}\nenv = {{ A = "{name}", {name} = "1" }}\ncallable = "c{level}"'
        configuration = configured(folder, CONTEXTS.format(**contexts, where=WHERE[kind]))
        (host,) = configuration.virtual_hosts
        if kind == "path":
            ((found,), place) = host.mounts, "virtual_host[0].mount[0]"
            assert found.application == f"{folder}/apps/shop/app.wsgi:c{number}"
            assert found.script == f"{folder}/apps/shop/app.wsgi"
        else:
            files = files_of(host)
            place = "virtual_host[0].mount[0]"
            found, name = files.merge(place, files.sections.covering(f"{folder}/apps/shop/app.wsgi"))
            assert (found.path, found.application, found.script, name) == ("", "", None, f"c{number}")
        assert found.place == place
        assert found.settings.threads == number + 1
        assert dict(found.env) == {"A": ORDER[number]} | dict.fromkeys(ORDER[number:], "1")


def test_a_script_says_where_its_settings_come_from(folder: Path) -> None:
    """The places of its URL, of the names of its groups and of the variables that these depend on."""
    text = """
    env = { TENANT = "t" }
    [[alias]]
    path = "/a"
    directory = "apps"
    [[directory]]
    path = "."
    isolation = "interpreter"
    [[directory]]
    path = "apps"
    handler = "wsgi-script"
    application_group = "%{ENV:TENANT}"
    """
    found = merged(folder, configured(folder, text).server, "alias[0]")
    assert found.place == "directory[1]"
    assert found.origins == {
        "path": "alias[0]",
        "application_group": "directory[1].application_group",
        "isolation": "directory[0].isolation",
        "env": "env.TENANT",
    }


def test_where_nothing_is_said_of_files_there_is_nothing(folder: Path) -> None:
    """A configuration of mounts alone has none of it; one virtual host's own is no other's."""
    mount = '\n[[mount]]\npath = "/"\napp = "a:b"\n'
    script = '\n[[mount]]\npath = "/x"\nscript = "apps/shop/app.wsgi"\n'
    hosts = '\n[[virtual_host]]\nserver_name = "a"\n[[virtual_host]]\nserver_name = "b"\ndocument_root = "."\n'
    configuration = configured(folder, mount + script + hosts)
    assert [host.files is None for host in (configuration.server, *configuration.virtual_hosts)] == [True, True, False]


INHERITED = """
document_root = "."
[userdir]
path = "home/*/web"
disabled = ["root"]
[[alias]]
path = "/static"
directory = "apps"
[[alias]]
path = "/shared/deep"
directory = "apps"
[[mount]]
match = '^/sites/(.)'
script = 'apps/\\1/app.wsgi'
[[mount]]
path = "/shop"
app = "shop:application"
[[rewrite]]
match = '.'
env = { SAID = "server" }
[[virtual_host]]
server_name = "www.example.com"
"""
URLS = ["/static/x", "/shared/deep", "/sites/a", "/~alice/x", "/shop", "/y"]
IN_HOST = ["mount[0]", "userdir", "mount[1] in virtual_host[0]", "document_root"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", ["alias[0]", "alias[1]", *IN_HOST]),
        # Its own, where both have one.
        (
            'document_root = "apps"',
            ["alias[0]", "alias[1]", *IN_HOST[:3], "virtual_host[0].document_root"],
        ),
        (
            '[[virtual_host.alias]]\npath = "/static"\ndirectory = "."',
            ["virtual_host[0].alias[0]", "alias[1]", *IN_HOST],
        ),
        (
            '[[virtual_host.mount]]\nmatch = "^/sites"\nscript = "x"',
            ["alias[0]", "alias[1]", "virtual_host[0].mount[0]", *IN_HOST[1:]],
        ),
        (
            '[virtual_host.userdir]\npath = "apps/*"',
            ["alias[0]", "alias[1]", IN_HOST[0], "virtual_host[0].userdir", *IN_HOST[2:]],
        ),
        # What its own mounts and aliases cover altogether is not there.
        (
            '[[virtual_host.mount]]\npath = "/shared"\napp = "a:b"',
            ["alias[0]", "virtual_host[0].mount[0]", *IN_HOST],
        ),
        (
            '[[virtual_host.alias]]\npath = "/shared"\ndirectory = "."',
            ["alias[0]", "virtual_host[0].alias[0]", *IN_HOST],
        ),
        (
            '[[virtual_host.alias]]\npath = "/shop"\ndirectory = "."',
            ["alias[0]", "alias[1]", *IN_HOST[:2], "virtual_host[0].alias[0]", IN_HOST[3]],
        ),
        ('[[virtual_host.mount]]\npath = "/"\napp = "a:b"', ["virtual_host[0].mount[0]"] * 6),
        ('[[virtual_host.alias]]\npath = "/"\ndirectory = "."', ["virtual_host[0].alias[0]"] * 6),
        # A root of its own hides nothing of its own.
        (
            '[[virtual_host.mount]]\npath = "/"\napp = "a:b"\n[virtual_host.userdir]\npath = "apps/*"',
            [*["virtual_host[0].mount[0]"] * 3, "virtual_host[0].userdir", *["virtual_host[0].mount[0]"] * 2],
        ),
        ("[virtual_host.userdir]\npath = []", ["alias[0]", "alias[1]", IN_HOST[0], "document_root", *IN_HOST[2:]]),
    ],
)
def test_a_virtual_host_has_what_the_server_has(own: str, expected: list[str], folder: Path) -> None:
    """After its own, and but for what its own mounts and aliases cover."""
    (host,) = configured(folder, INHERITED + own).virtual_hosts
    assert [places(host, url) for url in URLS] == [[place] for place in expected]


@pytest.mark.parametrize(
    ("own", "alice", "root", "bob"),
    [
        ("", True, False, True),
        ('[virtual_host.userdir]\ndisabled = ["bob"]', True, True, False),
        ('[virtual_host.userdir]\nenabled = ["bob"]', False, False, True),
        ("[virtual_host.userdir]\ndisabled = []", True, True, True),
    ],
)
def test_the_keys_of_userdir_are_inherited_one_by_one(
    own: str, alice: bool, root: bool, bob: bool, folder: Path
) -> None:
    """A virtual host may say of users what it likes, and have the server's directories."""
    (host,) = configured(folder, INHERITED + own).virtual_hosts
    found = [bool(located(host, f"/~{user}/")) for user in ("alice", "root", "bob")]
    assert found == [alice, root, bob]
    if alice:
        (candidate,) = located(host, "/~alice/x") or ()
        assert candidate[2:5] == (f"{folder}/home", ("alice", "web"), b"/x")
        assert candidate.kind is Kind.USER


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", {"SAID": "server"}),
        ("rewrite = []", {}),
        ("[[virtual_host.rewrite]]\nmatch = '.'\nenv = { OWN = '1' }", {"OWN": "1"}),
    ],
)
def test_rules_of_a_virtual_host_replace_the_servers(own: str, expected: dict[str, str], folder: Path) -> None:
    """Its own stand in their place; an empty list is none."""
    (host,) = configured(folder, INHERITED + own).virtual_hosts
    assert variables(host) == expected


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ("host = '^a\\.'", {"host": "a.example.com"}, {"host": "b.example.com"}),
        ("host = '^A', nocase = true", {"host": "a"}, {"host": "b"}),
        ("method = 'PO'", {"method": "POST"}, {"method": "GET"}),
        ("header = 'X-Tenant', match = '^(.)$'", {"x_tenant": "t"}, {"x_tenant": "tt"}),
        ("header = 'X-Tenant', not_equals = ''", {"x_tenant": "t"}, {}),
        ("test = '%{HTTP:x-tenant}%{REQUEST_METHOD}', equals = 'tGET'", {"x_tenant": "t"}, {}),
        ("test = '%{REQUEST_URI}', not_match = '^/a'", {"url": "/b"}, {"url": "/a"}),
    ],
)
def test_conditions(condition: str, yes: dict[str, str], no: dict[str, str], folder: Path) -> None:
    """Each of the ways to write one holds where it should and nowhere else."""
    text = INHERITED.replace("env = { SAID", f"condition = [{{ {condition} }}]\nenv = {{ SAID")
    server = configured(folder, text).server
    assert [variables(server, **yes), variables(server, **no)] == [{"SAID": "server"}, {}]


def test_a_rule(folder: Path) -> None:
    """All of its keys count."""
    text = """
    document_root = "."
    [[directory]]
    path = "."
    handler = "wsgi-script"
    [[rewrite]]
    match = '^/~([^/]+)'
    env = { USER = '$1', GONE = "1" }
    [[rewrite]]
    not_match = '^/X'
    nocase = true
    unset = ["GONE"]
    chain = true
    [[rewrite]]
    match = '^/~(.)'
    env = { LETTER = "$1", COPY = "%{ENV:USER}" }
    skip = 1
    [[rewrite]]
    match = '.'
    env = { SKIPPED = "1" }
    [[rewrite]]
    match = '.'
    last = true
    [[rewrite]]
    match = '.'
    env = { AFTER = "1" }
    """
    server = configured(folder, text).server
    assert variables(server, "/~alice/x") == {"USER": "alice", "LETTER": "a", "COPY": "alice"}
    assert variables(server, "/x") == {"SKIPPED": "1"}


@pytest.mark.parametrize("name", ["plain", "with [brackets] and * and ?", "back\\slash"])
def test_relative_paths_start_from_the_folder_of_the_file(name: str, tmp_path: Path) -> None:
    """In whatever is a path, also where wildcards or groups may stand; what the folder is called stands for itself."""
    base = tmp_path / name / "conf"
    (base.parent / "apps" / "shop").mkdir(parents=True)
    base.mkdir()
    (base.parent / "apps" / "shop" / "app.wsgi").touch()
    groups = "" if "\\" in name else "[[mount]]\nmatch = '^/s/(.)'\nscript = '../apps/./\\1/app.wsgi'"
    text = f"""
    document_root = "../apps//"
    [[alias]]
    path = "/a"
    directory = ".././apps/shop/."
    [[directory]]
    path = "../apps/s*/"
    threads = 2
    handler = "wsgi-script"
    [[mount]]
    path = "/x"
    script = "../conf/../apps/shop/app.wsgi"
    {groups}
    """
    server = configured(base, text).server
    apps = f"{base.parent}/apps"
    (mount,) = server.mounts
    assert (mount.script, mount.settings.threads) == (f"{apps}/shop/app.wsgi", 2)
    (root,), (alias,) = located(server, "/y") or (), located(server, "/a/b") or ()
    assert (root.base, alias.base) == (apps, f"{apps}/shop")
    if groups:
        (match,) = located(server, "/s/q") or ()
        assert (match.base, match.below) == (apps, ("q", "app.wsgi"))


def test_one_virtual_host_answers_for_the_names_that_are_nobodys(folder: Path) -> None:
    """The one that says so."""
    configuration = configured(folder, INHERITED + "default = true")
    selection = configuration.selection({})
    assert selection.virtual_host(b"nobody.example.com", 80) is configuration.virtual_hosts[0] is configuration.default


def test_two_tables_at_one_place_keep_their_own_settings(folder: Path) -> None:
    """A place is a file and a line, and what is read more than once stands there more than once."""

    class OneLine(FileWords):
        def place(self, loc: Loc) -> str:
            return "site.conf:1"

    text = """
    [[directory]]
    path = "."
    threads = 2
    [[directory]]
    path = "apps"
    isolation = "interpreter"
    [[mount]]
    match = '^/a'
    script = "a.wsgi"
    application_group = "a"
    [[mount]]
    match = '^/b'
    script = "b.wsgi"
    application_group = "b"
    [[virtual_host]]
    server_name = "www.example.com"
    [[virtual_host.mount]]
    match = '^/c'
    script = "c.wsgi"
    application_group = "c"
    """
    problems = Problems("site.conf", text=None, options={}, words=OneLine())
    configuration = configured(folder, text, problems=problems)
    (virtual_host,) = configuration.virtual_hosts
    cases = [(configuration.server, "/a"), (configuration.server, "/b"), *((virtual_host, f"/{one}") for one in "abc")]
    for host, url in cases:
        (candidate,) = located(host, url) or ()
        found = merged(folder, host, candidate.place)
        assert str(found.application_group) == url[1:]
        assert (found.settings.threads, found.settings.isolation) == (2, "interpreter")


def test_the_command_line_beats_directories(folder: Path) -> None:
    """As it beats virtual hosts and mounts."""
    text = 'document_root = "apps"\n[[directory]]\npath = "apps"\nhandler = "wsgi-script"\nthreads = 2\n'
    server = configured(folder, text, overrides={"threads": Override("--threads", 5)}).server
    assert merged(folder, server, "document_root").settings.threads == 5


def test_links_are_followed_where_the_nearest_context_says_so(folder: Path) -> None:
    """A virtual host's own setting beats the server's; without any they are not."""
    for server, own, expected in (("", "", False), ("true", "", True), ("true", "false", False), ("", "true", True)):
        text = f"follow_symlinks = {server}\n" if server else ""
        text += INHERITED + (f"follow_symlinks = {own}\n" if own else "")
        (host,) = configured(folder, text).virtual_hosts
        assert files_of(host).follow_symlinks is expected


def test_no_process_env_is_shown(folder: Path) -> None:
    """People keep their passwords there."""
    text = '\n[[directory]]\npath = "apps"\nprocess_env = { SECRET = "swordfish" }'
    server = configured(folder, INHERITED.partition("[[virtual_host]]")[0] + text).server
    assert "swordfish" not in repr([server, *files_of(server).sections])
    assert merged(folder, server, "alias[0]").settings.process_env == (("SECRET", "swordfish"),)
    assert "swordfish" not in repr(VirtualHost("a", directories=[{"path": "x", "process_env": {"A": "swordfish"}}]))


def test_regular_expressions_cost_those_who_have_some() -> None:
    """Their engine takes 27 ms to import: without any it is not imported."""
    program = (
        "import sys; from pathlib import Path; from asyncgroups.config import from_mapping\n"
        "def made(**more): from_mapping({'document_root': '.', 'alias': [{'path': '/a', 'directory': '.'}], "
        "'directory': [{'path': '*', 'handler': 'wsgi-script'}], **more}, base=Path(), source='x')\n"
        "made(); assert 'regex' not in sys.modules\n"
        "made(rewrite=[{'match': '.'}]); assert 'regex' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)


def test_python_says_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table of a file has its argument, of the same shape; paths may be path objects."""
    monkeypatch.chdir(folder)
    file = INHERITED + (
        'default = true\nfollow_symlinks = true\n[[virtual_host.directory]]\npath = "apps"\nextensions = [".wsgi"]\n'
        '[[virtual_host.mount]]\npath = "/own"\nscript = "apps/shop/app.wsgi"\ncallable = "app"\n'
        "script_reloading = false\n[[virtual_host.rewrite]]\nmatch = '^/(.)'\n"
        "condition = [{ host = '.' }]\nenv = { A = '$1' }\nunset = ['B']\n"
    )
    python = declared(
        {
            "document_root": folder,
            "userdir": {"path": Path("home/*/web"), "disabled": ("root",)},
            "aliases": [
                {"path": "/static", "directory": Path("apps")},
                {"path": "/shared/deep", "directory": "apps"},
            ],
            "mounts": [
                Mount(match="^/sites/(.)", script=Path("apps/\\1/app.wsgi")),
                Mount("/shop", "shop:application"),
            ],
            "rewrites": ({"match": ".", "env": {"SAID": "server"}},),
            "virtual_hosts": [
                VirtualHost(
                    "www.example.com",
                    default=True,
                    follow_symlinks=True,
                    directories=iter([{"path": Path("apps"), "extensions": (".wsgi",)}]),  # type: ignore[arg-type] - gone through once
                    mounts=[
                        Mount("/own", script="apps/shop/app.wsgi", callable="app", script_reloading=False),
                    ],
                    rewrites=[
                        {"match": "^/(.)", "condition": [{"host": "."}], "env": {"A": "$1"}, "unset": ("B",)},
                    ],
                )
            ],
        },
        source="ApplicationGroups(...)",
    )

    def told(configuration: Configuration) -> list[Any]:
        assert configuration.default is configuration.virtual_hosts[0]
        return [
            (
                [(one.path, one.application, one.script_reloading) for one in (*host.mounts, *host.inherited)],
                [[candidate[:5] for candidate in located(host, url) or ()] for url in URLS],
                [(str(section.where), dict(section.settings)) for section in files_of(host).sections],
                variables(host, "/x", host="a"),
                files_of(host).follow_symlinks,
            )
            for host in (configuration.server, *configuration.virtual_hosts)
        ]

    assert told(python) == told(configured(folder, file))


def test_problems_in_the_words_of_python() -> None:
    """Places are those of the call, where an alias has a directory of its own."""
    arguments: dict[str, Any] = {
        "aliases": [{"path": "/", "directory": 1}, 5],
        "directories": [{"path": ".", "treads": 2, "extensions": "x"}],
        "virtual_hosts": [VirtualHost("a", rewrites=[{"match": ".", "condition": [{"match": "["}]}])],
        "rewrites": {"match": "."},
        "mounts": [Mount("/", "a:b", callable="c")],
        "userdir": {"pth": "x"},
        "document_root": 3,
    }
    with pytest.raises(ConfigurationError) as caught:
        declared(arguments, source="x")
    assert list(caught.value.problems) == [
        "document_root: must be a string, not 3",
        "aliases[0].directory: must be a string, not 1",
        "aliases[1]: must be a dict, not 5",
        "userdir.pth: unknown key; did you mean path?",
        "directories[0].extensions: must be a list of strings, not 'x'; write ['x']",
        "directories[0].treads: unknown key; did you mean threads?",
        "rewrites: must be a list of dicts",
        'mounts[0].callable: is for a script; app has it after the colon: "module:attribute"',
        "virtual_hosts[0].rewrites[0].condition[0]: has none of test, host, method and header; it needs one",
        "userdir.path: is missing",
    ]
