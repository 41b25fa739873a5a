"""``check --load``: each application is loaded in its group, and the table says what came of it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.commands.conftest import EXAMPLES, begin, ended
from tests.serving import APPS, ROOT, until

CALLABLE = "\n\ndef application(environ, start_response):\n    return []\n"

MODULES = {
    "small": "",
    "hog": "held = [bytes(2000) for _ in range(15_700)]",
    "framework": "import flask",
    "again": "held = [bytes(2000) for _ in range(15_700)]",
    "prints": """
import atexit, ctypes, os, subprocess, sys
print("from Python")
ctypes.CDLL(None).write(1, b"from C\\n", 7)
subprocess.run(["echo", "from a child"], check=True)
atexit.register(print, "the end of", __name__)
""",
    "same": "import sys\nassert 'prints' in sys.modules, 'another interpreter'",
    "raises": "print('before')\nraise RuntimeError('a reason')",
    "uncallable": "application = 'text'\nraise AttributeError",
    "forges": "class E(Exception):\n    pass\nE.__name__ = 'yes\\nsmall  small  small  yes'\nraise E",
    "claims": "class yes(Exception):\n    pass\nraise yes",
    "sleeps": "import time\ntime.sleep(60)",
    "main": "from concurrent import interpreters\nassert interpreters.get_current() == interpreters.get_main()\n"
    "print('from the main interpreter')",
    "settings": "import os\nassert os.environ['WHERE'] == 'here' and 'MAIN' in os.environ",
}

CONFIGURATION = """
bind = ["127.0.0.1:8000", "127.0.0.1:0"]
server_name = "www.example.com:81"

[limits]
groups = 20
[timeouts]
startup = 2
interrupt = 1
"""

MOUNTS = [
    ("small", "small"),
    ("hog", "hog"),
    ("small", "small again"),
    ("again", "hog again"),
    ("framework", "first"),
    ("framework", "second"),
    ("framework", "third"),
    ("small", "small"),
    ("main", "%{GLOBAL}"),
    ("prints", "printing"),
    ("same", "printing"),
    ("raises", "raising"),
    ("forges", "forging"),
    ("claims", "forging"),
    ("sleeps", "sleeping"),
    ("small", "sleeping"),
    ("small", "%{ENV:NOT_SET}"),
    ("small", "%{ENV:IS_SET}"),
    ("small", "%{SERVER}"),
    ("settings", "settings"),
    ("refusing_swallowed", "refusing"),
    ("small", "turned\u202e"),
    ("refusing_plain", "moved"),
    ("small", "moved"),
    ("refusing_plain", "strict"),
    ("small", "own"),
]

ISOLATION = {"strict": "interpreter", "own": "process"}

EXPECTED = [
    ("small", "small", "interpreter", "yes", "-", ""),
    ("hog", "hog", "interpreter", "yes", "-", ""),
    ("small", "small again", "interpreter", "yes", "-", ""),
    ("again", "hog again", "interpreter", "yes", "-", ""),
    ("framework", "first", "interpreter", "yes", "-", ""),
    ("framework", "second", "interpreter", "yes", "-", ""),
    ("framework", "third", "interpreter", "yes", "-", ""),
    ("prints", "printing", "interpreter", "yes", "-", ""),
    ("same", "printing", "interpreter", "yes", "-", ""),
    ("raises", "raising", "interpreter", "no: RuntimeError", "-", ""),
    ("forges", "forging", "interpreter", "no: yes\\nsmall  small  …", "-", ""),
    ("claims", "forging", "interpreter", "no: yes", "-", ""),
    ("sleeps", "sleeping", "interpreter", "no: timeout", "-", ""),
    ("small", "sleeping", "interpreter", "yes", "-", ""),
    ("small", "%{ENV:NOT_SET}", "interpreter", "yes", "-", ""),
    ("small", "from the environment", "interpreter", "yes", "-", ""),
    ("small", "www.example.com:81", "interpreter", "yes", "-", ""),
    ("settings", "settings", "interpreter", "yes", "-", ""),
    ("refusing_swallowed", "refusing", "interpreter", "yes", "readline", ""),
    ("small", "turned\\u202e", "interpreter", "yes", "-", ""),
    ("refusing_plain", "moved", "process", "yes", "-", "readline refuses subinterpreters"),
    ("small", "moved", "process", "yes", "-", "readline refuses subinterpreters"),
    (
        "refusing_plain",
        "strict",
        "interpreter",
        "no: ImportError",
        "readline",
        'isolation = "interpreter" (mount[24].isolation)',
    ),
    ("small", "own", "process", "yes", "-", 'isolation = "process" (mount[25].isolation)'),
    ("main", "%{GLOBAL}", "-", "yes", "-", ""),
]


def site(folder: Path, mounts: list[tuple[str, str]], text: str = CONFIGURATION) -> Path:
    """A configuration with these applications, module and group."""
    for name in {name for name, _ in mounts} & MODULES.keys():
        (folder / f"{name}.py").write_text(MODULES[name] + CALLABLE)
    for number, (name, group) in enumerate(mounts):
        text += f'[[mount]]\npath = "/{number}"\napp = "{name}:application"\napplication_group = "{group}"\n'
        if group in ISOLATION:
            text += f'isolation = "{ISOLATION[group]}"\n'
        if name.startswith("refusing") or group == "moved":
            text += 'process_env = { REFUSED_MODULE = "readline" }\n'
        if name == "settings":
            text += 'process_env = { WHERE = "here" }\n'
    file = folder / "asyncgroups.toml"
    file.write_text(text, encoding="utf-8")
    return file


class Output(NamedTuple):
    status: int
    lines: list[str]
    stderr: str

    def rows(self) -> list[dict[str, str]]:
        """The table's rows, cut where its header says."""
        at, header = next((at, line) for at, line in enumerate(self.lines) if line.startswith("application "))
        names = re.split(" {2,}", header)
        starts = [header.index(f"{name}  ") if name != names[-1] else header.index(name) for name in names]
        ends = [*starts[1:], None]
        cells = [
            [line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in self.lines[at + 1 :]
        ]
        return [dict(zip(names, row, strict=True)) for row in cells]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    file = site(tmp_path_factory.mktemp("site"), MOUNTS)
    process = begin("check", str(file), "--load", IS_SET="from the environment", MAIN="yes")
    status, stdout, stderr = ended(process)
    return Output(status, stdout.splitlines(), stderr)


def test_the_table(output: Output) -> None:
    """One row for each application in each group, GLOBAL's last, with what became of it; status 3 if one failed."""
    rows = output.rows()
    told = [
        (
            row["application"],
            row["application group"].strip("'"),
            *(row[name] for name in ("isolation", "loads", "refused modules", "why")),
        )
        for row in rows
    ]
    assert told == [(f"{name}:application", *rest) for name, *rest in EXPECTED]
    assert output.status == 3
    assert output.lines[0].endswith("no errors; 26 mounts, 0 virtual hosts, 21 application groups")


def test_the_table_is_aligned_and_not_too_wide(output: Output) -> None:
    """Each row has its cells below their headers, in 140 columns; only what says why may be longer."""
    assert len(output.lines[1]) <= 140
    for row in output.rows():
        assert re.fullmatch(r"\d+\.\d\d", row["seconds"]), row
        assert re.fullmatch(r"-?\d+\.\d", row["megabytes"]), row


def test_memory_and_time_belong_to_the_application_that_took_them(output: Output) -> None:
    """An application is charged with what it takes, also in the place that another has left, and with no more."""
    rows = output.rows()
    megabytes = {row["application group"]: float(row["megabytes"]) for row in rows}
    seconds = {row["application"]: float(row["seconds"]) for row in rows}
    small = [megabytes["small"], megabytes["small again"]]
    assert max(small) < 12
    frameworks = [megabytes[name] for name in ("first", "second", "third")]
    # On 3.15 they are up to 4 MB apart; without malloc_trim a later one is up to 6.6 MB cheaper.
    assert max(frameworks) - min(frameworks) < 4.3
    assert 31 < megabytes["hog"] < 31 + 15
    assert 31 < megabytes["hog again"] < 31 + 15
    assert 2 <= seconds["sleeps:application"] < 10
    assert seconds["hog:application"] < 3


def test_what_applications_say_is_on_stderr_only(output: Output) -> None:
    """Python's, C's and a child's output, tracebacks, refusals, and what is said at the orderly end of a group."""
    for said in (
        "[printing #1] from Python",
        "from C",
        "from a child",
        "from the main interpreter",
        "[printing] the end of prints",
        "[raising #1] before",
        "'raises:application' does not load: importing 'raises' failed\n  Traceback (most recent call last):",
        "RuntimeError: a reason",
        "[sleeping] 'sleeps:application' does not load: it did not load within 2 s (timeouts.startup)",
        "[refusing] 'refusing_swallowed:application': the extension module readline refuses",
    ):
        assert said in output.stderr
    assert len(output.lines) == 2 + len(EXPECTED)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_load(example: str) -> None:
    """Every application that an example names loads in its group, and the whole takes few seconds."""
    status, stdout, stderr = ended(begin("check", f"examples/{example}/asyncgroups.toml", "--load"))
    output = Output(status, stdout.splitlines(), stderr)
    assert (status, {row["loads"] for row in output.rows()} - {"yes"}) == (0, set()), stderr
    assert "ERROR" not in stderr


STUCK = {
    "in a group": ("stuck", "import time\nprint('it begins')\ntime.sleep(60)"),
    "in a loop": (
        "stuck",
        "import atexit\natexit.register(print, 'it ends')\nprint('it begins')\nwhile True:\n    pass",
    ),
    "in the main interpreter": ("%{GLOBAL}", "import time\nprint('it begins', flush=True)\ntime.sleep(60)"),
    "with the main interpreter's GIL": (
        "%{GLOBAL}",
        "import ctypes\nprint('it begins', flush=True)\nctypes.PyDLL(None).sleep(60)",
    ),
}


@pytest.mark.parametrize("where", STUCK)
def test_ctrl_c(where: str, tmp_path: Path) -> None:
    """Status 130, soon, without a traceback of ours, whatever an application does meanwhile."""
    group, source = STUCK[where]
    (tmp_path / "stuck.py").write_text(source)
    file = site(tmp_path, [("stuck", group)], "[timeouts]\ninterrupt = 0.5\n")
    log = tmp_path / "log"
    process = begin("check", str(file), "--load", stderr=log)
    until(lambda: "it begins" in log.read_text())
    process.send_signal(signal.SIGINT)
    status, stdout, _ = ended(process, 25)
    assert status == 130
    assert len(stdout.splitlines()) == 2
    assert "KeyboardInterrupt" not in log.read_text()
    assert "Traceback" not in log.read_text()
    if where == "in a loop":  # which can be interrupted
        assert "[stuck] it ends" in log.read_text()


def test_what_keeps_the_gil_of_the_main_interpreter(tmp_path: Path) -> None:
    """The rows before it stand, the last words are on stderr, and the status is 3: it cannot hang the command."""
    _, source = STUCK["with the main interpreter's GIL"]
    (tmp_path / "stuck.py").write_text(source)
    file = site(tmp_path, [("stuck", "%{GLOBAL}"), ("small", "small")], "[timeouts]\nstartup = 1\ninterrupt = 0.5\n")
    status, stdout, stderr = ended(begin("check", str(file), "--load"), 25)
    assert status == 3
    assert [line.split()[0] for line in stdout.splitlines()[2:]] == ["small:application"]
    assert stderr.endswith(
        "asyncgroups: 'stuck:application' does not load within 1 s (timeouts.startup) and keeps the main "
        "interpreter's GIL: this is the end of the process\n"
    )


def test_who_waits_for_one_that_is_stuck_is_not_charged(tmp_path: Path) -> None:
    """An application beside one that does not come back loads, whatever the limits of the queue for requests are."""
    (tmp_path / "stuck.py").write_text(
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n"
    )
    text = "[timeouts]\nstartup = 0.5\nqueue = 0.1\ninterrupt = 1.5\n[limits]\nbacklog = 0\n"
    file = site(tmp_path, [("stuck", "shop"), ("small", "shop")], text)
    status, stdout, _ = ended(begin("check", str(file), "--load"), 20)
    assert status == 3
    rows = [line.split() for line in stdout.splitlines()[2:]]
    assert rows[0][:5] == ["stuck:application", "shop", "interpreter", "no:", "timeout"]
    assert rows[1][:4] == ["small:application", "shop", "interpreter", "yes"]
    assert float(rows[1][4]) < 0.5


def test_ctrl_c_while_an_interpreter_ends(tmp_path: Path) -> None:
    """Its atexit functions run to their end, within ``timeouts.interrupt``."""
    (tmp_path / "ends.py").write_text(
        "import atexit, time\n\n@atexit.register\ndef leave():\n    print('it ends', flush=True)\n"
        f"    time.sleep(0.5)\n    print('it has ended', flush=True)\n{CALLABLE}"
    )
    file = site(tmp_path, [("ends", "shop")], "")
    log = tmp_path / "log"
    process = begin("check", str(file), "--load", stderr=log)
    until(lambda: "it ends" in log.read_text())
    process.send_signal(signal.SIGINT)
    status, _, _ = ended(process, 25)
    assert status == 130
    assert "it has ended" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_atexit_function_in_the_main_interpreter_that_does_not_return(tmp_path: Path) -> None:
    """The command ends all the same, with the status that it has come to."""
    (tmp_path / "stuck.py").write_text(f"import atexit, time\natexit.register(time.sleep, 60)\n{CALLABLE}")
    file = site(tmp_path, [("stuck", "%{GLOBAL}")], "[timeouts]\ninterrupt = 0.5\n")
    status, stdout, stderr = ended(begin("check", str(file), "--load"), 25)
    assert (status, stdout.split()[-4]) == (0, "yes")
    assert stderr == "asyncgroups: an atexit function in %{GLOBAL} does not return\n"


ENDS = {
    "os._exit(0)": ("ends", "import os\nos._exit(0)", "exit status 0"),
    "os._exit(3)": ("ends", "import os\nos._exit(3)", "exit status 3"),
    "os._exit(0) in the main interpreter": ("%{GLOBAL}", "import os\nos._exit(0)", "exit status 0"),
    "a crash": ("ends", "import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "SIGTERM": ("ends", "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)", "SIGTERM"),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_application_that_ends_the_process(how: str, tmp_path: Path) -> None:
    """Status 3, and a sentence that names it and the way it went; the rows before it stand."""
    group, source, way = ENDS[how]
    (tmp_path / "ends.py").write_text(source)
    file = site(tmp_path, [("small", "first"), ("ends", group)], "")
    status, stdout, stderr = ended(begin("check", str(file), "--load"))
    assert (status, [line.split()[:4] for line in stdout.splitlines()[2:]]) == (
        3,
        [["small:application", "first", "interpreter", "yes"]],
    )
    said = (
        f"asyncgroups: the process has ended ({way}) while 'ends:application' was loading in application group {group}"
    )
    assert stderr == f"{said}\n"


def test_an_atexit_function_in_the_main_interpreter_that_ends_the_process(tmp_path: Path) -> None:
    """Another status than the one that loading has come to is no success."""
    (tmp_path / "ends.py").write_text(f"import atexit, os\natexit.register(os._exit, 7)\n{CALLABLE}")
    status, stdout, stderr = ended(begin("check", str(site(tmp_path, [("ends", "%{GLOBAL}")], "")), "--load"))
    assert (status, stdout.split()[-4]) == (3, "yes")
    assert (
        stderr
        == "asyncgroups: the process has ended (exit status 7) while atexit functions in %{GLOBAL} were running\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_orphan_is_left(number: int, tmp_path: Path) -> None:
    """The process that loads ends with the one that waits for it."""
    (tmp_path / "stuck.py").write_text("import os, time\nprint('it begins', os.getpid(), flush=True)\ntime.sleep(60)")
    log = tmp_path / "log"
    process = begin("check", str(site(tmp_path, [("stuck", "stuck")], "")), "--load", stderr=log)
    until(lambda: re.search(r"it begins \d+\n", log.read_text()))
    loading = int(log.read_text().split("it begins ")[1].split()[0])
    assert loading != process.pid
    process.send_signal(number)
    status, _, _ = ended(process, 25)  # stdout has ended as well
    assert status == -number
    until(lambda: not psutil.pid_exists(loading) or psutil.Process(loading).status() == psutil.STATUS_ZOMBIE, 5)


def test_ctrl_c_at_a_terminal(tmp_path: Path) -> None:
    """It comes to both processes, and still counts as one: the interpreter has its orderly end."""
    (tmp_path / "stuck.py").write_text(STUCK["in a loop"][1])
    file, log = site(tmp_path, [("stuck", "stuck")], "[timeouts]\ninterrupt = 5\n"), tmp_path / "log"
    source = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(APPS)])}
    arguments = ["-m", "asyncgroups", "check", str(file), "--load"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", source, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            env=environ,
            cwd=ROOT,
        )
    assert process.stdin is not None
    until(lambda: "it begins" in log.read_text())
    process.stdin.write(b"\x03")
    process.stdin.flush()
    assert process.wait(10) == 130
    process.stdin.close()
    assert "[stuck] it ends" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_whoever_reads_the_table_may_leave(tmp_path: Path) -> None:
    """A closed pipe ends the command, without a traceback."""
    os.mkfifo(tmp_path / "until")
    (tmp_path / "waits.py").write_text(f"open({str(tmp_path / 'until')!r}).read(){CALLABLE}")
    process = begin("check", str(site(tmp_path, [("waits", "waiting")], "")), "--load")
    assert process.stdout is not None
    assert process.stdout.readline()
    assert process.stdout.readline().startswith("application")
    process.stdout.close()
    process.stdout = None
    (tmp_path / "until").write_text("now")
    status, _, stderr = ended(process)
    assert (status, stderr) == (1, "")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(redirection: str, tmp_path: Path) -> None:
    """A command whose stdout or stderr is closed says there what it has to say to nobody, and does its work."""
    file = site(tmp_path, [("small", "%{GLOBAL}"), ("raises", "raising"), ("prints", "printing")], "")
    arguments = [sys.executable, "-m", "asyncgroups", "check", "--load", str(file)]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert ("raising" in done.stdout) is (" >&-" not in f" {redirection}")
    assert ("a reason" in done.stderr) is ("2>&-" not in redirection)
    assert "asyncgroups/cli" not in done.stderr
