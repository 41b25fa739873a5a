"""Looks for the scripts that requests are for, in threads: the event loop waits for no file system.

Imports ``selection``, ``frontend.scripts``, ``frontend.turns``, ``frontend.loops``, ``errors``. Guarantees:

- A file system that a client's URL leads to is asked in a thread, never in the one of an event loop. Only the scripts
  that the configuration names itself are asked for where the request is, at most once a second each.
- A script that was found is known for ``KNOWN_FOR``; no more than ``MOST_KNOWN`` are. That there is none is not kept.
- No more than ``THREADS`` look at once, and no more than ``WAITING`` requests wait for them. A further thread is
  started only when something waits that may begin, all are looking, and none has taken anything up for ``PATIENCE``.
- What hangs hangs alone. No more than ``OF_DIRECTORY`` threads look below one name in a directory of the configuration
  (a user's, a folder of the document root: what may be a mount point of its own), and no more than ``OF_TREE``, a
  quarter, below one such directory, whatever names clients make up in it; the room in which requests wait is shared out
  likewise. What waits for these is passed over. That is by where a search begins: before it has been made, nobody knows
  in what file system it will end.
- A search takes ``timeouts.queue`` at the most, and then is given up, as it is with a cancellation. The thread that is
  held up in it stays one of the ``THREADS``, and of its directory's, until the file system has answered.
- Threads end when there has been nothing to do for ``IDLE``, and hold up the end of no process. They are of no event
  loop: all of them share the threads.
"""

import math
import os
import queue
import stat
import threading
import time
from functools import partial

from asyncgroups.errors import FilesUnreachable, Overloaded, ScriptNotFound
from asyncgroups.frontend import loops
from asyncgroups.frontend.scripts import find, is_missing
from asyncgroups.frontend.turns import Place, Turns
from asyncgroups.selection import Choice, Found, Search, Selection
from asyncgroups.selection.mounts import Version
from asyncgroups.selection.trees import Candidate, steps

__all__ = ["Scripts", "look", "version_of"]

THREADS = 32
"""Threads that look for scripts, at most: there are so many only while file systems hang."""

OF_TREE = 8
"""Of these below one directory that the configuration names, at most."""

OF_DIRECTORY = 2
"""Of these below one name in such a directory, at most."""

WAITING = 4096
"""Requests that wait for one of them, at most. On a local disk a hundred are served in 5 milliseconds."""

WAITING_OF_TREE = 2048
"""Of these for one directory that the configuration names, at most."""

WAITING_OF_DIRECTORY = 512
"""Of these for one name in such a directory, at most."""

PATIENCE = 0.01
"""Seconds without progress after which a further thread is started; on a local disk a search takes 0.00003."""

LONGER = 1.0
"""Seconds after which a request looks again whether it needs a further thread, where all that waits waits for turns."""

IDLE = 10.0
"""Seconds after which a thread that has nothing to do ends."""

KNOWN_FOR = 0.1
"""Seconds for which a script that was found is where it was. A busy event loop and the threads are in each other's way
(the GIL): with a search for each request one script in a user's directory answered a third of what it does."""

MOST_KNOWN = 1024
"""Scripts that are known to have been found, at most; then all are forgotten."""

FRESH = 1.0
"""Seconds for which it is known what a script is that the configuration names."""


def look(search: Search) -> Found:
    """Look for the script. Blocking, and as slow as the file system.

    Raises ScriptNotFound, PatternTooSlow, and OSError where the system itself fails.
    """
    reasons = []
    for candidate in search.candidates:
        try:
            script = find(candidate, may_follow=partial(search.may_follow, candidate))
        except ScriptNotFound as error:
            reasons.append(str(error))
            continue
        if refusal := search.refusal(candidate, script.path):
            raise ScriptNotFound(refusal)
        sections = search.files.sections.covering(script.path)
        version = _version(script.status)
        return Found(candidate, script.path, script.script_name, script.path_info, version, sections)
    raise ScriptNotFound("; ".join(reasons))


def version_of(path: str) -> Version:
    """What the script of this path is now. Blocking. Raises ScriptNotFound, OSError."""
    try:
        status = os.stat(path)
    except OSError as error:
        if is_missing(error):
            raise ScriptNotFound(f"{path!a}: {error.strerror}") from None
        raise
    if not stat.S_ISREG(status.st_mode):
        raise ScriptNotFound(f"{path!a} is no regular file")
    return _version(status)


def _version(status: os.stat_result) -> Version:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Task:
    """A search that somebody waits for."""

    __slots__ = ("error", "found", "is_begun", "is_given_up", "place", "search", "wakeup")

    def __init__(self, search: Search) -> None:
        self.search = search
        self.place = _place(search)
        self.wakeup = loops.wakeup()
        self.found: Found | None = None
        self.error: Exception | None = None
        self.is_begun = False
        self.is_given_up = False

    def run(self) -> None:
        self.is_begun = True
        try:
            self.found = look(self.search)
        except Exception as error:  # it is raised where it is waited for
            self.error = error
        self.wakeup.set()


def _place(search: Search) -> Place:
    """Where it may be held up: the directory that the configuration names, and the first name below that."""
    candidate = search.candidates[0]
    if candidate.below:
        return candidate.base, candidate.below[0]
    step = next(steps(candidate.rest), None)
    return candidate.base, step.name if step is not None else ""


class _Seekers:
    """The threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = Turns[_Task](of_tree=OF_TREE, of_directory=OF_DIRECTORY)
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        """For a thread that has nothing to do: there may be something by now. Who finds nothing waits on."""
        self._threads = 0
        self._begun_at = 0.0
        """The clock's time when one of them has taken something up last."""

    def __repr__(self) -> str:
        return f"<_Seekers: {self._threads} threads, {len(self._turns)} requests wait>"

    def put(self, task: _Task) -> None:
        """Have it run. Raises Overloaded."""
        with self._lock:
            of_tree, of_directory = self._turns.waiting(task.place)
            if len(self._turns) >= WAITING or of_tree >= WAITING_OF_TREE or of_directory >= WAITING_OF_DIRECTORY:
                raise Overloaded(
                    f"{len(self._turns)} requests wait for their scripts to be found already, {of_tree} of them below "
                    f"{task.place[0]!a}, {of_directory} below {task.place[1]!a} there"
                )
            self._turns.put(task, task.place)
            if self._threads:
                self._call()
                return
        self.grow()

    def drop(self, task: _Task) -> None:
        """Nobody waits for it any more."""
        task.is_given_up = True
        if not task.is_begun:
            with self._lock:
                self._turns.drop(task, task.place)

    def _call(self) -> None:
        """Under the lock. One call does: who follows it calls the next if there is more to do."""
        if self._calls.empty():
            self._calls.put(None)

    def grow(self) -> float:
        """Start a further thread if none has had time for what waits.

        Returns the seconds after which there may be need for another one; 0 where there can be no more of them.

        Raises Overloaded where there is none, and none can be started.
        """
        with self._lock:
            if self._threads >= THREADS:
                return 0.0
            if not self._turns.is_any:
                return LONGER  # who ends a turn takes what waits for it, but may be the only one to do so
            if self._threads > self._turns.begun:
                self._call()
                return PATIENCE
            is_only = not self._threads
            if not is_only and time.monotonic() - self._begun_at < PATIENCE:
                return PATIENCE
            self._threads += 1
        try:
            # Its own: who waits for others to end, as concurrent.futures has Python do, waits for their file systems.
            threading.Thread(target=self._work, name="asyncgroups-scripts", daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._threads -= 1
            if is_only:
                raise Overloaded(f"no thread to look for scripts: {error}") from error
        return PATIENCE

    def _work(self) -> None:
        place = None
        while (taken := self._next(place)) is not None:
            task, place = taken
            self._begun_at = time.monotonic()
            if not task.is_given_up:
                task.run()

    def _next(self, over: Place | None) -> tuple[_Task, Place] | None:
        """The next search, once there is one; None where the thread is to end. over: where it has looked."""
        is_last = False
        while True:
            with self._lock:
                if over is not None:
                    self._turns.over(over)
                    over = None
                taken = self._turns.take()
                if taken is not None:
                    if self._turns.is_any:  # what is over may have made room for something else than this
                        self._call()
                    return taken
                if is_last:  # nobody puts one in now, relying on this thread
                    self._threads -= 1
                    return None
            try:
                self._calls.get(timeout=IDLE)
            except queue.Empty:
                is_last = True


# Files of one virtual host, by identity: they live as long as the selection. What has led to the script, the URL of
# that, the number of names below it, and the script's path.
type _Key = tuple[int, str, str, int, str]


def _key(search: Search, candidate: Candidate, depth: int, path: str) -> _Key:
    return id(search.files), candidate.place, candidate.url, depth, path


class Scripts:
    """The scripts of one configuration.

    selection: what asks for them. timeout: seconds that a search may take, 0 for any time.
    """

    __slots__ = ("_known", "_seekers", "_selection", "_timeout", "_versions")

    def __init__(self, selection: Selection, *, timeout: float) -> None:
        self._selection = selection
        self._timeout = timeout
        self._seekers = _Seekers()
        self._versions: dict[str, tuple[float, Version]] = {}
        self._known: dict[_Key, tuple[float, Found]] = {}

    def __repr__(self) -> str:
        return f"<Scripts: {self._seekers!r}>"

    async def settle(self, choice: Choice | Search) -> Choice:
        """The choice, complete with its script.

        Raises ScriptNotFound, GroupNameUnresolved, PatternTooSlow, Overloaded, FilesUnreachable.
        """
        try:
            if isinstance(choice, Search):
                found = self._recall(choice)
                if found is None:
                    found = await self._find(choice)
                    self._keep(choice, found)
                return self._selection.found(choice, found)
            mount = choice.mount
            if mount.script is None or not mount.script_reloading:
                return choice
            return choice._replace(version=self._known_version(mount.script))
        except OSError as error:
            raise FilesUnreachable(f"the file system does not say what is there: {error}") from error

    async def _find(self, search: Search) -> Found:
        task = _Task(search)
        timeout = self._timeout
        try:
            self._seekers.put(task)
            rest, pause = timeout or math.inf, PATIENCE
            while not await task.wakeup.wait(min(pause, rest)) and (rest := rest - pause) > 0:
                if task.is_begun or not (pause := self._seekers.grow()):
                    await task.wakeup.wait(rest if timeout else None)
                    break
        finally:
            self._seekers.drop(task)
        if task.error is not None:
            raise task.error
        if task.found is None:
            raise FilesUnreachable(f"the script was not found within {timeout:g} s (timeouts.queue)")
        return task.found

    def _keep(self, search: Search, found: Found) -> None:
        candidate = found.candidate
        depth = found.script_name.count("/") - candidate.url.count("/")
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[_key(search, candidate, depth, found.path)] = time.monotonic() + KNOWN_FOR, found

    def _recall(self, search: Search) -> Found | None:
        """The script that was found a moment ago for a URL that begins as this one does; None where that is not known.

        As in ``scripts.find`` the first name that is a file's is the script's.
        """
        if not self._known:
            return None
        now = time.monotonic()
        for candidate in search.candidates:
            path, depth, end = "/".join([candidate.base.rstrip("/"), *candidate.below]) or "/", 0, 0
            names = steps(candidate.rest)
            while True:
                known = self._known.get(_key(search, candidate, depth, path))
                if known is not None and now < known[0]:
                    return known[1]._replace(candidate=candidate, path_info=candidate.rest[end:])
                step = next(names, None)
                if step is None or not step.name:
                    break
                path, depth, end = f"{path.rstrip('/')}/{step.name}", depth + 1, step.end
        return None

    def _known_version(self, path: str) -> Version:
        """What a script is that the configuration names, or was a moment ago. Raises ScriptNotFound, OSError."""
        now = time.monotonic()
        known = self._versions.get(path)
        if known is None or now - known[0] >= FRESH:
            # What is not there is asked for again with the next request: it may be about to be replaced.
            known = self._versions[path] = now, version_of(path)
        return known[1]
