"""ASGI applications with a group in them: bare, mounted where nobody forwards lifespan, and tied to the host's own."""

import contextlib
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount as Route

from asyncgroups import ApplicationGroups

bare = ApplicationGroups.single(
    "embed_who:application",
    application_group="shop",
    app_dir=Path(__file__).parent,
    process_env={"EMBED_MARKS": os.environ["EMBED_MARKS"]},
)
mounted = Starlette(routes=[Route("/old", bare)])


@contextlib.asynccontextmanager
async def lifespan(_):
    async with bare.running():
        yield


tied = Starlette(routes=[Route("/old", bare)], lifespan=lifespan)
