"""How a server starts: its command line, its addresses, its start lines, and the exit status when it does not."""

import os
import re
import socket
from pathlib import Path

import httpx
import pytest

from tests.serve.conftest import Site
from tests.serving import APPS, Server, serving, until

APPLICATION = '[[mount]]\npath = "/"\napp = "isolation_probe:application"\n'
SERVE = ["-m", "asyncgroups", "serve"]


def over_unix(path: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=20)


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def messages(server: Server) -> list[str]:
    return re.findall(r"\[INFO\] (.*)", server.log())


# Exit statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["$FILE", "--threds", "2"], "No such option"),
        (["$FILE", "--threads", "two"], "not a valid integer"),
        (["$FILE", "--threads", "0"], "--threads"),
        (["$FILE", "--bind", "here:there"], "--bind"),
        (["$FILE", "--mount", "/x"], "--mount goes with module:attribute"),
        (["$FILE", "--log-level", "loud"], "--log-level"),
        (["$FILE", "--certfile", "/dev/null"], "keyfile"),
        (["$FILE", "--application-group", "%{SERVR}"], r"(?s)did you mean %\{SERVER\}.*\^\^\^"),
        (["nowhere.toml"], "nowhere.toml: 1 error"),
        (["isolation_probe"], "neither a file nor an application"),
        (["isolation_probe:application", "--app-dir", "/nowhere"], "--app-dir"),
        (["$BROKEN"], r"(?s)2 errors.*mount\[0\].*did you mean threads.*limits"),
    ],
)
def test_a_wrong_command_line_or_configuration(site: Site, arguments: list[str], sentence: str) -> None:
    """The exit status is 2, the reason is on stderr, and nothing of it is a traceback."""
    files = {
        "$FILE": str(site(APPLICATION)),
        "$BROKEN": str(site(APPLICATION + "thread = 2\n[limits]\ngroups = 0\n")),
    }
    with serving([*SERVE, *(files.get(one, one) for one in arguments)], ready=False) as server:
        assert server.wait() == 2
        assert re.search(sentence, server.log())
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("group", ["named", "%{GLOBAL}"])
def test_a_preloaded_application_that_does_not_load(site: Site, group: str) -> None:
    """The exit status is 3; the log has the traceback and names the application and the group."""
    config = site(
        '[[mount]]\npath = "/"\napp = "fails:application"\npreload = true\n' + f'application_group = "{group}"\n',
        fails="raise LookupError('as it must')",
    )
    with serving([*SERVE, str(config), "-b", "127.0.0.1:0"], ready=False) as server:
        assert server.wait() == 3
        log = server.log()
        assert log.count("LookupError: as it must") == 1
        assert f"fails:application in application group {group}" in log
        assert log.count("Traceback") == 1


def test_an_address_in_use(site: Site) -> None:
    """The exit status is 1, and one line says which address it was."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving([*SERVE, str(site(APPLICATION)), "-b", "127.0.0.1:0", "-b", address], ready=False) as server:
            assert server.wait() == 1
            (line,) = server.log().splitlines()
            assert line.endswith(f"cannot serve: {address}: Address already in use")


# unix sockets ---------------------------------------------------------------------------------------------------------


def test_a_unix_socket_and_the_server_behind_it(site: Site, tmp_path: Path) -> None:
    """One of a server that lives is refused with status 1; at the exit of its own server it is removed."""
    path = tmp_path / "socket"
    config = site(APPLICATION)
    with serving(config, options=["-b", f"unix:{path}"]) as server, over_unix(path) as client:
        assert client.get("/").json()["process"] == server.process.pid
        with serving([*SERVE, str(config), "-b", f"unix:{path}"], ready=False) as second:
            assert second.wait() == 1
            assert f"unix:{path}: Address already in use" in second.log()
        assert client.get("/").json()["process"] == server.process.pid
        client.close()
        assert server.stop() == 0
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(site: Site, tmp_path: Path) -> None:
    """What a killed server has left behind does not keep the next one from starting."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with serving(site(APPLICATION), options=["-b", f"unix:{path}"]), over_unix(path) as client:
        assert client.get("/").status_code == 200


def test_a_file_is_not_replaced_by_a_unix_socket(site: Site, tmp_path: Path) -> None:
    """A path where something else lies is refused with status 1, and what lies there stays."""
    path = tmp_path / "precious"
    path.write_text("precious")
    with serving([*SERVE, str(site(APPLICATION)), "-b", f"unix:{path}"], ready=False) as server:
        assert server.wait() == 1
        assert str(path) in server.log()
    assert path.read_text() == "precious"


# What is served -------------------------------------------------------------------------------------------------------


def test_start_lines(site: Site, tmp_path: Path) -> None:
    """One line for each bind and each mount says what is served where and in which group; -b beats the file."""
    config = site(
        f'bind = ["unix:{tmp_path}/not-this-one"]\n'
        'server_name = "www.example.com"\nthreads = 2\n[global]\nthreads = 5\n'
        '[[mount]]\npath = "/"\napp = "isolation_probe:application"\n'
        '[[mount]]\npath = "/a"\napp = "isolation_probe:application"\napplication_group = "%{SERVER}"\n'
        '[[mount]]\npath = "/b"\napp = "isolation_probe:application"\napplication_group = "%{GLOBAL}"\n'
        '[[mount]]\npath = "/c"\napp = "isolation_probe:application"\napplication_group = "%{ENV:WHO}"\n'
        '[[virtual_host]]\nserver_name = "other.example.com:80"\nthreads = 1\n'
        '[[virtual_host.mount]]\npath = "/d"\napp = "isolation_second:application"\n'
    )
    with serving(config, options=["-b", f"unix:{tmp_path}/socket"]) as server:
        port, probe = server.port, "isolation_probe:application in application group"
        until(lambda: len(messages(server)) == 7, what="7 lines")
        assert set(messages(server)) == {
            f"Running on http://127.0.0.1:{port} (CTRL + C to quit)",
            f"Running on http://unix:{tmp_path}/socket (CTRL + C to quit)",
            f"www.example.com/: {probe} www.example.com:{port}|, www.example.com| (2 threads)",
            f"www.example.com/a: {probe} www.example.com:{port}, www.example.com (2 threads)",
            f"www.example.com/b: {probe} %{{GLOBAL}} (5 threads)",
            f"www.example.com/c: {probe} %{{ENV:WHO}} (2 threads)",
            "other.example.com:80/d: isolation_second:application in application group other.example.com|/d (1 thread)",
        }
        assert not (tmp_path / "not-this-one").exists()


def test_several_addresses(site: Site) -> None:
    """-b is repeatable: the server answers at each address."""
    with serving(site(APPLICATION), options=["-b", "localhost:0", "-b", "127.0.0.2:0"]) as server:
        until(lambda: len(re.findall("Running on", server.log())) == 3, what="three lines")
        addresses = re.findall(r"Running on http://(.*?) ", server.log())
        for address in addresses:
            answer = httpx.get(f"http://{address}/", trust_env=False).json()
            assert answer["group"] == f"localhost:{address.partition(':')[2]}|"


def test_one_application_with_all_options() -> None:
    """``serve module:attribute`` needs no file: the options say what a file would."""
    options = {
        "--mount": "/x/y/",
        "--application-group": "%{SERVER}",
        "--threads": "2",
        "--app-dir": str(APPS),
        "--server-name": "www.example.com:443",
        "--log-level": "debug",
    }
    arguments = [*SERVE, "isolation_probe:application", "-b", "127.0.0.1:0"]
    arguments += [word for option in options.items() for word in option]
    with serving(arguments, environ={"PYTHONPATH": str(APPS.parent.parent)}) as server:
        answer = server.get("/x/y/together?parties=1").json()
        assert answer["group"] == "www.example.com"
        assert answer["multithread"] is True
        assert server.get("/x/z").status_code == 404


def test_one_application_by_default(tmp_path: Path) -> None:
    """Without options ``module:attribute`` is served at /, from the working directory, in a group of its own."""
    (tmp_path / "here.py").symlink_to(APPS / "isolation_second.py")
    (tmp_path / "isolation_shared.py").symlink_to(APPS / "isolation_shared.py")
    command = [*SERVE, "here:application", "-b", "127.0.0.1:0"]
    with serving(command, environ={"PYTHONPATH": str(APPS.parent.parent)}, cwd=tmp_path) as server:
        assert server.get("/").json()["calls"] == 1
        assert messages(server)[0].startswith(f"*/: here:application in application group localhost:{server.port}| ")


def test_options_beat_the_file(site: Site) -> None:
    """Each option stands in for the key of the same name at the file's top level."""
    config = site(f'application_group = "of-the-file"\nserver_name = "of.the.file"\nthreads = 1\n{APPLICATION}')
    options = ["--application-group", "%{SERVER}", "--server-name", "of-the.option:80", "--threads", "2"]
    with serving(config, options=options) as server:
        answer = server.get("/together?parties=1").json()
        assert (answer["group"], answer["multithread"]) == ("of-the.option", True)


def test_log_level(site: Site, tmp_path: Path) -> None:
    """What is below --log-level is not logged: no start lines with "error"."""
    path = tmp_path / "socket"
    command = [*SERVE, str(site(APPLICATION)), "-b", f"unix:{path}", "--log-level", "error"]
    with serving(command, ready=False) as server, over_unix(path) as client:
        until(lambda: accepts(path))
        assert client.get("/").status_code == 200
        client.close()
        assert server.stop() == 0
        assert server.log() == ""


def test_the_soft_limit_of_descriptors_is_raised(site: Site) -> None:
    """The server has as many file descriptors as the system's hard limit allows; it says so when they are too few."""
    config = site("[limits]\ngroups = 2000\n" + APPLICATION)
    shell = 'ulimit -Sn 256 && ulimit -Hn 1024 && exec "$0" "$@"'
    with serving(config) as server:
        command = [server.process.args[0], *SERVE, str(config), "-b", "127.0.0.1:0"]
    code = f"import os; os.execv('/bin/sh', ['sh', '-c', {shell!r}, *{command!r}])"
    with serving(["-c", code]) as server:
        assert "limits.groups = 2000" in server.log()
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert re.search(r"Max open files +1024 +1024", limits)
        assert os.path.exists(f"/proc/{server.process.pid}")
