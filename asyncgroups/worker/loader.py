"""Finds an application by its import string. Standard library.

Guarantees:

- An application is imported once, however many workers ask for it at the same time; the others wait for that.
- A failure is not remembered: the next request tries again. An interrupted worker leaves no lock behind.
"""

from __future__ import annotations

import importlib
import sys
import threading

__all__ = ["Loader", "LoadingFailed"]


class LoadingFailed(Exception):
    """Raised by ``Loader.load``; its cause is what the import raised, and ``str()`` a sentence for the log.

    is_import: whether what failed was the import of a module that is there.
    """

    def __init__(self, sentence: str, *, is_import: bool = False) -> None:
        super().__init__(sentence)
        self.is_import = is_import


class Loader:
    """The applications of one interpreter."""

    def __init__(self) -> None:
        self._loaded: dict[str, Callable[..., Iterable[bytes]]] = {}
        self._locks: dict[str, threading.RLock] = {}

    def give(self, applications: Mapping[str, Callable[..., Iterable[bytes]]]) -> None:
        """Have callable objects under names that are no import strings. Before the first request."""
        self._loaded.update(applications)

    def get(self, application: str) -> Callable[..., Iterable[bytes]] | None:
        """The application ``module:attribute`` if it has been loaded, or the callable object of that name."""
        return self._loaded.get(application)

    def load(self, application: str) -> Callable[..., Iterable[bytes]]:
        """Import ``module:attribute``, and call nothing. Raises LoadingFailed.

        SystemExit and the like count as failures; RequestInterrupted does as well, once it has done its work.
        """
        lock = self._locks.setdefault(application, threading.RLock())
        # No `with`: up to 3.14 an interrupt that hits at its beginning leaves the lock acquired.
        try:
            lock.acquire()
            found = self._loaded.get(application)
            if found is None:
                found = self._loaded[application] = _find(application)
        finally:
            if lock._is_owned():  # type: ignore[attr-defined]  # private
                lock.release()
        return found

    def let_go(self) -> None:
        """After an interrupt, which may have hit right before a release: own nothing."""
        for lock in list(self._locks.values()):
            while lock._is_owned():  # type: ignore[attr-defined]  # private
                lock.release()


def _find(application: str) -> Callable[..., Iterable[bytes]]:
    module_name, _, attribute = application.partition(":")
    known = module_name in sys.modules
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise LoadingFailed(f"there is no module {error.name!r} on sys.path") from error
        raise LoadingFailed(f"importing {module_name!r} failed", is_import=True) from error
    except SystemExit as error:
        sentence = f"importing {module_name!r} called sys.exit({error.code!r})"
        raise LoadingFailed(sentence, is_import=True) from error
    except BaseException as error:
        raise LoadingFailed(f"importing {module_name!r} failed", is_import=True) from error
    try:
        return _look_up(module, attribute)
    except LoadingFailed:
        if not known:
            sys.modules.pop(module_name, None)  # as if its import had failed: the next try reads the file again
        raise


def _look_up(module: ModuleType, attribute: str) -> Callable[..., Iterable[bytes]]:
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise LoadingFailed(f"the module {module.__name__!r} has no attribute {attribute!r}") from error
        except BaseException as error:  # PEP 562: an attribute may be made when it is asked for
            raise LoadingFailed(f"looking up {attribute!r} in the module {module.__name__!r} failed") from error
    if not callable(found):
        kind = type(found).__name__
        raise LoadingFailed(f"'{module.__name__}:{attribute}' is {kind}, not a callable WSGI application")
    return found


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
