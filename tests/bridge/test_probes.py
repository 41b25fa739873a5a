"""The README's table of what WSGI bridges get wrong: each of its lines against asyncgroups, under each server."""

from collections.abc import Iterator

import pytest

from tests.bridge.probes import PROBES, Probe, toml
from tests.serving import KINDS, Server, serving


@pytest.fixture(scope="module", params=KINDS)
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("probes") / "asyncgroups.toml"
    file.write_text(toml(), encoding="utf-8")
    with serving(file, kind=request.param) as server:
        yield server


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_probe(bridge: Server, probe: Probe) -> None:
    """What the table says is what asyncgroups does."""
    probe.run(bridge)


def test_no_two_probes_are_one() -> None:
    """Names and claims tell the probes apart."""
    assert len({probe.name for probe in PROBES}) == len({probe.claim for probe in PROBES}) == len(PROBES)
