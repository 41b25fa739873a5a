"""Real servers where nobody says lifespan.startup: the first request starts what the end of the process cleans up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import Server, serving

HYPERCORN = ["-m", "hypercorn", "-b", "127.0.0.1:0"]
UVICORN = ["-m", "uvicorn", "--port", "0"]


@contextmanager
def host(command: list[str], target: str, marks: Path) -> Iterator[Server]:
    with serving([*command, f"embed_hosts:{target}"], environ={"EMBED_MARKS": str(marks)}) as server:
        yield server


@pytest.mark.parametrize(
    ("command", "target", "number"),
    [
        ([*UVICORN, "--lifespan", "off"], "bare", signal.SIGINT),
        (UVICORN, "mounted", signal.SIGINT),
        (HYPERCORN, "mounted", signal.SIGTERM),
        ([*HYPERCORN, "-k", "trio"], "mounted", signal.SIGTERM),
    ],
    ids=["uvicorn-off", "uvicorn-mount", "hypercorn-mount", "trio-mount"],
)
def test_first_request_to_last_breath(command: list[str], target: str, number: int, tmp_path: Path) -> None:
    """The application answers; when the process exits its atexit functions have run, in its own interpreter."""
    with host(command, target, tmp_path) as server:
        said = server.get("/old/x").json()
        assert said["interpreter"] != 0
        assert (said["script_name"], said["path_info"]) == (("/old", "/x") if target == "mounted" else ("", "/old/x"))
        assert not (tmp_path / f"atexit-{said['interpreter']}").exists()
        assert server.stop(number) == 0
        assert (tmp_path / f"atexit-{said['interpreter']}").exists()
        assert "Traceback" not in server.log()


def test_tied_to_the_lifespan_of_the_host(tmp_path: Path) -> None:
    """With ``running`` the end comes with the host's own, also under uvicorn, which SIGTERM kills right after that."""
    with host(UVICORN, "tied", tmp_path) as server:
        said = server.get("/old/x").json()
        assert said["interpreter"] != 0
        server.stop(signal.SIGTERM)
        assert (tmp_path / f"atexit-{said['interpreter']}").exists()
        assert "Traceback" not in server.log()


def test_a_file_that_is_wrong(tmp_path: Path) -> None:
    """Each request is answered 500, with one record that says what is wrong and no traceback, until it is repaired."""
    path = tmp_path / "asyncgroups.toml"
    path.write_text("threats = 1\n")
    command = [*UVICORN, "--lifespan", "off", "asyncgroups.asgi:application"]
    with serving(command, environ={"ASYNCGROUPS_CONFIG": str(path)}) as server:
        with server.client() as client:
            for _ in range(3):
                answer = client.get("/")
                assert (answer.status_code, answer.text) == (500, "500 Internal Server Error\n")
            mount = '[[mount]]\npath = "/"\napp = "embed_who:application"\napplication_group = "shop"\n'
            path.write_text(f'python_path = ["{Path(__file__).parent.parent / "apps"}"]\n{mount}')
            assert client.get("/").json()["group"] == "shop"
        log = server.log()
        assert log.count("threats: unknown key; did you mean threads?") == 3
        assert "Traceback" not in log
