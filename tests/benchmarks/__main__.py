"""`nox -s bench`: every comparison in one run on one machine, in turn A B A B.

    nox -s bench                       all rows, at least three rounds; writes results.json and the pictures beside this
    nox -s bench -- --quick            fewer contestants, two short rounds; under two minutes; writes nothing
    nox -s bench -- --row 3 --row 4    single rows; writes nothing
    nox -s bench -- --output FOLDER    results.json and the pictures go there, of whatever is measured

Prints a table for each row, and at the end the tables of the README. A missed target is said and fails nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import load, pictures, report
from tests.benchmarks.machine import BUSY, describe, facts
from tests.benchmarks.report import Row
from tests.benchmarks.rows import bridges, cost, latency, memory, throughput
from tests.benchmarks.servers import Run

HERE = Path(__file__).resolve().parent

ROWS: dict[int, Callable[[Run], Row]] = {
    1: throughput.tiny,
    2: throughput.hop,
    3: throughput.scaling,
    4: latency.neighbours,
    5: latency.importing,
    6: memory.bodies,
    7: latency.first_request,
    8: memory.further_groups,
    9: throughput.choosing,
    10: cost.cost,
    11: bridges.wrongs,
    12: throughput.daemon,
}

NEED_WRK = {1, 3, 4, 10, 12}


def main() -> int:
    options = arguments()
    chosen = options.row or list(ROWS)
    if NEED_WRK & set(chosen) and not load.has_wrk():
        print(load.NO_WRK, file=sys.stderr)
        return 2
    machine = facts(options.peers)
    say(machine)
    rows, failed, begun = [], False, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            quick=options.quick,
            rounds=options.rounds,
            peers=options.peers,
            folder=Path(folder),
            seconds=1 if options.quick else 2,
        )
        for number in chosen:
            start = time.monotonic()
            try:
                row = ROWS[number](run)
            except Exception as error:  # the other rows are worth having all the same
                failed = True
                print(f"{number}. not measured: {type(error).__name__}: {error}\n", file=sys.stderr, flush=True)
                continue
            row.seconds = time.monotonic() - start
            rows.append(row)
            print(report.text(row), end="\n\n", flush=True)
    print(f"For the README:\n\n{describe(machine)}\n\n{report.markdown(rows)}\n")
    print(f"{time.monotonic() - begun:.0f} s in all")
    complete = not (options.quick or options.row or failed)
    output = options.output or (HERE if complete else None)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        settings = {"quick": options.quick, "rounds": options.rounds, "seconds": run.seconds}
        report.write(output, report.document(rows, machine=machine, options=settings))
        pictures.draw(rows, output)
        print(f"written to {output}")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description="Measures asyncgroups against its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer contestants, two short rounds; under two minutes")
    parser.add_argument("--row", type=int, action="append", choices=list(ROWS), help="this row only; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison; default: 3, with --quick 2")
    parser.add_argument("--output", type=Path, help="where results.json and the pictures go, of whatever is measured")
    parser.add_argument("--peers", default=sys.executable, help="the Python that has the peers installed")
    options = parser.parse_args()
    options.peers = os.path.abspath(options.peers)  # not resolved: a link into an environment is that environment
    least = 1 if options.quick else 3
    if options.rounds is None:
        options.rounds = 2 if options.quick else 3
    if options.rounds < least:
        parser.error(f"--rounds: at least {least}")
    return options


def say(machine: dict[str, Any]) -> None:
    """What is measured with, before anything is, and what speaks against the figures."""
    print(describe(machine))
    missing = [name for name, version in machine["tools"].items() if version == "not installed"]
    if missing:
        print(f"not installed: {', '.join(missing)}")
    if machine["load_before"] > BUSY:
        print(
            f"NOTE: others use this machine, its load average is {machine['load_before']}: the figures are theirs, too"
        )
    for name, version in machine["packages"].items():
        if machine["peers"].get(name, version) != version:
            print(f"NOTE: the peers have {name} {machine['peers'][name]} and not {version}: remove .nox/peers")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
