"""The README's table of what WSGI bridges get wrong: each of its lines against asyncgroups.

Under each server, and in a daemon process.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.probes import PROBES, Probe, toml
from tests.serving import KINDS, Server, serving


@pytest.fixture(scope="module", params=[*KINDS, "daemon"])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("probes") / "asyncgroups.toml"
    is_daemon = request.param == "daemon"
    file.write_text(toml("back" if is_daemon else ""), encoding="utf-8")
    with serving(file, kind="serve" if is_daemon else request.param) as server:
        yield server


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_probe(bridge: Server, probe: Probe) -> None:
    """What the table says is what asyncgroups does."""
    probe.run(bridge)


def test_no_two_probes_are_one() -> None:
    """Names and claims tell the probes apart."""
    assert len({probe.name for probe in PROBES}) == len({probe.claim for probe in PROBES}) == len(PROBES)


def test_the_readme_says_what_is_probed() -> None:
    """The lines of the README's table are the claims of the probes, in their order; ours is right in each."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What WSGI bridges get wrong")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows[2:]] == [probe.claim for probe in PROBES]
    assert {row[1] for row in rows[2:]} == {"yes"}
