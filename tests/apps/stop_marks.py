"""Leaves a mark in the folder that the environment names: for what has begun, and for what atexit has run."""

import atexit
import os
from concurrent import interpreters
from pathlib import Path


def leave(name):
    (Path(os.environ["STOP_MARKS"]) / name).touch()


atexit.register(leave, f"atexit-{interpreters.get_current().id}")
