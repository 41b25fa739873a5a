"""Real interpreters: how one starts, what its applications find in it, and how it ends."""

import logging
import os
import queue
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncgroups.errors import ChannelClosed, InterpreterFailed
from asyncgroups.frontend.isolation import Isolation
from asyncgroups.host import interpreters
from asyncgroups.host.group import _TRANSITIONS, EmbeddedInterpreter, State, label
from asyncgroups.host.interpreters import Bootstrap
from asyncgroups.host.reaper import Reaper
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel

PATIENCE = 30.0

APPS = '''
import os, subprocess, sys, time, threading

def answer(start_response, text):
    start_response("200 OK", [])
    return [str(text).encode()]

def evaluate(environ, start_response):
    """The value of the expression in the query string."""
    return answer(start_response, repr(eval(environ["QUERY_STRING"])))

def children():
    """T3 as each kind of child process sees it."""
    code = "import os; print(os.environ.get('T3'), flush=True)"
    found = {
        "run": subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip(),
        "shell": subprocess.check_output("echo $T3", shell=True, text=True).strip(),
        "given": subprocess.check_output("echo $T3", shell=True, text=True, env={"T3": "given"}).strip(),
        "popen": os.popen("echo $T3").read().strip(),
        "system": os.waitstatus_to_exitcode(os.system('test "$T3" = "$(cat ' + path + ')"')),
        "status": os.waitstatus_to_exitcode(os.system("exit 7")),
    }
    for name in ("posix_spawn", "posix_spawnp"):
        reading, writing = os.pipe()
        output = [(os.POSIX_SPAWN_DUP2, writing, 1)]
        pid = getattr(os, name)("/bin/sh", ["sh", "-c", "echo $T3"], None, file_actions=output)
        os.waitpid(pid, 0)
        os.close(writing)
        found[name] = os.read(reading, 100).decode().strip()
        os.close(reading)
    return found

def write(path, text):
    with open(path, "a") as file:
        file.write(text)

def environ(environ, start_response):
    global path
    path = environ["QUERY_STRING"]
    os.environ["T3"] = "changed here"
    write(path, "changed here")
    found = children()
    del os.environ["T3"]
    found["deleted"] = os.environ.get("T3"), subprocess.check_output("echo $T3", shell=True, text=True).strip()
    os.reload_environ(); found["reloaded"] = "HOME" in os.environ, os.environ.get("T3")
    return answer(start_response, repr(found))

def at_exit(environ, start_response):
    import atexit
    atexit.register(write, environ["QUERY_STRING"], "atexit ran")
    print("unfinished", end="")
    return answer(start_response, "registered")

def printing(environ, start_response):
    print("to stdout"); print("to stderr", file=sys.stderr)
    thread = threading.Thread(target=lambda: 1 / 0, name="background"); thread.start(); thread.join()
    return answer(start_response, "printed")

def stuck(environ, start_response):
    while not os.path.exists(environ["QUERY_STRING"]):
        try:
            time.sleep(0.01)
        except BaseException:
            pass
    return answer(start_response, "let go")

def looping(environ, start_response):
    write(environ["QUERY_STRING"], "entered")
    while True:
        print("a line")

def refusing(environ, start_response):
    for _ in range(2):
        try:
            import _testsinglephase
        except ImportError:
            pass
    return answer(start_response, "swallowed")
'''


class Group:
    """An EmbeddedInterpreter, the ends it was told, and a way to send requests to it."""

    def __init__(self, reaper: Reaper, apps: Path, **changes: Any) -> None:
        self.ends: queue.SimpleQueue[State] = queue.SimpleQueue()
        settings = {
            "process_group": "",
            "application_group": "shop",
            "threads": 2,
            "path": (str(apps),),
            "environ": ((b"HOME", b"/nowhere"), (b"PATH", os.environb[b"PATH"]), (b"LANG", b"C.UTF-8")),
            **changes,
        }
        self.interpreter = EmbeddedInterpreter(
            Bootstrap(**settings), reaper=reaper, on_end=lambda interpreter: self.ends.put(interpreter.state)
        )
        self.channels: list[Channel] = []

    def worker(self) -> Channel:
        self.channels.append(self.interpreter.add_worker(len(self.channels) + 1))
        return self.channels[-1]

    def say(self, channel: Channel, application: str, query: str = "", exchange: int = 1) -> None:
        parts = (f"t3_apps:{application}", "GET", "http", "1.1", "", "/", query, "/", "localhost", "80", "", "", "0")
        head = messages.request(exchange, tuple(part.encode() for part in parts), [], [])
        channel.say(messages.start(messages.REQUEST, head, b"", complete=True))

    def hear(self, channel: Channel) -> bytes:
        """The body of the response, once DONE has come. Raises ChannelClosed."""
        body, deadline = b"", time.monotonic() + PATIENCE
        while True:
            frame = channel.receive_nowait()
            if frame is None:
                assert select.select([channel.fileno()], [], [], max(0.0, deadline - time.monotonic()))[0]
            elif frame[0] == messages.START:
                body += messages.parse_start(frame[1]).body
            elif frame[0] == messages.FAILED:
                body += b"failed: " + frame[1]
            elif frame[0] == messages.DONE:
                return body

    def ask(self, application: str, query: str = "") -> Any:
        channel = self.channels[0] if self.channels else self.worker()
        self.say(channel, application, query)
        return self.hear(channel).decode()

    def end(self, seconds: float = PATIENCE) -> State:
        for channel in self.channels:
            channel.shut()
            channel.close()
        self.interpreter.stop(seconds)
        return self.ends.get(timeout=PATIENCE)


@pytest.fixture(scope="module")
def reaper() -> Iterator[Reaper]:
    reaper = Reaper()
    yield reaper
    reaper.end()


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apps")
    (path / "t3_apps.py").write_text(APPS)
    return path


@pytest.fixture
def start(reaper: Reaper, apps: Path) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []

    def start(**changes: Any) -> Group:
        groups.append(Group(reaper, apps, **changes))
        groups[-1].interpreter.start()
        return groups[-1]

    yield start
    for group in groups:
        for channel in group.channels:
            channel.shut()
            channel.close()
        group.interpreter.stop(PATIENCE)
        assert group.interpreter.join(PATIENCE)


@pytest.fixture(scope="module")
def group(reaper: Reaper, apps: Path) -> Iterator[Group]:
    """One interpreter for all tests that leave it as it was."""
    group = Group(reaper, apps)
    group.interpreter.start()
    group.worker()
    yield group
    assert group.end() is State.CLOSED


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the pace of asking
    return found


def test_the_life_of_an_interpreter(start: Callable[..., Group]) -> None:
    """A worker may be asked before its interpreter is there; ``repr`` says how far it is; ``on_end`` comes once."""
    group = start()
    assert repr(group.interpreter) in ("<EmbeddedInterpreter 'shop' starting>", "<EmbeddedInterpreter 'shop' running>")
    assert group.ask("evaluate", "1+1") == "2"
    assert repr(group.interpreter) == "<EmbeddedInterpreter 'shop' running>"
    assert group.end() is State.CLOSED
    assert repr(group.interpreter) == "<EmbeddedInterpreter 'shop' closed>"
    assert group.interpreter.join(PATIENCE)
    assert group.ends.empty()
    group.interpreter.stop(1)
    group.interpreter.interrupt(1, 1)
    with pytest.raises(ChannelClosed):
        group.interpreter.add_worker(9)


def test_stop_before_it_is_there(start: Callable[..., Group]) -> None:
    """An interpreter that is stopped while it starts comes to an end."""
    group = start()
    assert group.end() is State.CLOSED


@pytest.mark.parametrize("state", list(State))
def test_every_transition(reaper: Reaper, apps: Path, state: State) -> None:
    """An interpreter moves along its table; every other move raises and changes nothing."""
    group = Group(reaper, apps)
    for after in State:
        group.interpreter.state = state
        if (state, after) in _TRANSITIONS:
            group.interpreter._move(after)
            assert group.interpreter.state is after
        else:
            with pytest.raises(RuntimeError, match="cannot be"):
                group.interpreter._move(after)
            assert group.interpreter.state is state
    group.interpreter.channel.close()
    os.close(group.interpreter._control)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"environ": ((b"A",),)}, "ValueError"),
        ({"environ": ((b"A", b"hunter2"),), "path": (object(),)}, "cannot be told its settings (NotShareableError)"),
        ({"environ": ((b"A", b"hunter2"),), "threads": 2**64}, "cannot be told its settings (NotShareableError)"),
    ],
    ids=["inside", "outside", "number"],
)
def test_an_interpreter_that_cannot_be_made(
    start: Callable[..., Group], changes: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is logged and kept, without the environment; its workers' channels end, and ``on_end`` is called."""
    group = start(**changes)
    channel = group.channels[0] if group.channels else None
    try:
        channel = group.worker()
    except ChannelClosed:
        pass  # it has failed already
    assert group.ends.get(timeout=PATIENCE) is State.FAILED
    assert text in (group.interpreter.failure or "")
    assert group.interpreter.failure
    assert group.interpreter.failure in repr(group.interpreter)
    assert "[shop] the interpreter has failed" in caplog.text
    assert "hunter2" not in caplog.text + repr(group.interpreter.bootstrap)
    if channel is not None:
        with pytest.raises(ChannelClosed):
            group.hear(channel)


def test_an_interpreter_of_its_own(group: Group) -> None:
    """The application runs in an interpreter that is not the main one, with argv, path and stdin of its own."""
    query = "__import__('concurrent.interpreters').interpreters.get_current().id"
    assert int(group.ask("evaluate", query)) > 0
    assert group.ask("evaluate", "sys.argv") == "['asyncgroups']"
    assert group.ask("evaluate", "os.path.exists(sys.path[0] + '/t3_apps.py')") == "True"
    assert group.ask("evaluate", "sys.stdin.read()") == "''"
    assert group.ask("evaluate", "threading.current_thread().name") == "'shop-1'"


def test_an_environment_of_its_own(group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change to os.environ is seen by this group's children, however they are started, and by nobody else."""
    monkeypatch.setenv("T3", "the server's")
    assert eval(group.ask("environ", str(tmp_path / "expected"))) == {
        "run": "changed here",
        "shell": "changed here",
        "given": "given",
        "popen": "changed here",
        "system": 0,
        "status": 7,
        "posix_spawn": "changed here",
        "posix_spawnp": "changed here",
        "deleted": (None, ""),
        "reloaded": (True, None),
    }
    assert os.environ["T3"] == "the server's"
    assert subprocess.check_output(["sh", "-c", "echo $T3"], text=True).strip() == "the server's"
    assert group.ask("evaluate", "dict(os.environb)[b'HOME'], os.environb is not None") == "(b'/nowhere', True)"


def test_what_is_printed(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    """What an application or a thread of its own prints is logged, with the group's name and the request's number."""
    caplog.set_level(logging.INFO, logger="asyncgroups")
    assert group.ask("printing") == "printed"
    until(lambda: "ZeroDivisionError" in caplog.text)
    found = {(record.levelname, record.getMessage().partition("\n")[0]) for record in caplog.records}
    assert ("INFO", "[shop #1] to stdout") in found
    assert ("ERROR", "[shop #1] to stderr") in found
    assert ("ERROR", "[shop] exception in thread background:") in found
    assert {record.application_group for record in caplog.records} == {"shop"}


def test_an_extension_module_that_refuses(start: Callable[..., Group]) -> None:
    """A refusal that the application swallows is told, once, with the group, the application and the module."""
    pytest.importorskip("_testsinglephase")
    group = start()
    refused: list[tuple[object, ...]] = []
    group.interpreter.on_refusal = lambda *what: refused.append(what)
    assert group.ask("refusing") == "swallowed"
    until(lambda: refused)
    assert group.ask("refusing") == "swallowed"
    assert [what[:3] for what in refused] == [(("", "shop"), "t3_apps:refusing", "_testsinglephase")]


def test_the_end_of_an_interpreter(
    start: Callable[..., Group], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """STOP waits for the workers, runs atexit functions, and what was printed without a newline is not lost."""
    caplog.set_level(logging.INFO, logger="asyncgroups")
    group = start()
    assert group.ask("at_exit", str(tmp_path / "file")) == "registered"
    assert group.end() is State.CLOSED
    assert (tmp_path / "file").read_text() == "atexit ran"
    until(lambda: "unfinished" in caplog.text)


def test_the_end_of_one_without_its_streams(start: Callable[..., Group], caplog: pytest.LogCaptureFixture) -> None:
    """What an application has put in the place of ``sys.stdout`` and cannot be flushed does not spoil the end."""
    group = start()
    assert group.ask("evaluate", "(setattr(sys, 'stdout', None), setattr(sys, 'stderr', 5))") == "(None, None)"
    assert group.end() is State.CLOSED
    until(lambda: "sys.stderr cannot be flushed" in caplog.text)
    assert "stdout" not in caplog.text


def test_an_interpreter_is_left_behind(start: Callable[..., Group], tmp_path: Path) -> None:
    """An interpreter with a worker that does not end is never closed by force; the worker may still end later."""
    group = start()
    channel = group.worker()
    group.say(channel, "stuck", str(tmp_path / "file"))
    assert group.ask("evaluate", "1") == "1" if group.channels[0] is not channel else True
    group.interpreter.stop(0.05)
    assert group.ends.get(timeout=PATIENCE) is State.LEFT
    assert repr(group.interpreter) == "<EmbeddedInterpreter 'shop' left behind>"
    (tmp_path / "file").touch()
    assert group.hear(channel) == b"let go"


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        ("", "%{GLOBAL}"),
        ("shop", "shop"),
        ("www.example.com|/a", "www.example.com|/a"),
        ("Bob's Bücher", "Bob's Bücher"),
        ("shop #7] login ok for root [x", "'shop #7] login ok for root [x'"),
        ("shop #7", "'shop #7'"),
        ("[::1]:8080", "'[::1]:8080'"),
        ("a\u202eb", r"'a\u202eb'"),
    ],
    ids=ascii,
)
def test_label(group: str, shown: str) -> None:
    """GLOBAL is shown as it is written in a configuration; a name that could imitate another group's line is quoted."""
    assert label(group) == shown


def test_a_refusal_forges_no_record(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    """What the interpreter says of a module is contained like all else that it says."""
    group.interpreter.on_refusal = Isolation().go_without
    frame = messages.texts(messages.REFUSED, "", "a\x1b[2J", "no\n[bank #1] forged")
    assert group.interpreter.hear(messages.REFUSED, frame[messages.FRAME_HEADER :])
    assert "forged" in caplog.text
    assert "\x1b" not in caplog.text
    assert "\n[bank" not in caplog.text


def test_signals_stay_with_the_server(group: Group) -> None:
    """An application in its own interpreter cannot take the server's signals."""
    before = signal.getsignal(signal.SIGTERM)
    assert group.ask("evaluate", "__import__('signal').signal(15, lambda *_: None)").startswith("failed: ValueError")
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupts(group: Group, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An interrupt reaches the exchange that it names, inside its interpreter, and its worker serves the next one."""
    caplog.set_level(logging.ERROR, logger="asyncgroups")
    for number in range(1, 21):
        entered = tmp_path / f"entered-{number}"
        group.say(group.channels[0], "looping", str(entered), exchange=number)
        until(entered.exists)
        group.interpreter.interrupt(1, number + 1)  # of somebody else
        group.interpreter.interrupt(1, number)
        assert group.hear(group.channels[0]) == b"failed: RequestInterrupted"
    until(lambda: "[shop #20] the request is interrupted" in caplog.text)
    assert "in looping" in caplog.text
    assert group.ask("evaluate", "1") == "1"


def test_where_nobody_can_watch_over_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for the watch in a daemon process is told at once that there is none, as the log is."""

    def fail() -> None:
        raise InterpreterFailed("no room for one more")

    monkeypatch.setattr(interpreters, "_create", fail)
    watched = interpreters.run_outliving(os.open(os.devnull, os.O_RDONLY), str(tmp_path))
    assert watched is not None
    try:
        assert select.select([watched], [], [], PATIENCE / 6)[0]
        assert os.read(watched, 1) == b""
    finally:
        os.close(watched)
    assert "nothing watches over the end of this process" in caplog.text
