"""Is never loaded. It leaves others the CPU."""

import time

while True:
    time.sleep(0.002)
