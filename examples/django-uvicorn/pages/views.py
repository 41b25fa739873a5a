"""The views of the project: plain synchronous ones, each request in a thread of the group."""

import sys
import threading
from concurrent import interpreters

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import Context, Template

PAGE = """<!doctype html>
<title>Pages</title>
<h1>Hello{% if name %}, {{ name }}{% endif %}</h1>
<form><input name="name" autofocus> <button>Say hello</button></form>
<p><a href="{% url 'where' %}">Where does this run?</a></p>
"""


def index(request: HttpRequest) -> HttpResponse:
    """Greets whoever gives a name."""
    return HttpResponse(Template(PAGE).render(Context({"name": request.GET.get("name", "")})))


def where(request: HttpRequest) -> JsonResponse:
    """Shows where the project runs."""
    return JsonResponse(
        {
            "application_group": request.META["asyncgroups.application_group"],
            "interpreter": interpreters.get_current().id,
            "thread": threading.get_ident(),
            "imported": [name for name in ("django", "uvicorn") if name in sys.modules],
        }
    )
