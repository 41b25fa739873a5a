"""Django's ASGI application with a dispatcher in front, which hands everything else, and lifespan, to asyncgroups.

``/outer`` goes there as Starlette does it: the path stays whole, and root_path grows. From ``/cut`` the path's front is
cut as well. Of the rest nothing is changed: asyncgroups has mounts of these paths.
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

from asyncgroups import ApplicationGroups

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="none")
urlpatterns = [path("of/django", lambda request: HttpResponse(b"of Django"))]
django = get_asgi_application()
groups = ApplicationGroups.from_file(os.environ["ASYNCGROUPS_CONFIG"])


async def application(scope, receive, send):
    if scope["type"] != "http":
        await groups(scope, receive, send)
        return
    front = "/" + scope["path"].split("/")[1]
    if front == "/of":
        await django(scope, receive, send)
    elif front == "/outer":
        await groups({**scope, "root_path": scope["root_path"] + front}, receive, send)
    elif front == "/cut":
        cut = {"root_path": scope["root_path"] + front, "path": scope["path"].removeprefix(front)}
        await groups({**scope, **cut}, receive, send)
    else:
        await groups(scope, receive, send)
