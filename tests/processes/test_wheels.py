"""What half of the real sites import refuses interpreters of its own: such applications run without a word about it."""

import re
from collections.abc import Iterator

import pytest

from tests.processes.conftest import Site, daemons
from tests.serving import Server, serving

REFUSING = {
    "numpy": "numpy._core._multiarray_umath",
    "lxml": "lxml.etree",
    "cryptography": "cryptography.hazmat.bindings._rust",
    "sqlalchemy": "sqlalchemy.util._collections_cy",
}
"""Each package's first extension module that refuses."""


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    names = [*REFUSING, "none"]
    with serving(
        site("".join(f'[[mount]]\npath = "/{one}"\napp = "wheels_{one}:application"\n' for one in names))
    ) as it:
        yield it


@pytest.mark.parametrize("package", REFUSING)
def test_an_application_that_needs_a_process(server: Server, package: str) -> None:
    """Its first request is answered as every other, by a process of the group's own, and the log says why, once."""
    (pid, told), (again, _) = (server.get(f"/{package}").text.split() for _ in range(2))
    assert told == "45"
    assert pid == again
    assert int(pid) in {one.pid for one in daemons(server)}
    group = re.escape(f"localhost:{server.port}|/{package}")
    warning = (
        rf"\[WARNING\] \[{group}\] 'wheels_{package}:application': the extension module {re.escape(REFUSING[package])} "
        r"refuses to be loaded in an interpreter of its own "
        r"\(module \S+ does not support loading in subinterpreters\)"
        r"\. The application group is moved into a daemon process of its own;"
        r' isolation = "process" for its mount has it there from the start\.\n'
    )
    server.wait_for_log(warning)
    assert len(re.findall(rf"\[{group}[] ]", server.log())) == 1


def test_the_others(server: Server) -> None:
    """Pure Python stays in an interpreter of the server's, and each group that has moved has a process."""
    for package in REFUSING:
        server.get(f"/{package}")
    pid, told = server.get("/none").text.split()
    assert (int(pid), told) == (server.process.pid, "45")
    assert len(daemons(server)) == len(REFUSING)
