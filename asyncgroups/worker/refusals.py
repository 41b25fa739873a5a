"""Extension modules that refuse to be loaded in this interpreter (PEP 489, PEP 684): recorded, and told in the end.

Standard library, ``wire``, ``worker``. Guarantees:

- Each refusal is recorded where it happens, in the import system's loaders, because applications swallow, wrap or
  postpone the ImportError.
- It is told when it is known what became of it: the application does not load (UNFIT), a request fails (LACKING), or
  neither (REFUSED, once for each application and module).
- What happens in threads of the application's own is nobody's exchange, and told at once.
"""

from __future__ import annotations

import threading
from importlib import machinery

from asyncgroups.wire import messages
from asyncgroups.worker.exchange import Exchange
from asyncgroups.worker.journal import Journal
from asyncgroups.worker.loader import LoadingFailed

__all__ = ["Refusals"]


class Refusals:
    """Of one interpreter."""

    def __init__(self, journal: Journal) -> None:
        self.running: dict[int, Exchange] = {}
        """Thread identifier to the exchange whose application it loads or runs."""
        self._journal = journal
        self._told: set[tuple[str, str]] = set()

    def watch(self) -> None:
        """Record from now on: a hook around the creation of modules, for files as well as for built-in modules."""
        of_files = machinery.ExtensionFileLoader.create_module
        of_built_ins = machinery.BuiltinImporter.create_module

        def create_from_file(loader: machinery.ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
            with _Watching(self, spec):
                return of_files(loader, spec)

        def create_built_in(spec: ModuleSpec) -> ModuleType | None:
            with _Watching(self, spec):
                return of_built_ins(spec)

        machinery.ExtensionFileLoader.create_module = create_from_file  # type: ignore[method-assign, assignment]  # a hook
        machinery.BuiltinImporter.create_module = staticmethod(create_built_in)  # type: ignore[method-assign]  # a hook

    def note(self, module: str, text: str) -> None:
        """``module`` has refused, in this thread."""
        exchange = self.running.get(threading.get_ident())
        if exchange is None:
            self._tell("", module, text)
        else:
            exchange.refuse(module, text)

    def go_without(self, exchange: Exchange) -> None:
        """The application has done without what has refused in ``exchange`` by now."""
        refusals, exchange.refusals = exchange.refusals, ()
        for module, text in refusals:
            self._tell(exchange.application, module, text)

    def why_unfit(self, exchange: Exchange, error: LoadingFailed) -> tuple[str, str] | None:
        """The module and its text, if the application does not load for want of it; the last one, if in doubt.

        What it can find no way around may hide behind another exception; but a module that is not there, or has no
        such attribute, is a mistake of who has named it.
        """
        if not exchange.refusals:
            return None
        return exchange.culprit(error) or (exchange.refusals[-1] if error.is_import else None)

    def _tell(self, application: str, module: str, text: str) -> None:
        if (application, module) not in self._told:
            self._told.add((application, module))
            self._journal.tell(messages.texts(messages.REFUSED, application, module, text))


class _Watching:
    """A context manager; contextlib would have to be imported in every interpreter."""

    def __init__(self, refusals: Refusals, spec: ModuleSpec) -> None:
        self._refusals = refusals
        self._spec = spec

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        # traceback tries _suggestions for each NameError, and does well without.
        if isinstance(error, ImportError) and "subinterpreter" in str(error) and self._spec.name != "_suggestions":
            self._refusals.note(self._spec.name, str(error))


TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
