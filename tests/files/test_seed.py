"""The example in mod_wsgi's documentation of WSGIApplicationGroup, word for word, over HTTP."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import ROOT, Server, serving

SNIPPET = """\
RewriteEngine On
RewriteCond %{REQUEST_URI} ^/~([^/]+)
RewriteRule . - [E=APPLICATION_GROUP:~%1]
<Directory /home/*/public_html/wsgi-scripts/>
Options ExecCGI
SetHandler wsgi-script
WSGIApplicationGroup %{ENV:APPLICATION_GROUP}
</Directory>
"""

TELLS = '''"""Says in header fields what it is given."""

from concurrent import interpreters


def application(environ, start_response):
    said = {
        "X-Group": environ["mod_wsgi.application_group"],
        "X-Interpreter": str(interpreters.get_current().id),
        "X-Script-Name": environ["SCRIPT_NAME"],
        "X-Path-Info": environ["PATH_INFO"],
        "X-File": __file__,
    }
    start_response("200 OK", list(said.items()))
    return [b""]
'''

FILES = [
    *[f"{user}/public_html/wsgi-scripts/{name}" for user in ("alice", "bob", "carol") for name in ("one.wsgi", "two")],
    "alice/public_html/wsgi-scripts/sub/three.wsgi",
    "alice/public_html/other.wsgi",
    "alice/secret.wsgi",
    "dave/public_html/one.wsgi",
]

# URL -> group, SCRIPT_NAME, PATH_INFO, file below the home directories.
SCRIPTS = {
    f"/~{user}/wsgi-scripts/{name}{rest}": (
        f"~{user}",
        f"/~{user}/wsgi-scripts/{name}",
        rest,
        f"{user}/public_html/wsgi-scripts/{name}",
    )
    for user in ("alice", "bob", "carol")
    for name in ("one.wsgi", "two")
    for rest in ("", "/", "/a/b", "/~bob")
} | {
    "/~alice/wsgi-scripts/sub/three.wsgi/x": (
        "~alice",
        "/~alice/wsgi-scripts/sub/three.wsgi",
        "/x",
        "alice/public_html/wsgi-scripts/sub/three.wsgi",
    ),
    "/%7Ebob/wsgi-scripts/two": (
        "~bob",
        "/~bob/wsgi-scripts/two",
        "",
        "bob/public_html/wsgi-scripts/two",
    ),
}

NOWHERE = [
    "/",
    "/~alice",
    "/~alice/",
    "/~alice/other.wsgi",
    "/~alice/wsgi-scripts",
    "/~alice/wsgi-scripts/sub",
    "/~alice/wsgi-scripts/none",
    "/~alice/wsgi-scripts/../other.wsgi",
    "/~alice/../alice/secret.wsgi",
    "/~alice/%2e%2e/secret.wsgi",
    "/~alice/..%2fsecret.wsgi",
    "/~dave/one.wsgi",
    "/~erin/wsgi-scripts/one.wsgi",
    "/~/wsgi-scripts/one.wsgi",
    "/~./alice/wsgi-scripts/one.wsgi",
]

UNSHARE = ["unshare", "-m" if os.geteuid() == 0 else "-rm"]
AS_HOME = 'mount --bind "$0" /home && exec "$@"'


def why_not_as_home(home: Path) -> str:
    """Why a server cannot have a folder as its /home; empty where it can."""
    if any(Path(used).resolve().is_relative_to("/home") for used in (sys.executable, sys.base_prefix, ROOT)):
        return "what the test needs lies in /home"
    try:
        subprocess.run([*UNSHARE, "sh", "-c", AS_HOME, home, "true"], check=True, capture_output=True, timeout=30)
    except OSError, subprocess.SubprocessError:
        return "no mount namespace of its own: /home is what it is"
    return ""


@pytest.fixture(scope="module", params=["in /home", "elsewhere"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The home directories, and what the server calls that folder: /home itself, where it can be had."""
    folder = tmp_path_factory.mktemp("home")
    if request.param == "in /home" and (reason := why_not_as_home(folder)):
        pytest.skip(reason)
    for name in FILES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TELLS)
    return folder, Path("/home") if request.param == "in /home" else folder


@pytest.fixture(scope="module", params=["serve", "migrate"])
def server(
    request: pytest.FixtureRequest, home: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The snippet, served as it is, or as what `migrate` makes of it."""
    folder, own = home
    file = tmp_path_factory.mktemp("etc") / "httpd.conf"
    file.write_text(
        f"ServerName www.example.com\nUserDir {own}/*/public_html\n\n{SNIPPET.replace('/home/', f'{own}/')}"
    )
    if request.param == "migrate":
        written = file.with_name("asyncgroups.toml")
        command = [sys.executable, "-m", "asyncgroups", "migrate", str(file), "-o", str(written)]
        migrated = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
        assert (migrated.returncode, migrated.stderr) == (0, "")
        file = written
    command = ["-m", "asyncgroups", "serve", str(file), "-b", "127.0.0.1:0"]
    if own != folder:
        program, arguments = UNSHARE[0], [*UNSHARE[1:], "sh", "-c", AS_HOME, str(folder), sys.executable, *command]
    else:
        program, arguments = sys.executable, command
    with serving(arguments, program=program) as running:
        yield running


def test_scripts_run_in_the_groups_of_their_users(server: Server, home: tuple[Path, Path]) -> None:
    """Each script answers in its user's group, with its own SCRIPT_NAME and the rest as PATH_INFO."""
    with server.client() as client:
        answers = {url: client.get(url) for url in SCRIPTS}
    said = {}
    for url, answer in answers.items():
        assert answer.status_code == 200, url
        fields = (answer.headers[name] for name in ("X-Group", "X-Script-Name", "X-Path-Info"))
        said[url] = (*fields, answer.headers["X-File"].removeprefix(f"{home[1]}/"))
    assert said == SCRIPTS


def test_two_users_never_share_an_interpreter(server: Server) -> None:
    """All scripts of one user run in one interpreter, which is nobody else's, nor the main one."""
    with server.client() as client:
        answers = [client.get(url).headers for url in SCRIPTS]
    groups = {(answer["X-Group"], answer["X-Interpreter"]) for answer in answers}
    assert len(groups) == 3
    assert len({interpreter for _, interpreter in groups} | {"0"}) == 4


def test_what_is_no_script_is_not_found(server: Server) -> None:
    """Whatever else is asked for is answered 404, and without a word of any file."""
    with server.client() as client:
        answers = {url: client.send(raw(client, url)) for url in NOWHERE}
    assert {url: answer.status_code for url, answer in answers.items()} == dict.fromkeys(NOWHERE, 404)
    assert not [url for url, answer in answers.items() if "environ" in answer.text]


def raw(client: httpx.Client, url: str) -> httpx.Request:
    """A request whose path goes out as it is written."""
    request = client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=url.encode())
    return request
