"""Starts Apache with mod_wsgi, the oracle, on a port that the kernel chose; `python -m tests.oracle.apache` measures.

What it prints is the table (`table.json`) with the answers as they are now.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.oracle import tree

__all__ = ["Apache", "missing", "serving"]

HERE = Path(__file__).parent
SITES = HERE / "sites"
TABLE = HERE / "table.json"

COMMANDS = ("apache2", "httpd")
MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2")
WANTED = (
    "mpm_event",
    "authz_core",
    "access_compat",
    "alias",
    "env",
    "mime",
    "setenvif",
    "rewrite",
    "userdir",
    "macro",
    "wsgi",
)

# One process, so that one interpreter stands for one group; as root it has to become somebody else.
PREAMBLE = """\
ServerRoot "{root}"
DefaultRuntimeDir "{run}"
PidFile "{run}/pid"
ErrorLog "{run}/error.log"
LogLevel info rewrite:info
{modules}
TypesConfig {run}/mime.types
StartServers 1
ServerLimit 1
ThreadsPerChild 4
MaxRequestWorkers 4
{user}
Listen 127.0.0.1:{port}
Include "{site}"
"""


def command() -> str | None:
    """The server's program; None without one."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return next((found for name in COMMANDS if (found := shutil.which(name, path=path))), None)


def modules() -> Path | None:
    """The folder of its modules; None where one that is needed is missing."""
    folders = map(Path, MODULES)
    return next((one for one in folders if all((one / f"mod_{name}.so").exists() for name in WANTED)), None)


def missing() -> str | None:
    """Why the oracle cannot be asked; None where it can."""
    if command() is None:
        return "there is no Apache here (apache2, libapache2-mod-wsgi-py3)"
    if modules() is None:
        return f"Apache's modules {', '.join(WANTED)} are not all here (libapache2-mod-wsgi-py3)"
    return None


class Apache:
    """A running Apache that serves one of the sites."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port

    def ask(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a row's request, as the table has it: the folder is @ROOT@ in it, the port @PORT@."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(row.get("method", "GET"), row["url"], skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": "www.example.com", **row.get("headers", {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        answer: dict[str, Any] = {"status": response.status}
        if response.status == 200:
            if text := response.headers["X-Said"]:
                text = text.replace(str(self.root), "@ROOT@").replace(str(self.port), "@PORT@")
                answer |= {key: value for key, value in json.loads(text).items() if value or key != "env"}
            else:
                answer["static"] = True  # the file itself, whatever it is
        return answer

    def log(self) -> str:
        return (self.root / "run" / "error.log").read_text(errors="replace")


@contextlib.contextmanager
def serving(site: str) -> Iterator[Apache]:
    """Apache with the site of this name, until the end of the block."""
    program, folder = command(), modules()
    assert program is not None
    assert folder is not None
    # Not below pytest's own folder: that is the user's alone, and Apache becomes another one.
    with tempfile.TemporaryDirectory(prefix="oracle-") as name:
        root = Path(name)
        tree.make(root)
        run = root / "run"
        run.mkdir()
        (run / "mime.types").write_text("text/html html\ntext/plain txt\ntext/css css\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        text = (SITES / f"{site}.conf").read_text().replace("@ROOT@", str(root)).replace("@PORT@", str(port))
        (root / "site.conf").write_text(text)
        built_in = subprocess.run([program, "-l"], capture_output=True, text=True, timeout=30, check=True).stdout
        loads = [f"LoadModule {one}_module {folder}/mod_{one}.so" for one in WANTED if f"mod_{one}.c" not in built_in]
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        configuration = PREAMBLE.format(
            root=root, run=run, modules="\n".join(loads), user=user, port=port, site=root / "site.conf"
        )
        (root / "httpd.conf").write_text(configuration)
        process = subprocess.Popen(
            [program, "-d", str(root), "-f", str(root / "httpd.conf"), "-D", "FOREGROUND"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        apache = Apache(root, port)
        try:
            wait(process, apache)
            yield apache
        finally:
            # By force: told to end, it gives a process with sub-interpreters ten seconds before it does the same.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait(process: subprocess.Popen[bytes], apache: Apache) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", apache.port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = process.communicate()[0].decode(errors="replace")
            raise AssertionError(f"Apache did not start: {said}")
        time.sleep(0.01)  # the pace of asking, not a guess of how long it takes


def version() -> str:
    """What answers, for whoever reads the table."""
    with serving("seed") as apache:
        apache.ask({"url": "/"})  # who has answered has said so before
        configured = re.search(r"Apache/\S+.*?mod_wsgi/\S+", apache.log())
    assert configured is not None
    return configured[0]


def measure() -> dict[str, Any]:
    """The table with the answers of the Apache of this machine."""
    table = json.loads(TABLE.read_text())
    table["measured"] = version()
    for site, rows in table["sites"].items():
        with serving(site) as apache:
            for row in rows:
                row["answer"] = apache.ask(row)
    return table


def dump(table: Mapping[str, Any]) -> str:
    """The table as it stands in its file: a row a line."""
    sites = [
        f"    {json.dumps(site)}: [\n"
        + ",\n".join("      " + json.dumps(row, ensure_ascii=False) for row in rows)
        + "\n    ]"
        for site, rows in table["sites"].items()
    ]
    return f'{{\n  "measured": {json.dumps(table["measured"])},\n  "sites": {{\n' + ",\n".join(sites) + "\n  }\n}\n"


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    sys.stdout.write(dump(measure()))
