"""What the kernel knows of a running server: CPU time, wake-ups and system calls of its threads, memory of its tree."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.serving import Server, until

__all__ = ["Spent", "proportional", "spent", "system_calls"]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What threads have used since they began: seconds on a CPU, and how often they went to sleep."""

    seconds: float = 0.0
    waits: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(seconds=self.seconds + other.seconds, waits=self.waits + other.waits)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(seconds=self.seconds - other.seconds, waits=self.waits - other.waits)


def spent(server: Server) -> tuple[Spent, Spent]:
    """Of the main thread, which is the front end, and of all other threads together.

    Of the whole process tree: hypercorn's own command serves in a child.
    """
    main, others = Spent(), Spent()
    for process in _tree(server):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                # Nanoseconds; the ticks of stat are hundredths of a second.
                seconds = int((thread / "schedstat").read_text().split()[0]) / 1e9
                waits = re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text())
                one = Spent(seconds=seconds, waits=int(waits[1]) if waits else 0)
                if int(thread.name) == process:
                    main += one
                else:
                    others += one
    return main, others


def _tree(server: Server) -> list[int]:
    process = psutil.Process(server.process.pid)
    return [one.pid for one in [process, *process.children(recursive=True)]]


def proportional(server: Server) -> float:
    """MiB of the process tree, pages that processes share divided among them (PSS), once it has come to rest.

    Workers may still be at their imports when another one answers.
    """
    last = _proportional(server)
    for _ in range(40):
        time.sleep(0.25)  # what does not change in that time is at rest
        now = _proportional(server)
        if abs(now - last) < 0.1:
            break
        last = now
    return last


def _proportional(server: Server) -> float:
    return float(sum(psutil.Process(one).memory_full_info().pss for one in _tree(server))) / 1024**2


@contextlib.contextmanager
def system_calls(server: Server) -> Iterator[Callable[[], dict[str, int]]]:
    """Counts the block's system calls.

    What is yielded gives the counts after the block: by perf, which slows nothing, of "front end" (main threads) and
    "worker" (the others); by strace, where perf is not installed or not allowed, of "all threads"; else none.
    """
    processes = _tree(server)
    counters = ("perf", "stat", "-e", "raw_syscalls:sys_enter", "--per-thread", "-x,")
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        both = ",".join(str(one) for one in processes)
        each = [part for one in processes for part in ("-p", str(one))]
        for command, read in (
            ([*counters, "-o", str(said), "-p", both], _perf),
            (["strace", "-c", "-f", "-o", str(said), *each], _strace),
        ):
            if not shutil.which(command[0]):
                continue
            with Path(folder, "errors").open("wb") as errors:
                tool = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            try:
                with contextlib.suppress(AssertionError):
                    until(lambda tool=tool: tool.poll() is not None or _attached(tool, processes), 1.0)  # type: ignore[misc]
                if tool.poll() is not None:
                    continue  # not allowed here
                result: dict[str, int] = {}
                yield lambda result=result: result  # type: ignore[misc]
                tool.send_signal(signal.SIGINT)
                tool.wait(30)
                if said.exists():
                    result |= read(said.read_text(), processes)
                return
            finally:
                tool.kill()
                tool.wait()
        yield dict


def _attached(tool: subprocess.Popen[bytes], processes: list[int]) -> bool:
    """Whether the tool watches: strace is the tracer of each process; perf has opened a counter for each thread."""
    traced = [Path(f"/proc/{process}/status").read_text() for process in processes]
    if all(re.search(rf"TracerPid:\s+{tool.pid}\n", status) for status in traced):
        return True
    threads = sum(len(os.listdir(f"/proc/{process}/task")) for process in processes)
    with contextlib.suppress(OSError):
        links = [os.readlink(one) for one in Path(f"/proc/{tool.pid}/fd").iterdir()]
        return sum("perf_event" in one for one in links) >= threads
    return False


def _perf(said: str, processes: list[int]) -> dict[str, int]:
    found = {"front end": 0, "worker": 0}
    for thread, count in re.findall(r"^.*-(\d+),(\d+),,raw_syscalls:sys_enter", said, re.MULTILINE):
        found["front end" if int(thread) in processes else "worker"] += int(count)
    return found


def _strace(said: str, _: list[int]) -> dict[str, int]:
    found = re.search(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total", said, re.MULTILINE)
    return {"all threads": int(found[1])} if found else {}
