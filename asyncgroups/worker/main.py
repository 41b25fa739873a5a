"""The program of an interpreter: sets it up, starts workers, runs their exchanges.

Standard library, ``wire``, ``worker``.

The same code runs in the interpreter of a group and, for GLOBAL, in the main interpreter. Guarantees:

- A worker is a thread that lives in one interpreter for its whole life and runs one exchange at a time. Where several
  front ends share an interpreter there are more channels than threads: see ``crew``.
- DONE is the last message of every exchange, sent when the application has returned and close() has run.
- No exception of an application's, SystemExit and KeyboardInterrupt included, ends a worker.
- When a worker does end, its end of the channel is closed, so that the front end knows.
"""

from __future__ import annotations

import atexit
import sys
import threading

from asyncgroups.errors import ChannelClosed, RequestInterrupted
from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel
from asyncgroups.worker import environment, module, region, wsgi
from asyncgroups.worker.control import Control, FrontEnd, Worker
from asyncgroups.worker.crew import Crew, Post
from asyncgroups.worker.environ import EnvironBuilder, header_value
from asyncgroups.worker.exchange import Exchange
from asyncgroups.worker.journal import DEBUG, ERROR, INFO, Journal, LineStream
from asyncgroups.worker.loader import Loader, LoadingFailed
from asyncgroups.worker.refusals import Refusals
from asyncgroups.worker.streams import Input

__all__ = ["run"]

_path_lock = threading.Lock()
"""Of ``sys.path``: in the main interpreter there may be several GLOBALs that start, one of each ASGI application."""


def run(  # noqa: PLR0913 - plain arguments, because they cross from another interpreter
    control: int,
    process_group: str,
    application_group: str,
    threads: int,
    path: tuple[str, ...],
    environ: tuple[tuple[bytes, bytes], ...] | None,
    processes: int = 1,
    door: int | None = None,
    *,
    path_end: tuple[str, ...] = (),
    applications: Mapping[str, Callable[..., Iterable[bytes]]] | None = None,
) -> int:
    """Be the control thread of this interpreter until it is told to stop; the number of workers that are left then.

    ``control`` is a file descriptor, from here on owned by this function; ``path`` comes first in ``sys.path``;
    ``environ`` is the interpreter's environment, None for the main interpreter, which keeps the process's;
    ``processes`` is how many processes of the process group run the same applications; out of ``door`` come control
    channels of further front ends, eight bytes with the number of each, and there are ``threads`` threads for all of
    them. Plain arguments, because they cross from another interpreter. The main one may have more: ``path_end`` comes
    last in ``sys.path``, and ``applications`` are callable objects by name.
    """
    channel = Channel(control, blocking=True)
    journal = Journal(channel)
    environs = EnvironBuilder(
        process_group=process_group,
        application_group=application_group,
        threads=threads,
        multiprocess=processes != 1,
        errors=LineStream(journal, ERROR, "wsgi.errors"),
    )
    limit = threads if door is not None else None
    interpreter = _Interpreter(journal, environs, application_group, isolated=environ is not None, limit=limit)
    interpreter.loader.give(applications or {})
    mod_wsgi = interpreter.mod_wsgi
    mod_wsgi.install(
        process_group=process_group,
        application_group=application_group,
        processes=processes,
        threads=threads,
        is_main=environ is None,
    )
    mod_wsgi.journals.append(journal)
    region.watch()
    try:
        with _path_lock:
            own = [folder for folder in sys.path if folder not in path]
            sys.path[:] = [*path, *own, *(folder for folder in path_end if folder not in own and folder not in path)]
        if environ is not None:
            interpreter.isolate(environ)
        return interpreter.control.obey(channel, door)
    finally:
        mod_wsgi.journals.remove(journal)
        channel.close()


class _Interpreter:
    """What the workers of this interpreter share."""

    def __init__(
        self,
        journal: Journal,
        environs: EnvironBuilder,
        application_group: str,
        *,
        isolated: bool,
        limit: int | None = None,
    ) -> None:
        self.journal = journal
        self.loader = Loader()
        self.environs = environs
        self.mod_wsgi = module.here()
        self.refusals = Refusals(journal)
        # Isolated interpreters have no daemon threads; in the main one the server ends them.
        self.crew = Crew(name=application_group or "GLOBAL", limit=limit, daemon=not isolated)
        self.control = Control(journal, self.crew, hire=self._hire, on_stop=self._end)
        self._isolated = isolated
        self._streams: tuple[LineStream, ...] = ()

    def isolate(self, environ: tuple[tuple[bytes, bytes], ...]) -> None:
        """Give this interpreter an environment, streams and hooks of its own. Once, before anything is imported."""
        import io  # noqa: PLC0415 - loaded already, but not needed by the main interpreter's workers

        environment.isolate(environ)
        sys.argv = ["asyncgroups"]
        sys.stdin = io.StringIO()
        sys.stdout = stdout = LineStream(self.journal, INFO, "<stdout>")
        sys.stderr = stderr = LineStream(self.journal, ERROR, "<stderr>")
        self._streams = stdout, stderr
        threading.excepthook = self._report_thread
        self.refusals.watch()

    def flush(self) -> None:
        """Send what this thread has written without a newline."""
        self.environs.flush()
        for stream in self._streams:
            stream.flush()

    def report(self, what: str, error: BaseException) -> None:
        """Log what has failed, and how."""
        self.journal.record(ERROR, f"{what}:\n{_traceback(error)}")

    def _hire(self, control: Control, channel: Channel, front_end: FrontEnd, number: int) -> _Worker:
        return _Worker(self, control, channel, front_end, number)

    def _end(self) -> None:
        if self._isolated:  # the main one goes on until its process ends
            self.mod_wsgi.stop(self.report)
            try:
                atexit._run_exitfuncs()
            except BaseException as error:
                self.report("an atexit function failed", error)
            for name in ("stdout", "stderr"):
                try:
                    if (stream := getattr(sys, name, None)) is not None:
                        stream.flush()
                except BaseException as error:  # it is closed, or whatever an application has put there
                    self.report(f"sys.{name} cannot be flushed", error)

    def _report_thread(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            name = arguments.thread.name if arguments.thread else "?"
            self.journal.record(ERROR, f"exception in thread {name}:\n{_traceback(arguments.exc_value)}")


class _Worker(Worker):
    """A channel's exchanges, one after the other."""

    def __init__(
        self, interpreter: _Interpreter, control: Control, channel: Channel, front_end: FrontEnd, number: int
    ) -> None:
        super().__init__(control, channel, front_end, number)
        self._interpreter = interpreter
        self._journal = interpreter.journal
        self._channel = channel
        self._is_new = True

    def serve(self, crew: Crew) -> Post:
        channel = self.channel
        is_ready = True  # as far as is known: else it would not be this thread's
        try:
            while True:
                if self.idle is None:
                    kind, payload = channel.receive()
                else:
                    if not is_ready and channel.peek() < 0 and (other := crew.wait(self)) is not None:
                        return other
                    is_ready = False
                    if (frame := channel.receive_nowait()) is None:
                        continue  # a part of a message, or nothing yet
                    kind, payload = frame
                if kind == messages.REQUEST:
                    self.exchange(payload)
                elif kind in (messages.LOAD, messages.RELOAD):
                    self.load(payload, again=kind == messages.RELOAD)
                # Anything else is late: CREDIT, BODY or ABORT of an exchange whose DONE crossed with it.
        except ChannelClosed:
            raise  # the pool has let this worker go
        except BaseException as error:
            self._journal.record(ERROR, f"a worker has ended:\n{_traceback(error)}")
            raise ChannelClosed("it cannot go on") from None

    def exchange(self, payload: bytes) -> None:
        """Run one request, from REQUEST to DONE. Raises ChannelClosed, ProtocolError."""
        request = messages.parse_request(payload)
        application = request.application.decode()
        exchange = Exchange(
            self._channel,
            request.exchange,
            application=application,
            body=request.body,
            complete=request.complete,
        )
        response = wsgi.Response(exchange, request.method)
        interpreter, region = self._interpreter, self.region
        assert region is not None

        def respond() -> None:
            nonlocal response
            callable_ = interpreter.loader.get(application)
            if callable_ is None:
                callable_ = self._load(exchange, application)
            elif self._is_new or request.asks:
                exchange.tell(messages.frame(messages.LOADED))  # another worker has: the time for starting is over
            self._is_new = False
            text = header_value(request.headers, b"content-length")
            length = int(text) if text is not None else None
            build, thread = interpreter.environs.build, region.number
            if interpreter.mod_wsgi.event_callbacks:
                from asyncgroups.worker import events  # noqa: PLC0415 - of no use where nobody has subscribed

                watch = events.Watch(interpreter.mod_wsgi, exchange, length=length, report=interpreter.report)
                response = watch.respond(request.method)
                watch.run(callable_, build(request, watch.input, thread=thread), response=response)
            else:
                wsgi.run(callable_, build(request, Input(exchange, length), thread=thread), response)

        error = self._attempt(exchange, respond)
        if error is not None:
            self._explain(error, exchange, response)
            error = None  # and with it, before the worker is free, what the application's frames hold
        try:
            response.close()
        except BaseException as failure:
            self._journal.record(ERROR, f"close() of {application!r} failed:\n{_traceback(failure)}")
        self._finish(exchange)

    def load(self, payload: bytes, *, again: bool) -> None:
        """Load an application without a request, from LOAD or RELOAD to DONE. Raises ChannelClosed."""
        number, application = messages.parse_texts(payload, 2)
        exchange = Exchange(self._channel, int(number), application=application, body=b"", complete=True)
        error = self._attempt(exchange, lambda: self._load(exchange, application, again=again))
        if error is not None:
            self._explain(error, exchange, wsgi.Response(exchange, b""))
        self._finish(exchange)

    def _attempt(self, exchange: Exchange, action: Callable[[], object]) -> BaseException | None:
        """Do ``action`` inside the region that can be interrupted; returns what it raised."""
        self._journal.exchanges[self.thread] = exchange.number
        self._interpreter.refusals.running[self.thread] = exchange
        region = self.region
        assert region is not None
        error: BaseException | None = None
        try:
            try:
                region.enter(self.key(exchange.number))
                if self.forgone != exchange.number:
                    action()
                else:
                    error = RequestInterrupted()  # not raised: one that is aimed just now will be
            except RequestInterrupted:
                raise
            except BaseException as raised:
                error = raised
            if region.leave():
                self._let_go()
            elif error is not None and isinstance(error, RequestInterrupted):
                self.say(exchange.number, "the request is interrupted; it had not begun")
        except RequestInterrupted as interrupted:
            try:
                is_ours = region.leave()
            except RequestInterrupted:  # that was the application's own, and this one has hit at the very beginning
                is_ours = region.leave()
            self._let_go()
            error = interrupted
            if not is_ours:  # mod_wsgi.RequestTimeout, raised by the application itself
                self._interpreter.report(f"exception in {exchange.application!r}", interrupted)
        try:
            return error
        finally:
            error = None  # its traceback has this frame: a cycle, in which all that the application held would linger

    def _let_go(self) -> None:
        self._journal.let_go()
        self._interpreter.loader.let_go()

    def _finish(self, exchange: Exchange) -> None:
        self._interpreter.flush()
        del self._journal.exchanges[self.thread]
        if self._interpreter.mod_wsgi.data:
            self._interpreter.mod_wsgi.data.pop(self.thread, None)
        del self._interpreter.refusals.running[self.thread]
        if exchange.refusals:
            self._interpreter.refusals.go_without(exchange)
        if self._channel.torn:  # not to be used again: no DONE, the pool loses this worker
            raise ChannelClosed("an interrupt has torn a message")
        exchange.done()

    def _load(self, exchange: Exchange, application: str, *, again: bool = False) -> Callable[..., Iterable[bytes]]:
        exchange.tell(messages.frame(messages.LOADING))
        found = self._interpreter.loader.load(application, again=again)
        if exchange.refusals:
            self._interpreter.refusals.go_without(exchange)
        exchange.tell(messages.frame(messages.LOADED))
        return found

    def _explain(self, error: BaseException, exchange: Exchange, response: wsgi.Response) -> None:
        """One log record for what went wrong, and FAILED; or UNFIT, with the record in it."""
        kind, application = type(error), exchange.application
        if isinstance(error, OSError) and exchange.aborted is not None:
            self._journal.record(DEBUG, f"{application}: {exchange.aborted}")
        elif isinstance(error, RequestInterrupted):
            pass  # recorded where it was aimed, with the place
        elif isinstance(error, LoadingFailed) and isinstance(error.__cause__, RequestInterrupted):
            pass  # likewise, while it was loading
        elif isinstance(error, LoadingFailed):
            cause = error.__cause__ or error
            kind = type(cause)
            if error.is_absent:
                self._journal.record(ERROR, f"{application!r} is not there: {error}")
                response.be_absent(kind.__name__)
                return
            reason = f"{application!r} does not load: {error}\n{_traceback(cause)}"
            refusal = self._interpreter.refusals.why_unfit(exchange, error)
            if refusal is not None:
                exchange.refusals = ()
                response.be_unfit(refusal, kind=kind.__name__, reason=reason)
                return
            self._journal.record(ERROR, reason)
        else:
            self._journal.record(ERROR, f"exception in {application!r}:\n{_traceback(error)}")
        response.fail(kind.__name__)


def _traceback(error: BaseException) -> str:
    try:
        import traceback  # noqa: PLC0415 - costs an interpreter without errors up to 25 ms

        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException as failure:  # a __str__ that raises, or the interpreter is ending
        return f"{type(error).__name__} (its traceback cannot be formatted: {type(failure).__name__})"


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
