"""The exit of a process where nobody has said that it comes: the net that closes the interpreters all the same."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import APPS, ROOT, until

PROGRAM = """
import asyncio, atexit, os, pathlib, sys
from asyncgroups import ApplicationGroups

kept = []


async def ask(target, marks, **timeouts):
    '''The status of one request; or, if it stays, the request has begun.'''
    marks.mkdir()
    application = ApplicationGroups.single(
        target, application_group="g", app_dir=sys.argv[2], process_env={"EMBED_MARKS": str(marks)}, timeouts=timeouts
    )
    kept.append(application)
    heard = []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [], "server": ("test", 80)}

    async def receive():
        return {"type": "http.request"} if not heard else await asyncio.Event().wait()

    async def send(message):
        heard.append(message.get("status"))

    request = asyncio.create_task(application(scope, receive, send))
    while not request.done() and not (marks / "waits").exists():
        await asyncio.sleep(0.01)
    request.cancel()
    await asyncio.wait([request])
    return heard[0] if heard else None


marks = pathlib.Path(sys.argv[1])
"""


@contextlib.contextmanager
def begun(program: str, marks: Path, redirection: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``program`` after ``PROGRAM``; the shell redirects its output."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = [sys.executable, "-c", PROGRAM + program, str(marks), str(APPS)]
    with subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *arguments],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(program: str, marks: Path, redirection: str = "") -> tuple[int, str, str]:
    """The exit status of such a process, and what it has written."""
    with begun(program, marks, redirection) as process:
        stdout, stderr = process.communicate(timeout=30)
        return process.returncode, stdout, stderr


STAYS = """
asyncio.run(ask("embed_stays:for_ever", marks / "one", graceful=0, interrupt={interrupt}))
atexit.register(print, "atexit")
print("the end")
"""


@pytest.mark.parametrize(
    ("last", "redirection", "printed"),
    [
        ("", "", "the end\natexit\n"),
        ("class Out:\n    def write(self, text): pass\nsys.stdout = Out()", "", ""),
        ("sys.stderr.flush = None", "", "the end\natexit\n"),
        ("", "2>&-", "the end\natexit\n"),
        ("", ">&-", ""),
    ],
    ids=["as they are", "stdout without flush", "stderr broken", "stderr closed", "stdout closed"],
)
def test_a_group_that_does_not_end(last: str, redirection: str, printed: str, tmp_path: Path) -> None:
    """The process ends with status 1, its atexit functions have run and its output is there, whatever its streams."""
    status, stdout, _ = ended(STAYS.format(interrupt=0.5) + last, tmp_path, redirection)
    assert (status, stdout) == (1, printed)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("signal.default_int_handler", 130), ("lambda *_: sys.exit(5)", 1)],
    ids=["Ctrl-C", "a handler of its own"],
)
def test_what_interrupts_the_wait(answer: str, expected: int, tmp_path: Path) -> None:
    """It ends the process at once and in order, however long the groups would have had."""
    program = f"import signal\nsignal.signal(signal.SIGINT, {answer})\n{STAYS.format(interrupt=60)}"
    with begun(program, tmp_path) as process:
        until(lambda: list(tmp_path.glob("one/interrupted-*")), what="the exit")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (expected, "the end\natexit\n"), stderr
    assert [word in stderr for word in ("SystemExit: 5", "KeyboardInterrupt")] == [expected == 1, False]


CLOCKS = """
for name in ("one", "two"):
    asyncio.run(ask("embed_stays:application", marks / name, graceful=1.5, interrupt=5))
"""


def test_all_clocks_at_once(tmp_path: Path) -> None:
    """Several applications have their graceful time together, not one after the other."""
    status, _, stderr = ended(CLOCKS, tmp_path)
    assert status == 0, stderr
    first, second = sorted(float(mark.name.partition("-")[2]) for mark in tmp_path.glob("*/interrupted-*"))
    assert second - first < 1


AFTER = """
def sockets():
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            pass  # the listing's own
    return found

def ask_once_more():
    before = sockets()
    print(asyncio.run(ask("embed_who:application", marks / "too late")), len(sockets() - before))

atexit.register(ask_once_more)
"""


@pytest.mark.parametrize(
    "before", ["", 'asyncio.run(ask("embed_who:application", marks / "in time"))'], ids=["the first", "another"]
)
def test_a_request_after_the_net(before: str, tmp_path: Path) -> None:
    """Where it is too late to close an interpreter none is made: 503, and no descriptor is left open."""
    status, stdout, stderr = ended(AFTER + before, tmp_path)
    assert (status, stdout) == (0, "503 0\n"), stderr
