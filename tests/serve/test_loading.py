"""Applications that do not load, and extension modules that refuse: what clients and operators get to see."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.conftest import Site
from tests.serving import KINDS, Server, serving

WELL = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'well again']\n"

BROKEN = {
    "missing": (None, r"there is no module '\w+' on sys\.path"),
    "without": ("secret = 1\n", "has no attribute 'application'"),
    "requires": ("import nothing_of_this_name\n", "importing '\\w+' failed\nTraceback(?s:.*)No module named"),
    "raises": ("raise RuntimeError('a secret')\n", "importing '\\w+' failed\nTraceback(?s:.*)RuntimeError: a secret"),
    "misspelt": ("def application(:\n", "importing '\\w+' failed\nTraceback(?s:.*)SyntaxError"),
    "exits": ("import sys\nsys.exit('a secret')\n", r"called sys\.exit\('a secret'\)"),
    "interrupts": ("raise KeyboardInterrupt\n", "importing '\\w+' failed\nTraceback(?s:.*)KeyboardInterrupt"),
    "uncallable": ("application = 'a secret'\n", "is str, not a callable"),
}
GROUPS = {"named": "broken-{kind}", "global": "%{{GLOBAL}}"}

REFUSING = ["_curses", "readline", "_tracemalloc", "faulthandler"]
WAYS = {"plain": 500, "swallowed": 200, "wrapped": 500, "lazy": 500}


def mount(path: str, app: str, group: str, settings: str = "") -> str:
    return f'[[mount]]\npath = "{path}"\napp = "{app}:application"\napplication_group = "{group}"\n{settings}\n'


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    text = mount("/well", "isolation_probe", "well") + mount("/refused/global", "refusing_plain", "%{GLOBAL}")
    modules = {}
    for kind, (source, _) in BROKEN.items():
        for where, group in GROUPS.items():
            text += mount(f"/{where}/{kind}", f"{kind}_{where}", group.format(kind=kind))
            if source is not None:
                modules[f"{kind}_{where}"] = source
    for way in WAYS:
        for module in REFUSING:
            environment = f'isolation = "interpreter"\nprocess_env = {{ REFUSED_MODULE = "{module}" }}'
            text += mount(f"/refused/{way}/{module}", f"refusing_{way}", f"{way} {module}", environment)
    config = site(text, **modules)
    with serving(config, kind=request.param, environ={"REFUSED_MODULE": "faulthandler"}) as server:
        server.folder = config.parent
        yield server


@pytest.mark.parametrize("where", GROUPS)
@pytest.mark.parametrize("kind", BROKEN)
def test_an_application_that_does_not_load(server: Server, kind: str, where: str) -> None:
    """500 that gives nothing away, one log record with traceback and group, another try later; the others are well."""
    well = server.get("/well").json()
    before = len(server.log())
    answer = server.get(f"/{where}/{kind}")
    assert answer.status_code == 500
    assert answer.text == "500 Internal Server Error\n"
    (server.folder / f"{kind}_{where}.py").write_text(WELL)
    assert server.get(f"/{where}/{kind}").text == "well again"
    label = GROUPS[where].format(kind=kind)
    server.wait_for_log(rf"\[{re.escape(label)} #\d+\] '{kind}_{where}:application' does not load: .*{BROKEN[kind][1]}")
    log = server.log()[before:]
    assert len(re.findall(rf"\[{re.escape(label)} #\d+\]", log)) == 1
    assert log.count("Traceback") == 1
    after = server.get("/well").json()
    assert (after["interpreter"], after["calls"]) == (well["interpreter"], well["calls"] + 1)


@pytest.mark.parametrize("module", REFUSING)
@pytest.mark.parametrize("way", WAYS)
def test_an_extension_module_that_refuses(server: Server, way: str, module: str) -> None:
    """In an interpreter and nowhere else: the log names application, module and the way out, once."""
    answers = [server.get(f"/refused/{way}/{module}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [WAYS[way]] * 3
    assert not any(module in answer.text for answer in answers)
    pattern = rf"\[{way} {module}\] 'refusing_{way}:application': the extension module {module} refuses.*"
    line = server.wait_for_log(pattern)[0]
    assert 'set isolation = "process" for its mount' in line
    assert len(re.findall(pattern, server.log())) == 1


def test_what_refuses_is_welcome_in_global(server: Server) -> None:
    """In the main interpreter the same module loads, and nothing is logged."""
    assert server.get("/refused/global").text == "faulthandler"
    assert not re.search("GLOBAL.*refuses", server.log())


def test_paths_of_the_server_are_not_told(server: Server, tmp_path: Path) -> None:
    """An answer to a path without a mount says no more than its status."""
    answer = server.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "404 Not Found\n")
