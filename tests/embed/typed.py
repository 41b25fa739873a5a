"""The public names as a program uses them: nobody runs this, the type checkers read it.

Each ``type: ignore`` marks what a type checker has to refuse; one that is not needed is an error.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import assert_type
from wsgiref.types import StartResponse, WSGIEnvironment

from asgiref.typing import ASGI3Application
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount as Route

from asyncgroups import ApplicationGroups, ConfigurationError, Mount, StartFailed, VirtualHost


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A WSGI application."""
    start_response("200 OK", [])
    return [str(environ).encode()]


groups = ApplicationGroups(
    mounts=[
        Mount("/shop", "shop.wsgi:application", application_group="shop", isolation="process", threads=4, preload=True),
        Mount("/old", Flask("old"), application_group="%{GLOBAL}"),
        Mount("/older", wsgi, application_group="%{GLOBAL}", env={"SITE": "old"}),
    ],
    virtual_hosts=[
        VirtualHost(
            "blog.example.com:8080",
            server_alias=["*.blog.example.com"],
            application_group="%{SERVER}",
            mounts=[Mount("/", "blog.wsgi:application", process_env={"A": "b"}, python_path=[Path("lib")])],
        )
    ],
    server_name="www.example.com",
    app_dir=Path(),
    python_path=["lib", Path("more")],
    application_group="%{RESOURCE}",
    process_group="",
    threads=2,
    preload=False,
    log_level="info",
    env={"SITE": "main"},
    process_env={"DJANGO_SETTINGS_MODULE": "shop.settings"},
    global_threads=15,
    process_groups={"back": {"processes": 2, "python": Path("venv/bin/python"), "maximum_requests": 1000}},
    limits={"groups": 20, "backlog": 10, "request_body": "1 GiB"},
    timeouts={"startup": 60, "queue": 4.5, "request": 30, "interrupt": 5, "graceful": 15},
)
single = ApplicationGroups.single("shop.wsgi:application", application_group="shop", threads=4)
given = ApplicationGroups.single(wsgi, application_group="%{GLOBAL}", global_threads=4)
read = ApplicationGroups.from_file(Path("asyncgroups.toml"))
assert_type(single, ApplicationGroups)
assert_type(read, ApplicationGroups)

ApplicationGroups(threats=4)  # type: ignore[call-arg]
ApplicationGroups(bind=["127.0.0.1:0"])  # type: ignore[call-arg]
ApplicationGroups(limits={"gruops": 4})  # type: ignore[typeddict-unknown-key]
ApplicationGroups(log_level="loud")  # type: ignore[arg-type]
ApplicationGroups.single("shop.wsgi:application", mounts=[])  # type: ignore[call-arg]
Mount("/", "shop.wsgi:application", "shop")  # type: ignore[call-arg]
Mount("/", 5)  # type: ignore[arg-type]

asgi: ASGI3Application = groups
starlette = Starlette(routes=[Route("/old", app=groups)])
fastapi = FastAPI()
fastapi.mount("/old", groups)


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """A host's own lifespan."""
    try:
        async with groups.running() as nothing:
            assert_type(nothing, None)
            yield
    except (ConfigurationError, StartFailed) as error:
        raise SystemExit(str(error)) from None


Starlette(lifespan=lifespan)
