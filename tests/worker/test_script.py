"""Script files as applications: how they are read, compiled, executed, and executed again."""

import hashlib
import linecache
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncgroups.worker import script
from asyncgroups.worker.loader import Loader, LoadingFailed

GOOD = "def application(environ, start_response): return [b'{0}']\nother = application\nnumber = 5\nname = __name__\n"


def modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.startswith("_mod_wsgi_")}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No module of a script is there, or stays."""
    for name in modules():
        del sys.modules[name]
    yield
    for name in modules():
        del sys.modules[name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.wsgi"


def ask(application: Any) -> bytes:
    """What it says."""
    return b"".join(application({}, None))


def test_a_script_is_a_module(path: Path) -> None:
    """It is loaded as mod_wsgi does: under a name made of its path, findable there, with its file and its time."""
    path.write_text(GOOD.format("one"))
    loader = Loader()
    found = loader.load(f"{path}:application")
    assert ask(found) == b"one"
    assert loader.get(f"{path}:application") is loader.load(f"{path}:application") is found
    (name, module), *rest = modules().items()
    assert not rest
    assert name == module.__name__ == f"_mod_wsgi_{hashlib.md5(str(path).encode()).hexdigest()}"
    assert module.__file__ == str(path)
    assert module.__mtime__ == path.stat().st_mtime_ns // 1000
    assert module.__spec__.origin == str(path)
    assert module.__loader__.get_source(name) == GOOD.format("one")
    assert found.__module__ == name
    assert not list(path.parent.glob("**/*.pyc"))


def test_scripts_of_one_name_are_two_modules(tmp_path: Path) -> None:
    """Scripts in different folders may have one name, also that of a module: none hides anything."""
    paths = [tmp_path / "a" / "json.py", tmp_path / "b" / "json.py"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(f"import json\njson.dumps(1)\n{GOOD.format(path.parent.name)}")
    loader = Loader()
    assert [ask(loader.load(f"{path}:application")) for path in paths] == [b"a", b"b"]
    assert len(modules()) == 2
    assert str(tmp_path) not in str(sys.modules["json"].__file__)
    assert not [folder for folder in sys.path if folder.startswith(str(tmp_path))]


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        ("/a.wsgi:application", ("/a.wsgi", "application")),
        ("/a:b/c:d.wsgi:application", ("/a:b/c:d.wsgi", "application")),
        ("/a.wsgi:x.y", ("/a.wsgi", "x.y")),
    ],
)
def test_path_and_callable(application: str, expected: tuple[str, str]) -> None:
    """The last colon stands before the callable: a path may hold others."""
    assert script.is_script(application)
    assert script.split(application) == expected
    assert not script.is_script("shop.wsgi:application")


SOURCES = {
    "latin": ("# -*- coding: latin-1 -*-\napplication = lambda e, s: ['ä'.encode()]\n".encode("latin-1"), "ä".encode()),
    "a mark": (b"\xef\xbb\xbfapplication = lambda e, s: ['\xc3\xa4'.encode()]\n", "ä".encode()),
    "utf-8": ("application = lambda e, s: ['ä'.encode()]\n".encode(), "ä".encode()),
    "crlf": (b"def application(e, s):\r\n    return [b'x']\r\n", b"x"),
    "future": (b"from __future__ import annotations\ndef application(e: Nowhere, s: Nowhere): return [b'x']\n", b"x"),
    "a data class": (
        b"import dataclasses as d\n@d.dataclass\nclass A: x: 'int' = 1\napplication = lambda e, s: [b'1'] * A().x",
        b"1",
    ),
    "pickle": (
        b"import pickle\nclass A: pass\napplication = lambda e, s: [pickle.loads(pickle.dumps(A)).__name__.encode()]\n",
        b"A",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_what_a_script_may_be_written_like(path: Path, kind: str) -> None:
    """It is compiled from its bytes (PEP 263), without this package's own __future__ flags, and runs as a module."""
    source, expected = SOURCES[kind]
    path.write_bytes(source)
    assert ask(Loader().load(f"{path}:application")) == expected


@pytest.mark.parametrize(
    ("source", "sentence", "cause"),
    [
        (b"raise ValueError('oops')\n", "executing '{}' failed", ValueError),
        (b"import sys\nsys.exit(3)\n", "'{}' called sys.exit(3)", SystemExit),
        (b"raise KeyboardInterrupt\n", "executing '{}' failed", KeyboardInterrupt),
        (b"import t3_nowhere\n", "executing '{}' failed", ModuleNotFoundError),
        (b"def broken(:\n", "executing '{}' failed", SyntaxError),
        (b"# coding: t3-nonsense\n", "executing '{}' failed", SyntaxError),
        (b"x = '\xff'\n", "executing '{}' failed", SyntaxError),
        (b"x = '\0'\n", "executing '{}' failed", (SyntaxError, ValueError)),
        (b"application = 5\n", "'{}:application' is int, not a callable WSGI application", type(None)),
        (b"def __getattr__(name): raise RuntimeError\n", "looking up 'application' in '{}' failed", RuntimeError),
    ],
)
def test_what_does_not_load(path: Path, source: bytes, sentence: str, cause: type[BaseException]) -> None:
    """There is one error, with a sentence and a cause for the log, again next time; what the script makes is gone."""
    path.write_bytes(source)
    loader = Loader()
    for _ in range(2):
        with pytest.raises(LoadingFailed) as failed:
            loader.load(f"{path}:application")
        assert sentence.format(path) in str(failed.value)
        assert isinstance(failed.value.__cause__, cause)
        assert not failed.value.is_absent
        assert loader.get(f"{path}:application") is None
        assert not modules() or "application" in sentence


def test_a_failure_is_not_remembered(path: Path) -> None:
    """A script that did not load is read again for the next request."""
    loader = Loader()
    path.write_text("raise ValueError")
    with pytest.raises(LoadingFailed):
        loader.load(f"{path}:application")
    path.write_text(GOOD.format("two"))
    assert ask(loader.load(f"{path}:application")) == b"two"


@pytest.mark.parametrize("kind", ["nothing", "a folder", "a fifo", "a socket", "no folder", "a long name", "a device"])
def test_what_is_no_script(path: Path, kind: str) -> None:
    """What is no regular file is not there, and is not waited for."""
    match kind:
        case "a folder":
            path.mkdir()
        case "a fifo":
            os.mkfifo(path)
        case "a socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(os.path.relpath(path))
        case "no folder":
            path.write_text("")
            path = path / "below"
        case "a long name":
            path = path.parent / ("x" * 300)
        case "a device":
            path = Path("/dev/null")
    with pytest.raises(LoadingFailed) as failed:
        Loader().load(f"{path}:application")
    assert failed.value.is_absent
    assert not modules()


def test_a_script_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there: the log says what is wrong with it, and the client gets an error of the server's."""
    path.write_text(GOOD)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(LoadingFailed, match="cannot be read: Permission denied") as failed:
        Loader().load(f"{path}:application")
    assert not failed.value.is_absent


def test_a_missing_callable(path: Path) -> None:
    """Without its callable the script is there, and is not executed again with each request; its others are served."""
    path.write_text(f"import sys\nsys.t3_count = getattr(sys, 't3_count', 0) + 1\n{GOOD.format('one')}")
    loader = Loader()
    try:
        for _ in range(3):
            with pytest.raises(LoadingFailed, match="has no callable 'nothing'") as failed:
                loader.load(f"{path}:nothing")
            assert failed.value.is_absent
        assert ask(loader.load(f"{path}:application")) == ask(loader.load(f"{path}:other")) == b"one"
        assert sys.t3_count == 1  # type: ignore[attr-defined]  # the script's
    finally:
        del sys.t3_count  # type: ignore[attr-defined]  # as above


def test_many_ask_at_once(path: Path) -> None:
    """However many workers ask for however many of its callables, a script is executed once; others wait for it."""
    gate, count = threading.Event(), list[int]()
    gates = sys.modules["t3_gates"] = ModuleType("t3_gates")
    vars(gates).update(gate=gate, count=count)
    path.write_text(f"import t3_gates\nt3_gates.count.append(1)\nt3_gates.gate.wait(20)\n{GOOD.format('one')}")
    loader = Loader()
    found: list[object] = []
    names = ["application", "other", "application", "other"]
    threads = [
        threading.Thread(target=lambda name=name: found.append(loader.load(f"{path}:{name}")))  # type: ignore[misc]  # mypy cannot infer it
        for name in names
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    del sys.modules["t3_gates"]
    assert len(set(map(id, found))) == 1
    assert len(found) == 4
    assert count == [1]


def lines(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_tracebacks_show_what_was_executed(path: Path) -> None:
    """The lines of a traceback are those of the script as it was executed, also when the file has others by then."""
    path.write_text("def application(environ, start_response):\n    raise KeyError  # the first\n")
    loader = Loader()
    first = loader.load(f"{path}:application")
    path.write_text("# one line more\ndef application(environ, start_response):\n    raise KeyError  # the second\n")
    with pytest.raises(KeyError) as failed:
        first({}, lambda *_: None)
    assert "# the first" in lines(failed.value)
    again = loader.load(f"{path}:application", again=True)
    with pytest.raises(KeyError) as failed:
        again({}, lambda *_: None)
    assert "# the second" in lines(failed.value)
    path.write_text("x = (\n")
    with pytest.raises(LoadingFailed) as broken:
        loader.load(f"{path}:application", again=True)
    assert "x = (" in lines(broken.value)
    linecache.cache.pop(str(path))


# Again ----------------------------------------------------------------------------------------------------------------


def test_a_script_is_executed_again(path: Path) -> None:
    """All its callables are those of the new one, in a new module; one that it has no more is gone."""
    path.write_text(GOOD.format("one"))
    loader = Loader()
    loader.load(f"{path}:application")
    loader.load(f"{path}:other")
    ((_, before),) = modules().items()
    path.write_text("def application(environ, start_response): return [b'two']\n")
    assert ask(loader.load(f"{path}:application")) == b"one"
    assert ask(loader.load(f"{path}:application", again=True)) == b"two"
    assert ask(loader.load(f"{path}:application")) == b"two"
    assert loader.get(f"{path}:other") is None
    ((_, after),) = modules().items()
    assert before is not after


@pytest.mark.parametrize("change", ["raise ValueError\n", "x = (\n", "other = dict\n", "raise SystemExit\n", None])
def test_what_fails_again_goes_on(path: Path, change: str | None) -> None:
    """A script that does not load any more, has no such callable, or is gone goes on as it was, its module as well."""
    path.write_text(GOOD.format("one"))
    loader = Loader()
    loader.load(f"{path}:application")
    before = modules()
    path.unlink()
    if change is not None:
        path.write_text(change)
    with pytest.raises(LoadingFailed):
        loader.load(f"{path}:application", again=True)
    assert ask(loader.load(f"{path}:application")) == b"one"
    assert modules() == before
    path.write_text(GOOD.format("two"))
    assert ask(loader.load(f"{path}:application", again=True)) == b"two"


def test_a_script_that_was_never_executed(path: Path) -> None:
    """To load it again is to load it."""
    path.write_text(GOOD.format("one"))
    assert ask(Loader().load(f"{path}:application", again=True)) == b"one"
