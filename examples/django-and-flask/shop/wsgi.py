"""The WSGI application of the Django project, as Django's own startproject writes it, but for the settings' name.

The mount sets DJANGO_SETTINGS_MODULE, so that one process can hold several projects.
"""

from django.core.wsgi import get_wsgi_application

__all__ = ["application"]

application = get_wsgi_application()
