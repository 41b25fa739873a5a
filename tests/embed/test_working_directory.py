"""Which file is read is settled before an application can change the working directory, which the process has once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncgroups import ApplicationGroups, ConfigurationError

MOUNT = '[[mount]]\npath = "/"\napp = "{}:application"\n'

BOTH = """
import os, sys
from asyncgroups import ApplicationGroups
from asyncgroups.asgi import application
first, os.environ["ASYNCGROUPS_CONFIG"] = ApplicationGroups.from_file(b"asyncgroups.toml"), "asyncgroups.toml"
os.chdir(sys.argv[1])
for groups in (first, application):
    configuration = groups.lifecycle.start().configuration
    ((_, mount, _),) = configuration.mounts()
    print(configuration.source, mount.application, mount.settings.app_dir)
"""


def test_a_later_working_directory_does_not_count(tmp_path: Path) -> None:
    """A relative path means the file that it meant when ``from_file``, or the import of ``asgi``, was run."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "asyncgroups.toml").write_text(MOUNT.format(name))
    command = [sys.executable, "-c", BOTH, str(tmp_path / "theirs")]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path / "ours", env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == [f"asyncgroups.toml ours:application {tmp_path / 'ours'}"] * 2


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the start that says, in the words that were given, that the file is not there."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    groups = ApplicationGroups.from_file("asyncgroups.toml")
    with pytest.raises(ConfigurationError) as caught:
        groups.lifecycle.start()
    assert caught.value.problems == ("asyncgroups.toml: there is no such file",)
