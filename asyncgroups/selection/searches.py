"""What has to be looked for in the file system before it is known what answers a request.

Law: declarations only. Imports ``selection.directories``, ``selection.files``, ``selection.hosts``,
``selection.mounts`` and ``selection.trees``.

``Selection.choose`` asks, ``frontend.choosing`` looks, ``Selection.found`` goes on with what is there.
"""

from collections.abc import Mapping
from typing import NamedTuple

from asyncgroups.selection.directories import WSGI_SCRIPT, Section
from asyncgroups.selection.files import Files
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import Version
from asyncgroups.selection.trees import Candidate, Kind

__all__ = ["Found", "Search"]


class Search(NamedTuple):
    """A request that may be for a script.

    virtual_host: the matched one; the server config where none matched.
    files: of that virtual host.
    candidates: where the script may lie; the first that there is counts.
    port: number of the TCP port the request arrived on; None on a unix socket.
    env: what an outer ASGI application added to the request's environment, text to text.
    variables: the request's environment after the rules, text to text.
    """

    virtual_host: VirtualHost
    files: Files
    candidates: tuple[Candidate, ...]
    port: int | None
    env: Mapping[str, str]
    variables: Mapping[str, str]

    def may_follow(self, candidate: Candidate, directory: str) -> bool:
        """Whether symbolic links in the directory of this path, absolute, are followed. Raises PatternTooSlow.

        In users' directories only where a section says so: else one user's link would lead to another user's scripts.
        Source: Options FollowSymLinks.
        """
        says = self.files.sections.settle(f"{directory}/").values.get("follow_symlinks")
        if says is None:
            return self.files.follow_symlinks and candidate.kind is not Kind.USER
        return bool(says)

    def refusal(self, candidate: Candidate, path: str) -> str:
        """Why the file of this path, absolute, is no script; empty where it is one. Raises PatternTooSlow.

        Source: SetHandler, AddHandler; what WSGIScriptAliasMatch names is a script wherever it lies.
        """
        settled = self.files.sections.settle(path)
        if candidate.kind is Kind.MATCH or settled.runs(path):
            return ""
        handler = settled.values.get("handler")
        if handler is None:
            return f"{path!a} has no handler: it lies in no directory that sets one"
        if handler != WSGI_SCRIPT:
            return f"{path!a} has the handler {handler!a} ({settled.places['handler']})"
        return f"the name of {path!a} ends as none of the extensions ({settled.places['extensions']})"


class Found(NamedTuple):
    """The script that a search has found.

    candidate: the one that led to it.
    path: its absolute path; symbolic links in it stay as they are.
    script_name: text, its URL path, decoded.
    path_info: the rest of the path, percent-encoded bytes as the client wrote them.
    version: tells it from what may stand in its place later.
    sections: those that it falls into, the least specific first.
    """

    candidate: Candidate
    path: str
    script_name: str
    path_info: bytes
    version: Version
    sections: tuple[Section, ...]
