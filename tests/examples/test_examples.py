"""The examples run as their comments say, and the README's configuration is one."""

import contextlib
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncgroups import config
from asyncgroups.errors import ConfigurationError
from tests.serving import ROOT, Server, serving

EXAMPLES = ROOT / "examples"
SERVED = {"apache", "django_uvicorn", "fastapi_mount", "process_groups", "user_directories"}
"""Those with a fixture that serves them as their comments say."""


def comment_of(example: Path) -> str:
    """The comment at the top of one of the example's files: it says what the example is."""
    files = [*example.glob("*.toml"), *example.glob("*.conf"), *example.glob("*.py")]
    found = [re.match(r"(#.*\n)+", file.read_text()) for file in files]
    (comment,) = filter(None, found)
    return comment[0]


@contextlib.contextmanager
def as_its_comment_says(example: Path) -> Iterator[Server]:
    """The example, served by the command in its comment, but for the port."""
    line = re.search(r"^#   ((?:\w+=\S+ )*)(asyncgroups|uvicorn) (.*)", comment_of(example), re.MULTILINE)
    assert line is not None
    variables = dict(word.split("=", 1) for word in line[1].split())
    port = ["-b", "127.0.0.1:0"] if line[2] == "asyncgroups" else ["--port", "0"]
    with serving(["-m", line[2], *shlex.split(line[3]), *port], environ={"PWD": str(ROOT), **variables}) as server:
        yield server


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def two_groups(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(EXAMPLES / "two-groups" / "asyncgroups.toml", kind=request.param) as server:
        yield server


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def django_and_flask(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(EXAMPLES / "django-and-flask" / "asyncgroups.toml", kind=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def fastapi_mount() -> Iterator[Server]:
    with as_its_comment_says(EXAMPLES / "fastapi-mount") as server:
        yield server


@pytest.fixture(scope="module")
def django_uvicorn() -> Iterator[Server]:
    with as_its_comment_says(EXAMPLES / "django-uvicorn") as server:
        yield server


@pytest.fixture(scope="module")
def process_groups() -> Iterator[Server]:
    with as_its_comment_says(EXAMPLES / "process-groups") as server:
        yield server


@pytest.fixture(scope="module")
def user_directories() -> Iterator[Server]:
    with as_its_comment_says(EXAMPLES / "user-directories") as server:
        yield server


@pytest.fixture(scope="module")
def apache() -> Iterator[Server]:
    with as_its_comment_says(EXAMPLES / "apache") as server:
        yield server


def test_two_groups_show_their_interpreters(two_groups: Server) -> None:
    """One group is one interpreter, another group another, GLOBAL the main one; the default is named after the path."""
    answers = {path: two_groups.get(path).json() for path in ("/red", "/red/too", "/blue", "/global", "/other")}
    interpreters = {path: answer["interpreter"] for path, answer in answers.items()}
    assert interpreters["/red"] == interpreters["/red/too"]
    assert len(set(interpreters.values())) == 4
    assert interpreters["/global"] == 0
    assert answers["/red/too"]["requests"] == answers["/red"]["requests"] + 1
    assert {path: answer["application_group"] for path, answer in answers.items()} == {
        "/red": "red",
        "/red/too": "red",
        "/blue": "blue",
        "/global": "",
        "/other": f"localhost:{two_groups.port}|",
    }


def test_django_and_flask_are_imported_in_their_own_groups_only(django_and_flask: Server) -> None:
    """Each framework is there in its own interpreter and in no other, and so is the variable of its group."""
    shop, notes, plain = (django_and_flask.get(path).json() for path in ("/shop/where", "/notes/where", "/"))
    assert [shop["imported"], notes["imported"], plain["imported"]] == [["django"], ["flask"], []]
    assert len({shop["interpreter"], notes["interpreter"], plain["interpreter"]}) == 3
    assert plain["interpreter"] == 0
    assert shop["settings"] == "shop.settings"
    assert notes["settings"] is None


def test_the_pages_of_both_frameworks_are_served(django_and_flask: Server) -> None:
    """Django's and Flask's own pages come out below their mounts."""
    assert django_and_flask.get("/shop/").status_code == 200
    assert django_and_flask.get("/notes/").status_code == 200


def test_flask_is_mounted_in_fastapi(fastapi_mount: Server) -> None:
    """Each framework is there in its own interpreter only; links and redirects of the mounted one stay below it."""
    service, guestbook = fastapi_mount.get("/").json(), fastapi_mount.get("/old/where").json()
    assert [service["interpreter"], service["imported"]] == [0, ["fastapi"]]
    assert guestbook["interpreter"] != 0
    assert guestbook["imported"] == ["flask"]
    assert (guestbook["application_group"], guestbook["script_name"]) == ("old", "/old")
    with fastapi_mount.client() as client:
        answer = client.post("/old/", data={"name": "Mia"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/old/")
    assert "<li>Mia</li>" in fastapi_mount.get("/old/").text


def test_a_django_project_under_uvicorn(django_uvicorn: Server) -> None:
    """The project runs in its group, and not in uvicorn's interpreter."""
    where = django_uvicorn.get("/where").json()
    assert (where["application_group"], where["imported"]) == ("pages", ["django"])
    assert where["interpreter"] != 0
    assert "Hello, Mia" in django_uvicorn.get("/?name=Mia").text


def test_process_groups_have_processes_and_settings_of_their_own(process_groups: Server) -> None:
    """Each process group is other processes; the settings of one are nobody else's; a killed one is not missed."""
    front, shop, reports = (process_groups.get(path).json() for path in ("/", "/shop", "/reports"))
    assert front["process"] == process_groups.process.pid
    assert len({front["process"], shop["process"], reports["process"]}) == 3
    assert [one["process_group"] for one in (front, shop, reports)] == ["", "shop", "reports"]
    assert [one["one of several"] for one in (front, shop, reports)] == [False, True, False]
    assert [one["REPORTS"] for one in (front, shop, reports)] == [None, None, "monthly"]
    assert [one["niceness"] for one in (front, shop, reports)] == [os.nice(0), os.nice(0), 5]
    assert [one["interpreter"] == 0 for one in (front, shop, reports)] == [False, False, True]
    os.kill(shop["process"], signal.SIGKILL)
    process_groups.wait_for_log("was killed by SIGKILL")
    assert process_groups.get("/shop").json()["process"] != shop["process"]


def test_user_directories_are_groups_of_their_users(user_directories: Server) -> None:
    """The scripts of one user share an interpreter, which is nobody else's; a file without the handler is not there."""
    mia, notes, ole = (
        user_directories.get(f"/~{user}/wsgi-scripts/{rest}").json()
        for user, rest in (("mia", "where.wsgi"), ("mia", "notes.wsgi/list"), ("ole", "where.wsgi"))
    )
    assert [one["application_group"] for one in (mia, notes, ole)] == ["~mia", "~mia", "~ole"]
    assert mia["interpreter"] == notes["interpreter"] != ole["interpreter"]
    assert (mia["script_name"], notes["path_info"]) == ("/~mia/wsgi-scripts/where.wsgi", "/list")
    assert user_directories.get("/~ole/index.html").status_code == 404


def test_an_apache_configuration_is_served(apache: Server) -> None:
    """Scripts, groups, process groups and variables are those that the directives say."""
    paths = ("/shop/cart", "/sites/red", "/sites/blue/page", "/~mia/wsgi-scripts/where.wsgi")
    shop, red, blue, mia = (apache.get(path).json() for path in paths)
    keys = ("process_group", "application_group", "script_name", "path_info", "SITE")
    name = f"www.example.com:{apache.port}"
    assert [tuple(one[key] for key in keys) for one in (shop, red, blue, mia)] == [
        ("shop", "shop", "/shop", "/cart", "main"),
        ("", f"{name}|/sites/red", "/sites/red", "", "sites"),
        ("", f"{name}|/sites/blue", "/sites/blue", "/page", "sites"),
        ("", "~mia", "/~mia/wsgi-scripts/where.wsgi", "", "main"),
    ]
    assert red["script"] == "examples/apache/sites/red/app.wsgi"


@pytest.mark.parametrize("example", sorted(EXAMPLES.iterdir()), ids=lambda folder: folder.name)
def test_every_url_in_an_examples_comment_answers(example: Path, request: pytest.FixtureRequest) -> None:
    """Every URL that the comment at the top of an example names is there, with the command that it names."""
    paths = re.findall(r"http://127\.0\.0\.1:8000(/\S*)", comment_of(example))
    assert paths
    with contextlib.ExitStack() as stack:
        if (name := example.name.replace("-", "_")) in SERVED:
            server = request.getfixturevalue(name)
        else:
            server = stack.enter_context(as_its_comment_says(example))
        assert {path: server.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_the_readmes_configuration_has_no_errors_but_missing_files(tmp_path: Path) -> None:
    """What the README shows as a configuration is one, once the files that it names exist."""
    block = re.search(
        r"^    # asyncgroups\.toml .*?(?=^\S)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert block is not None
    file = tmp_path / "asyncgroups.toml"
    file.write_text(re.sub(r"^    ", "", block[0], flags=re.MULTILINE))
    with pytest.raises(ConfigurationError) as caught:
        config.read(file)
    assert [re.search(r"server\.pem|server\.key|lib\b", problem) is not None for problem in caught.value.problems] == [
        True
    ] * len(caught.value.problems)
    for name in ("server.pem", "server.key"):
        (tmp_path / name).touch()
    (tmp_path / "lib").mkdir()
    assert [mounted.mount.path for mounted in config.read(file).mounts()] == ["/shop", ""]
