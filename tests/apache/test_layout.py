"""A whole configuration, in many files, as a machine has it: what it becomes, and what is told."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import begin, ended
from tests.serving import Server, serving

HERE = Path(__file__).parent / "layout"
TELLS = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("mod_wsgi.process_group", "mod_wsgi.application_group", "SCRIPT_NAME", "PATH_INFO", "IS_BOT", "HTTPS")
    return [" ".join(environ.get(name) or "-" for name in names).encode()]
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Its path is a short one: remarks leave out what is beyond eighty characters of a statement."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield made(Path(name))


def made(root: Path) -> Path:
    shutil.copytree(HERE, root / "etc")
    for path in (root / "etc").rglob("*.conf"):
        path.write_text(path.read_text().replace("@ROOT@", str(root)))
    for name in ("shop/shop/wsgi.py", "tenants/app.wsgi", "closed/app.wsgi", "www/scripts/app.wsgi", "www/app.wsgi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(TELLS)
    (root / "shop/static").mkdir()
    (root / "lib").mkdir()
    return root


def test_what_it_becomes(root: Path) -> None:
    """The translation is the file beside it, and what is not translated is told as the other file has it."""
    status, stdout, stderr = ended(begin("migrate", f"{root}/etc/apache2.conf"))
    assert status == 1
    assert stdout.replace(str(root), "@ROOT@") == (HERE / "expected.toml").read_text()
    assert stderr.replace(str(root), "@ROOT@") == (HERE / "expected.txt").read_text()


@pytest.fixture(scope="module", params=["apache2.conf", "asyncgroups.toml"])
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[Server]:
    file = root / "etc" / request.param
    if file.suffix == ".toml":
        file.write_text((HERE / "expected.toml").read_text().replace("@ROOT@", str(root)))
    with serving(file) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "path", "said"),
    [
        ("shop.example.com", "/x", "shop shop.example.com:{port}| - /x - -"),
        ("www.shop.example.com", "/", "shop shop.example.com:{port}| - / - -"),
        ("shop.example.com", "/static/style.css", None),
        ("shop.example.com", "/icons/x", None),
        ("shop.example.com", "/admin/private/x", None),
        ("shop.example.com", "/admin", "shop shop.example.com:{port}| - /admin - -"),
        ("red.example.com", "/x", "- red - /x 1 on"),
        ("blue.example.com", "/x", "- blue - /x 1 on"),
        ("red.example.com", "/closed/x", None),
        (
            "a.example.com",
            "/scripts/app.wsgi/x",
            "- unnamed-1.invalid:{port}|/scripts/app.wsgi /scripts/app.wsgi /x - -",
        ),
        ("a.example.com", "/app.wsgi", None),
        ("a.example.com", "/icons/x", None),
    ],
)
def test_what_is_served(server: Server, host: str, path: str, said: str | None) -> None:
    """Served as it is, and as it was translated, it answers as Apache would."""
    headers = {"Host": host, "X-Forwarded-Proto": "https", "User-Agent": "A Bot"}
    response = server.get(path, headers=headers)
    assert (response.status_code, response.text if said else None) == (
        (200, said.format(port=server.port, script="/scripts/app.wsgi")) if said else (404, None)
    )
