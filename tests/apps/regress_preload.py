"""Takes long to be imported."""

import time

import regress_apps

regress_apps.mark("importing")
for _ in range(3000):
    time.sleep(0.01)

application = regress_apps.well
