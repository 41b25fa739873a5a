"""Hosts with a root path of their own; and, since they end here as well, how they do with a request that is stuck."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.site import Raw
from tests.hosts.site import HOSTS_WITH_ROOT_PATH, PATHS, Host, environ_of, toml
from tests.serving import Server, serving, until


@pytest.fixture(scope="module", params=HOSTS_WITH_ROOT_PATH)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS_WITH_ROOT_PATH[request.param]


@pytest.fixture(scope="module")
def server(host: Host, marks: Path) -> Iterator[Server]:
    configuration = marks / "asyncgroups.toml"
    configuration.write_text(toml("request = 0.5\ninterrupt = 1\ngraceful = 1"), encoding="utf-8")
    environ = {"STOP_MARKS": str(marks), **host.environ}
    with serving(configuration, kind=host.kind, options=host.options, environ=environ) as server:
        yield server


@pytest.mark.parametrize(("sent", "script_name", "path_info"), PATHS)
def test_root_path(server: Server, host: Host, sent: str, script_name: str, path_info: str) -> None:
    """It comes first in SCRIPT_NAME, once, and is no part of what is routed."""
    for front in host.fronts:
        environ = environ_of(server, front + sent)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (host.script_name(front) + script_name, path_info)


def test_stop_with_a_request_that_is_stuck(server: Server, host: Host, marks: Path) -> None:
    """With ``timeouts.request`` the process ends, whatever its clients and applications do, and atexit functions run.

    Without it hypercorn, uvicorn and granian would wait for the request for ever.
    """
    front = host.fronts[0]
    interpreter = server.get(f"{front}/waits/whoami").text
    with Raw(server.connect()) as stuck:
        stuck.send(f"GET {front}/loops HTTP/1.1", "Host: x")
        until((marks / "loops").exists, what="the application")
        server.tell()
        assert stuck.head()[0] == 504
        server.wait()
    # See HOSTS: uvicorn's end by the signal leaves nothing to what has not heard of lifespan.shutdown.
    assert (marks / f"atexit-{interpreter}").exists() is (host.kind != "starlette")
