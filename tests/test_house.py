"""The rules of the house that no linter sees."""

import ast
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import asyncgroups
from tests.serving import older_python

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asyncgroups"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(asyncgroups.__path__, "asyncgroups.") if name != "asyncgroups.__main__"
]
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def short(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def made_in(module: ModuleType) -> set[str]:
    """The public functions and classes that a module makes itself."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", ["asyncgroups", *MODULES])
def test_all(name: str) -> None:
    """``__all__`` is there, names nothing twice and nothing that is not there, and leaves out nothing public.

    A package may pass on what its modules make, a module may not.
    """
    module = importlib.import_module(name)
    exported = module.__all__
    assert len(set(exported)) == len(exported)
    assert [one for one in exported if not hasattr(module, one)] == []
    made = made_in(module)
    assert sorted(made - set(exported)) == []
    if not hasattr(module, "__path__"):
        passed_on = {
            one for one in exported if getattr(getattr(module, one), "__module__", name) != name and one not in made
        }
        assert {one for one in passed_on if inspect.isclass(getattr(module, one))} == set()


@pytest.mark.parametrize("path", FILES, ids=short)
def test_what_one_module_takes_from_another_is_shown_there(path: Path) -> None:
    """What crosses from one module of ours to another is in the other's ``__all__``, or is a module itself."""
    hidden = []
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "asyncgroups":
            module = importlib.import_module(str(node.module))
            hidden += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if alias.name not in module.__all__ and importlib.util.find_spec(f"{node.module}.{alias.name}") is None
            ]
    assert hidden == []


def run(source: str) -> Any:
    """What a fresh Python prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ALLOWED = {
    # ours
    "asyncgroups",
    "asyncgroups.errors",
    "asyncgroups.wire",
    "asyncgroups.wire.channel",
    "asyncgroups.wire.messages",
    "asyncgroups.worker",
    "asyncgroups.wire.fields",
    "asyncgroups.worker.control",
    "asyncgroups.worker.crew",
    "asyncgroups.worker.environ",
    "asyncgroups.worker.environment",
    "asyncgroups.worker.exchange",
    "asyncgroups.worker.journal",
    "asyncgroups.worker.loader",
    "asyncgroups.worker.main",
    "asyncgroups.worker.module",
    "asyncgroups.worker.refusals",
    "asyncgroups.worker.region",
    "asyncgroups.worker.script",
    "asyncgroups.worker.streams",
    "asyncgroups.worker.wsgi",
    # the standard library's: written in C, or what threading and importlib are made of
    "_posixsubprocess",
    "_socket",
    "atexit",
    "itertools",
    "select",
    "importlib",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "importlib.machinery",
    "threading",
    "_collections",
    "_contextvars",
    "_types",
    "_weakrefset",
    "types",
    "__future__",
}

IN_AN_INTERPRETER = """
import os
from concurrent import interpreters
interpreter = interpreters.create()
interpreter.prepare_main(here=%r)
interpreter.exec("import sys; before = set(sys.modules); sys.path.append(here)")
interpreter.exec("import asyncgroups.worker.main")
interpreter.exec("brought = sorted(set(sys.modules) - before); import json; print(json.dumps(brought), flush=True)")
"""


def test_what_the_worker_brings_into_an_interpreter() -> None:
    """What the worker imports lands in a tenant's interpreter: no more than the list, and none of what is expensive."""
    brought = set(run(IN_AN_INTERPRETER % str(ROOT)))
    assert "asyncgroups.worker.main" in brought
    assert sorted(brought - ALLOWED) == []
    expensive = {
        *["asyncio", "contextlib", "ctypes", "dataclasses", "enum", "inspect", "json", "logging", "pathlib", "pickle"],
        *["re", "selectors", "socket", "subprocess", "tempfile", "traceback", "typing"],
    }
    assert sorted(expensive & (brought | ALLOWED)) == []


def test_importing_the_package_costs_next_to_nothing() -> None:
    """``import asyncgroups`` loads no module but itself, and its public names work when they are first used."""
    source = """
import json, sys
before = set(sys.modules)
import asyncgroups
alone = sorted(set(sys.modules) - before)
asyncgroups.ConfigurationError
then = sorted(set(sys.modules) - before)
print(json.dumps([alone, then, dir(asyncgroups)]))
"""
    alone, then, names = run(source)
    assert alone == ["asyncgroups"]
    then = {one for one in then if not one.startswith(("importlib", "_py_warnings", "warnings"))}
    assert then == {"asyncgroups", "asyncgroups.errors"}
    assert set(asyncgroups.__all__) <= set(names)


def test_an_unknown_public_name() -> None:
    """A name that the package has not got is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="nothing"):
        _ = asyncgroups.nothing


def test_the_standard_library_is_enough_below_the_front_end() -> None:
    """A daemon process may run without anyio or pydantic: the rooms below the front end load neither, at no remove."""
    source = """
import importlib, json, sys
for name in %r:
    importlib.import_module(name)
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""
    rooms = (
        "asyncgroups.errors",
        "asyncgroups.host",
        "asyncgroups.selection",
        "asyncgroups.wire",
        "asyncgroups.worker",
    )
    below = [name for name in MODULES if name.startswith(rooms)]
    loaded = set(run(source % below))
    assert loaded - set(sys.stdlib_module_names) <= {"asyncgroups", "__main__", "sitecustomize", "usercustomize"} | {
        name for name in loaded if name.startswith(("_", "distutils"))
    }


OLDEST_OF_DAEMONS = (3, 12)
IN_DAEMONS = [path for path in FILES if short(path).startswith(("errors.py", "host/", "wire/", "worker/"))]


@pytest.mark.parametrize("path", IN_DAEMONS, ids=short)
def test_syntax_of_what_daemon_processes_run(path: Path) -> None:
    """What a daemon process runs is in the words of Python 3.12: it may have a ``python`` of its own."""
    ast.parse(path.read_text(), feature_version=OLDEST_OF_DAEMONS)


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_an_older_python_loads_what_daemon_processes_run(version: str) -> None:
    """An older Python, where one is at hand, imports every module of the rooms that a daemon process runs."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in IN_DAEMONS]
    names = [name.removesuffix(".__init__") for name in names]
    source = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names!r}]; print(sys.version_info[:2])"
    )
    python = older_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    done = subprocess.run([python, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(tuple(map(int, version.split("."))))), done.stderr


BANNED = {"manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "data"}


def words(name: str) -> set[str]:
    """``HeadTooLarge`` and ``head_too_large`` are three words."""
    return {word.lower() for part in name.split("_") for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", part)}


@pytest.mark.parametrize("path", FILES, ids=short)
def test_names(path: Path) -> None:
    """No module, class or function has a name that says nothing."""
    names = [path.stem] + [
        node.name
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert [name for name in names if words(name) & BANNED] == []


@pytest.mark.parametrize("path", FILES, ids=short)
def test_size(path: Path) -> None:
    """About 400 lines is a full module."""
    assert len(path.read_text().splitlines()) <= 450


@pytest.mark.parametrize("path", FILES, ids=short)
def test_first_lines(path: Path) -> None:
    """A module's first lines say what it is for, in a whole sentence; a concurrent one lists its guarantees."""
    said = ast.get_docstring(TREES[path])
    assert said
    assert said.partition("\n\n")[0].rstrip().endswith((".", ":", "?")), said
    imported = {
        name.name
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Import)
        for name in node.names
        if not isinstance(node, ast.ImportFrom)
    }
    if "threading" in imported:
        assert "Guarantees" in said


def public(tree: ast.Module) -> list[tuple[str, ast.AST, bool]]:
    """Public classes and functions, and their public methods; whether there is a base to inherit from."""
    found: list[tuple[str, ast.AST, bool]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append((node.name, node, False))
            if isinstance(node, ast.ClassDef):
                found += [
                    (f"{node.name}.{method.name}", method, bool(node.bases))
                    for method in node.body
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
                    if not method.name.startswith("_")
                ]
    return found


# What a property says in its name and type needs no sentence.
def is_property(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in getattr(node, "decorator_list", []))


@pytest.mark.parametrize("path", FILES, ids=short)
def test_docstrings(path: Path) -> None:
    """What is public says what it does."""
    silent = [
        name
        for name, node, inherits in public(TREES[path])
        if not ast.get_docstring(node) and not is_property(node) and not inherits
    ]
    assert silent == []


@pytest.mark.parametrize("path", FILES, ids=short)
def test_keyword_only(path: Path) -> None:
    """Beyond two parameters, what is public is called by keyword, unless a protocol says otherwise."""
    exceptions = {
        "worker/main.py": {"run"},  # plain arguments, because they cross from another interpreter
        "worker/wsgi.py": {"Response.start_response", "run"},  # PEP 3333
        "wire/messages.py": {"start", "record", "request"},  # the fields of a message, in their order
        "host/daemon.py": {"main"},  # the arguments of a command line
        "host/watchdog.py": {"expire", "watch"},  # plain arguments, because they cross from another interpreter
        "selection/targets.py": {"split_target"},  # three keys of an ASGI scope, as the specification orders them
        "frontend/taking.py": {"take"},  # from whom, out of what, for what: each has a type of its own
        "frontend/preload.py": {"load"},  # likewise
        "asgi.py": {"ApplicationGroups.__call__"},  # the ASGI specification
    }
    many = [
        name
        for name, node, _ in public(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if len([one for one in [*node.args.posonlyargs, *node.args.args] if one.arg not in ("self", "cls")]) > 2
    ]
    assert set(many) <= exceptions.get(short(path), set())
