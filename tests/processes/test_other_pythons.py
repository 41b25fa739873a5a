"""Process groups with a Python of their own: an older one, a virtual environment, one that does not do.

The suite of the bridge runs over the oldest one as well, as far as it is about single requests.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge import site as bridge_site
from tests.bridge import test_applications as bridge
from tests.processes.conftest import Site, daemons, mount
from tests.serving import Server, has_ended, older_python, serving, until

PATIENCE = 20.0
OLDER = ("3.12", "3.13")


def found(version: str) -> str:
    python = older_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here, on PATH or among pyenv's")
    return python


@pytest.fixture(scope="module", params=OLDER[:1])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """That of the bridge's suite, whose daemon process runs the oldest Python."""
    group = "[process_group.back]\n"
    file = tmp_path_factory.mktemp("older") / "asyncgroups.toml"
    file.write_text(bridge_site.toml().replace(group, f'{group}python = "{found(request.param)}"\n'), encoding="utf-8")
    with serving(file) as server:
        yield server


@pytest.fixture
def group() -> str:
    """The only application group that such a Python can have."""
    return "daemon-global"


@pytest.fixture
def log(server: Server) -> bridge_site.Log:
    return bridge_site.Log(server)


test_well_behaved_application = bridge.test_well_behaved_application
test_validator_sees_the_call_of_close = bridge.test_validator_sees_the_call_of_close
test_misbehaving_application = bridge.test_misbehaving_application
test_application_whose_answer_is_put_right = bridge.test_application_whose_answer_is_put_right


@pytest.mark.parametrize("version", OLDER)
def test_an_older_python(site: Site, version: str) -> None:
    """Its one interpreter is GLOBAL's; a named group has a process of its own there, and the log says so, once.

    With ``isolation = "interpreter"`` that is an error. None of its processes outlives the server.
    """
    text = f'[process_group.old]\npython = "{found(version)}"\n' + mount("/global", "%{GLOBAL}", "old")
    text += f'[process_group.pair]\npython = "{found(version)}"\nprocesses = 2\n' + mount("/pair", "pair", "pair")
    text += mount("/named", "named", "old", threads=2) + mount("/other", "other", "old")
    text += mount("/strict", "strict", "old") + 'isolation = "interpreter"\n'
    with serving(site(text), environ={"PYTHONPATH": ""}) as server:
        answers = {path: server.get(path) for path in ("/global", "/named", "/other", "/strict", "/pair")}
        assert [answer.status_code for answer in answers.values()] == [200, 200, 200, 500, 200], server.log()
        told = [answer.json() for answer in answers.values() if answer.status_code == 200]
        assert told.pop()["multiprocess"]
        assert [one["version"] for one in told] == [[3, int(version.partition(".")[2])]] * 3
        assert [one["application_group"] for one in told] == ["", "named", "other"]
        assert [one["multithread"] for one in told] == [True, True, False]
        assert len({one["pid"] for one in told}) == 3
        server.wait_for_log(r"\[INFO\] \[old\] its Python is older than 3\.14\.1 and has one interpreter")
        assert server.log().count("[old] its Python is older than 3.14.1") == 1
        server.wait_for_log(
            rf"\[old:strict\] the interpreter has failed: Python {version}\.\d+ has one interpreter, which is"
        )
        assert server.log().count("has failed") == 1  # and none of the two that said the same of one group
        left = daemons(server)
        assert len(left) == 7
        server.tell(signal.SIGKILL)
        until(lambda: all(map(has_ended, left)), PATIENCE, what="their end")


@pytest.mark.parametrize("version", ["this", OLDER[0]])
def test_a_virtual_environment(site: Site, tmp_path: Path, version: str) -> None:
    """Its packages are there in its process group, in named groups as well, and nowhere else; nothing is installed."""
    python = sys.executable if version == "this" else found(version)
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path], check=True, timeout=60)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    (packages / "of_this_environment.py").touch()
    text = f'[process_group.own]\npython = "{tmp_path}/bin/python"\n'
    groups = {"/global": "%{GLOBAL}"} | ({"/named": "named"} if version == "this" else {})
    for path, group in groups.items():
        text += mount(path, group, "own").replace("processes_tells", "processes_packages")
    text += mount("/here", "named", "").replace("processes_tells", "processes_packages")
    minor = str(sys.version_info.minor) if version == "this" else version.partition(".")[2]
    with serving(site(text)) as server:
        for path in groups:
            answer = server.get(path)
            assert answer.status_code == 200, server.log()
            assert answer.text.split() == [minor, str(packages / "of_this_environment.py")]
        assert server.get("/here").status_code == 500
        server.wait_for_log("ModuleNotFoundError: No module named 'of_this_environment'")


def test_a_python_that_is_too_old(site: Site) -> None:
    """One line of the log says which Python it takes, and no traceback."""
    python = older_python("3.11") or older_python("3.10") or older_python("3.9")
    if python is None:
        pytest.skip("there is no such Python here")
    text = f'[process_group.old]\npython = "{python}"\n' + mount("/global", "%{GLOBAL}", "old")
    with serving(site(text)) as server:
        server.wait_for_log(r"\[old\] asyncgroups: a daemon process needs Python 3\.12 or later, and .* is 3\.\d+\.\d+")
        assert "Traceback" not in server.log()
