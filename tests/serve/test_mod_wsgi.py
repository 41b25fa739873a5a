"""Code that was written for mod_wsgi: its module, its environ, its events; Apache tells what they are."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.oracle import apache
from tests.serve.conftest import Site
from tests.serving import APPS, ROOT, Server, serving, until

CONFIGURATION = """
[process_group.back]
processes = 3
threads = 4
[global]
threads = 5
"""
MOUNTS = {
    "/named": 'application_group = "shop"\nthreads = 2\n',
    "/main": 'application_group = "%{GLOBAL}"\n',
    "/back": 'application_group = "shop"\nprocess_group = "back"\nthreads = 3\n',
    "/back-main": 'application_group = "%{GLOBAL}"\nprocess_group = "back"\n',
}


def mounts(app: str) -> str:
    return "".join(f'[[mount]]\npath = "{path}"\napp = "{app}:application"\n{rest}' for path, rest in MOUNTS.items())


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    """A server whose applications say what they are told; a package of mod_wsgi's name is installed as well."""
    config = site(CONFIGURATION + mounts("mod_wsgi_tells"))
    package = config.parent / "mod_wsgi"
    package.mkdir()
    (package / "server.py").write_text("WORD = 'of the package'\n")
    with serving(config) as server:
        yield server
        server.stop()


@pytest.mark.parametrize(
    ("path", "groups", "processes", "threads"),
    [
        ("/named", ["", "shop"], 1, 2),
        ("/main", ["", ""], 1, 5),
        ("/back", ["back", "shop"], 3, 3),
        ("/back-main", ["back", ""], 3, 4),
    ],
)
def test_the_module(server: Server, path: str, groups: list[str], processes: int, threads: int) -> None:
    """``import mod_wsgi`` works in each interpreter, and says the truth about it."""
    said = server.get(f"{path}?it").json()
    assert [said["process_group"], said["application_group"]] == groups
    assert (said["maximum_processes"], said["threads_per_process"]) == (processes, threads)
    assert said["version"][0] == 6
    assert said["wrapper"] is True
    assert said["timeout"][1:] == ["BaseException", "object"]
    assert {"mark": "it"} in said["active"].values()
    assert said["metrics"]["active_requests"] == len(said["active"])
    assert said["metrics"]["memory_rss"] > 1_000_000
    assert "not callable" in said["refused"]
    assert said["outside"] == ["no active request for thread"]
    assert said["installed"] == "of the package"
    assert (said["found"], said["nothing"], said["events"]) == (True, False, False)


def test_the_environ(server: Server) -> None:
    """The environ has mod_wsgi's keys; the number of a request is the log's, that of a thread begins with 1."""
    environ = server.get("/named/a%20b").json()["environ"]
    assert environ.pop("mod_wsgi.thread_id") in (1, 2)
    assert re.fullmatch(r"\d+", environ.pop("mod_wsgi.request_id"))
    assert 0 <= environ.pop("mod_wsgi.application_start") - environ.pop("mod_wsgi.request_start") < 30
    assert environ.pop("mod_wsgi.version")[0] == 6
    assert environ == {
        "mod_wsgi.application_group": "shop",
        "mod_wsgi.process_group": "",
        "mod_wsgi.callable_object": "application",
        "mod_wsgi.script_name": "/named",
        "mod_wsgi.path_info": "/a b",
    }


def test_the_data_of_a_request_is_its_own(server: Server) -> None:
    """What one request has put into its data no other one finds, and nothing is kept of it."""
    first, second = (server.get(f"/named?{mark}").json()["active"] for mark in ("one", "two"))
    assert (list(first.values()), list(second.values())) == ([{"mark": "one"}], [{"mark": "two"}])
    assert first.keys() != second.keys()


# Events ---------------------------------------------------------------------------------------------------------------


def started() -> list[Any]:
    return ["request_started", {}]


def response(status: str, **more: str) -> list[Any]:
    return ["response_started", {"response_status": status, **more}]


def raised(kind: str) -> list[Any]:
    return ["request_exception", {"exception": kind}]


def finished(output: int, received: int = 0) -> list[Any]:
    return ["request_finished", {"input_length": received, "output_length": output}]


SIZE = len((APPS / "mod_wsgi_events.py").read_bytes())
EVENTS: dict[str, tuple[int, list[list[Any]]]] = {
    "/ok": (200, [started(), response("200 OK"), finished(2)]),
    "/raise": (500, [started(), raised("ZeroDivisionError"), finished(0)]),
    "/nothing": (500, [started(), raised("RuntimeError"), finished(0)]),
    "/late": (200, [started(), response("200 OK"), raised("ValueError"), finished(1)]),
    "/close": (200, [started(), response("200 OK"), raised("KeyError"), finished(2)]),
    "/body": (201, [started(), response("201 Created"), finished(5, 5)]),
    "/changed": (
        500,
        [
            started(),
            response("200 OK"),
            response("500 Changed", exception="ZeroDivisionError"),
            finished(2),
        ],
    ),
    "/file": (200, [started(), response("200 OK"), finished(SIZE)]),
    "/wrapped": (202, [started(), response("202 Wrapped"), finished(7)]),
    "/unheard": (200, [started(), response("200 OK"), finished(2)]),
}
FACTS = {
    "request_started": "application_object application_start request_environ request_start thread_id",
    "response_started": "exception_info response_headers response_status",
    "request_exception": "exception_info",
    "request_finished": "application_finish application_time cpu_system_time cpu_user_time input_length input_reads"
    " input_time output_length output_time output_writes",
}
LEFT_OUT = {"daemon_connects", "daemon_restarts", "daemon_start", "queue_start"}
"""What mod_wsgi says of its daemon processes."""


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = b"hello" if path.endswith("/body") else None
        connection.request("POST" if body else "GET", path, body, {"Connection": "close"})
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        except http.client.IncompleteRead as error:
            return answer.status, error.partial
    finally:
        connection.close()


def told(port: int, mount: str, path: str) -> tuple[int, list[list[Any]]]:
    """The status of the answer, and what subscribers were told."""
    status, _ = ask(port, mount + path)
    events: list[list[Any]] = []

    def finished() -> bool:
        events.extend(json.loads(ask(port, f"{mount}/seen")[1]))  # the client has its answer before the last event
        return bool(events) and events[-1][0] == "request_finished"

    until(finished, what=f"the last event of {path}")
    return status, events


@pytest.fixture(scope="module")
def telling(site: Site) -> Iterator[Server]:
    """A server whose application keeps what it is told."""
    limits = "[timeouts]\nrequest = 0.5\n"
    with serving(site(limits + CONFIGURATION + mounts("mod_wsgi_events"))) as server:
        yield server
        server.stop()


@pytest.mark.parametrize("path", EVENTS)
@pytest.mark.parametrize("mount", ["/named", "/main"])
def test_events(telling: Server, mount: str, path: str) -> None:
    """Subscribers are told what those of Apache's mod_wsgi are, in its words and order."""
    status, events = told(telling.port, mount, path)
    assert (status, [event[:2] for event in events]) == EVENTS[path]
    for name, _, facts in events:
        assert set(facts) == {*FACTS[name].split(), "request_id", "request_data"}


@pytest.fixture(scope="module")
def oracle() -> Iterator[int]:
    """Apache, with the application whose events are looked at in the place of one of its scripts."""
    if reason := apache.missing():
        pytest.skip(reason)
    with apache.serving("aliases") as running:
        script = running.root / "apps" / "shop.wsgi"
        script.write_bytes((APPS / "mod_wsgi_events.py").read_bytes())
        os.utime(script, (1, 1))
        yield running.port


@pytest.mark.parametrize("path", EVENTS)
def test_events_of_apache(oracle: int, path: str) -> None:
    """The table is what Apache's mod_wsgi tells; it tells more facts, which are known."""
    status, events = told(oracle, "/shop", path)
    assert (status, [event[:2] for event in events]) == EVENTS[path]
    for name, _, facts in events:
        assert set(facts) - {*FACTS[name].split(), "request_id", "request_data"} <= LEFT_OUT


def test_a_subscriber_that_fails(telling: Server) -> None:
    """What it raises is in the log with its traceback, and the request goes on."""
    assert telling.get("/back/unheard").status_code == 200
    telling.wait_for_log(r"back:shop #\d+\] a subscriber to mod_wsgi's events failed with request_started:\n(.*\n)+?L")


@pytest.mark.parametrize("mount", ["/named", "/back-main"])
def test_a_timeout(telling: Server, mount: str) -> None:
    """``except mod_wsgi.RequestTimeout`` catches what a request is interrupted with; the answer is a 504."""
    assert telling.get(f"{mount}/loops").status_code == 504
    telling.wait_for_log("it was RequestTimeout")
    assert telling.get(f"{mount}/ok").status_code == 200


def test_the_end(site: Site) -> None:
    """Who has subscribed to the shutdown hears of it once, before the atexit functions, in whichever interpreter."""
    text = CONFIGURATION.replace("processes = 3", "processes = 1") + mounts("mod_wsgi_events")
    with serving(site(text)) as server:
        for mount in MOUNTS:
            assert server.get(f"{mount}/ok").status_code == 200
        assert server.stop(signal.SIGTERM) == 0
        log = server.log()
    for group, count in (("shop", 2), ("main", 2)):
        said = re.findall(rf"{group}: (process_stopping|atexit)(.*)", log)
        assert sorted(said) == sorted([("process_stopping", " {'shutdown_reason': ''}"), ("atexit", "")] * count), log
        assert said[0][0] == "process_stopping"


PROGRAM = """
import asyncio, sys, threading, types
from asyncgroups import ApplicationGroups, Mount

def application(environ, start_response):
    import mod_wsgi
    over = threading.Event()
    mod_wsgi.subscribe_shutdown(lambda name, **facts: (print(name, facts), over.set()))
    mod_wsgi.subscribe_shutdown(lambda name, **facts: 1 / 0)
    threading.Thread(target=over.wait).start()  # the program does not end before it has
    start_response("200 OK", [])
    return [b""]

async def main():
    groups = ApplicationGroups(mounts=[Mount("/", application, application_group="%{GLOBAL}")])
    async def receive():
        return {"type": "http.request"}
    async def send(message):
        print(message.get("status", ""))
    async with groups.running():
        await groups({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [],
            "server": ("test", 80)}, receive, send)
    assert ("mod_wsgi" in sys.modules) and sys.modules["mod_wsgi"].threads_per_process == 15
    print("left")

asyncio.run(main())
"""


def test_the_end_of_a_program() -> None:
    """In a program that ends by itself its subscribers hear of it before threads are waited for, and all of them do."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    words = done.stdout.split("\n")
    assert [word for word in words if word] == ["200", "left", "process_stopping {'shutdown_reason': ''}"], done.stderr
    assert "a subscriber to mod_wsgi's shutdown failed:\nTraceback" in done.stderr
    assert done.returncode == 0
