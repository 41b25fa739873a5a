"""Finding a script on a real tree: what is found, what is refused, and that no path leads out."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.errors import ScriptNotFound
from asyncgroups.frontend import scripts
from asyncgroups.frontend.scripts import Script, find
from asyncgroups.selection.rewrite import path_of
from asyncgroups.selection.trees import Alias, Candidate, Trees, UserDirectories

FILES = [
    "secret.wsgi",
    "htdocs/index.wsgi",
    "htdocs/sub/app.wsgi",
    "htdocs/.hidden.wsgi",
    "htdocs/.git/app.wsgi",
    "htdocs/a b.wsgi",
    "htdocs/é.wsgi",
    "htdocs/%2e%2e",
    "htdocs/closed/app.wsgi",
    "home/alice/public_html/app.wsgi",
    "home/alice/public_html/sub/app.wsgi",
    "home/alice/secret.wsgi",
    "home/bob/public_html/app.wsgi",
    "home/bob/public_html/a",
    "home/public_html/app.wsgi",
]
LINKS = {
    "htdocs/out.wsgi": "../secret.wsgi",
    "htdocs/inside.wsgi": "index.wsgi",
    "htdocs/up": "..",
    "htdocs/self": ".",
    "htdocs/sub/parent": "../sub",
    "htdocs/alice": "../home/alice",
    "htdocs/loop": "loop",
    "htdocs/dangling": "nowhere",
    "htdocs/absolute": "/etc",
    "home/alice/public_html/bob.wsgi": "../../bob/public_html/app.wsgi",
    "home/alice/public_html/bob": "../../bob/public_html",
    "home/eve/public_html": "../bob/public_html",
    "home/frank": "bob",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scripts")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    os.mkfifo(root / "htdocs/fifo.wsgi")
    os.mknod(root / "htdocs/socket.wsgi", 0o600 | stat.S_IFSOCK)
    (root / "htdocs/empty").mkdir()
    return root


@pytest.fixture(scope="module")
def trees(root: Path) -> Trees:
    return Trees(
        [
            Alias(path="/single", target=f"{root}/htdocs/index.wsgi", place="alias[0]"),
            Alias(path="/linked", target=f"{root}/htdocs/up/htdocs", place="alias[1]"),
            Alias(path="/gone", target=f"{root}/gone", place="alias[2]"),
        ],
        UserDirectories(patterns=(f"{root}/home/*/public_html",), place="userdir"),
        document_root=Alias(path="", target=f"{root}/htdocs", place="document_root"),
    )


type Ask = Callable[..., Script | str]


@pytest.fixture
def ask(trees: Trees, root: Path) -> Iterator[Ask]:
    def ask(raw_path: bytes, *, may_follow: Callable[[str], bool] = scripts.never) -> Script | str:
        """The script, or why there is none."""
        located = trees.locate(raw_path, path_of(raw_path))
        if not located:
            return "nowhere"
        (candidate,) = located
        try:
            return find(candidate, may_follow=may_follow)
        except ScriptNotFound as error:
            return str(error).replace(str(root), "")

    before = len(os.listdir("/proc/self/fd"))
    yield ask
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("raw_path", "path", "script_name", "path_info"),
    [
        (b"/index.wsgi", "htdocs/index.wsgi", "/index.wsgi", b""),
        (b"/index.wsgi/", "htdocs/index.wsgi", "/index.wsgi", b"/"),
        (b"/index.wsgi/a//b%2F/..", "htdocs/index.wsgi", "/index.wsgi", b"/a//b%2F/.."),
        (b"/index.wsgi/.well-known/x", "htdocs/index.wsgi", "/index.wsgi", b"/.well-known/x"),
        (b"/index.wsgi/" + b"a" * 300, "htdocs/index.wsgi", "/index.wsgi", b"/" + b"a" * 300),
        (b"//index.wsgi", "htdocs/index.wsgi", "/index.wsgi", b""),
        (b"/%69ndex.wsgi/x", "htdocs/index.wsgi", "/index.wsgi", b"/x"),
        (b"/sub/app.wsgi/x", "htdocs/sub/app.wsgi", "/sub/app.wsgi", b"/x"),
        (b"/sub//app.wsgi", "htdocs/sub/app.wsgi", "/sub/app.wsgi", b""),
        (b"/a%20b.wsgi", "htdocs/a b.wsgi", "/a b.wsgi", b""),
        (b"/%C3%A9.wsgi/%C3%A9", "htdocs/é.wsgi", "/é.wsgi", b"/%C3%A9"),
        (b"/%252e%252e/x", "htdocs/%2e%2e", "/%2e%2e", b"/x"),
        (b"/single", "htdocs/index.wsgi", "/single", b""),
        (b"/single/x", "htdocs/index.wsgi", "/single", b"/x"),
        (b"/single/../x", "htdocs/index.wsgi", "/single", b"/../x"),
        (b"/linked/index.wsgi", "htdocs/up/htdocs/index.wsgi", "/linked/index.wsgi", b""),
        (b"/~alice/app.wsgi/x", "home/alice/public_html/app.wsgi", "/~alice/app.wsgi", b"/x"),
        (b"/%7Ealice/sub/app.wsgi", "home/alice/public_html/sub/app.wsgi", "/~alice/sub/app.wsgi", b""),
    ],
)
def test_found(ask: Ask, root: Path, raw_path: bytes, path: str, script_name: str, path_info: bytes) -> None:
    """The first component that is a file is the script; its URL is SCRIPT_NAME, the rest PATH_INFO as it came."""
    found = ask(raw_path)
    assert isinstance(found, Script), found
    assert (found.path, found.script_name, found.path_info) == (f"{root}/{path}", script_name, path_info)
    assert found.status.st_ino == (root / path).stat().st_ino


ATTACKS = [
    (b"/", "'/htdocs' is a directory"),
    (b"/sub", "'/htdocs/sub' is a directory"),
    (b"/sub/", "'/htdocs/sub' is a directory"),
    (b"/none.wsgi", "'/htdocs/none.wsgi': No such file or directory"),
    (b"/none/x/y", "'/htdocs/none': No such file or directory"),
    (b"/INDEX.wsgi", "'/htdocs/INDEX.wsgi': No such file or directory"),
    (b"/index.wsgi.", "'/htdocs/index.wsgi.': No such file or directory"),
    (b"/index.wsgi%20", "'/htdocs/index.wsgi ': No such file or directory"),
    (b"/index.wsgi;x", "'/htdocs/index.wsgi;x': No such file or directory"),
    (b"/index.wsgi::$DATA", "'/htdocs/index.wsgi::$DATA': No such file or directory"),
    (b"/gone/x", "'/gone': No such file or directory"),
    # ways up
    (b"/../secret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/sub/../../secret.wsgi", "what comes after '/htdocs/sub' begins with a dot"),
    (b"/%2e%2e/secret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/.%2E/secret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/..%2fsecret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/sub%2f..%2f..%2fsecret.wsgi", "what comes after '/htdocs' has an encoded slash in it"),
    (b"/%2fetc%2fpasswd", "what comes after '/htdocs' has an encoded slash in it"),
    (b"/sub%2Fapp.wsgi", "what comes after '/htdocs' has an encoded slash in it"),
    (b"//etc/passwd", "'/htdocs/etc': No such file or directory"),
    (b"/..\\secret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/sub\\..\\..\\secret.wsgi", "what comes after '/htdocs' has a backslash in it"),
    (b"/sub%5capp.wsgi", "what comes after '/htdocs' has a backslash in it"),
    (b"/%C0%AE%C0%AE/secret.wsgi", "what comes after '/htdocs' is no UTF-8"),
    (b"/..;/secret.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/./index.wsgi", "what comes after '/htdocs' begins with a dot"),
    # names cut short
    (b"/index.wsgi%00", "what comes after '/htdocs' has a control character in it"),
    (b"/secret.wsgi%00/index.wsgi", "what comes after '/htdocs' has a control character in it"),
    (b"/index.wsgi%0a", "what comes after '/htdocs' has a control character in it"),
    (b"/" + b"a" * 300, "what comes after '/htdocs' is too long"),
    # what people hide
    (b"/.hidden.wsgi", "what comes after '/htdocs' begins with a dot"),
    (b"/.git/app.wsgi", "what comes after '/htdocs' begins with a dot"),
    # links
    (b"/out.wsgi", "'/htdocs/out.wsgi' is a symbolic link"),
    (b"/inside.wsgi", "'/htdocs/inside.wsgi' is a symbolic link"),
    (b"/up/secret.wsgi", "'/htdocs/up' is a symbolic link"),
    (b"/loop", "'/htdocs/loop' is a symbolic link"),
    (b"/dangling", "'/htdocs/dangling' is a symbolic link"),
    (b"/absolute/passwd", "'/htdocs/absolute' is a symbolic link"),
    (b"/linked/out.wsgi", "'/htdocs/up/htdocs/out.wsgi' is a symbolic link"),
    # what is no file
    (b"/fifo.wsgi", "'/htdocs/fifo.wsgi' is no regular file"),
    (b"/fifo.wsgi/x", "'/htdocs/fifo.wsgi' is no regular file"),
    (b"/socket.wsgi", "'/htdocs/socket.wsgi' is no regular file"),
    # users
    (b"/~alice", "'/home/alice/public_html' is a directory"),
    (b"/~alice/../secret.wsgi", "what comes after '/home/alice/public_html' begins with a dot"),
    (b"/~alice/%2e%2e/secret.wsgi", "what comes after '/home/alice/public_html' begins with a dot"),
    (b"/~alice/../~bob/app.wsgi", "what comes after '/home/alice/public_html' begins with a dot"),
    (b"/~alice/../../bob/public_html/app.wsgi", "what comes after '/home/alice/public_html' begins with a dot"),
    (b"/~alice/bob.wsgi", "'/home/alice/public_html/bob.wsgi' is a symbolic link"),
    (b"/~alice/bob/app.wsgi", "'/home/alice/public_html/bob' is a symbolic link"),
    (b"/~eve/app.wsgi", "'/home/eve/public_html' is a symbolic link"),
    (b"/~frank/app.wsgi", "'/home/frank' is a symbolic link"),
    (b"/~nobody/app.wsgi", "'/home/nobody': No such file or directory"),
    (b"/~../app.wsgi", "nowhere"),
    (b"/~./app.wsgi", "nowhere"),
    (b"/~/app.wsgi", "nowhere"),
    (b"/~%2e/app.wsgi", "nowhere"),
    (b"/~bob%2fpublic_html/app.wsgi", "what comes after '/htdocs' has an encoded slash in it"),
    (b"/~alice%2f..%2fbob/app.wsgi", "what comes after '/htdocs' has an encoded slash in it"),
    (b"/~public_html/app.wsgi", "'/home/public_html/public_html': No such file or directory"),
    (b"*", "nowhere"),
    (b"", "nowhere"),
]


@pytest.mark.parametrize(("raw_path", "reason"), ATTACKS, ids=[repr(raw_path[:60]) for raw_path, _ in ATTACKS])
def test_refused(ask: Ask, raw_path: bytes, reason: str) -> None:
    """What leads out of a tree, to what is hidden, or to no regular file, is not found, and the log can say why."""
    assert ask(raw_path) == reason


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        (b"/out.wsgi", "secret.wsgi"),
        (b"/up/secret.wsgi/x", "secret.wsgi"),
        (b"/inside.wsgi", "htdocs/index.wsgi"),
        (b"/~eve/app.wsgi", "home/bob/public_html/app.wsgi"),
        (b"/~frank/app.wsgi", "home/bob/public_html/app.wsgi"),
    ],
)
def test_links_are_followed_where_they_may_be(ask: Ask, root: Path, raw_path: bytes, path: str) -> None:
    """Where links are followed the file behind them is found, under the name that the URL has."""
    found = ask(raw_path, may_follow=lambda directory: True)
    assert isinstance(found, Script), found
    assert found.status.st_ino == (root / path).stat().st_ino
    assert found.script_name == raw_path.decode().removesuffix("/x")


def test_links_are_followed_directory_by_directory(ask: Ask, root: Path) -> None:
    """Whether a link is followed is asked with the directory that it stands in; a loop of links is never a script."""
    asked: list[str] = []

    def may_follow(directory: str) -> bool:
        asked.append(directory)
        return directory == f"{root}/htdocs"

    assert isinstance(ask(b"/alice/public_html/app.wsgi", may_follow=may_follow), Script)
    found = ask(b"/alice/public_html/bob.wsgi", may_follow=may_follow)
    assert found == "'/htdocs/alice/public_html/bob.wsgi' is a symbolic link"
    assert asked == [f"{root}/htdocs", f"{root}/htdocs", f"{root}/htdocs/alice/public_html"]
    assert "symbolic links" in str(ask(b"/loop", may_follow=lambda directory: True))
    assert "No such file" in str(ask(b"/dangling", may_follow=lambda directory: True))


@pytest.mark.parametrize(
    ("raw_path", "link"),
    [
        (b"/self/index.wsgi", "self"),
        (b"/self/self/self/index.wsgi", "self"),
        (b"/sub/parent/app.wsgi", "sub/parent"),
        (b"/up/htdocs/index.wsgi", "up/htdocs"),
    ],
)
def test_no_link_leads_back(ask: Ask, raw_path: bytes, link: str) -> None:
    """Also where links are followed a client cannot give a script ever more names by going round in circles."""
    assert ask(raw_path, may_follow=lambda directory: True) == f"'/htdocs/{link}' leads back to a directory above it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every directory")
def test_closed_directory(ask: Ask, root: Path) -> None:
    """What the server may not look into is not there."""
    (root / "htdocs/closed").chmod(0)
    try:
        assert "Permission denied" in str(ask(b"/closed/app.wsgi"))
    finally:
        (root / "htdocs/closed").chmod(0o755)


def test_without_o_path(ask: Ask, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot name a file without opening it, the same is found and the same refused."""
    monkeypatch.setattr(scripts, "_NAMING", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    assert isinstance(ask(b"/sub/app.wsgi/x"), Script)
    assert ask(b"/out.wsgi") == "'/htdocs/out.wsgi' is a symbolic link"
    assert ask(b"/up/secret.wsgi") == "'/htdocs/up' is a symbolic link"
    assert ask(b"/fifo.wsgi") == "'/htdocs/fifo.wsgi' is no regular file"
    assert isinstance(ask(b"/out.wsgi", may_follow=lambda directory: True), Script)
    assert "No such device" in str(ask(b"/socket.wsgi"))


def test_the_system_fails(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system itself cannot do is no 404."""

    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(scripts.os, "open", fails)
    with pytest.raises(OSError, match="Too many open files"):
        ask(b"/index.wsgi")


@pytest.mark.parametrize("raw_path", [b"/sub/app.wsgi", b"/up/secret.wsgi"], ids=["a file", "a link"])
def test_a_file_system_that_does_not_say(ask: Ask, monkeypatch: pytest.MonkeyPatch, raw_path: bytes) -> None:
    """Where a file cannot be asked what it is, as one of a network that has gone, no descriptor is left open."""
    really, asked = os.fstat, 0

    def fails(descriptor: int) -> os.stat_result:
        nonlocal asked
        asked += 1
        if asked == (3 if raw_path.startswith(b"/up") else 2):
            raise OSError(errno.ESTALE, "Stale file handle")
        return really(descriptor)

    monkeypatch.setattr(scripts.os, "fstat", fails)
    with pytest.raises(OSError, match="Stale file handle"):
        ask(raw_path, may_follow=lambda directory: True)


def test_a_directory_that_is_replaced_meanwhile(trees: Trees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who puts a link in the place of a directory that has been opened leads nobody out."""
    (tmp_path / "htdocs/sub").mkdir(parents=True)
    (tmp_path / "htdocs/sub/app.wsgi").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/app.wsgi").write_text("theirs")
    really_open = os.open

    def open_and_swap(name: str, *arguments: int, **options: int | None) -> int:
        descriptor = really_open(name, *arguments, **options)  # type: ignore[arg-type]
        if name == "sub":
            (tmp_path / "htdocs/sub").rename(tmp_path / "htdocs/moved")
            (tmp_path / "htdocs/sub").symlink_to("../outside")
        return descriptor

    monkeypatch.setattr(scripts.os, "open", open_and_swap)
    candidate = Candidate("", 0, f"{tmp_path}/htdocs", (), b"/sub/app.wsgi", "document_root")
    assert find(candidate).status.st_ino == (tmp_path / "htdocs/moved/app.wsgi").stat().st_ino


TOKENS = [
    b"/",
    b"/",
    b"..",
    b".",
    b"%2e%2e",
    b"%2f",
    b"\\",
    b"%5c",
    b"%00",
    b"%25",
    b"\xc3\xa9",
    b" ",
    b"~alice",
    b"~bob",
]
NAMES = [
    b"app.wsgi",
    b"index.wsgi",
    b"sub",
    b"bob",
    b"bob.wsgi",
    b"up",
    b"secret.wsgi",
    b"public_html",
    b"out.wsgi",
    b"a",
]
PATHS = st.lists(
    st.one_of(
        st.sampled_from(TOKENS),
        st.sampled_from(NAMES),
        st.sampled_from([b"/" + name for name in (*NAMES, b"..", b"~alice", b"~bob", b"home", b"%2e%2e")]),
    ),
    max_size=8,
).map(lambda pieces: b"/" + b"".join(pieces))


@given(PATHS)
def test_no_way_out(root: Path, trees: Trees, raw_path: bytes) -> None:
    """Whatever a client writes, what is found is a regular file inside its tree, and the user's own; nothing is hidden.

    SCRIPT_NAME and PATH_INFO together are the path, less runs of slashes and encoding.
    """
    for candidate in trees.locate(raw_path, path_of(raw_path)) or ():
        try:
            found = find(candidate)
        except ScriptNotFound:
            continue
        inside = Path(candidate.base, *candidate.below).resolve()
        assert Path(found.path).resolve().is_relative_to(inside)
        assert stat.S_ISREG(os.lstat(found.path).st_mode)
        assert not any(part.startswith(".") for part in Path(found.path).relative_to(root).parts)
        if found.script_name.startswith("/~"):
            user = found.script_name.split("/")[1].removeprefix("~")
            assert Path(found.path).is_relative_to(root / "home" / user / "public_html")
        assert found.path_info[:1] in (b"", b"/")
        assert raw_path.endswith(found.path_info)
        front = unquote_to_bytes(raw_path[: len(raw_path) - len(found.path_info)])
        assert [part for part in front.decode().split("/") if part] == found.script_name.split("/")[1:]
