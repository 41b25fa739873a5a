"""Scripts that are changed under a running server, wherever a configuration leads to them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.conftest import Site
from tests.serving import Server, serving, until

CONFIGURATION = """
[[alias]]
path = "/files"
directory = "scripts"

[[directory]]
path = "{folder}/scripts"
handler = "wsgi-script"

[process_group.back]
processes = 2

[[mount]]
path = "/named"
script = "scripts/named.wsgi"
application_group = "named"

[[mount]]
path = "/before"
script = "scripts/before.wsgi"
application_group = "before"
preload = true

[[mount]]
path = "/untouched"
script = "scripts/untouched.wsgi"
application_group = "untouched"
preload = true

[[mount]]
path = "/global"
script = "scripts/global.wsgi"
application_group = "%{{GLOBAL}}"

[[mount]]
path = "/back"
script = "scripts/back.wsgi"
process_group = "back"

[[mount]]
path = "/stays"
script = "scripts/stays.wsgi"
script_reloading = false

[[mount]]
path = "/module"
app = "isolation_probe:application"
application_group = "module"
"""

SCRIPT = """
import os
loaded = os.urandom(6).hex()

def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{tag} {{loaded}}".encode()]
"""

PLACES = {
    "/named": "named",
    "/before": "before",
    "/global": "global",
    "/back": "back",
    "/files/found.wsgi": "found",
}


def write(server: Server, name: str, tag: str) -> None:
    """Put a script there, all at once."""
    path = server.folder / "scripts" / f"{name}.wsgi"
    new = path.with_suffix(".new")
    new.write_text(SCRIPT.format(tag=tag))
    new.replace(path)


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = site("")
    scripts = config.parent / "scripts"
    scripts.mkdir()
    config.write_text(config.read_text() + CONFIGURATION.format(folder=config.parent))
    for name in [*PLACES.values(), "stays", "untouched"]:
        (scripts / f"{name}.wsgi").write_text(SCRIPT.format(tag="one"))
    with serving(config) as server:
        server.folder = config.parent
        yield server


def test_changed_scripts_are_served(server: Server) -> None:
    """Within a moment, with no failure in between; those that are not there are not found, and back when they are."""
    with server.client() as client:

        def await_all(tag: str) -> None:
            for path in PLACES:
                until(lambda path=path: client.get(path).text.startswith(f"{tag} "), what=f"{tag} of {path}")  # type: ignore[misc]  # mypy cannot infer it

        await_all("one")
        for name in PLACES.values():
            write(server, name, "two")
        until(lambda: all(client.get(path).raise_for_status().text.startswith("two ") for path in PLACES))
        for name in PLACES.values():
            (server.folder / "scripts" / f"{name}.wsgi").unlink()
        for path in PLACES:
            until(lambda path=path: client.get(path).status_code == 404, what="its end")  # type: ignore[misc]  # as above
        for name in PLACES.values():
            write(server, name, "three")
        await_all("three")


def test_a_script_that_changes_before_its_first_request(server: Server) -> None:
    """What has been loaded before is known to be an older one."""
    write(server, "untouched", "two")
    with server.client() as client:
        assert client.get("/untouched").text.startswith("one ")
        until(lambda: client.get("/untouched").text.startswith("two "), what="the second version")


def test_what_is_not_reloaded(server: Server) -> None:
    """A script without script_reloading stays as it was loaded, and so does a module."""
    with server.client() as client:
        stays, module = client.get("/stays").text, client.get("/module").json()
        write(server, "stays", "two")
        time.sleep(1.1)  # for as long a script that a configuration names is what it was
        for _ in range(3):
            assert client.get("/stays").text == stays
        assert client.get("/module").json()["interpreter"] == module["interpreter"]


def test_no_request_fails(server: Server) -> None:
    """While an editor writes a script in place, empty and incomplete in between, each request has a whole one."""
    path: Path = server.folder / "scripts" / "found.wsgi"
    write(server, "found", "v0")
    answers: list[tuple[int, str]] = []
    is_over = threading.Event()

    def ask() -> None:
        with server.client() as client:
            while not is_over.is_set():
                answer = client.get("/files/found.wsgi")
                answers.append((answer.status_code, answer.text.partition(" ")[0]))

    with server.client() as client:
        until(lambda: client.get("/files/found.wsgi").text.startswith("v0 "), what="the first version")
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 16):
            source = SCRIPT.format(tag=f"v{number}")
            with path.open("w") as file:
                file.write(source[: len(source) // 2])
                file.flush()
                time.sleep(0.01)  # the pace of writing
                file.write(source[len(source) // 2 :])
            time.sleep(0.04)  # likewise
        until(lambda: client.get("/files/found.wsgi").text.startswith("v15 "), what="the last version")
        is_over.set()
        for thread in threads:
            thread.join(20)
    assert {status for status, _ in answers} == {200}
    assert len({tag for _, tag in answers}) > 2
