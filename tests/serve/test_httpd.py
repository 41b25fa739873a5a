"""Apache's configurations where a server reads one: under another ASGI server, and what the log says of them."""

import re
from pathlib import Path

import pytest

from tests.serving import serving

SCRIPT = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["mod_wsgi.application_group"].encode()]
"""


@pytest.fixture
def httpd(tmp_path: Path) -> Path:
    (tmp_path / "app.wsgi").write_text(SCRIPT)
    lines = [f"WSGIScriptAlias /app {tmp_path}/app.wsgi application-group=told\n"]
    lines += [f"Nonsense{number} x\n" for number in range(25)]
    (tmp_path / "httpd.conf").write_text("".join(lines))
    return tmp_path / "httpd.conf"


@pytest.mark.parametrize("kind", ["serve", "uvicorn"])
def test_remarks_in_the_log(httpd: Path, kind: str) -> None:
    """What is not translated is in the log at the start: of much of it the beginning, and how much more there is."""
    with serving(httpd, kind=kind) as server:
        assert server.get("/app").text == "told"
        server.wait_for_log("5 remarks more: asyncgroups migrate .*httpd.conf lists all of them")
        assert len(re.findall(r"httpd\.conf:\d+: Nonsense\d+ x: has no counterpart", server.log())) == 20
