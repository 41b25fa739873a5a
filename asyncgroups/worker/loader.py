"""Finds an application by its import string, or in a script. Standard library and ``worker.script``.

Guarantees:

- An application is imported, and a script executed, once, however many workers ask for it at the same time, and
  however many callables of a script: the others wait for that.
- A failure is not remembered: the next request tries again. An interrupted worker leaves no lock behind.
- A script that is executed again takes the place of what it was all at once, when it has its callable; else what it
  was goes on.
"""

from __future__ import annotations

import importlib
import sys
import threading

from asyncgroups.worker import script

__all__ = ["Loader", "LoadingFailed"]


class LoadingFailed(Exception):
    """Raised by ``Loader.load``; its cause is what the import raised, and ``str()`` a sentence for the log.

    is_import: whether what failed was the import of a module that is there. is_absent: whether there is no such script,
    or no such callable in it.
    """

    def __init__(self, sentence: str, *, is_import: bool = False, is_absent: bool = False) -> None:
        super().__init__(sentence)
        self.is_import = is_import
        self.is_absent = is_absent


class Loader:
    """The applications of one interpreter."""

    def __init__(self) -> None:
        self._loaded: dict[str, Callable[..., Iterable[bytes]]] = {}
        self._scripts: dict[str, ModuleType] = {}
        """By their paths."""
        self._locks: dict[str, threading.RLock] = {}

    def give(self, applications: Mapping[str, Callable[..., Iterable[bytes]]]) -> None:
        """Have callable objects under names that are no import strings. Before the first request."""
        self._loaded.update(applications)

    def get(self, application: str) -> Callable[..., Iterable[bytes]] | None:
        """The application ``module:attribute`` or ``/path:callable``, if it has been loaded, or the callable object of
        that name.
        """
        return self._loaded.get(application)

    def load(self, application: str, *, again: bool = False) -> Callable[..., Iterable[bytes]]:
        """Import ``module:attribute``, or execute the script of ``/path:callable``, and call nothing.

        again: execute the script also if that has been done. Raises LoadingFailed. SystemExit and the like count as
        failures; RequestInterrupted does as well, once it has done its work.
        """
        is_script = script.is_script(application)
        lock = self._locks.setdefault(script.split(application)[0] if is_script else application, threading.RLock())
        # No `with`: up to 3.14 an interrupt that hits at its beginning leaves the lock acquired.
        try:
            lock.acquire()
            found = self._loaded.get(application)
            if is_script and (again or found is None):
                found = self._load_script(application, again=again)
            elif found is None:
                found = self._loaded[application] = _find(application)
        finally:
            if lock._is_owned():  # type: ignore[attr-defined]  # private
                lock.release()
        return found

    def _load_script(self, application: str, *, again: bool) -> Callable[..., Iterable[bytes]]:
        """Under the lock of its path."""
        path, name = script.split(application)
        before = self._scripts.get(path)
        if before is None or not again:
            module = self._scripts[path] = before or _execute(path)
            found = self._loaded[application] = _look_up(module, name, where=path)
            return found
        module = _execute(path)
        try:
            found = _look_up(module, name, where=path)
        except LoadingFailed:
            script.put_back(before, module)
            raise
        self._scripts[path] = module
        for other in [one for one in list(self._loaded) if script.is_script(one) and script.split(one)[0] == path]:
            try:
                self._loaded[other] = _look_up(module, script.split(other)[1], where=path)
            except LoadingFailed:
                del self._loaded[other]  # its next request says why
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


def _execute(path: str) -> ModuleType:
    try:
        return script.execute(path)
    except SystemExit as error:
        raise LoadingFailed(f"{path!r} called sys.exit({error.code!r})", is_import=True) from error
    except script.Unreadable as error:
        raise LoadingFailed(f"{path!r} {error}", is_absent=error.is_absent) from error
    except BaseException as error:
        raise LoadingFailed(f"executing {path!r} failed", is_import=True) from error


def _look_up(module: ModuleType, attribute: str, *, where: str = "") -> Callable[..., Iterable[bytes]]:
    """``where`` is the path of a script."""
    place = repr(where) if where else f"the module {module.__name__!r}"
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            kind = "callable" if where else "attribute"
            raise LoadingFailed(f"{place} has no {kind} {attribute!r}", is_absent=bool(where)) from error
        except BaseException as error:  # PEP 562: an attribute may be made when it is asked for
            raise LoadingFailed(f"looking up {attribute!r} in {place} failed") from error
    if not callable(found):
        kind = type(found).__name__
        raise LoadingFailed(f"'{where or module.__name__}:{attribute}' is {kind}, not a callable WSGI application")
    return found


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
