"""Leaves a mark when its interpreter ends."""

import atexit

import regress_apps

application = regress_apps.well
atexit.register(regress_apps.mark, "atexit")
