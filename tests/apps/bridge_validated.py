"""The applications of ``bridge_good``, inside ``wsgiref.validate``: it raises when either side breaks PEP 3333."""

from wsgiref.validate import validator

import bridge_good

__all__ = list(bridge_good.__all__)

globals().update({name: validator(getattr(bridge_good, name)) for name in __all__})
