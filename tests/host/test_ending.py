"""The end of a process, in processes of their own."""

import subprocess
import sys

TWICE = """
import atexit, threading
from asyncgroups.host.ending import end

def slow():
    print("begun")
    other = threading.Thread(target=end, args=(1,), daemon=True)
    other.start()
    other.join(0.1)  # it would have come here as well by then, and ended the process
    print("ended")

atexit.register(slow)
end(0)
"""


def test_two_that_end_the_process() -> None:
    """The second one does not cut short the atexit functions that run for the first, nor has them run again."""
    ended = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("begun\nended\n", "", 0)
