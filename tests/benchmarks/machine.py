"""The machine that measures, and the versions of everything; no names of hosts, no paths."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any

__all__ = ["BUSY", "describe", "facts", "versions"]

BUSY = 0.5
"""Load average of a minute above which others use the machine, and figures are theirs as well."""

PACKAGES = (
    *["a2wsgi", "anyio", "asgiref", "asyncgroups", "flask", "granian", "gunicorn", "h11", "httptools", "hypercorn"],
    *["starlette", "uvicorn", "uvloop", "waitress"],
)


def facts(peers: str) -> dict[str, Any]:
    """The machine and the versions of everything, without names of hosts and folders. ``peers`` is their Python."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        processor = re.search(r"model name\s*: (.*)", lines.read())
    with open("/proc/meminfo", encoding="utf-8") as lines:
        memory = re.search(r"MemTotal:\s*(\d+) kB", lines.read())
    kernel = re.match(r"[\d.]*\d", platform.release())
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {kernel[0] if kernel else ''}".strip(),
        "architecture": platform.machine(),
        "processor": processor[1] if processor else "unknown",
        "cores": os.process_cpu_count(),
        "memory": f"{round(int(memory[1]) / 1024**2)} GiB" if memory else "unknown",
        "load_before": round(os.getloadavg()[0], 2),
        "tools": {
            "wrk": _says("wrk", "-v", pattern=r"wrk (?:debian/)?([\w.]+)"),
            "perf": _says("perf", "--version", pattern=r"version ([\w.]+)"),
            "strace": _says("strace", "-V", pattern=r"version ([\w.]+)"),
            "apache2": _says("apache2", "-v", pattern=r"Apache/([\w.]+)"),
        },
        "packages": versions(sys.executable),
        "peers": versions(peers),
    }


def describe(machine: dict[str, Any]) -> str:
    """What was measured with, as a paragraph."""
    tools = {name: version for name, version in machine["tools"].items() if version != "not installed"}
    packages = {**machine["peers"], **machine["packages"]}
    return (
        f"Python {machine['python']} on {machine['cores']} cores of {machine['processor']}, {machine['memory']}, "
        f"{machine['system']} {machine['architecture']}; "
        + ", ".join(f"{name} {version}" for name, version in sorted({**packages, **tools}.items()))
    )


def versions(python: str) -> dict[str, str]:
    """Name -> version of what is installed for ``python`` of all that takes part."""
    source = (
        "import importlib.metadata as metadata, json, sys\n"
        "print(json.dumps({one.metadata['Name'].lower(): one.version for one in metadata.distributions()\n"
        f"    if one.metadata['Name'].lower() in {PACKAGES!r}}}))"
    )
    said = subprocess.run([python, "-c", source], capture_output=True, text=True, check=True, timeout=60, cwd="/")
    return dict(sorted(json.loads(said.stdout).items()))


def _says(tool: str, *arguments: str, pattern: str) -> str:
    where = shutil.which(tool, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if where is None:
        return "not installed"
    said = subprocess.run([where, *arguments], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"
