"""Where the code that asks runs; each group imports this module for itself."""

import os
import sys
import threading
from concurrent import interpreters
from wsgiref.types import WSGIEnvironment

__all__ = ["place"]


def place(environ: WSGIEnvironment) -> dict[str, object]:
    """Gives the request's group, and what can be told apart from the other groups."""
    return {
        "application_group": environ.get("asyncgroups.application_group"),
        "interpreter": interpreters.get_current().id,
        "thread": threading.get_ident(),
        "imported": [framework for framework in ("django", "flask") if framework in sys.modules],
        "settings": os.environ.get("DJANGO_SETTINGS_MODULE"),
    }
