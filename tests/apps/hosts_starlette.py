"""Starlette with asyncgroups mounted in it, at two paths; nobody forwards lifespan."""

import os

from starlette.applications import Starlette
from starlette.routing import Mount

from asyncgroups import ApplicationGroups

groups = ApplicationGroups.from_file(os.environ["ASYNCGROUPS_CONFIG"])
application = Starlette(routes=[Mount("/outer", app=groups), Mount("/tenants/{tenant}", app=groups)])
