"""Apache's configurations, served as they are and through ``migrate``."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import begin, ended
from tests.serving import Server, serving

TELLS = '''"""Says what it is given, and where it runs."""

import json
from concurrent import interpreters


def application(environ, start_response):
    said = [environ["mod_wsgi.application_group"], environ["SCRIPT_NAME"], environ["PATH_INFO"]]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([interpreters.get_current().id, *said]).encode()]
'''

# The seed document's example, word for word; only where the home directories are is told by the test.
SEED = """\
RewriteEngine On
RewriteCond %{REQUEST_URI} ^/~([^/]+)
RewriteRule . - [E=APPLICATION_GROUP:~%1]
<Directory /home/*/public_html/wsgi-scripts/>
Options ExecCGI
SetHandler wsgi-script
WSGIApplicationGroup %{ENV:APPLICATION_GROUP}
</Directory>
"""
USERS = ("alice", "bob", "carol")
SCRIPTS = ("app.wsgi", "wiki", "tools/list.wsgi")

TABLE = [
    ("/~alice/wsgi-scripts/app.wsgi", "~alice", "/~alice/wsgi-scripts/app.wsgi", ""),
    ("/~alice/wsgi-scripts/app.wsgi/", "~alice", "/~alice/wsgi-scripts/app.wsgi", "/"),
    ("/~alice/wsgi-scripts/app.wsgi/a/b%20c?d=e", "~alice", "/~alice/wsgi-scripts/app.wsgi", "/a/b c"),
    ("/~alice/wsgi-scripts/wiki/Start", "~alice", "/~alice/wsgi-scripts/wiki", "/Start"),
    ("/~alice/wsgi-scripts/tools/list.wsgi", "~alice", "/~alice/wsgi-scripts/tools/list.wsgi", ""),
    ("/%7Ealice/wsgi-scripts/wiki", "~alice", "/~alice/wsgi-scripts/wiki", ""),
    ("/~bob/wsgi-scripts/app.wsgi/~alice", "~bob", "/~bob/wsgi-scripts/app.wsgi", "/~alice"),
    ("/~bob/wsgi-scripts/wiki", "~bob", "/~bob/wsgi-scripts/wiki", ""),
    ("/~carol/wsgi-scripts/wiki/", "~carol", "/~carol/wsgi-scripts/wiki", "/"),
    ("/~carol/wsgi-scripts/tools/list.wsgi/x", "~carol", "/~carol/wsgi-scripts/tools/list.wsgi", "/x"),
]
NOWHERE = [
    "/",
    "/~alice",
    "/~alice/index.html",
    "/~alice/other.wsgi",
    "/~alice/wsgi-scripts",
    "/~alice/wsgi-scripts/",
    "/~alice/wsgi-scripts/tools",
    "/~alice/wsgi-scripts/gone.wsgi",
    "/~dave/wsgi-scripts/app.wsgi",
    "/~alice%2Fwsgi-scripts/app.wsgi",
]


@pytest.fixture(scope="module")
def httpd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration, in a folder with the home directories of several users."""
    root = tmp_path_factory.mktemp("httpd")
    for user in USERS:
        for script in SCRIPTS:
            path = root / "home" / user / "public_html/wsgi-scripts" / script
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TELLS)
    (root / "home/alice/public_html/index.html").write_text("<p>Alice</p>\n")
    (root / "home/alice/public_html/other.wsgi").write_text(TELLS)
    text = f"ServerName www.example.com\nUserDir /home/*/public_html\n{SEED}".replace("/home/", f"{root}/home/")
    (root / "httpd.conf").write_text(text)
    return root / "httpd.conf"


@pytest.fixture(scope="module", params=["serve", "migrate", "uvicorn"])
def server(request: pytest.FixtureRequest, httpd: Path) -> Iterator[Server]:
    """A server on the configuration itself, on its translation, or under an ASGI server that is not ours."""
    file = httpd
    if request.param == "migrate":
        file = httpd.with_name("asyncgroups.toml")
        assert ended(begin("migrate", str(httpd), "-o", str(file))) == (0, "", "")
    with serving(file, kind="uvicorn" if request.param == "uvicorn" else "serve") as running:
        yield running


def test_the_example_of_the_seed_document(server: Server) -> None:
    """All scripts of a user run in the group ~user, in one interpreter, and no two users share one."""
    found = []
    interpreters: dict[str, set[int]] = {}
    with server.client() as client:
        for url, *_ in TABLE:
            response = client.get(url)
            assert response.status_code == 200, (url, response.text, server.log())
            number, *said = response.json()
            found.append((url, *said))
            interpreters.setdefault(said[0], set()).add(number)
    assert found == TABLE
    assert sorted(interpreters) == [f"~{user}" for user in USERS]
    assert [len(numbers) for numbers in interpreters.values()] == [1, 1, 1]
    assert len(set.union(*interpreters.values())) == 3
    assert 0 not in set.union(*interpreters.values())


def test_what_is_no_script(server: Server) -> None:
    """Directories, files without the handler and users without scripts are answered 404, and no file is sent."""
    with server.client() as client:
        found = {url: client.get(url) for url in NOWHERE}
    assert {url: answer.status_code for url, answer in found.items()} == dict.fromkeys(NOWHERE, 404)
    assert not any("Alice" in answer.text or "import" in answer.text for answer in found.values())


def test_remarks_in_the_log(httpd: Path) -> None:
    """What is not translated is in the log at the start; of much of it there is the beginning, and a number."""
    file = httpd.with_name("remarks.conf")
    file.write_text(httpd.read_text() + "".join(f"Nonsense{number} x\n" for number in range(25)))
    with serving(file) as server:
        log = server.wait_for_log("5 remarks more: asyncgroups migrate .*remarks.conf lists all of them")
        assert len(re.findall(r"remarks\.conf:\d+: Nonsense\d+ x: has no counterpart", server.log())) == 20
        assert log is not None
        assert server.get("/~alice/wsgi-scripts/wiki").status_code == 200
