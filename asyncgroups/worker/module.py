"""The module ``mod_wsgi``, as code that was written for it finds it in each interpreter. Standard library, ``worker``.

Its attributes, and what callbacks are told, are those of mod_wsgi; see ``tests/serve/test_mod_wsgi.py``. Guarantees:

- It is there before any application is. One that the program has loaded by itself stays where it is.
- Events cost nothing until somebody has subscribed to them, and ``request_data()`` nothing until it is called.
- What a callback raises is logged, and goes no further, but for the interrupt of a request.
- Each subscriber to the shutdown is called once, at the end of the interpreter, or of the process whose main one it is,
  before its atexit functions.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from asyncgroups.errors import RequestInterrupted
from asyncgroups.worker.streams import FileWrapper

__all__ = ["VERSION", "ModWsgi", "here", "stop"]

VERSION = (6, 1, 1)
"""The mod_wsgi whose interface this is."""

_NAME = "mod_wsgi"

_ours: ModWsgi | None = None
_lock = threading.Lock()
"""In the main interpreter there may be several GLOBALs that start, one of each ASGI application."""


def here() -> ModWsgi:
    """This interpreter's."""
    global _ours  # noqa: PLW0603 - one for each interpreter, as sys.modules is
    with _lock:
        if _ours is None:
            _ours = ModWsgi()
        return _ours


def stop() -> None:
    """Tell the main interpreter's subscribers that the process ends. What they raise goes to stderr."""
    if _ours is not None:
        _ours.stop(_print)


class ModWsgi:
    """What is behind the module: who has subscribed, and the data of requests."""

    def __init__(self) -> None:
        self.event_callbacks: list[Callback] = []
        self.shutdown_callbacks: list[Callback] = []
        self.data: dict[int, dict[str, object]] = {}
        """Thread identifier to what ``of_request`` has given out in the thread's exchange."""
        self.journals: list[Journal] = []
        """They know which threads are busy with which exchanges. Several GLOBALs come and go: to be copied first."""
        self._folders: Iterable[str] | None = None
        self._is_made = False
        self._began = time.time()

    def __repr__(self) -> str:
        return (
            f"<ModWsgi: {len(self.event_callbacks)} subscribers to events, {len(self.shutdown_callbacks)} to the end>"
        )

    def install(
        self, *, process_group: str, application_group: str, processes: int, threads: int, is_main: bool
    ) -> None:
        """Make the module, once: what it says of itself stays as it was then.

        is_main: whether this is the main interpreter of its process.
        """
        from importlib import machinery  # noqa: PLC0415 - loaded already

        with _lock:
            if self._is_made:
                return
            self._is_made = True
            module = type(sys)(_NAME, "What mod_wsgi gives the code that runs under it; here asyncgroups does.")
            vars(module).update(
                version=VERSION,
                process_group=process_group,
                application_group=application_group,
                maximum_processes=processes,
                threads_per_process=threads,
                FileWrapper=FileWrapper,
                RequestTimeout=RequestInterrupted,
                event_callbacks=self.event_callbacks,
                shutdown_callbacks=self.shutdown_callbacks,
                subscribe_events=self.subscribe_events,
                subscribe_shutdown=self.subscribe_shutdown,
                request_data=self.of_request,
                process_metrics=self.process_metrics,
                # Who asks importlib.util.find_spec("mod_wsgi") wants to know where it runs.
                __spec__=machinery.ModuleSpec(_NAME, None, origin="asyncgroups"),
                __getattr__=self._attribute,
            )
            sys.modules.setdefault(_NAME, module)
            if is_main:
                _expect_end()

    # What the module has ----------------------------------------------------------------------------------------------

    def subscribe_events(self, callback: Callback, /) -> None:
        """Have ``callback(name, **facts)`` called for each event of each request. Raises TypeError."""
        self.event_callbacks.append(_checked(callback))

    def subscribe_shutdown(self, callback: Callback, /) -> None:
        """Have ``callback("process_stopping", shutdown_reason="")`` called at the end. Raises TypeError."""
        self.shutdown_callbacks.append(_checked(callback))

    def of_request(self) -> dict[str, object]:
        """A dictionary of the request's own, the same one until its end. Raises RuntimeError where none runs."""
        thread = threading.get_ident()
        if not any(thread in journal.exchanges for journal in tuple(self.journals)):
            raise RuntimeError("no active request for thread")  # mod_wsgi's words
        return self.data.setdefault(thread, {})

    def process_metrics(self) -> dict[str, object]:
        """What can be said of the process without having counted anything; seconds and bytes.

        In embedded mode the process is the server's, with all the application groups in it.
        """
        now, used = time.time(), os.times()
        metrics: dict[str, object] = {
            "pid": os.getpid(),
            "active_requests": sum(len(journal.exchanges) for journal in tuple(self.journals)),
            "cpu_user_time": used.user,
            "cpu_system_time": used.system,
            "current_time": now,
            "restart_time": self._began,
            "running_time": int(now - self._began),
        }
        try:
            with open("/proc/self/statm", "rb") as file:  # proc(5); elsewhere there is no cheap way to know
                metrics["memory_rss"] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            pass
        return metrics

    def _attribute(self, name: str) -> object:
        """``__getattr__`` of the module (PEP 562): what is worked out when it is asked for."""
        if name == "active_requests":
            return {
                str(number): self.data.get(thread, {})
                for journal in tuple(self.journals)
                for thread, number in list(journal.exchanges.items())
            }
        if name == "__path__" and (folders := self._find()):
            return folders
        raise AttributeError(f"module {_NAME!r} has no attribute {name!r}", name=name)

    def _find(self) -> Iterable[str]:
        """Folders of the package of that name that is installed, if there is one: ``mod_wsgi.server`` is in it.

        Under Apache, too, its modules and what the server adds are one. The package itself is empty.
        """
        if self._folders is None:
            from importlib import machinery  # noqa: PLC0415 - loaded already

            found = machinery.PathFinder.find_spec(_NAME)
            self._folders = (found and found.submodule_search_locations) or ()
        return self._folders

    # By the workers and the control thread ----------------------------------------------------------------------------

    def publish(self, name: str, facts: dict[str, object], *, report: Callable[[str, BaseException], None]) -> None:
        """Call each subscriber to events; a dictionary that one returns changes ``facts``, as with mod_wsgi."""
        for callback in tuple(self.event_callbacks):
            try:
                answer = callback(name, **facts)
            except RequestInterrupted:
                raise
            except BaseException as error:
                report(f"a subscriber to mod_wsgi's events failed with {name}", error)
            else:
                if isinstance(answer, dict):
                    facts.update(answer)

    def stop(self, report: Callable[[str, BaseException], None]) -> None:
        """Tell everybody that the interpreter comes to its end."""
        facts: dict[str, object] = {"shutdown_reason": ""}
        name = "process_stopping"
        events, self.event_callbacks[:] = self.event_callbacks[:], []
        subscribers, self.shutdown_callbacks[:] = self.shutdown_callbacks[:], []
        for callback in (*events, *subscribers):
            try:
                callback(name, **facts)
            except BaseException as error:
                report("a subscriber to mod_wsgi's shutdown failed", error)


def _expect_end() -> None:
    """Have ``stop`` called where the program ends by itself; see ``host.ending`` for where it is ended."""
    try:
        # Private, and the only hook that runs before threads are joined: mod_wsgi has these subscribers for them.
        threading._register_atexit(stop)  # type: ignore[attr-defined]  # private
    except RuntimeError:
        pass  # too late: the program ends already


def _checked(callback: Callback) -> Callback:
    if not callable(callback):
        raise TypeError(f"a subscriber is called, and {type(callback).__name__} is not callable")
    return callback


def _print(what: str, error: BaseException) -> None:
    import traceback  # noqa: PLC0415 - only now that there is one

    print(f"asyncgroups: {what}:", file=sys.stderr)  # noqa: T201 - the end of the process: where logs go is not known
    traceback.print_exception(error)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncgroups.worker.journal import Journal

    type Callback = Callable[..., object]
