"""FastAPI with asyncgroups mounted in it, below its own routes as well; configured in Python, tied to its lifespan."""

import contextlib
import os
import tomllib
from pathlib import Path

from fastapi import FastAPI

from asyncgroups import ApplicationGroups, Mount

table = tomllib.loads(Path(os.environ["ASYNCGROUPS_CONFIG"]).read_text())
groups = ApplicationGroups(
    app_dir=table["app_dir"],
    global_threads=table["global"]["threads"],
    timeouts=table["timeouts"],
    mounts=[Mount(one.pop("path"), one.pop("app"), **one) for one in table["mount"]],
)


@contextlib.asynccontextmanager
async def lifespan(_):
    async with groups.running():
        yield


application = FastAPI(lifespan=lifespan, root_path=os.environ.get("HOSTS_ROOT_PATH", ""))


@application.get("/of/fastapi")
async def of_fastapi():
    return "of FastAPI"


application.mount("/outer", groups)
application.mount("/", groups)
