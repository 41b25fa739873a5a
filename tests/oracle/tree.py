"""The files that the oracle's sites serve: one tree for all of them."""

import os
from pathlib import Path

__all__ = ["make"]

TELLS = '''"""Says what it is given."""

import json


def application(environ, start_response):
    said = {
        "group": environ["mod_wsgi.application_group"],
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
        "script": __file__,
        "callable": %r,
        "env": {name: value for name, value in sorted(environ.items()) if name.startswith(("S_", "V_"))},
    }
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Said", json.dumps(said))])
    return [b""]
'''
APPLICATION = TELLS % "application"
SECOND = TELLS + "\n\nsecond = application\n"

USER = [
    "app.wsgi",
    "foo",
    "sub/deep.wsgi",
    "a b.wsgi",
    "é.wsgi",
    "plus+tilde~.wsgi",
    ".hidden.wsgi",
    ".git/app.wsgi",
    "100%25.wsgi",
]
SCRIPTS = [
    *[f"home/{user}/public_html/wsgi-scripts/{name}" for user in ("alice", "bob") for name in USER],
    "home/alice/public_html/wsgi-scripts-not/app.wsgi",
    "home/alice/public_html/other.wsgi",
    "home/alice/secret.wsgi",
    "home/.dot/public_html/wsgi-scripts/app.wsgi",
    "home/dave/public_html/wsgi-scripts",  # a file of the directory's name
    "apps/shop.wsgi",
    "apps/folder/one.wsgi",
    "apps/folder/sub/two.wsgi",
    "inside/app.wsgi",
    "sites/red/app.wsgi",
    "sites/blue/app.wsgi",
    "tree/app.wsgi",
    *[f"tree/{name}/app.wsgi" for name in ("a", "b", "c", "ab", "abc", "a/b", "b/b", "a/b/c", "a/x/y", "x.d", "*star")],
    *[f"tree/{name}/app.wsgi" for name in ("reg/one/deep", "reg/ends", "ends", "plain", "noexec", "links", "treble")],
    *[f"tree/suffixes/app.{suffix}" for suffix in ("wsgi", "py", "wsgi.bak", "WSGI", "txt", "bak")],
]
TEXTS = ["htdocs/index.html", "htdocs/page.txt", "home/alice/public_html/index.html", "static/style.css"]
LINKS = {
    "home/mallory/public_html/wsgi-scripts/to-bob.wsgi": "../../../bob/public_html/wsgi-scripts/app.wsgi",
    "home/mallory/public_html/wsgi-scripts/bob": "../../../bob/public_html/wsgi-scripts",
    "home/mallory/public_html/wsgi-scripts/inside.wsgi": "own.wsgi",
    "home/mallory/public_html/wsgi-scripts/broken.wsgi": "nowhere.wsgi",
    "home/mallory/public_html/wsgi-scripts/loop": "loop",
    "home/eve/public_html": "../bob/public_html",
    "home/frank": "bob",
    "tree/links/app2.wsgi": "app.wsgi",
    "tree/links/out": "../a",
    "tree/links/owner/app.wsgi": "../app.wsgi",
}


def make(root: Path) -> None:
    """Make the tree below ``root``, an empty folder; whoever the server runs as can read it."""
    write(root / "apps/two.wsgi", SECOND.replace("%r", '"second"'))
    write(root / "apps/broken.wsgi", "raise RuntimeError('on purpose')\n")
    write(root / "home/mallory/public_html/wsgi-scripts/own.wsgi", APPLICATION)
    for name in SCRIPTS:
        write(root / name, APPLICATION)
    for name in TEXTS:
        write(root / name, "text\n")
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    os.mkfifo(root / "home/alice/public_html/wsgi-scripts/fifo.wsgi", 0o644)
    (root / "home/carol").mkdir()
    for folder, folders, files in os.walk(root):
        for name in folders:
            os.chmod(Path(folder, name), 0o755)
        for name in files:
            if not Path(folder, name).is_symlink():
                os.chmod(Path(folder, name), 0o644)
    os.chmod(root, 0o755)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
