"""An ASGI application around asyncgroups: the first segment of the path is the tenant, whose group it is."""

from asyncgroups.asgi import application as inner


async def application(scope, receive, send):
    if scope["type"] == "http":
        tenant = scope["path"].split("/")[1]
        scope = {**scope, "asyncgroups": {"env": {"PROBE_TENANT": tenant} if tenant != "nobody" else {}}}
    await inner(scope, receive, send)
