"""The benchmarks measure what they say: figures, ratios, the paced client, the shape of the results, the pictures."""

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import load, machine, pictures, processes, report
from tests.benchmarks.__main__ import ROWS
from tests.benchmarks.report import Row, percentile
from tests.serving import ROOT


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5], 99, 5),
        ([1, 2, 3, 4], 0, 1),
        ([4, 3, 2, 1], 50, 2),
        ([1, 2, 3, 4], 75, 3),
        ([1, 2, 3, 4], 75.1, 4),
        (range(1, 101), 99, 99),
        (range(1, 1001), 99.9, 999),
        (range(1, 101), 100, 100),
    ],
)
def test_percentile(values: Any, percent: float, expected: float) -> None:
    """A percentile is a value that was measured, the lowest that so many do not exceed."""
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.00012, "1.2e-04"), (0.0123, "0.0123"), (0.65, "0.650"), (42.42, "42.4"), (12345.6, "12,346")],
)
def test_number(value: float, expected: str) -> None:
    """Figures have three digits, or all of those before the point."""
    assert report.number(value) == expected


def row_of(**figures: list[float]) -> Row:
    row = Row(number=4, title="a title")
    for name, values in figures.items():
        for value in values:
            row.add(name, value, unit="ms")
    return row


@pytest.mark.parametrize(("asked", "met"), [({"at_least": 0.5}, True), ({"at_least": 0.51}, False), ({}, None)])
def test_ratio(asked: dict[str, float], met: bool | None) -> None:
    """A ratio is taken round by round: a machine that is three times slower in one round does not make it."""
    row = row_of(ours=[50, 50 / 3, 60], theirs=[100, 100 / 3, 100])
    row.ratio("ours to theirs", of=("", "ours"), to=("", "theirs"), **asked)
    (verdict,) = row.verdicts
    assert verdict.values == pytest.approx((0.5, 0.5, 0.6))
    assert verdict.value == pytest.approx(0.5)
    assert verdict.met is met


def test_the_worst_round_counts() -> None:
    """What is asked of every answer is held against the worst round, not against the median."""
    row = row_of(slowest=[10, 20, 51])
    row.judge("slowest", of=("", "slowest"), at_most=50)
    assert (row.verdicts[0].value, row.verdicts[0].met, row.verdicts[0].asked) == (51, False, "at most 50 ms")


def test_what_was_not_measured_is_said() -> None:
    """A contestant that failed in one round has no figure and no ratio; the row says so."""
    row = row_of(ours=[1, 2], theirs=[1])
    row.leave_out("theirs", "it broke")
    row.ratio("ours to theirs", of=("", "ours"), to=("", "theirs"))
    assert row.verdicts == []
    assert "theirs: it broke" in report.text(row)
    assert "ours to theirs: not measured" in report.text(row)


@pytest.fixture
def measured() -> list[Row]:
    """Rows as a run makes them."""
    first, third, fourth = Row(number=1, title="one"), Row(number=3, title="three"), row_of(alone=[1, 2])
    for name, under in (("bare ASGI", "hypercorn"), ("asyncgroups, 4 threads", "hypercorn"), ("waitress", "")):
        for value in (1000, 2000, 1500):
            first.add(name, value, unit="requests/s", under=under)
    first.ratio("to bare", of=("hypercorn", "asyncgroups, 4 threads"), to=("hypercorn", "bare ASGI"), at_least=1.1)
    for name in ("one group", "two groups"):
        third.add(name, 100, unit="requests/s")
    third.ratio("two groups to one", of=("", "two groups"), to=("", "one group"))
    fourth.latencies["groups of their own, alone"] = [float(one) for one in range(1, 101)]
    fourth.marks["a | claim"] = {"asyncgroups": "right", "another": "it broke"}
    tenth = Row(number=10, title="ten")
    for under in ("bare ASGI, hypercorn", "1 thread, hypercorn"):
        tenth.add("CPU, front end", 12, unit="µs", under=under)
    tenth.add("wake-ups, worker", 1, unit="", under="1 thread, hypercorn")
    return [first, third, fourth, tenth]


def test_results(measured: list[Row]) -> None:
    """The JSON document has its version, each round's value, targets and curves; nothing of it names the machine."""
    facts = machine.facts(sys.executable)
    found = json.loads(json.dumps(report.document(measured, machine=facts, options={"quick": True})))
    assert found["format"] == 1
    assert [row["row"] for row in found["rows"]] == [1, 3, 4, 10]
    figure = found["rows"][0]["figures"][0]
    assert figure["values"] == [1000, 2000, 1500]
    assert (figure["median"], figure["low"], figure["high"]) == (1500, 1000, 2000)
    verdict = found["rows"][0]["verdicts"][0]
    assert (verdict["value"], verdict["at_least"], verdict["at_most"], verdict["met"]) == (1, 1.1, None, False)
    curve = found["rows"][2]["latencies"]["groups of their own, alone"]
    assert curve["answers"] == 100
    assert dict(curve["percentiles"])[99] == 99
    assert facts["packages"]["hypercorn"]
    said = [facts, *facts["tools"].items(), *facts["packages"].items()]
    assert not [one for one in said if socket.gethostname() in (one.values() if isinstance(one, dict) else one)]
    assert not [path for path in (str(ROOT), str(Path.home()), sys.prefix) if f"{path}/" in json.dumps(facts)]


def test_markdown(measured: list[Row]) -> None:
    """Each table for the README has as many cells in every line."""
    for table in report.markdown(measured).split("\n\n"):
        cells = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(cells) == 1, table


def test_pictures(measured: list[Row], tmp_path: Path) -> None:
    """The same figures give the same SVG, byte for byte, without a date or the name of a machine."""
    drawn = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        drawn.append([path.read_bytes() for path in pictures.draw(measured, tmp_path / name)])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3
    assert all(picture.startswith(b"<?xml") and b"<dc:date>" not in picture for picture in drawn[0])


# The paced client -----------------------------------------------------------------------------------------------------

STALL = 0.3


class Stalling(socketserver.ThreadingTCPServer):
    """Answers HTTP at once, but that it stands still for ``STALL`` seconds at one of the requests."""

    request_queue_size = 64

    def __init__(self, *, at: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.port = self.server_address[1]
        self.at = at
        self.count = 0
        self.turn = threading.Lock()
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Answers(socketserver.BaseRequestHandler):
    server: Stalling

    def handle(self) -> None:
        while self.request.recv(65536):
            with self.server.turn:  # which all others wait for
                self.server.count += 1
                if self.server.count == self.server.at:
                    time.sleep(STALL)
            self.request.sendall(self.server.answer)


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    with Stalling(at=20) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("connections", [1, 8])
def test_a_stall_is_seen_by_all_that_it_kept_waiting(stalling: Stalling, connections: int) -> None:
    """Requests whose time came during a stall have waited, whether or not a connection was free to send them."""
    latencies = load.paced(stalling, "/", per_second=100, seconds=0.8, connections=connections)
    assert len(latencies) == 80
    assert max(latencies) >= STALL * 1000
    waited = [one for one in latencies if one > STALL * 1000 / 3]
    assert len(waited) >= 15  # at 100 a second 20 were due in the first two thirds of it; the closed loop sees one
    assert min(latencies) >= 0
    assert percentile(latencies, 10) < STALL * 1000 / 3


def test_a_wrong_answer_is_no_figure(stalling: Stalling) -> None:
    """A server that answers anything but 200 makes no latencies."""
    stalling.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(load.LoadFailed, match="500"):
        load.paced(stalling, "/", per_second=100, seconds=0.1, connections=1)


@pytest.mark.parametrize("bounds", [{"per_second": 1e6, "seconds": 10}, {"per_second": 1, "seconds": 0}])
def test_the_paced_load_is_bounded(bounds: dict[str, float]) -> None:
    """No paced measurement sends more than a hundred thousand requests."""
    with pytest.raises(ValueError, match="bounded"):
        load.paced(SimpleNamespace(port=1), "/", **bounds)  # type: ignore[arg-type]


# What the kernel and the tools say ------------------------------------------------------------------------------------


def test_spent() -> None:
    """CPU time and wake-ups of a process: one that sleeps ten times has gone to sleep ten times, and spent little."""
    source = "import time\nfor _ in range(10): time.sleep(0.001)\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        main, others = processes.spent(SimpleNamespace(process=process))  # type: ignore[arg-type]
        process.kill()
    assert main.waits >= 10
    assert 0.001 < main.seconds < 10
    assert (others.seconds, others.waits) == (0, 0)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--row", "1"], 2, load.NO_WRK),
        (["--row", "13"], 2, "invalid choice"),
        (["--rounds", "2"], 2, "--rounds: at least 3"),
        (["--rounds", "0", "--row", "9"], 2, "--rounds: at least 3"),
        (["--rounds", "0", "--row", "9", "--quick"], 2, "--rounds: at least 1"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(options: list[str], status: int, said: str) -> None:
    """What is missing or wrong is said, without a traceback, before anything is measured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *options],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert said in done.stderr


def test_every_row_says_what_it_compares() -> None:
    """Each row of the issues is there, and its docstring says how it is measured."""
    assert list(ROWS) == list(range(1, 13))
    assert all(len((row.__doc__ or "").split()) > 15 for row in ROWS.values())
