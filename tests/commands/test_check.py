"""``check``: every error of a configuration with its place, or one line that says that there is none."""

import resource
from pathlib import Path

import pytest
import trustme

from tests.commands.conftest import EXAMPLES, Run, begin, ended
from tests.serving import ROOT

BROKEN = ROOT / "tests" / "config" / "broken"
CASES = sorted(path.stem for path in BROKEN.glob("*.toml"))

COUNTS = {
    "django-and-flask": "3 mounts, 0 virtual hosts, 3 application groups",
    "two-groups": "5 mounts, 0 virtual hosts, 4 application groups",
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_right(run: Run, example: str) -> None:
    """A configuration without errors is told so in one line, with what it has; another says what only requests tell."""
    file = ROOT / "examples" / example / "asyncgroups.toml"
    result = run("check", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{file}: no errors; {COUNTS.get(example, '')}")
    assert result.stdout.count("\n") == 1 + result.stdout.count(": requests tell ")


@pytest.mark.parametrize("arguments", [["check"], ["check", "--load"], ["explain", "/"]], ids=" ".join)
@pytest.mark.parametrize("case", CASES)
def test_every_error_of_a_broken_configuration(
    run: Run, case: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2, and on stderr all of them as ``serve`` reports them."""
    monkeypatch.chdir(BROKEN)
    command, *rest = arguments
    result = run(command, f"{case}.toml", *rest)
    expected = (BROKEN / f"{case}.txt").read_text(encoding="utf-8").replace("{folder}", str(BROKEN))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"asyncgroups: {expected}")


def test_a_process_ends_with_the_status() -> None:
    """What is true of the command in this process is true of it as a process of its own."""
    expected = (BROKEN / "sizes.txt").read_text(encoding="utf-8")
    assert ended(begin("check", "sizes.toml", cwd=BROKEN)) == (2, "", f"asyncgroups: {expected}")
    line = f"asyncgroups.toml: no errors; {COUNTS['two-groups']}\n"
    assert ended(begin("check", cwd=ROOT / "examples" / "two-groups")) == (0, line, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check"], "there is no asyncgroups.toml here: give a file, or an application as module:attribute."),
        (["check", "nowhere"], "'nowhere' is neither a file nor an application such as shop.wsgi:application."),
        (["check", "."], "'.' is neither a file nor an application such as shop.wsgi:application."),
        (["check", "site.py"], "'site.py' is a module: name its application, as in site:application."),
        (["check", "nowhere.toml"], "asyncgroups: nowhere.toml: 1 error\nnowhere.toml: there is no such file"),
        (["check", "site:application", "--threads", "0"], "--threads: must be a whole number from 1 to 1000, not 0"),
        (["check", "site:application", "--app-dir", "gone"], "--app-dir: there is no folder '{folder}/gone'"),
        (["check", "--frobnicate"], "No such option '--frobnicate'"),
        (["explain"], "Missing argument 'FILE'."),
        (["explain", "site:application"], "Missing argument 'URL'."),
        (["explain", "nowhere", "/"], "'nowhere' is neither a file nor an application such as shop.wsgi:application."),
        (["schema", "x"], "Got unexpected extra argument (x)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line(
    run: Run, arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2 and one sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.py").touch()
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr.rstrip().removesuffix(".").endswith(sentence.replace("{folder}", str(tmp_path)).removesuffix("."))
    )


def test_an_application_with_options_instead_of_a_file(run: Run) -> None:
    """What ``serve`` takes, ``check`` takes."""
    result = run("check", "whereami:application", "--app-dir", str(ROOT / "examples" / "two-groups"), "--threads", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "command line: no errors; 1 mount, 0 virtual hosts, 1 application group\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate and its key, a stranger's key, and what is none of them."""
    folder = tmp_path_factory.mktemp("pki")
    pair, stranger = (trustme.CA().issue_cert("127.0.0.1") for _ in range(2))
    pair.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    pair.private_key_pem.write_to_path(folder / "key.pem")
    stranger.private_key_pem.write_to_path(folder / "stranger.pem")
    (folder / "junk.pem").write_text("junk")
    return folder


@pytest.mark.parametrize(
    ("key", "ca_certs", "sentence"),
    [
        ("key.pem", "certificate.pem", None),
        ("stranger.pem", "certificate.pem", "certfile {pki}/certificate.pem and keyfile {pki}/stranger.pem cannot be"),
        ("junk.pem", "certificate.pem", "certfile {pki}/certificate.pem and keyfile {pki}/junk.pem cannot be used"),
        ("key.pem", "junk.pem", "ca_certs: {pki}/junk.pem holds no PEM certificates"),
    ],
)
def test_the_files_of_tls(run: Run, pki: Path, key: str, ca_certs: str, sentence: str | None) -> None:
    """They are loaded as ``serve`` loads them: status 2 and its sentence where it would not start."""
    options = ["--certfile", pki / "certificate.pem", "--keyfile", pki / key, "--ca-certs", pki / ca_certs]
    result = run("check", "site:application", *map(str, options))
    if sentence is None:
        assert (result.exit_code, result.stderr) == (0, "")
    else:
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"asyncgroups: command line: {sentence.format(pki=pki)}")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["schema"], ["explain", "/red"], ["check"], ["check", "--load"]], ids=" ".join)
def test_a_stdout_that_is_full(arguments: list[str]) -> None:
    """One sentence and status 1."""
    command, *rest = arguments
    file = [] if command == "schema" else ["asyncgroups.toml"]
    process = begin(command, *file, *rest, cwd=ROOT / "examples" / "two-groups", stdout=Path("/dev/full"))
    assert ended(process) == (1, None, "asyncgroups: cannot write to stdout: No space left on device\n")


def test_a_stdout_that_becomes_full_below_the_table(tmp_path: Path) -> None:
    """The same, from the process that loads."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80, limits[1]))  # the first line has 77 bytes
    try:
        folder = ROOT / "examples" / "two-groups"
        process = begin("check", "--load", cwd=folder, stdout=tmp_path / "table", PYTHONDONTWRITEBYTECODE="1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ended(process) == (1, None, "asyncgroups: cannot write to stdout: File too large\n")


@pytest.mark.parametrize("command", ["serve", "check", "explain"])
def test_help_lists_the_exit_statuses(run: Run, command: str) -> None:
    """A script's author finds them there."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit status: 0 " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_mounts_whose_groups_clients_choose(run: Run, tmp_path: Path) -> None:
    """A pattern with one script for all URLs is told, unless its group has a name; others are not."""
    (tmp_path / "app.wsgi").touch()
    file = tmp_path / "asyncgroups.toml"
    file.write_text(
        "[[mount]]\nmatch = '^/(a|b)'\nscript = 'app.wsgi'\n"
        "[[mount]]\nmatch = '^/(c|d)'\nscript = 'app.wsgi'\napplication_group = 'x'\n"
        "[[mount]]\nmatch = '^/e/([^/]+)'\nscript = '\\1/app.wsgi'\n"
    )
    result = run("check", str(file))
    assert result.exit_code == 0
    assert result.stderr == (
        f"asyncgroups: {file}: mount[0]: under %{{RESOURCE}} each URL that a client writes is a group of its own,"
        " of one script; give it an application_group\n"
    )
