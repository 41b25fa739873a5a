"""Takes its time to be imported: until the file that ``GATE`` names is there."""

import os
import time
from pathlib import Path

gate = Path(os.environ["GATE"])
Path(f"{gate}.reached").touch()
deadline = time.monotonic() + 20
while not gate.exists() and time.monotonic() < deadline:
    time.sleep(0.002)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"loaded"]
