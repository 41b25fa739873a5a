"""The WSGI application of the project; the configuration sets DJANGO_SETTINGS_MODULE."""

from django.core.wsgi import get_wsgi_application

__all__ = ["application"]

application = get_wsgi_application()
