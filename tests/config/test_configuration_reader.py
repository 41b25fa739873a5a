"""The file, the command line, and what can be wrong with a file as such."""

from pathlib import Path

import pytest

from asyncgroups.config import Configuration, Override, from_mapping, read
from asyncgroups.errors import ConfigurationError

TEXT = 'server_name = "www.example.com"\n[[mount]]\npath = "/"\napp = "shop:application"\n'
MAPPING = {"mount": [{"path": "/", "app": "shop:application"}]}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "asyncgroups.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in a file do not depend on where the server is started, nor on how the file is named."""
    site = tmp_path / "site"
    (site / "lib").mkdir(parents=True)
    written(site, 'python_path = ["lib", "/"]\nbind = ["unix:ag.sock"]\n' + TEXT)
    monkeypatch.chdir(tmp_path)
    configuration = read("site/asyncgroups.toml")
    (mounted,) = configuration.mounts()
    assert mounted.mount.settings.app_dir == str(site)
    assert mounted.mount.settings.python_path == (str(site / "lib"), "/")
    assert configuration.bind == (f"unix:{site}/ag.sock",)
    assert configuration.source == "site/asyncgroups.toml"


@pytest.mark.parametrize("content", [TEXT, TEXT.replace("\n", "\r\n"), b"\xef\xbb\xbf" + TEXT.encode()])
def test_files_of_other_systems(content: str | bytes, tmp_path: Path) -> None:
    """Line ends and the byte order mark of Windows' editors do no harm."""
    assert read(written(tmp_path, content)).server.server_name == "www.example.com"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.toml", None, "there is no such file"),
        (".", None, "is a folder, not a file"),
        ("nul\0.toml", None, "embedded null byte"),
        ("asyncgroups.toml", b"# caf\xe9", "is not UTF-8: byte 5 is 0xe9"),
        ("asyncgroups.toml", b"a = [1, 2", "1:10: Unclosed array"),
    ],
)
def test_what_is_no_file_of_toml(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    """A file that cannot be read or parsed is one problem of one sentence."""
    if content is not None:
        written(tmp_path, content)
    path = f"{tmp_path}/{name}"
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert problem.startswith(path)
    assert problem.endswith(sentence)


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    """An override stands in for a key of the top level, whether the file has it or not."""
    overrides = {
        "server_name": Override("--server-name", "other.example.com"),
        "bind": Override("--bind", ("127.0.0.1:0", "localhost:8001")),
        "threads": Override("--threads", 3),
    }
    configuration = read(written(tmp_path, TEXT), overrides=overrides)
    assert configuration.server.server_name == "other.example.com"
    assert configuration.bind == ("127.0.0.1:0", "localhost:8001")
    assert configuration.mounts()[0].mount.settings.threads == 3


def test_paths_of_the_command_line_start_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who types a relative path means it from where they are."""
    site, here = tmp_path / "site", tmp_path / "here"
    site.mkdir()
    (here / "lib").mkdir(parents=True)
    path = written(site, TEXT)
    monkeypatch.chdir(here)
    overrides = {
        "app_dir": Override("--app-dir", "."),
        "python_path": Override("--python-path", ["lib"]),
        "bind": Override("--bind", ("unix:ag.sock",)),
    }
    configuration = read(path, overrides=overrides)
    settings = configuration.mounts()[0].mount.settings
    assert (settings.app_dir, settings.python_path) == (str(here), (str(here / "lib"),))
    assert configuration.bind == (f"unix:{here}/ag.sock",)


def test_errors_of_the_command_line_name_the_option(tmp_path: Path) -> None:
    """The place of a wrong option is the option, and the file's own errors stand beside it."""
    overrides = {
        "bind": Override("--bind", ("127.0.0.1:8000", "8080")),
        "application_group": Override("--application-group", "%{SERVR}"),
    }
    with pytest.raises(ConfigurationError) as caught:
        read(written(tmp_path, "treads = 1\n" + TEXT), overrides=overrides)
    application_group, bind, treads = sorted(caught.value.problems)
    assert application_group.startswith("--application-group: unknown variable %{SERVR}; did you mean %{SERVER}?\n")
    assert bind.startswith("--bind: '8080' is a port alone")
    assert treads == f"{tmp_path}/asyncgroups.toml:1: treads: unknown key; did you mean threads?"


def test_a_mapping_needs_no_file(tmp_path: Path) -> None:
    """A mapping makes the same configuration; its errors have places but no lines."""
    configuration = from_mapping(MAPPING, base=tmp_path, source="command line")
    assert isinstance(configuration, Configuration)
    assert repr(configuration) == "<Configuration command line: 1 mounts, 0 virtual hosts on 127.0.0.1:8000>"
    with pytest.raises(ConfigurationError) as caught:
        from_mapping({**MAPPING, "threads": 0}, base=tmp_path, source="command line")
    assert str(caught.value) == "command line: 1 error\nthreads: must be a whole number from 1 to 1000, not 0"
