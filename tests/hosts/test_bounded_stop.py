"""What bounds the stop of a server that is not ours, where neither the application nor ``timeouts.request`` does."""

import signal
from pathlib import Path

import pytest

from tests.bridge.site import Raw
from tests.hosts.site import toml
from tests.serving import serving, until


@pytest.mark.parametrize(
    ("kind", "option", "answer", "ends_in_order"),
    [
        ("uvicorn", "--timeout-graceful-shutdown", b"HTTP/1.1 500 ", True),
        ("hypercorn-trio", "--graceful-timeout", b"", True),
        ("granian", "--workers-kill-timeout", b"", False),
    ],
)
def test_the_servers_own_limit(kind: str, option: str, answer: bytes, ends_in_order: bool, tmp_path: Path) -> None:
    """The request is cut and the process ends; atexit functions run, but for granian, which kills.

    hypercorn's option is without effect on asyncio: it waits for its connections before it begins to count.
    """
    configuration = tmp_path / "asyncgroups.toml"
    configuration.write_text(toml("graceful = 0.5\ninterrupt = 0.5"), encoding="utf-8")
    environ = {"STOP_MARKS": str(tmp_path)}
    with serving(configuration, kind=kind, options=[option, "1"], environ=environ) as server:
        interpreter = server.get("/waits/whoami").text
        with Raw(server.connect()) as stuck:
            stuck.send("GET /loops HTTP/1.1", "Host: x")
            until((tmp_path / "loops").exists, what="the application")
            server.tell()
            assert server.wait() in (0, -signal.SIGTERM)
            assert stuck.rest().startswith(answer)
    assert (tmp_path / f"atexit-{interpreter}").exists() is ends_in_order
