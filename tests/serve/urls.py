"""A site with scripts in directories and users' directories, and what clients may ask it for."""

import os
from pathlib import Path

from tests.oracle import tree

__all__ = ["NOT_FOUND", "SERVED", "W", "group_of", "make"]

# The seed document's snippet, in our words; and a document root with scripts beside other files.
SITE = """\
server_name = "www.example.com"
document_root = "{root}/htdocs"
log_level = "debug"

[userdir]
path = "{root}/home/*/public_html"

[[rewrite]]
match = "^/~([^/]+)"
env = {{ APPLICATION_GROUP = "~$1" }}

[[rewrite]]
match = "^/slow/(a|aa)+$"
env = {{ SLOW = "1" }}

[[directory]]
path = "{root}/home/*/public_html/wsgi-scripts"
handler = "wsgi-script"
application_group = "%{{ENV:APPLICATION_GROUP}}"

[[directory]]
path = "{root}/htdocs"
handler = "wsgi-script"
extensions = [".wsgi"]
application_group = "documents"

[[directory]]
path = "{root}/htdocs/off"
handler = "none"

[[mount]]
match = "^/sites/([^/]+)"
script = "{root}/sites/\\\\1/app.wsgi"
application_group = "sites"

[[mount]]
path = "/shop"
script = "{root}/apps/shop.wsgi"
application_group = "shop"

[[virtual_host]]
server_name = "bare.example.com"
rewrite = []
userdir = {{ enabled = [] }}
"""


def make(root: Path) -> Path:
    """Make the site in an empty folder; returns the path of its configuration."""
    tree.make(root)
    for name in ("app.wsgi", "off/app.wsgi", "app.py", "sub/deep.wsgi", ".hidden.wsgi"):
        tree.write(root / "htdocs" / name, tree.APPLICATION)
    configuration = root / "site.toml"
    configuration.write_text(SITE.format(root=root))
    return configuration


def group_of(root: Path, script: Path) -> str:
    """The group that a script belongs to, by its path below ``root``; fails for one that nobody may ask for."""
    assert not any(part.startswith(".") for part in script.parts)
    assert not os.path.islink(root / script)
    if script.parts[0] == "home":
        assert script.parts[2:4] == ("public_html", "wsgi-scripts")
        return f"~{script.parts[1]}"
    return {"htdocs": "documents", "sites": "sites", "apps": "shop"}[script.parts[0]]


W = b"/~alice/wsgi-scripts"
SERVED = [
    (W + b"/app.wsgi", "~alice", "home/alice/public_html/wsgi-scripts/app.wsgi", ""),
    (W + b"/app.wsgi/x/../y", "~alice", "home/alice/public_html/wsgi-scripts/app.wsgi", "/x/../y"),
    (b"/%7Ealice/wsgi-scripts/foo/x", "~alice", "home/alice/public_html/wsgi-scripts/foo", "/x"),
    (b"/~bob/wsgi-scripts/app.wsgi", "~bob", "home/bob/public_html/wsgi-scripts/app.wsgi", ""),
    (b"//~bob//wsgi-scripts/a%20b.wsgi", "~bob", "home/bob/public_html/wsgi-scripts/a b.wsgi", ""),
    (b"/app.wsgi", "documents", "htdocs/app.wsgi", ""),
    (b"/sub/deep.wsgi/", "documents", "htdocs/sub/deep.wsgi", "/"),
    (b"/sites/red/x", "sites", "sites/red/app.wsgi", "/x"),
    (b"/shop/x", "shop", "apps/shop.wsgi", "/x"),
]

NOT_FOUND = [
    # files without a handler
    b"/index.html",
    b"/page.txt",
    b"/app.py",
    b"/off/app.wsgi",
    b"/~alice/index.html",
    b"/~alice/other.wsgi",
    b"/~alice/wsgi-scripts-not/app.wsgi",
    # directories, and what is none of both
    b"/",
    b"/sub",
    b"/sub/",
    b"/~alice",
    b"/~alice/",
    W,
    W + b"/",
    W + b"/fifo.wsgi",
    b"/sites/apps",
    # ways up
    b"/../apps/shop.wsgi",
    b"/%2e%2e/apps/shop.wsgi",
    b"/..%2fapps/shop.wsgi",
    b"/sub/../../apps/shop.wsgi",
    b"/..%5capps%5cshop.wsgi",
    b"/..\\apps\\shop.wsgi",
    b"/sites/..%2fapps",
    b"/sites/%2e%2e",
    W + b"/../../secret.wsgi",
    W + b"/%2e%2e/other.wsgi",
    W + b"/..%2f..%2f..%2fbob%2fpublic_html%2fwsgi-scripts%2fapp.wsgi",
    b"/~alice/../~bob/wsgi-scripts/app.wsgi",
    b"/~../apps/shop.wsgi",
    b"/~alice%2f..%2fbob/wsgi-scripts/app.wsgi",
    b"/~.dot/wsgi-scripts/app.wsgi",
    b"/~/wsgi-scripts/app.wsgi",
    b"/~home/alice",
    # names cut short, and others
    W + b"/app.wsgi%00",
    W + b"/app.wsgi%00.txt",
    W + b"/app.wsgi%20",
    W + b"/app.wsgi.",
    W + b"/APP.wsgi",
    W + b"/app.wsgi%0a",
    W + b"/%C0%AE%C0%AE/secret.wsgi",
    W + b"/" + b"a" * 5000,
    b"/app.wsgi;.html",
    # what is hidden
    b"/.hidden.wsgi",
    W + b"/.hidden.wsgi",
    W + b"/.git/app.wsgi",
    W + b"/%2egit/app.wsgi",
    # links
    b"/~mallory/wsgi-scripts/to-bob.wsgi",
    b"/~mallory/wsgi-scripts/bob/app.wsgi",
    b"/~mallory/wsgi-scripts/inside.wsgi",
    b"/~mallory/wsgi-scripts/loop",
    b"/~eve/wsgi-scripts/app.wsgi",
    b"/~frank/wsgi-scripts/app.wsgi",
    b"/~dave/wsgi-scripts",
]
