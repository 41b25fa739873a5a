"""What Apache with mod_wsgi answers, and what our server does for the same configuration, files and requests."""

import json
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.apache.lines import arguments_of
from asyncgroups.apache.reading import read, walk
from asyncgroups.apache.translation import translate
from asyncgroups.apache.writing import toml
from tests.oracle import apache, tree
from tests.oracle.apache import Apache
from tests.serving import serving

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


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ours-") as name:
        tree.make(Path(name))
        yield Path(name)


def answers(site: str, root: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row of a site, and what our server answers, as the table would have it."""
    text = (apache.SITES / f"{site}.conf").read_text().replace("@ROOT@", str(root)).replace("@PORT@", "80")
    file = root / f"{site}.conf"
    file.write_text(text)
    mapping = translate(read(file)).mapping
    assert tomllib.loads(toml(mapping)) == mapping  # hence `migrate` gives what is served here
    with serving(file) as server:
        ours = Apache(root, server.port)
        told = [(row, ours.ask(row)) for row in TABLE[site]]
    for _, answer in told:
        # A name without a port has the socket's, which on port 80 leaves no trace.
        answer |= {key: text.replace(":@PORT@", "") for key, text in answer.items() if key == "group"}
    return told


def as_ours(answer: dict[str, Any]) -> dict[str, Any]:
    """Apache's answer as ours would be: what is refused is not found, and no file is sent as it is."""
    if answer["status"] in (400, 403) or answer.get("static"):
        return {"status": 404}
    return answer


def wrong(site: str, root: Path, different: dict[str, dict[str, Any]]) -> list[tuple[str, object, object]]:
    """The rows of a site whose answer is neither Apache's nor what is different on purpose."""
    found = []
    for row, answer in answers(site, root):
        expected = as_ours(row["answer"])
        with_host = f"{row['url']} {row.get('headers', {}).get('Host')}"
        if (key := next((one for one in (with_host, row["url"]) if one in different), None)) is not None:
            other = different[key]
            other = other if "status" in other else {**expected, "status": 200, "callable": "application", **other}
            assert expected != other, f"{key} is not different"
            expected = other
        if answer != expected:
            found.append((with_host, answer, expected))
    return found


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


NOT_FOUND = {"status": 404}
FAILED = {"status": 500}

# On purpose: what we answer where Apache answers something else.
DIFFERENT: dict[str, dict[str, dict[str, Any]]] = {
    "seed": {
        # Apache works `.` and `..` out of the URL before anything else; here they are no names of files, and in
        # PATH_INFO they are the application's business.
        "/~alice/../~bob/wsgi-scripts/app.wsgi": NOT_FOUND,
        f"{W}/./app.wsgi": NOT_FOUND,
        f"{W}/%2e/app.wsgi": NOT_FOUND,
        f"{W}/sub/../app.wsgi": NOT_FOUND,
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
        "/~.dot/wsgi-scripts/app.wsgi": NOT_FOUND,
        f"{W}/.hidden.wsgi": NOT_FOUND,
        f"{W}/.git/app.wsgi": NOT_FOUND,
        # Links in users' directories are followed only where a section says so; Apache follows links by default.
        "/~eve/wsgi-scripts/app.wsgi": NOT_FOUND,
        "/~frank/wsgi-scripts/app.wsgi": NOT_FOUND,
        # A section is for a directory. Where Apache follows links it asks a file as well.
        "/~dave/wsgi-scripts": NOT_FOUND,
    },
    "directories": {
        # .bak is no extension that was asked for, and .WSGI is none.
        "/suffixes/app.wsgi.bak": NOT_FOUND,
        "/suffixes/app.WSGI": NOT_FOUND,
        # A section is for a directory, as above.
        "/links/out/app.wsgi": tells("/links/out/app.wsgi", "MATCH_FILE", "STAR", "TREE"),
        # Whose a link is is not looked at (SymLinksIfOwnerMatch).
        "/links/owner/app.wsgi": NOT_FOUND,
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

ALWAYS = {"V_NOT": "<>", "V_SETENV_FIRST": "config"}
DIFFERENT["rewrite"] = {
    "/dots/%C3%A9": {"env": {"V_DOT": "é".encode().decode("latin-1"), **ALWAYS}},  # a character is one, not two bytes
    "/conds/../flag": {
        "path_info": "/conds/../flag",
        "env": {"V_CONDS": "GET", **ALWAYS},
    },  # `..` is a name like others
    "//~carol//x": {"path_info": "//~carol//x"},  # PATH_INFO as the client wrote it, as above
    # Names of variables have no groups in them; `migrate` says so.
    "/name/abc": {"env": ALWAYS},
    "/name/a:b": {"env": ALWAYS},
}
SHOP = "@ROOT@/apps/shop.wsgi"
DIFFERENT["hosts"] = {
    # No part of a name comes from the client: not the port of its Host header.
    "/resource www.example.com:8080": {"group": "www.Example.com|/resource"},
    "/server www.example.com:1234": {"group": "www.Example.com"},
    "/x blog.example.com:9999": {"group": "blog.example.com:8080"},
    # A Host header without a name is a request without one.
    "/resource ": {"group": "www.Example.com|/resource", "script_name": "/resource", "path_info": "", "script": SHOP},
    # A variable without a usable value is an error, and no name of its own, nor the main interpreter.
    "/twice env.example.com": FAILED,
    "/unset env.example.com": FAILED,
    "/empty env.example.com": FAILED,
}
# Everything is as in Apache where contexts meet, and where access is denied altogether.
DIFFERENT["access"] = {}
DIFFERENT["contexts"] = {}


@pytest.mark.parametrize("site", DIFFERENT)
def test_our_server(site: str, root: Path) -> None:
    """Scripts, groups, SCRIPT_NAME, PATH_INFO and variables are Apache's, but for what is different on purpose."""
    assert wrong(site, root, DIFFERENT[site]) == []


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
