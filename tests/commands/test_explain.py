"""``explain``: which application and group a request gets, and which setting decided."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from asyncgroups import config
from asyncgroups.explanation import parse_url
from tests.commands.conftest import EXAMPLES, Run, begin, ended
from tests.serving import APPS, ROOT, Server, serving

KEYS = [
    *[
        "virtual_host",
        "mount",
        "script",
        "sections",
        "variables",
        "script_name",
        "path_info",
        "process_group",
        "sticky",
    ],
    *["application_group", "isolation", "application", "decided_by"],
]

# One line for each setting: the sentences name them.
CONFIGURATION = f"""\
bind = ["127.0.0.1:8000"]
app_dir = "{APPS}"

[env]
OF_THE_SERVER = "of-the-server"
TO_SERVER = "%{{SERVER}}"

[[mount]]
path = "/shop"
app = "commands_told:application"

[[mount]]
path = "/shop/basket"
app = "commands_told:application"
application_group = "basket"

[[mount]]
path = "/a b/café"
app = "commands_told:application"
application_group = "%{{RESOURCE}}"

[[mount]]
path = "/global"
app = "commands_told:application"
application_group = "%{{GLOBAL}}"
process_group = ""

[[mount]]
path = "/variable"
app = "commands_told:application"
application_group = "%{{ENV:OF_THE_SERVER}}"

[[mount]]
path = "/variable/own"
app = "commands_told:application"
application_group = "%{{ENV:OWN}}"
env = {{ OWN = "of-the-mount" }}

[[mount]]
path = "/variable/process"
app = "commands_told:application"
application_group = "%{{ENV:EXPLAIN_SET}}"

[[mount]]
path = "/variable/unset"
app = "commands_told:application"
application_group = "%{{ENV:EXPLAIN_UNSET}}"

[[mount]]
path = "/variable/again"
app = "commands_told:application"
application_group = "%{{ENV:TO_SERVER}}"

[[virtual_host]]
server_name = "blog.example.com"
server_alias = ["*.blog.example.com", "www.blog.example.com"]
application_group = "%{{SERVER}}"

[[virtual_host.mount]]
path = "/posts"
app = "commands_told:application"

[[virtual_host]]
server_name = "fixed.example.com:81"

[[virtual_host.mount]]
path = "/"
app = "commands_told:application"
"""


def line(text: str, after: str = "") -> int:
    """The number of the line in CONFIGURATION that begins with ``text``, the first one below the line ``after``."""
    lines = CONFIGURATION.splitlines()
    start = lines.index(after) if after else 0
    return 1 + next(number for number in range(start, len(lines)) if lines[number].startswith(text))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "asyncgroups.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Server]:
    with serving(file, environ={"EXPLAIN_SET": "of-the-process"}) as server:
        yield server


URLS = [
    "http://www.example.com{port}/shop",
    "http://www.example.com{port}/shop/",
    "http://www.example.com{port}/shop/x/y?q=/shop/basket",
    "http://www.example.com{port}/shop/x#/shop/basket",
    "http://www.example.com{port}//shop//x",
    "http://www.example.com{port}/shopping",
    "http://www.example.com{port}/sh%6Fp/%62asket/%41%2f%2F",
    "http://www.example.com{port}/shop%2Fbasket",
    "http://www.example.com{port}/shop/basket%2Fx",
    "http://www.example.com{port}/shop/../global",
    "http://www.example.com{port}/shop/%zz/%",
    "http://www.example.com{port}/a%20b/café/naïve",
    "http://www.example.com{port}/a%20b/caf%C3%A9/%ff%fe",
    "http://www.example.com{port}/global/x",
    "http://www.example.com{port}/variable/x",
    "http://www.example.com{port}/variable/own",
    "http://www.example.com{port}/variable/process",
    "http://www.example.com{port}/variable/unset",
    "http://www.example.com{port}/variable/again",
    "http://www.example.com{port}",
    "http://user:word@BLOG.example.com.{port}/posts/1",
    "http://blog.example.com{port}/shop/x",
    "http://deep.down.blog.example.com{port}/shop/basket",
    "http://www.blog.example.com{port}/nowhere",
    "http://fixed.example.com{port}/posts",
    "http://fixed.example.com{port}/shop/x",
    "http://[::1]{port}/shop",
    "http://bücher.example.com{port}/shop",
    "/shop/basket/x",
    "//shop/x",
    "/",
]


@pytest.mark.parametrize("url", URLS)
def test_explain_agrees_with_what_the_application_is_told(
    server: Server, file: Path, run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCRIPT_NAME, PATH_INFO and both groups are those of a real request, and where there is none, neither is there."""
    monkeypatch.setenv("EXPLAIN_SET", "of-the-process")
    url = url.format(port=f":{server.port}")
    target = parse_url(url, port=server.port)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("GET", target.raw_path.decode(), skip_host=True)
    connection.putheader("Host", target.host or f"127.0.0.1:{server.port}")
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()

    result = run("explain", str(file), url, "--json", "-b", f"127.0.0.1:{server.port}")
    explanation = json.loads(result.stdout)
    assert list(explanation) == KEYS
    if response.status == 200:
        script_name, path_info, *groups = json.loads(body)
        assert result.exit_code == 0
        told = [name.encode("latin-1").decode("utf-8", "backslashreplace") for name in (script_name, path_info)]
        assert [explanation["script_name"], explanation["path_info"]] == told
        assert [explanation["process_group"], explanation["application_group"]] == groups
    else:
        assert result.exit_code == 1
        assert explanation["application_group"] is None
        sentence = re.fullmatch(rf"asyncgroups: {response.status}: (.*)\n", result.stderr)
        assert sentence is not None
        if response.status == 500:
            server.wait_for_log(re.escape(sentence[1]))
        assert (explanation["mount"] is None) == (response.status == 404)


def told(file: Path, text: str, where: str, after: str = "") -> str:
    """The sentence for a setting that stands in the file."""
    return f"{text} in {where} ({file}:{line(text.partition(' = ')[0] + ' = ', after)})"


DECIDED = [
    ("/shop", "virtual_host", "the URL names no host: the server config"),
    ("http://x:8000/shop", "virtual_host", "no virtual host is called x on port 8000: the server config"),
    ("http://x/shop", "virtual_host", "no virtual host is called x on port 80: the server config"),
    ("https://x/shop", "virtual_host", "no virtual host is called x on port 443: the server config"),
    (
        "http://blog.example.com/shop",
        "virtual_host",
        ('server_name = "blog.example.com"', "virtual_host[0]", ""),
    ),
    (
        "http://a.blog.example.com/shop",
        "virtual_host",
        ('server_alias = "*.blog.example.com"', "virtual_host[0]", ""),
    ),
    (
        "http://www.blog.example.com/shop",
        "virtual_host",
        ('server_alias = "www.blog.example.com"', "virtual_host[0]", ""),
    ),
    ("/shop/basket/x", "mount", ('path = "/shop/basket"', "mount[1]", 'path = "/shop/basket"')),
    ("http://blog.example.com/posts", "mount", ('path = "/posts"', "virtual_host[0].mount[0]", 'path = "/posts"')),
    ("/shop", "process_group", 'the default, ""'),
    ("/global", "process_group", ('process_group = ""', "mount[3]", "")),
    ("/shop", "application_group", "the default, as %{RESOURCE}"),
    ("/global", "application_group", ('application_group = "%{GLOBAL}"', "mount[3]", 'path = "/global"')),
    (
        "http://blog.example.com/shop",
        "application_group",
        ('application_group = "%{SERVER}"', "virtual_host[0]", "[[virtual_host]]"),
    ),
]


@pytest.mark.parametrize(("url", "key", "expected"), DECIDED)
def test_each_decision_has_its_setting(
    run: Run, file: Path, url: str, key: str, expected: str | tuple[str, str, str]
) -> None:
    """A sentence names the setting that decided, its context and its line, or says that it is the default."""
    sentence = expected if isinstance(expected, str) else told(file, *expected)
    assert json.loads(run("explain", str(file), url, "--json").stdout)["decided_by"][key] == sentence


def test_the_server_config_by_its_name(run: Run, tmp_path: Path) -> None:
    """Its server_name has a line like any other setting, unless the command line has said another."""
    file = tmp_path / "asyncgroups.toml"
    virtual_host = '[[virtual_host]]\nserver_name = "blog.example.com"\n'
    file.write_text(f'\nserver_name = "a.example"\n[[mount]]\npath = "/"\napp = "a:b"\n{virtual_host}')
    arguments = ("explain", str(file), "--json")
    decided_by = json.loads(run(*arguments, "http://A.example./").stdout)["decided_by"]
    assert decided_by["virtual_host"] == f'server_name = "a.example" in the server config ({file}:2)'
    decided_by = json.loads(run(*arguments, "http://b.example/", "--server-name", "b.example").stdout)["decided_by"]
    assert decided_by["virtual_host"] == 'server_name = "b.example" in the server config'


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("/variable", ('OF_THE_SERVER = "of-the-server"', "env", "")),
        ("/variable/process", 'EXPLAIN_SET = "of-the-process" from the process\'s environment'),
        ("/variable/unset", "EXPLAIN_UNSET is not set"),
    ],
)
def test_where_a_variable_came_from(
    run: Run, file: Path, url: str, variable: str | tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For %{ENV:x} the sentence goes on with the value, and with who set it."""
    monkeypatch.setenv("EXPLAIN_SET", "of-the-process")
    explanation = json.loads(run("explain", str(file), url, "--json").stdout)
    sentence = explanation["decided_by"]["application_group"].partition("; ")[2]
    assert sentence == (variable if isinstance(variable, str) else told(file, *variable))


def test_a_variable_of_the_mount(run: Run, file: Path) -> None:
    """An inline table has its own line, and its variable's is that."""
    explanation = json.loads(run("explain", str(file), "/variable/own", "--json").stdout)
    sentence = explanation["decided_by"]["application_group"]
    assert sentence.endswith(f'; OWN = "of-the-mount" in mount[5].env ({file}:{line("env = ")})')


def test_what_an_outer_application_adds(run: Run, file: Path) -> None:
    """--env beats every other place, and an empty value resolves nothing."""
    arguments = ("explain", str(file), "/variable/own", "--json", "--env", "OWN=a=b", "--env", "X=")
    explanation = json.loads(run(*arguments).stdout)
    assert explanation["application_group"] == "a=b"
    assert explanation["decided_by"]["application_group"].endswith('; OWN = "a=b" from --env')
    result = run("explain", str(file), "/variable/own", "--env", "OWN=")
    assert result.exit_code == 1
    assert result.stderr == "asyncgroups: 500: mount[5]: %{ENV:OWN}: the environment variable OWN is empty\n"


def test_the_command_line_as_a_context(run: Run) -> None:
    """A setting that was given as an option is said to be, and a configuration without a file has no lines."""
    arguments = [
        "whereami:application",
        "http://h:81/x",
        "--application-group",
        "%{SERVER}",
        "--server-name",
        "a.example",
    ]
    folder = ("--app-dir", str(ROOT / "examples" / "two-groups"))
    explanation = json.loads(run("explain", *arguments, *folder, "--json").stdout)
    assert explanation["application_group"] == "a.example:81"
    assert explanation["decided_by"] == {
        "virtual_host": "no virtual host is called h on port 81: the server config",
        "mount": 'path = "/" in mount[0]',
        "process_group": 'the default, ""',
        "application_group": 'application_group = "%{SERVER}" from the command line (--application-group)',
        "isolation": "the default",
    }


def test_what_a_reader_sees(run: Run, file: Path) -> None:
    """One line for each fact, the reason beside it."""
    result = run("explain", str(file), "http://blog.example.com:8000/shop/x")
    host = told(file, 'server_name = "blog.example.com"', "virtual_host[0]")
    mount = told(file, 'path = "/shop"', "mount[0]")
    group = told(file, 'application_group = "%{SERVER}"', "virtual_host[0]", "[[virtual_host]]")
    assert result.stdout.splitlines() == [
        f"virtual host       blog.example.com       ({host})",
        f"mount              /shop                  ({mount}, which virtual_host[0] inherits)",
        "SCRIPT_NAME        /shop",
        "PATH_INFO          /x",
        'process group      embedded               (the default, "")',
        f"application group  blog.example.com:8000  ({group})",
        "isolation          auto                   (the default)",
        "application        commands_told:application",
    ]
    result = run("explain", str(file), "/global")
    assert '\nPATH_INFO          ""\n' in result.stdout
    assert "\napplication group  %{GLOBAL}  (" in result.stdout
    assert "\nisolation          -\n" in result.stdout


FORGED = "\napplication group  admin\x1b[2J\u202e"
ESCAPED = "\\napplication group  admin\\x1b[2J\\u202e"


@pytest.mark.parametrize("url", ["/shop\u202e/", "/nowhere/"])
def test_nothing_makes_lines_of_its_own(run: Run, tmp_path: Path, url: str) -> None:
    """What a URL, a file's name or a setting says is escaped: it forges no line, and no terminal obeys it."""
    file = tmp_path / f"{FORGED}.toml"
    text = 'application_group = "a\u202eb"\n[[mount]]\npath = "/shop\u202e"\napp = "a:b"\n'
    file.write_text(text, encoding="utf-8")
    result = run("explain", str(file), quote(url + FORGED))
    lines = (result.stdout + result.stderr).splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    if url == "/nowhere/":
        assert len(lines) == 2
        assert lines[1].endswith("in server config, whose mounts are /shop\\u202e")
    else:
        assert len(lines) == 8
        assert lines[1].startswith("mount              /shop\\u202e  (path = ")
        assert lines[1].endswith(f"{ESCAPED}.toml:3))")
        assert lines[3] == f"PATH_INFO          /{ESCAPED}"
        assert lines[5].startswith("application group  a\\u202eb     (application_group = ")
    (line,) = run("check", str(file)).stdout.splitlines()
    assert line == f"{tmp_path}/{ESCAPED}.toml: no errors; 1 mount, 0 virtual hosts, 1 application group"


def test_nothing_is_mounted_there(run: Run, file: Path) -> None:
    """Status 1, which virtual host was chosen, and what is mounted there."""
    result = run("explain", str(file), "/elsewhere")
    assert result.exit_code == 1
    assert result.stdout == "virtual host       *  (the URL names no host: the server config)\n"
    assert result.stderr.startswith(
        "asyncgroups: 404: nothing is mounted at '/elsewhere' in server config, whose mounts are /shop,"
    )
    assert result.stderr.count("\n") == 1


def test_an_encoded_slash_is_shown_as_one(run: Run, file: Path) -> None:
    """The path of a refusal is the one that was asked for: decoded, it would be one that is mounted."""
    result = run("explain", str(file), "/shop%2Fbasket")
    assert result.exit_code == 1
    assert result.stderr.startswith("asyncgroups: 404: nothing is mounted at '/shop%2Fbasket' in server config,")


def test_a_port_that_nobody_knows_yet(run: Run, file: Path) -> None:
    """A path alone has the first port of ``bind``; where the kernel chooses that one, the name says so."""
    named = json.loads(run("explain", str(file), "/shop", "--json", "-b", "unix:x.sock", "-b", "[::1]:81").stdout)
    assert named["application_group"] == "localhost:81|/shop"
    unknown = json.loads(run("explain", str(file), "/shop", "--json", "-b", "127.0.0.1:0").stdout)
    assert unknown["application_group"] == "localhost:0|/shop"
    assert unknown["decided_by"]["application_group"].endswith("; with 0 for a port that is known at the start only")
    unix = json.loads(run("explain", str(file), "/shop", "--json", "-b", "unix:x.sock").stdout)
    assert unix["application_group"] == "localhost|/shop"


@pytest.mark.parametrize("url", ["http://h/shop", "https://h/shop", "http://h:80/shop", "https://h:443/shop"])
def test_the_port_of_a_scheme(run: Run, file: Path, url: str) -> None:
    """Without a port a URL has its scheme's, which leaves no trace in a name."""
    assert json.loads(run("explain", str(file), url, "--json").stdout)["application_group"] == "localhost|/shop"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("faß.example", b"xn--fa-hia.example"),  # IDNA 2003 made "fass" of it
        ("BÜCHER.Example", b"xn--bcher-kva.example"),
        ("bücher.example.", b"xn--bcher-kva.example."),
        ("Straße。例え。テスト", b"xn--strae-oqa.xn--r8jz45g.xn--zckzah"),
    ],
)
def test_names_of_other_than_ascii_characters(name: str, label: bytes) -> None:
    """They are asked for as browsers send them."""
    assert parse_url(f"http://{name}/", port=None).host == label


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("www.example.com/x", 'it begins with http://, with https://, or is a path that begins with "/"'),
        ("ftp://www.example.com/x", 'it begins with http://, with https://, or is a path that begins with "/"'),
        ("", 'it begins with http://, with https://, or is a path that begins with "/"'),
        ("http://", "'' is no host name with or without a port"),
        ("http:///x", "'' is no host name with or without a port"),
        ("http://h:x/", "'h:x' is no host name with or without a port"),
        ("http://h:0/", "'h:0' is no host name with or without a port"),
        ("http://h:65536/", "'h:65536' is no host name with or without a port"),
        ("http://[::1/", "'[::1' is no host name with or without a port"),
        ("http://é..é/", "'é..é' is no host name"),
        ("http://h/a b", "write %20 for a space, and no control characters"),
        ("http://h/\x1b[2J", "write %20 for a space, and no control characters"),
    ],
)
def test_a_malformed_url(run: Run, file: Path, url: str, sentence: str) -> None:
    """One sentence, status 2."""
    result = run("explain", str(file), url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: {url!r} is no URL: {sentence}\n")


@pytest.mark.parametrize("pair", ["x", "=x", ""])
def test_a_malformed_variable(run: Run, file: Path, pair: str) -> None:
    """One sentence, status 2."""
    result = run("explain", str(file), "/shop", "--env", pair)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: --env {pair!r}: write NAME=VALUE.\n")


TWO_GROUPS = {"/red": "red", "/red/too": "red", "/blue": "blue", "/global": "", "/": "localhost:8000|"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_urls_of_the_examples(run: Run, example: str) -> None:
    """Each URL that an example's comment names is explained, with the group that the comment tells of."""
    file = ROOT / "examples" / example / "asyncgroups.toml"
    comment = re.match(r"(#.*\n)+", file.read_text())
    assert comment is not None
    urls = re.findall(r"http://127\.0\.0\.1:8000/\S*", comment[0])
    assert urls
    groups = {}
    for url in urls:
        result = run("explain", str(file), url, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        groups[url.removeprefix("http://127.0.0.1:8000")] = json.loads(result.stdout)["application_group"]
    if example == "two-groups":
        assert groups == TWO_GROUPS


def test_a_process(file: Path) -> None:
    """What is true of the command in this process is true of it as a process of its own."""
    status, stdout, stderr = ended(begin("explain", str(file), "/shop", "--json"))
    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["script_name"] == "/shop"


def test_two_thousand_mounts(run: Run, tmp_path: Path) -> None:
    """The origins of a large configuration cost a request nothing, and each mount has its own line."""
    mounts = "".join(f'[[mount]]\npath = "/{number}"\napp = "a:b"\n' for number in range(2000))
    file = tmp_path / "asyncgroups.toml"
    file.write_text(mounts)
    explanation = json.loads(run("explain", str(file), "/1999/x", "--json").stdout)
    assert explanation["decided_by"]["mount"] == f'path = "/1999" in mount[1999] ({file}:{1999 * 3 + 2})'
    assert len(config.read(file).mounts()) == 2000


def test_what_is_sticky(run: Run, tmp_path: Path) -> None:
    """The setting of the process group and its line, where there is one."""
    file = tmp_path / "asyncgroups.toml"
    file.write_text(
        '[process_group."back office"]\nprocesses = 2\nsticky = "header:X-User"\n[process_group.other]\n'
        '[[mount]]\npath = "/"\napp = "a:b"\nprocess_group = "back office"\n'
        '[[mount]]\npath = "/other"\napp = "a:b"\nprocess_group = "other"\n'
    )
    explanation = json.loads(run("explain", str(file), "/", "--json").stdout)
    sentence = f'sticky = "header:X-User" in process_group."back office" ({file}:3)'
    assert (explanation["sticky"], explanation["decided_by"]["sticky"]) == ("header:X-User", sentence)
    shown = run("explain", str(file), "/").stdout.splitlines()
    assert re.fullmatch(rf"sticky +header:X-User +\({re.escape(sentence)}\)", shown[5])
    explanation = json.loads(run("explain", str(file), "/other", "--json").stdout)
    assert (explanation["sticky"], "sticky" in explanation["decided_by"]) == (None, False)
    assert "\nsticky" not in run("explain", str(file), "/other").stdout
