"""The environment of a group, in a process of its own; see also ``tests/serve/test_isolation.py``."""

import subprocess
import sys

SPAWN = """
import os
from asyncgroups.worker.environment import isolate

isolate([(b"PATH", os.environb[b"PATH"])])

class Busy(bytes):
    def __add__(self, other):
        os.environ["SET_MEANWHILE"] = "1"
        return bytes(self) + other

os.environb[Busy(b"BUSY")] = b"of the group"
import subprocess
print(subprocess.check_output(["sh", "-c", "echo $BUSY"], text=True), end="")
assert os.environ["SET_MEANWHILE"]
"""


def test_a_variable_that_is_set_while_a_child_is_started() -> None:
    """As another thread may do: the child is started, with what there was before."""
    ran = subprocess.run([sys.executable, "-c", SPAWN], capture_output=True, text=True, timeout=20, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("of the group\n", "", 0)
