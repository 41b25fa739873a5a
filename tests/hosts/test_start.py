"""What every host says, and does, when the configuration is wrong."""

from pathlib import Path

import pytest

from asyncgroups import config
from asyncgroups.errors import ConfigurationError
from tests.serving import serving

WRONG = """
threats = 1
server_name = "a b"
[timeouts]
graceful = -1
[[mount]]
path = "/"
app = "no_colon"
application_group = "%{NOPE}"
threads = 0
"""


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn", "hypercorn-trio", "granian", "django"])
def test_every_problem_of_a_configuration_is_said(kind: str, tmp_path: Path) -> None:
    """The server ends, and its output holds every problem with its place, once; granian's in a traceback too."""
    file = tmp_path / "asyncgroups.toml"
    file.write_text(WRONG)
    with pytest.raises(ConfigurationError) as caught:
        config.read(file)
    sentences = [problem.splitlines()[0] for problem in caught.value.problems]
    assert len(sentences) == 6
    with serving(file, kind=kind, ready=False) as server:
        status = server.wait(20)
        said = server.log()
    assert [said.count(sentence) for sentence in sentences] == [2 if kind == "granian" else 1] * len(sentences)
    # hypercorn forgets the status of the process that it has started.
    assert (status == 0) is (kind not in ("uvicorn", "granian"))


def test_starlette_says_it_with_the_first_request(tmp_path: Path) -> None:
    """Where lifespan reaches nobody the server starts; each request is answered 500, with every problem in the log."""
    file = tmp_path / "asyncgroups.toml"
    file.write_text(WRONG)
    with serving(file, kind="starlette") as server:
        assert server.get("/outer/").status_code == 500
        assert "mount[0].threads: must be a whole number" in server.log()
        assert "threats: unknown key" in server.log()
