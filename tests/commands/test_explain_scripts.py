"""``explain`` and ``check`` where requests are for scripts: what was found, what has decided, and why there is none."""

import json
import re
from pathlib import Path

import pytest

from tests.commands.conftest import Run
from tests.oracle import apache, tree

# One line for each setting: the sentences name them.
SITE = """\
server_name = "www.example.com"
document_root = "htdocs"

[userdir]
path = "home/*/public_html"

[[rewrite]]
match = "^/~([^/]+)"
env = { APPLICATION_GROUP = "~$1" }

[[rewrite]]
match = "^/tenant"
condition = [
    { method = "^POST$" },
    { header = "X-Tenant", match = "^([a-z]+)$" },
    { test = "%{QUERY_STRING}", equals = "q" },
]
env = { APPLICATION_GROUP = "%1" }

[[rewrite]]
match = "^/slow/(a|aa)+$"
env = { SLOW = "1" }

[[alias]]
path = "/tenant"
directory = "apps"

[[directory]]
path = "home/*/public_html/wsgi-scripts"
handler = "wsgi-script"
application_group = "%{ENV:APPLICATION_GROUP}"

[[directory]]
path = "[at][pr][pe]*"
handler = "wsgi-script"
extensions = [".wsgi"]
application_group = "%{ENV:APPLICATION_GROUP}"

[[directory]]
path = "tree/noexec"
handler = "none"

[[mount]]
match = "^/sites/([^/]+)"
script = 'sites/\\1/app.wsgi'

[[mount]]
path = "/shop"
script = "apps/shop.wsgi"

[[virtual_host]]
server_name = "other.example.com"
default = true
rewrite = []
alias = [{ path = "/tree", directory = "tree" }]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    tree.make(folder)
    (folder / "site.toml").write_text(SITE)
    return folder


def line(text: str) -> int:
    """The number of the only line of SITE that is ``text``."""
    (number,) = [number for number, one in enumerate(SITE.splitlines(), 1) if one == text]
    return number


def explained(run: Run, folder: Path, url: str, *options: str) -> dict[str, object]:
    result = run("explain", str(folder / "site.toml"), url, "--json", *options)
    told = json.loads(result.stdout)
    assert isinstance(told, dict)
    return told


def said(text: str, folder: Path) -> str:
    return text.replace(f"{folder}/site.toml", "site.toml").replace(str(folder), "FOLDER")


def test_a_script_of_a_user(run: Run, folder: Path) -> None:
    """The file, the directories that it falls into, and the rule that has named its group, each with its line."""
    told = explained(run, folder, "http://www.example.com/~alice/wsgi-scripts/app.wsgi/x")
    script = f"{folder}/home/alice/public_html/wsgi-scripts/app.wsgi"
    assert (told["script"], told["mount"], told["application"]) == (script, None, f"{script}:application")
    assert (told["sections"], told["variables"]) == (["directory[0]"], {"APPLICATION_GROUP": "~alice"})
    assert (told["script_name"], told["path_info"]) == ("/~alice/wsgi-scripts/app.wsgi", "/x")
    assert told["application_group"] == "~alice"
    why = {key: said(text, folder) for key, text in told["decided_by"].items()}  # type: ignore[attr-defined]
    at = {key: line(f'path = "home/*/public_html{end}"') for key, end in (("user", ""), ("directory", "/wsgi-scripts"))}
    rule = f'APPLICATION_GROUP = "~alice" in rewrite[0] (site.toml:{line('match = "^/~([^/]+)"') - 1})'
    assert why["script"] == f"userdir (site.toml:{at['user'] - 1})"
    assert why["variables"] == rule
    assert why["sections"] == (
        f'path = "FOLDER/home/*/public_html/wsgi-scripts" in directory[0] (site.toml:{at["directory"]})'
    )
    assert why["application_group"] == (
        f'application_group = "%{{ENV:APPLICATION_GROUP}}" in directory[0] (site.toml:{at["directory"] + 2}); {rule}'
    )


@pytest.mark.parametrize(
    ("options", "url", "group"),
    [
        (("--header", "X-Tenant: red", "-X", "POST"), "/tenant/shop.wsgi?q", "red"),
        (("--header", "x-tenant:red", "--method", "POST"), "/tenant/shop.wsgi?q", "red"),
        (("--header", "X-Tenant: red"), "/tenant/shop.wsgi?q", None),
        (("--header", "X-Tenant: red", "-X", "POST"), "/tenant/shop.wsgi", None),
        (("-X", "POST"), "/tenant/shop.wsgi?q", None),
        (("--header", "X-Tenant: red", "-X", "POST", "--env", "APPLICATION_GROUP=x"), "/tenant/shop.wsgi?q", "x"),
    ],
)
def test_what_rules_depend_on(run: Run, folder: Path, options: tuple[str, ...], url: str, group: str | None) -> None:
    """Method, header fields and query of the request can be given; where the group then has no name that is said."""
    told = explained(run, folder, f"http://www.example.com{url}", *options)
    assert told["application_group"] == group
    assert told["script"] == f"{folder}/apps/shop.wsgi"
    result = run("explain", str(folder / "site.toml"), f"http://www.example.com{url}", *options)
    assert result.exit_code == (group is None)
    assert ("APPLICATION_GROUP is set neither for this request" in result.stderr) == (group is None)


@pytest.mark.parametrize(
    ("url", "mount", "script", "place"),
    [
        ("http://www.example.com/sites/red/x", None, "sites/red/app.wsgi", "mount[0]"),
        ("/shop/x", "/shop", "apps/shop.wsgi", "mount[1].script"),
        ("http://other.example.com/sites/red", None, "sites/red/app.wsgi", "mount[0]"),
        ("http://nobody/tree/app.wsgi", None, "tree/app.wsgi", "virtual_host[0].alias[0]"),
    ],
)
def test_ways_to_a_script(run: Run, folder: Path, url: str, mount: str | None, script: str, place: str) -> None:
    """What has led to a script is a mount, by path or by pattern, an alias, or what a virtual host inherits."""
    told = explained(run, folder, url, "--env", "APPLICATION_GROUP=x")
    assert (told["mount"], told["script"]) == (mount, f"{folder}/{script}")
    assert re.fullmatch(rf"{re.escape(place)} \(site.toml:\d+\)", said(told["decided_by"]["script"], folder))  # type: ignore[index]


def test_the_default_virtual_host(run: Run, folder: Path) -> None:
    """Who answers for names that are nobody's is said, with the line."""
    told = explained(run, folder, "http://nobody:8000/")
    at = line("default = true")
    assert said(told["decided_by"]["virtual_host"], folder) == (  # type: ignore[index]
        f"no virtual host is called nobody on port 8000: virtual_host[0], the default (site.toml:{at})"
    )


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        (
            "/~alice/wsgi-scripts/none",
            404,
            "public_html/wsgi-scripts/none': No such file or directory",
        ),
        ("/~alice/wsgi-scripts/", 404, "'FOLDER/home/alice/public_html/wsgi-scripts' is a directory"),
        (
            "/~alice/other.wsgi",
            404,
            "public_html/other.wsgi' has no handler: it lies in no directory that sets one",
        ),
        ("/~eve/wsgi-scripts/app.wsgi", 404, "'FOLDER/home/eve/public_html' is a symbolic link"),
        ("/~../x", 404, "no directory of server config is for b'/~../x'"),
        ("/../x", 404, "what comes after 'FOLDER/htdocs' begins with a dot"),
        ("http://other.example.com/tree/noexec/app.wsgi", 404, "'none' (directory[2])"),
        ("http://other.example.com/tree/suffixes/app.py", 404, "ends as none of the extensions (directory[1])"),
        ("/slow/" + "a" * 60 + "!", 500, "the regular expression '^/slow/(a|aa)+$' takes too long"),
    ],
)
def test_why_there_is_no_script(run: Run, folder: Path, url: str, status: int, words: str) -> None:
    """Why a request is refused is said as the log says it."""
    url = url if url.startswith("http") else f"http://www.example.com{url}"
    result = run("explain", str(folder / "site.toml"), url)
    assert result.exit_code == 1
    assert said(result.stderr, folder).startswith(f"asyncgroups: {status}: ")
    assert words in said(result.stderr, folder)
    assert result.stdout.startswith("virtual host ")


def test_a_mounted_script_that_is_gone(run: Run, folder: Path) -> None:
    """A script that the configuration names and that has gone meanwhile is a wrong configuration."""
    (folder / "gone.toml").write_text(SITE.replace("apps/shop.wsgi", "apps/none.wsgi"))
    result = run("explain", str(folder / "gone.toml"), "/shop")
    assert result.exit_code == 2
    assert "there is no file" in result.stderr


@pytest.mark.parametrize("header", ["X-Tenant", ": x", "X Y: z", "X-É: x", "X:é"])
def test_no_header_field(run: Run, folder: Path, header: str) -> None:
    """What is no header field is a wrong command line."""
    result = run("explain", str(folder / "site.toml"), "/", "--header", header)
    assert result.exit_code == 2
    assert "write NAME:VALUE" in result.stderr


def test_check(run: Run, folder: Path) -> None:
    """The counts have directories and rules, and there is a line on what only requests can tell."""
    result = run("check", str(folder / "site.toml"))
    first, second = said(result.stdout, folder).splitlines()
    assert first == "site.toml: no errors; 2 mounts, 1 virtual host, 1 application group, 3 directories, 3 rules"
    assert second == (
        "site.toml: requests tell which scripts, and so which application groups, there are in "
        "alias[0], userdir, document_root, mount[0], virtual_host[0].alias[0]"
    )


def test_an_apache_configuration(run: Run, folder: Path) -> None:
    """Where a file is Apache's the places are its own."""
    text = (apache.SITES / "seed.conf").read_text().replace("@ROOT@", str(folder))
    (folder / "site.conf").write_text(text)
    result = run("explain", str(folder / "site.conf"), "http://www.example.com/~bob/wsgi-scripts/foo", "--json")
    why = json.loads(result.stdout)["decided_by"]
    assert re.fullmatch(r".*site.conf:\d+: UserDir", why["script"])
    assert re.search(r'; APPLICATION_GROUP = "~bob" in .*site.conf:\d+: RewriteRule$', why["application_group"])
    assert re.search(r"in .*site.conf:\d+: <Directory>$", why["sections"])
