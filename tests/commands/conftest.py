"""What the tests of the commands share: a command run in this process, and one run as its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asyncgroups.cli import main
from tests.serving import APPS, ROOT

type Run = Callable[..., Result]
type Begin = Callable[..., subprocess.Popen[str]]

EXAMPLES = sorted(folder.parent.name for folder in (ROOT / "examples").glob("*/asyncgroups.toml"))


@pytest.fixture
def run() -> Run:
    """Runs a command in this process; what it raises but for its exit is the test's."""

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def begin(
    *arguments: str, cwd: Path = ROOT, stdout: Path | None = None, stderr: Path | None = None, **environ: str
) -> subprocess.Popen[str]:
    """Starts a command as a process of its own; its stdout and stderr may go into files."""
    names = ("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(APPS)]), **environ}
    with contextlib.ExitStack() as files:
        out, err = (files.enter_context(file.open("w")) if file else subprocess.PIPE for file in (stdout, stderr))
        return subprocess.Popen(
            [sys.executable, "-m", "asyncgroups", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=cwd,
        )


def ended(process: subprocess.Popen[str], seconds: float = 30) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a process, which is killed when it takes longer than ``seconds``."""
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"it did not end in {seconds} s:\n{stdout}\n{stderr}") from None
    return process.returncode, stdout, stderr
