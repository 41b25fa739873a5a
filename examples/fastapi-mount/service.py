# An old WSGI application, a Flask one, mounted in a FastAPI application: one process, two interpreters.
#
#   pip install fastapi flask uvicorn
#   uvicorn --app-dir examples/fastapi-mount service:app
#
#   http://127.0.0.1:8000/           FastAPI's own: the main interpreter, in which Flask is not imported
#   http://127.0.0.1:8000/docs       FastAPI's documentation: what is mounted is no part of it
#   http://127.0.0.1:8000/old/       the Flask application: its links and redirects stay below /old
#   http://127.0.0.1:8000/old/where  where it runs: in the group "old", in which FastAPI is not imported

import contextlib
import sys
from collections.abc import AsyncIterator
from concurrent import interpreters
from pathlib import Path

from fastapi import FastAPI

from asyncgroups import ApplicationGroups

__all__ = ["app"]

old = ApplicationGroups.single("guestbook:app", application_group="old", threads=2, app_dir=Path(__file__).parent)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Ties the old application to this one: whoever mounts an application has to forward its start and its stop."""
    async with old.running():
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def index() -> dict[str, object]:
    """Shows where FastAPI runs."""
    return {
        "interpreter": interpreters.get_current().id,
        "imported": [framework for framework in ("fastapi", "flask") if framework in sys.modules],
    }


app.mount("/old", old)
