"""``migrate``, and Apache's configurations where one of ours could be given."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from asyncgroups.config import read
from asyncgroups.errors import ConfigurationError
from tests.commands.conftest import Run, begin, ended
from tests.oracle import apache
from tests.serving import ROOT

CLEAN = """\
Listen 8000
ServerName www.example.com
WSGIScriptAlias /shop {folder}/shop.wsgi application-group=shop
"""
MORE = "ErrorLog /var/log/error.log\nAddIcon a .b\nAddIcon c .d\nAddIcon e .f\nForceType x\nAddIcon g .h\n"


@pytest.fixture
def httpd(tmp_path: Path) -> Path:
    (tmp_path / "shop.wsgi").write_text("def application(environ, start_response): ...\n")
    (tmp_path / "httpd.conf").write_text(CLEAN.format(folder=tmp_path))
    return tmp_path / "httpd.conf"


def test_all_translated(run: Run, httpd: Path) -> None:
    """Status 0 and TOML on stdout that says where each table comes from."""
    result = run("migrate", str(httpd))
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"\n[[mount]]  # {httpd}:3\n" in result.stdout
    assert result.stdout.startswith(f"# Made by asyncgroups migrate from {httpd}\n")
    assert tomllib.loads(result.stdout) == {
        "follow_symlinks": True,
        "bind": ["0.0.0.0:8000"],
        "server_name": "www.example.com",
        "mount": [{"path": "/shop", "script": f"{httpd.parent}/shop.wsgi", "application_group": "shop"}],
    }


def test_remarks(run: Run, httpd: Path) -> None:
    """Status 1, and on stderr every file and line, one line for what is to be said of many."""
    httpd.write_text(httpd.read_text() + MORE)
    result = run("migrate", str(httpd))
    assert result.exit_code == 1
    assert tomllib.loads(result.stdout)["server_name"] == "www.example.com"
    assert result.stderr == (
        f"{httpd}:4: ErrorLog /var/log/error.log: asyncgroups writes its log to standard error (log_level)\n"
        f"{httpd}:5: AddIcon a .b: asyncgroups serves no files but scripts: a server in front, or an application, "
        f"has to send them (and 4 more: {httpd}:6-7, 9; ForceType {httpd}:8)\n"
    )


def test_unreadable(run: Run, httpd: Path) -> None:
    """Status 2, every problem with its place, and no file."""
    httpd.write_text("Include gone.conf\n<Directory /a>\n")
    result = run("migrate", str(httpd), "-o", str(httpd.parent / "out.toml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{httpd}: 2 errors\n" in result.stderr
    assert f"{httpd}:1: Include: there is no file 'gone.conf'\n" in result.stderr
    assert not (httpd.parent / "out.toml").exists()
    assert run("migrate", str(httpd.parent / "gone.conf")).exit_code == 2


def test_output(run: Run, httpd: Path) -> None:
    """-o writes a file, and not over one that is there unless --force says so."""
    output = httpd.parent / "asyncgroups.toml"
    result = run("migrate", str(httpd), "-o", str(output))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    written = output.read_text()
    assert written == run("migrate", str(httpd), "-o", "-").stdout
    output.write_text("mine = true\n")
    result = run("migrate", str(httpd), "-o", str(output))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"asyncgroups: {output} is there already: give another name, or --force\n"
    assert output.read_text() == "mine = true\n"
    assert run("migrate", str(httpd), "-o", str(output), "--force").exit_code == 0
    assert output.read_text() == written
    result = run("migrate", str(httpd), "-o", str(httpd.parent / "gone" / "x.toml"))
    assert (result.exit_code, result.stderr) == (
        2,
        f"asyncgroups: cannot write {httpd.parent}/gone/x.toml: No such file or directory\n",
    )


def test_definitions(run: Run, httpd: Path) -> None:
    """-D is for <IfDefine> and for variables."""
    httpd.write_text("<IfDefine SHOP>\nServerName ${NAME}.example.com\n</IfDefine>\nListen 1\n")
    assert "server_name" not in run("migrate", str(httpd)).stdout
    found = run("migrate", str(httpd), "-D", "SHOP", "--define", "NAME=shop").stdout
    assert tomllib.loads(found)["server_name"] == "shop.example.com"


def test_a_stream_that_is_full(httpd: Path) -> None:
    """Where stdout is full status 1 and one sentence, no traceback."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asyncgroups", "migrate", str(httpd)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "asyncgroups: cannot write to stdout: No space left on device\n",
    )


@pytest.mark.parametrize(
    ("words", "stream", "status"),
    [
        (["--help"], "stdout", 1),
        (["--version"], "stdout", 1),
        (["migrate", "gone.conf"], "stderr", 2),
        (["check", "gone.toml"], "stderr", 2),
    ],
)
def test_streams_that_are_full(words: list[str], stream: str, status: int) -> None:
    """A full stream changes no status but that of a command whose output it takes, and there is no traceback."""
    with open("/dev/full", "w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        program = [sys.executable, "-m", "asyncgroups", *words]
        done = subprocess.run(program, cwd=ROOT, text=True, timeout=30, check=False, **streams)
    said = "asyncgroups: cannot write to stdout: No space left on device\n" if stream == "stdout" else None
    assert (done.returncode, done.stderr) == (status, said)


def test_what_is_refused(run: Run, httpd: Path) -> None:
    """What `check` will not take is told, with the place in Apache's file, and is no "all translated"."""
    httpd.write_text("WSGIDaemonProcess a user=nobody-of-this-name\nWSGIScriptAlias /a /gone.wsgi\n")
    result = run("migrate", str(httpd))
    assert result.exit_code == 1
    assert result.stderr == (
        "asyncgroups: asyncgroups check refuses this translation until it is put right:\n"
        f"{httpd}:1: WSGIDaemonProcess: user: there is no user 'nobody-of-this-name'\n"
        f"{httpd}:2: WSGIScriptAlias: script: there is no file '/gone.wsgi'\n"
    )


def test_over_itself(run: Run, httpd: Path) -> None:
    """What is read is never written over, not even with --force."""
    before = httpd.read_text()
    result = run("migrate", str(httpd), "-o", str(httpd), "--force")
    assert (result.exit_code, result.stderr) == (
        2,
        f"asyncgroups: {httpd} is what is to be translated: give another name\n",
    )
    assert httpd.read_text() == before


def test_text_that_would_be_obeyed(run: Run, httpd: Path) -> None:
    """What a file holds cannot forge a line, or say something to a terminal."""
    httpd.write_text("Nonsense \x1b[2J\n")
    result = run("migrate", str(httpd))
    assert r"Nonsense \x1b[2J: has no counterpart" in result.stderr
    assert "\x1b" not in result.stderr + result.stdout


def test_a_process_of_its_own(httpd: Path) -> None:
    """What is true of the command in this process is true of it as a process of its own."""
    httpd.write_text(httpd.read_text() + MORE)
    status, stdout, stderr = ended(begin("migrate", str(httpd)))
    assert status == 1
    assert "[[mount]]" in stdout
    assert stderr.startswith(f"{httpd}:4: ErrorLog")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("WSGIScriptAlias /a /x\nWSGIApplicationGroup %{NONSENSE}\n", "{}:2: WSGIApplicationGroup: "),
        ("WSGIDaemonProcess a threads=0\n", "{}:1: WSGIDaemonProcess: threads: must be a whole number"),
        ("<VirtualHost *:80>\nServerName a:b\n</VirtualHost>\n", "{}:2: ServerName: "),
        (
            "WSGIScriptAlias /a {}\n<VirtualHost *>\nServerName a\nWSGIProcessGroup p\n</VirtualHost>\n",
            "{}:4: WSGIProcessGroup: there is no process group 'p'; add a WSGIDaemonProcess",
        ),
        ("WSGIScriptAliasMatch ^/(a /x.wsgi\n", "{}:1: WSGIScriptAliasMatch: match: "),
        ("<Directory /srv/[a>\nSetEnv A b\n</Directory>\n", "{}:1: <Directory>: path: "),
        ("RewriteEngine On\nRewriteCond %{{REQUEST_URI}} (a\nRewriteRule . -\n", "{}:2: RewriteCond: match: "),
        ("ServerName a\n", "nothing is mounted"),
        ("Listen 8000\nListen 8000\nWSGIScriptAlias /a /x\n", "{}:1: Listen: '0.0.0.0:8000' is given twice"),
    ],
)
def test_places_of_problems(httpd: Path, text: str, sentence: str) -> None:
    """What is wrong with a translation is told with the place of Apache's own statement."""
    httpd.write_text(text.replace("{}", str(httpd)).replace("{{", "{").replace("}}", "}"))
    with pytest.raises(ConfigurationError) as caught:
        read(httpd)
    assert sentence.format(httpd) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("WSGIScriptAlias /a /gone.wsgi\n", "{}:1: WSGIScriptAlias: script: there is no file '/gone.wsgi'"),
        ("WSGIScriptAlias /a /usr\n", "{}:1: WSGIScriptAlias: script: '/usr' is a folder, not a file"),
        ("Alias /a /gone\n", "{}:1: Alias: directory: there is no folder '/gone'"),
        ("DocumentRoot /gone\n", "{}:1: DocumentRoot: there is no folder '/gone'"),
        ("UserDir /gone/*/x\n", "{}:1: UserDir: there is no folder '/gone'"),
    ],
)
def test_what_is_missing_stops_nobody_else(httpd: Path, text: str, remark: str) -> None:
    """A script or directory that is not there is told, and answered 404; the others are served."""
    others = (
        f"WSGIScriptAlias /other {httpd}\n<Directory /srv>\nOptions ExecCGI\nSetHandler wsgi-script\n</Directory>\n"
    )
    httpd.write_text(text + others)
    assert f"{remark.format(httpd)}; it is answered 404" in read(httpd).remarks


def test_check(run: Run, httpd: Path) -> None:
    """A configuration that is right is told so, with the number of remarks; definitions are for it as well."""
    httpd.write_text(httpd.read_text() + "<IfDefine MORE>\nNonsense a\nNonsense b\n</IfDefine>\n")
    counts = "1 mount, 0 virtual hosts, 1 application group"
    result = run("check", str(httpd))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{httpd}: no errors; {counts}")
    result = run("check", str(httpd), "-D", "MORE")
    assert result.exit_code == 0
    assert (
        f"asyncgroups: 1 remark on what was not translated; asyncgroups migrate {httpd} lists them\n" in result.stderr
    )


def test_explain(run: Run, httpd: Path) -> None:
    """What decided is told with the place of Apache's statement; an option of the command line beats it."""
    result = run("explain", str(httpd), "http://www.example.com/shop/x")
    assert result.exit_code == 0
    assert re.search(rf"(?m)^application group +shop +\(.* in {httpd}:3: WSGIScriptAlias\)$", result.stdout)
    assert re.search(rf"(?m)^script +.*shop.wsgi +\({httpd}:3: WSGIScriptAlias: script\)$", result.stdout)
    result = run("explain", str(httpd), "http://www.example.com/shop/x", "--application-group", "other")
    assert re.search(r"(?m)^application group +other +\(.*\(--application-group\)\)$", result.stdout)


def test_definitions_of_our_own_files(run: Run, httpd: Path) -> None:
    """--define with a file of ours is a wrong command line."""
    result = run("check", "site.toml", "-D", "A")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--define goes with a configuration of Apache's" in result.stderr


@pytest.mark.skipif(not Path("/etc/apache2/apache2.conf").exists(), reason="there is no Apache of Debian's here")
@pytest.mark.skipif(apache.missing() is not None, reason=apache.missing() or "")
def test_debian(run: Run) -> None:
    """Apache's configuration as Debian delivers it is read, and told in few lines."""
    result = run("migrate", "/etc/apache2/apache2.conf")
    assert result.exit_code == 1
    table = tomllib.loads(result.stdout)
    assert {"path": "/", "handler": "none"}.items() <= table["directory"][1].items()
    assert len(result.stderr.splitlines()) < 30
