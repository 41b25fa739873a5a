"""Every exception of asyncgroups, in one hierarchy. A leaf: imports nothing.

An error that can answer a request carries the HTTP status it is answered with in ``status`` (RFC 9110 section 15), and
``retry_after``, seconds, where a Retry-After header makes sense (RFC 9110 section 10.2.3).
"""

__all__ = [
    "ApplicationFailed",
    "ApplicationGroupsError",
    "ApplicationNotFound",
    "BodyTooLarge",
    "ChannelClosed",
    "ChannelUnread",
    "ClientDisconnected",
    "ConfigurationError",
    "FilesUnreachable",
    "GroupNameSyntaxError",
    "GroupNameUnresolved",
    "HeadTooLarge",
    "InterpreterFailed",
    "MainInterpreterOnly",
    "NotMounted",
    "Overloaded",
    "PatternSyntaxError",
    "PatternTooSlow",
    "PoolReplaced",
    "PoolRetired",
    "ProtocolError",
    "RequestInterrupted",
    "RequestRefused",
    "RequestTimedOut",
    "ScriptNotFound",
    "SettingSyntaxError",
    "ShuttingDown",
    "StartFailed",
    "TooManyGroups",
]


class ApplicationGroupsError(Exception):
    """The root of the hierarchy; never raised itself."""

    status: int = 500
    retry_after: int | None = None


class ApplicationFailed(ApplicationGroupsError):
    """Raised by ``frontend.lease`` for the worker's FAILED: the log has the reason already."""


class ApplicationNotFound(ApplicationFailed):
    """Raised by ``frontend.lease`` for the worker's ABSENT: a script, or the callable in it, is not there."""

    status = 404


class ConfigurationError(ApplicationGroupsError):
    """Raised by ``config`` when a configuration cannot be used; ``problems`` holds every one of them, one string each.

    A problem is one or more lines, the first of which starts with its place (``site.toml:12: mount[2].threads: …``).
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        count = f"{len(self.problems)} error{'s' if len(self.problems) != 1 else ''}"
        return "\n".join([f"{self.source}: {count}", *self.problems])


class SettingSyntaxError(ApplicationGroupsError):
    """The root of the errors of the small grammars; ``str()`` has a caret under what is wrong. Never raised itself."""

    def __init__(self, text: str, span: tuple[int, int], message: str) -> None:
        self.text = text
        self.span = span
        self.message = message
        super().__init__(text, span, message)

    def __str__(self) -> str:
        start, end = self.span
        if not self.text.isprintable():
            return f"{self.message}: {self.text!r}"
        return f"{self.message}\n    {self.text}\n    {' ' * start}{'^' * max(1, end - start)}"


class GroupNameSyntaxError(SettingSyntaxError):
    """Raised by ``selection.names`` for a setting that is no group name."""


class PatternSyntaxError(SettingSyntaxError):
    """Raised by ``selection.directories`` and ``config.patterns`` for what is no pattern or regular expression."""


class PatternTooSlow(ApplicationGroupsError):
    """Raised by ``config.patterns`` when a regular expression takes too long on what a client sent."""


class GroupNameUnresolved(ApplicationGroupsError):
    """Raised by ``selection.names`` when a ``%{ENV:x}`` has no usable value for this request."""


class NotMounted(ApplicationGroupsError):
    """Raised by ``selection`` when no mount covers the path of a request."""

    status = 404


class ScriptNotFound(ApplicationGroupsError):
    """Raised by ``frontend.scripts`` when there is no script under the path of a request."""

    status = 404


class FilesUnreachable(ApplicationGroupsError):
    """Raised by ``frontend.choosing`` when the file system does not say, in time, whether there is a script."""

    status = 503
    retry_after: int | None = 5


class RequestRefused(ApplicationGroupsError):
    """Raised by ``frontend`` for a request that no WSGI environ can be made of (RFC 9110 section 15.5.1)."""

    status = 400


class HeadTooLarge(RequestRefused):
    """Raised by ``frontend`` when path and headers exceed what a message to a worker may hold (RFC 6585 section 5)."""

    status = 431


class BodyTooLarge(RequestRefused):
    """Raised by ``frontend`` when a request body exceeds ``limits.request_body`` (RFC 9110 section 15.5.14)."""

    status = 413


class TooManyGroups(ApplicationGroupsError):
    """Raised by ``frontend.supervisor`` when a request needs an interpreter beyond ``limits.groups``."""

    status = 503
    retry_after: int | None = 30


class Overloaded(ApplicationGroupsError):
    """Raised when a request finds ``limits.backlog`` requests waiting, or has waited for ``timeouts.queue`` seconds."""

    status = 503
    retry_after: int | None = 5


class ShuttingDown(ApplicationGroupsError):
    """Raised by ``frontend`` for a request that waits, or needs an interpreter, while the server stops or later."""

    status = 503
    retry_after: int | None = 5


class PoolRetired(ShuttingDown):
    """Raised by ``host.pool`` for a request to a pool that takes no more of them: its group may have another by now."""


class PoolReplaced(PoolRetired):
    """Raised by ``host.pool`` where another pool has taken its place, and is ready for those that wait."""


class StartFailed(ApplicationGroupsError):
    """Raised by ``frontend.lifecycle`` when an application that is to be preloaded does not load at the start."""


class InterpreterFailed(ApplicationGroupsError):
    """Raised by ``host.interpreters`` when the interpreter of a group could not be made, or has died."""


class MainInterpreterOnly(InterpreterFailed):
    """Raised by ``host.interpreters`` where this Python can have no interpreter but the main one."""


class RequestTimedOut(ApplicationGroupsError):
    """Raised by ``frontend.exchange`` when an application exceeds ``timeouts.request`` or ``timeouts.startup``."""

    status = 504


class ProtocolError(ApplicationGroupsError):
    """Raised by ``wire`` when the other side of a channel says something that the vocabulary does not have."""

    status = 502


class ChannelClosed(ApplicationGroupsError):
    """Raised by ``wire.channel`` when the other side of a channel is gone."""

    status = 502


class ChannelUnread(ChannelClosed):
    """Raised by ``wire.channel`` when the other side is gone, and has not read all that was sent to it."""


class ClientDisconnected(OSError):
    """Raised by ``wsgi.input`` and ``write()`` in the application's thread when the client has gone.

    An OSError, because that is what WSGI applications expect of a broken stream.
    """


class RequestInterrupted(BaseException):
    """Raised inside an application's code when its request took too long or the server shuts down.

    No Exception, so that an ``except Exception`` in the application does not swallow it.
    """
