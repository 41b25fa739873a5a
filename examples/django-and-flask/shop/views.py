"""The views of the Django project: a list of things and a basket."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template import RequestContext, Template
from django.views.decorators.http import require_POST

from place import place

THINGS = ["teapot", "kettle", "cup"]

PAGE = """<!doctype html>
<title>Shop</title>
<h1>Shop</h1>
<form method="post" action="{% url 'basket' %}">{% csrf_token %}
{% for thing in things %}<button name="thing" value="{{ thing }}">{{ thing }}</button> {% endfor %}
</form>
<p>In your basket: {{ basket|join:", "|default:"nothing" }}</p>
<p><a href="{% url 'where' %}">Where does this run?</a></p>
"""


def index(request: HttpRequest) -> HttpResponse:
    """Shows the things and the basket."""
    names = {"things": THINGS, "basket": request.session.get("basket", [])}
    return HttpResponse(Template(PAGE).render(RequestContext(request, names)))


@require_POST  # type: ignore[untyped-decorator]  # Django carries no types
def basket(request: HttpRequest) -> HttpResponse:
    """Puts a thing into the basket; the redirect stays below the mount, since Django reads SCRIPT_NAME."""
    if request.POST.get("thing") in THINGS:
        request.session["basket"] = [*request.session.get("basket", []), request.POST["thing"]]
    return redirect("index")


def where(request: HttpRequest) -> JsonResponse:
    """Shows where the project runs."""
    return JsonResponse(place(request.META))
