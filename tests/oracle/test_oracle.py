"""What Apache with mod_wsgi answers, and what our pieces make of the same configuration, files and requests."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.apache.reading import arguments_of, read, walk
from tests.oracle import apache, tree
from tests.oracle.pieces import Mounts, Pieces, request_of

TABLE = json.loads(apache.TABLE.read_text())["sites"]
needs_apache = pytest.mark.skipif(apache.missing() is not None, reason=apache.missing() or "")


def test_size() -> None:
    """The table has the 60 URLs that it should have at least, and each of its rows an answer."""
    rows = [row for rows in TABLE.values() for row in rows]
    assert len(rows) >= 60
    assert [row for row in rows if "answer" not in row] == []
    assert sorted(TABLE) == sorted(path.stem for path in apache.SITES.iterdir())


@needs_apache
@pytest.mark.parametrize("site", TABLE)
def test_the_table_is_what_apache_says(site: str) -> None:
    """Apache answers each request as the table has it."""
    with apache.serving(site) as oracle:
        different = [(row["url"], answer) for row in TABLE[site] if (answer := oracle.ask(row)) != row["answer"]]
    assert different == []


class Site:
    """The files of a site, and the pieces that its configuration makes."""

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        self.rows = TABLE[name]
        text = (apache.SITES / f"{name}.conf").read_text().replace("@ROOT@", str(root))
        (root / f"{name}.conf").write_text(text)
        self.pieces = Pieces(root / f"{name}.conf")

    def answer(self, row: dict[str, Any]) -> dict[str, Any]:
        """As the table would have it; every refusal is a 404."""
        found = self.pieces.answer(row)
        if isinstance(found, str):
            return {"status": 404}
        # WSGI's text has a byte in each character (PEP 3333).
        answer = {
            "status": 200,
            "group": found.group,
            "script_name": found.script_name.encode().decode("latin-1"),
            "path_info": re.sub("%([0-9A-Fa-f]{2})", lambda escape: chr(int(escape[1], 16)), found.path_info),
            "script": found.script.replace(str(self.root), "@ROOT@"),
            "callable": "second" if found.script.endswith("/apps/two.wsgi") else "application",
        }
        env = {name: value for name, value in found.env.items() if name.startswith(("S_", "V_"))}
        return {**answer, "env": env} if env else answer


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pieces-") as name:
        tree.make(Path(name))
        yield Path(name)


def as_ours(answer: dict[str, Any]) -> dict[str, Any]:
    """Apache's answer as ours would be: what is refused is not found, and no file is sent as it is."""
    if answer["status"] in (400, 403) or answer.get("static"):
        return {"status": 404}
    return answer


W = "/~alice/wsgi-scripts"
APP = {
    "group": "~alice",
    "script_name": f"{W}/app.wsgi",
    "script": "@ROOT@/home/alice/public_html/wsgi-scripts/app.wsgi",
}


def tells(url: str, *sections: str) -> dict[str, Any]:
    """What a script of the site `directories` tells."""
    env = {f"S_{name}": "1" for name in sections}
    return {"group": "tree", "script_name": url, "path_info": "", "script": f"@ROOT@/tree{url}", "env": env}


def shop(script_name: str, path_info: str) -> dict[str, Any]:
    """What a script of the site `aliases` tells."""
    group = f"www.example.com:8080|{script_name}"
    return {"group": group, "script_name": script_name, "path_info": path_info, "script": "@ROOT@/apps/shop.wsgi"}


# On purpose: what we answer where Apache answers something else; None is 404.
DIFFERENT: dict[str, dict[str, dict[str, Any] | None]] = {
    "seed": {
        # Apache works `.` and `..` out of the URL before anything else; here they are no names of files, and in
        # PATH_INFO they are the application's business.
        "/~alice/../~bob/wsgi-scripts/app.wsgi": None,
        f"{W}/./app.wsgi": None,
        f"{W}/%2e/app.wsgi": None,
        f"{W}/sub/../app.wsgi": None,
        f"{W}/app.wsgi/../foo": {**APP, "path_info": "/../foo"},
        f"{W}/app.wsgi/.": {**APP, "path_info": "/."},
        f"{W}/app.wsgi/..": {**APP, "path_info": "/.."},
        # Apache refuses every encoded slash (AllowEncodedSlashes); PATH_INFO may have one here.
        f"{W}/app.wsgi/%2f": {**APP, "path_info": "//"},
        f"{W}/app.wsgi/..%2fx": {**APP, "path_info": "/../x"},
        # Apache takes runs of slashes for one in PATH_INFO as well.
        "/~alice//wsgi-scripts//app.wsgi//a//b": {**APP, "path_info": "//a//b"},
        f"{W}/app.wsgi//": {**APP, "path_info": "//"},
        # What is hidden.
        "/~.dot/wsgi-scripts/app.wsgi": None,
        f"{W}/.hidden.wsgi": None,
        f"{W}/.git/app.wsgi": None,
        # Links in users' directories are followed only where a section says so; Apache follows links by default.
        "/~eve/wsgi-scripts/app.wsgi": None,
        "/~frank/wsgi-scripts/app.wsgi": None,
        # A section is for a directory. Where Apache follows links it asks a file as well.
        "/~dave/wsgi-scripts": None,
    },
    "directories": {
        # .bak is no extension that was asked for, and .WSGI is none.
        "/suffixes/app.wsgi.bak": None,
        "/suffixes/app.WSGI": None,
        # A section is for a directory, as above.
        "/links/out/app.wsgi": tells("/links/out/app.wsgi", "MATCH_FILE", "STAR", "TREE"),
        # Whose a link is is not looked at (SymLinksIfOwnerMatch).
        "/links/owner/app.wsgi": None,
        # A backslash escapes, also where nothing else in the path is a wildcard.
        "/*star/app.wsgi": tells("/*star/app.wsgi", "ESCAPED", "MATCH_FILE", "STAR", "TREE"),
    },
}


DIFFERENT["aliases"] = {
    # `/slash/` and `/slash` are one mount.
    "/slash": shop("/slash", ""),
    "/slash/": shop("/slash", "/"),
    "/slash/x": shop("/slash", "/x"),
    # PATH_INFO as the client wrote it, as above.
    "/sites/red//x": {**shop("/sites/red", "//x"), "script": "@ROOT@/sites/red/app.wsgi"},
    "/shop//x": shop("/shop", "//x"),
    "/shop/./x": shop("/shop", "/./x"),
    "/shop/../long/x": shop("/shop", "/../long/x"),
    "/shop/%2f": shop("/shop", "//"),
    # There is no context for URL paths below a mount; `migrate` says so.
    "/shop/located": shop("/shop", "/located"),
    "/shop/located/x": shop("/shop", "/located/x"),
    # No part of a name comes from the client: not the port of its Host header.
    "/shop/x www.example.com:9999": shop("/shop", "/x"),
}
OF_THE_APPLICATION = {"/broken", "/nothing"}  # the script is found; what becomes of it is the worker's business


@pytest.mark.parametrize("site", DIFFERENT)
def test_scripts_and_groups(site: str, root: Path) -> None:
    """Scripts, groups, SCRIPT_NAME, PATH_INFO and sections are Apache's, but for what is different on purpose."""
    ours = Site(site, root)
    wrong = []
    for row in ours.rows:
        if row["url"] in OF_THE_APPLICATION:
            continue
        expected = as_ours(row["answer"])
        with_host = f"{row['url']} {row.get('headers', {}).get('Host')}"
        if (key := next((one for one in (with_host, row["url"]) if one in DIFFERENT[site]), None)) is not None:
            other = DIFFERENT[site][key]
            assert expected != other
            expected = {"status": 404} if other is None else {"status": 200, "callable": "application", **other}
        if (found := ours.answer(row)) != expected:
            wrong.append((row["url"], found, expected))
    assert wrong == []


NOT_VARIABLES = {"V_SETENV_FIRST", "V_SETENVIF"}  # of SetEnv and SetEnvIf
DIFFERENT_VARIABLES: dict[str, dict[str, str]] = {
    "/dots/%C3%A9": {"V_DOT": "é"},  # a character is one, and not as many as it has bytes
    "/conds/../flag": {"V_CONDS": "GET"},  # `..` is a name like others
    "/name/abc": {},  # names of variables have no groups in them
    "/name/a:b": {},
}


def test_variables(root: Path) -> None:
    """The rules of the site set the variables that Apache's set, but for what is different on purpose."""
    ours = Site("rewrite", root)
    wrong = []
    for row in ours.rows:
        env = row["answer"]["env"]
        expected = {name: value.encode("latin-1").decode() for name, value in env.items() if name not in NOT_VARIABLES}
        if row["url"] in DIFFERENT_VARIABLES:
            expected = {"V_NOT": "<>", **DIFFERENT_VARIABLES[row["url"]]}
        _, request = request_of(row)
        found = ours.pieces.rules.variables(request)
        found = {name: value for name, value in found.items() if name not in NOT_VARIABLES and "$" not in name}
        if found != expected:
            wrong.append((row["url"], found, expected))
    assert wrong == []


SHOP = "@ROOT@/apps/shop.wsgi"
DIFFERENT_HOSTS: dict[tuple[str, str], tuple[str, ...] | None] = {
    # No part of a name comes from the client: not the port of its Host header.
    ("/resource", "www.example.com:8080"): (SHOP, "www.Example.com|/resource", "/resource", ""),
    ("/server", "www.example.com:1234"): (SHOP, "www.Example.com", "/server", ""),
    ("/x", "blog.example.com:9999"): (SHOP, "blog.example.com:8080", "", "/x"),
    # A Host header without a name is a request without one.
    ("/resource", ""): (SHOP, "www.Example.com|/resource", "/resource", ""),
    # A variable without a usable value is an error, and no name of its own, nor the main interpreter.
    ("/twice", "env.example.com"): None,
    ("/unset", "env.example.com"): None,
    ("/empty", "env.example.com"): None,
}


def test_virtual_hosts(root: Path) -> None:
    """Virtual hosts, their mounts and the names of groups are Apache's, but for what is different on purpose."""
    text = (apache.SITES / "hosts.conf").read_text().replace("@ROOT@", str(root)).replace("@PORT@", "80")
    (root / "hosts.conf").write_text(text)
    mounts = Mounts(root / "hosts.conf")
    wrong = []
    for row in TABLE["hosts"]:
        answer = row["answer"]
        expected = None
        if answer["status"] == 200:
            expected = (answer["script"], answer["group"], answer["script_name"], answer["path_info"])
        key = (row["url"], row["headers"]["Host"])
        if key in DIFFERENT_HOSTS:
            assert expected != DIFFERENT_HOSTS[key]
            expected = DIFFERENT_HOSTS[key]
        found = mounts.answer(row)
        ours = None if isinstance(found, str) else (found[0].replace(str(root), "@ROOT@"), *found[1:])
        if ours != expected:
            wrong.append((key, found, expected))
    assert wrong == []


FORMS = """\
ServerName "www.example.com"
# a comment \\
SetEnv IN_COMMENT 1
Define FOLDER "/srv/a b"
Define SHORT /srv
SetEnv ONE "1 2"
  SetEnv\t TWO 'a b'\x20\x20
SetEnv HASH a#b
SetEnv QUOTES "a \\"b\\" c"
SetEnv BACKSLASHES a\\\\b\\c
SetEnv NOBODY ${NOBODY_DEFINES_THIS}
SetEnv FOLDER "<${FOLDER}>"
SetEnv ${SHORT}_
<IfModule mod_rewrite.c>
    RewriteEngine On
    RewriteCond %{REQUEST_URI} ^/~([^/]+)
    RewriteRule . - [E=APPLICATION_GROUP:~%1]
    RewriteRule "^/a b" - "[E=X:a b]"
</IfModule>
<IfModule !mod_rewrite.c>
SetEnv NEVER 1
</IfModule>
<IfDefine SHORT>
setenv SHORT ${SHORT}/${SHORT}
</IfDefine>
<IfVersion < 2.4>
SetEnv NEVER 1
</IfVersion>
<Directory "/srv/a b">
    Options ExecCGI
    <Files ~ "\\.wsgi$">
        SetHandler wsgi-script
    </Files>
    Include more/*.conf
</Directory>
<DirectoryMatch "^/srv/[^/]+/(?<x>a|b)">
SetEnv D 1
</DirectoryMatch>
<Location "/a>b">
SetEnv L 1
</Location>
Alias /long \\
    "/srv/\\
long"
"""


@needs_apache
def test_reading(tmp_path: Path) -> None:
    """Apache finds the same statements in a file as we do, with the same arguments, in the same files and lines."""
    folder = apache.modules()
    assert folder is not None
    if not (folder / "mod_info.so").exists():
        pytest.skip("Apache's module mod_info is not here, which shows what Apache has read")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.conf").write_text("SetEnv B 1\n")
    (tmp_path / "more/a.conf").write_text("\nSetEnv A 1\n")
    loads = [f"LoadModule {one}_module {folder}/mod_{one}.so\n" for one in (*apache.WANTED, "info")]
    start = f"ServerRoot {tmp_path}\nErrorLog {tmp_path}/error.log\n{''.join(loads)}"
    (tmp_path / "httpd.conf").write_text(start + FORMS)
    program = [str(apache.command()), "-f", str(tmp_path / "httpd.conf"), "-t", "-D", "DUMP_CONFIG"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    theirs = []
    file = line = ""
    for text in shown.splitlines():
        if found := re.fullmatch(r"# In file: (.*)", text):
            file = found[1]
        elif found := re.fullmatch(r" *# +(\d+):", text):
            line = found[1]
        elif text.strip() and not text.lstrip().startswith("</"):
            name, _, rest = text.strip().lstrip("<").partition(" ")
            rest = rest.removesuffix(">") if text.lstrip().startswith("<") else rest
            theirs.append((Path(file).name, int(line), name.lower(), arguments_of(rest)))
    on_reading = {"serverroot", "loadmodule", "define"}  # what Apache obeys at once it does not show
    ours = [
        # What goes on over several lines Apache says the last of.
        (Path(one.file).name, one.line + 2 * (one.arguments[:1] == ("/long",)), one.key, list(one.arguments))
        for one in walk(read(tmp_path / "httpd.conf").statements)
        if one.key not in on_reading
    ]
    assert ours == theirs
    assert len(ours) > 20
