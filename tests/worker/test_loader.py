"""Finding applications by their import string."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncgroups.worker.loader import Loader, LoadingFailed

MODULES = {
    "t3_good": "made = []\ndef application(environ, start_response): return []\nclass place:\n    inner = application\n"
    "made.append(1)\nnumber = 5\n",
    "t3_import_error": "import t3_nowhere\n",
    "t3_exit": "import sys\nsys.exit('bye')\n",
    "t3_keyboard": "raise KeyboardInterrupt\n",
    "t3_raises": "raise ValueError('oops')\n",
    "t3_later": "import os\nif 'T3_LATER' not in os.environ: raise RuntimeError('not yet')\napplication = dict\n",
    "t3_slow": "import t3_gate\nt3_gate.count.append(1)\nt3_gate.gate.wait(20)\napplication = dict\n",
    "t3_gate": "import threading\ngate = threading.Event()\ncount = []\n",
    "t3_attributes": "def __getattr__(name): raise RuntimeError('an attribute that fails')\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source)
    package = tmp_path / "t3_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "wsgi.py").write_text("application = dict\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [*MODULES, "t3_package", "t3_package.wsgi"]:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["t3_good:application", "t3_good:place.inner", "t3_package.wsgi:application"])
def test_loading(name: str) -> None:
    """``module:attribute`` is imported and returned, uncalled; afterwards it is known."""
    loader = Loader()
    assert loader.get(name) is None
    found = loader.load(name)
    assert callable(found)
    assert loader.get(name) is loader.load(name) is found


@pytest.mark.parametrize(
    ("name", "sentence", "cause"),
    [
        ("t3_nowhere:application", "there is no module 't3_nowhere' on sys.path", ModuleNotFoundError),
        ("t3_package.nowhere:application", "there is no module 't3_package.nowhere' on sys.path", ModuleNotFoundError),
        ("t3_nowhere.at.all:application", "there is no module 't3_nowhere' on sys.path", ModuleNotFoundError),
        ("t3_import_error:application", "importing 't3_import_error' failed", ModuleNotFoundError),
        ("t3_exit:application", "importing 't3_exit' called sys.exit('bye')", SystemExit),
        ("t3_keyboard:application", "importing 't3_keyboard' failed", KeyboardInterrupt),
        ("t3_raises:application", "importing 't3_raises' failed", ValueError),
        ("t3_good:nothing", "the module 't3_good' has no attribute 'nothing'", AttributeError),
        ("t3_good:place.nothing", "the module 't3_good' has no attribute 'place.nothing'", AttributeError),
        ("t3_good:number", "'t3_good:number' is int, not a callable WSGI application", type(None)),
        ("t3_attributes:application", "looking up 'application' in the module 't3_attributes' failed", RuntimeError),
    ],
)
def test_what_does_not_load(name: str, sentence: str, cause: type[BaseException]) -> None:
    """Whatever goes wrong, there is one error, with a sentence and a cause for the log; again next time."""
    loader = Loader()
    for _ in range(2):
        with pytest.raises(LoadingFailed) as failed:
            loader.load(name)
        assert sentence in str(failed.value)
        assert isinstance(failed.value.__cause__, cause)
        assert failed.value.is_import == sentence.startswith("importing")
        assert loader.get(name) is None
    assert loader.load("t3_good:application")  # others load


def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that did not load is tried again, and loads once it can."""
    loader = Loader()
    with pytest.raises(LoadingFailed):
        loader.load("t3_later:application")
    monkeypatch.setenv("T3_LATER", "1")
    assert loader.load("t3_later:application") is dict


def test_many_ask_at_once() -> None:
    """Workers that ask for one application at once get the same object, imported once; another is not held up."""
    t3_gate = importlib.import_module("t3_gate")
    loader = Loader()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(loader.load("t3_slow:application"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert loader.load("t3_good:application")
    t3_gate.gate.set()
    for thread in threads:
        thread.join(20)
    assert found == [dict] * 4
    assert t3_gate.count == [1]
