"""Row 11: what other bridges get wrong."""

from tests.benchmarks import servers
from tests.benchmarks.report import Row
from tests.benchmarks.servers import Contestant, Run
from tests.bridge.peers import BRIDGES
from tests.bridge.probes import APPLICATION, PROBES, judge, toml

__all__ = ["wrongs"]

UVICORN = "uvicorn, asyncio and h11"


def wrongs(run: Run) -> Row:
    """The probes of ``tests/bridge/probes.py`` over real sockets, against ours and the other bridges, each once.

    Ours, a2wsgi, asgiref and starlette under uvicorn, hypercorn's WSGI wrapper under hypercorn, all as they come; ours
    and a2wsgi only when it is to be quick.
    """
    row = Row(number=11, title="what other bridges get wrong")
    file = run.folder / "probes.toml"
    file.write_text(toml(), encoding="utf-8")
    bridges: list[Contestant] = [servers.ours(UVICORN, file)]
    for bridge in ("a2wsgi",) if run.quick else BRIDGES:
        host = "hypercorn" if bridge == "hypercorn" else UVICORN
        bridges.append(servers.bridged(run, bridge, server=host, application=APPLICATION))
    for bridge in bridges:
        said = judge(bridge.running)
        for probe in PROBES:
            row.marks.setdefault(probe.claim, {})[bridge.name] = " ".join((said[probe.name] or "right").split())
    return row
