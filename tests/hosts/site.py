"""The hosts of this room, what they serve, and where in their URLs that begins."""

import json
import signal
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from tests.bridge.site import Raw
from tests.serving import APPS, Server

__all__ = ["GROUPS", "HOSTS", "HOSTS_WITH_ROOT_PATH", "PATHS", "Host", "environ_of", "toml"]

GROUPS = {"named": "bridge", "global": "%{GLOBAL}"}
"""Application groups, by what paths begin with. Daemon processes know nothing of the host."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A server, or a framework under one.

    kind: as ``serving`` knows it. options: further ones of its command line. environ: further variables.
    fronts: the paths, percent-encoded, below which asyncgroups is mounted in it; the first is used where one will do.
    bare: SCRIPT_NAME and PATH_INFO of a front without a slash after it; None where the framework redirects to one.
    own: the framework's own pages and their texts.
    root: the server's root path.
    stop: the signal at which it ends and still runs what is to run at exit.
    """

    kind: str
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    fronts: tuple[str, ...] = ("",)
    bare: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    root: str = ""
    stop: int = signal.SIGTERM

    def script_name(self, front: str) -> str:
        """SCRIPT_NAME below ``front``, without the mount's path: bytes as latin-1 (PEP 3333)."""
        return unquote_to_bytes(self.root + front).decode("latin-1")


_STARLETTE = ("/outer", "/tenants/mi%C3%A9")
_FASTAPI = ("/outer", "")
_DJANGO = ("/outer", "/cut", "")

# As long as this it would wait at its stop for a connection that nobody ends: a test would see it.
_PATIENT = ("--graceful-timeout", "60")

HOSTS = {
    "hypercorn": Host(kind="hypercorn", options=_PATIENT),
    "hypercorn-trio": Host(kind="hypercorn-trio", options=_PATIENT),
    "uvicorn": Host(kind="uvicorn-uvloop"),  # what uvicorn takes by default where it is there
    "granian": Host(kind="granian"),
    # Its lifespan reaches nobody, and at SIGTERM uvicorn ends by the signal itself: nothing runs at exit.
    "starlette": Host(kind="starlette", fronts=_STARLETTE, bare=dict.fromkeys(_STARLETTE), stop=signal.SIGINT),
    # Its own mount at the root covers the path.
    "fastapi": Host(
        kind="fastapi", fronts=_FASTAPI, bare={"/outer": ("", "/outer")}, own={"/of/fastapi": '"of FastAPI"'}
    ),
    "django": Host(
        kind="django",
        options=_PATIENT,
        fronts=_DJANGO,
        bare={"/outer": ("/outer", ""), "/cut": ("/cut", "")},
        own={"/of/django": "of Django"},
    ),
}

_ROOT_PATH = ("--root-path", "/root")

HOSTS_WITH_ROOT_PATH = {
    "hypercorn": Host(kind="hypercorn", options=_ROOT_PATH, root="/root"),
    "hypercorn-trio": Host(kind="hypercorn-trio", options=_ROOT_PATH, root="/root"),
    "uvicorn": Host(kind="uvicorn", options=_ROOT_PATH, root="/root"),
    "granian": Host(kind="granian", options=("--url-path-prefix", "/root"), root="/root"),
    "starlette": Host(kind="starlette", options=_ROOT_PATH, fronts=_STARLETTE, root="/root"),
    "starlette-hypercorn": Host(kind="starlette-hypercorn", options=_ROOT_PATH, fronts=_STARLETTE, root="/root"),
    "fastapi": Host(kind="fastapi", environ={"HOSTS_ROOT_PATH": "/root"}, fronts=_FASTAPI, root="/root"),
    # Not "/outer": a root path that has grown by one that is in the path, and whose own part is not, could be anything.
    "django": Host(kind="django", options=_ROOT_PATH, fronts=("/cut", ""), root="/root"),
}
"""uvicorn puts it before the path as well, the others, and FastAPI's own setting, do not."""

PATHS = [
    ("/app", "/app", ""),
    ("/app/", "/app", "/"),
    ("/app/a/b", "/app", "/a/b"),
    ("/app/a//b/", "/app", "/a//b/"),
    ("/app//", "/app", "//"),
    ("//app//x", "/app", "//x"),  # empty segments count for nothing in the choice of a mount
    ("/app/below/x", "/app/below", "/x"),
    ("/app/a%2Fb", "/app", "/a/b"),
    ("/app%2Fbelow/x", "", "/app/below/x"),  # an encoded slash separates nothing
    ("/app/caf%C3%A9", "/app", "/caf\xc3\xa9"),
    ("/app/caf%E9", "/app", "/caf\xe9"),
    ("/app/100%25/%2525", "/app", "/100%/%25"),
    ("/app/a%20b+c;d=e", "/app", "/a b+c;d=e"),
    ("/%61pp/x", "/app", "/x"),
    ("/r%C3%A9sum%C3%A9%20x/%E9", "/r\xc3\xa9sum\xc3\xa9 x", "/\xe9"),
    ("/", "", "/"),
    ("/other", "", "/other"),
]
"""The path that a client sends below a host's front; SCRIPT_NAME, less the host's; PATH_INFO."""


def environ_of(server: Server, target: str) -> dict[str, str]:
    """The environ that the application behind ``target`` has seen."""
    with Raw(server.connect()) as raw:  # other clients correct paths
        raw.send(f"GET {target} HTTP/1.1", "Host: x")
        status, body = raw.response()
    assert status == 200, body
    return json.loads(body)


def toml(timeouts: str = "") -> str:
    """The configuration. The group ``bridge`` has one worker, as has GLOBAL: one that is kept is missed at once."""
    lines = [f"app_dir = {json.dumps(str(APPS))}", "[global]", "threads = 1", "[timeouts]", timeouts]

    def mount(path: str, application: str, group: str, threads: int = 1) -> None:
        lines.extend(["[[mount]]", f'path = "{path}"', f'app = "{application}"', f'application_group = "{group}"'])
        if threads > 1:
            lines.append(f"threads = {threads}")

    for path in ("/", "/app", "/app/below", "/r\u00e9sum\u00e9 x"):
        mount(path, "bridge_good:environ", GROUPS["named"])
    for group, name in GROUPS.items():
        for application in ("bridge_good:digest", "bridge_good:hello", "bridge_life:endless", "bridge_life:reads_on"):
            mount(f"/{group}/{application.partition(':')[2]}", application, name)
    mount("/streams", "hosts_streams:streams", "streams", 2)
    mount("/streams/ask", "hosts_streams:ask", "streams", 2)
    mount("/waits", "stop_waits:application", "stop")
    mount("/waits/whoami", "stop_waits:whoami", "stop")
    mount("/loops", "stop_loops:patient", "loops")
    return "\n".join(lines) + "\n"
