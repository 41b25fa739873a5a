"""The threads of an interpreter, and which of them serves which channel. Standard library, ``wire``, ``region``.

To a front end each of its channels is a worker, and its pool sees that there are no more of them than threads. Several
front ends that share a daemon process do not know of each other: there the crew sees to it. Guarantees:

- A post belongs to one thread, to whoever has claimed it, or is parked; whoever has it may read its channel. A thread
  takes each post that it gets, also one that was its own before: others may have had it meanwhile.
- Where there is a limit there are never more threads than that, and none before it is needed. There are as many as
  there are posts, up to the limit.
- As long as there are no more posts than that, each has a thread that waits for it. With more of them, a thread that
  gets free takes the one that has been ready for the longest time, whosever it is.
- A thread waits for a post only: for its own, and for those that are parked. What wakes it is a message, or the end of
  a channel; ``dismiss`` ends channels.
"""

from __future__ import annotations

import select
import threading
import time

from asyncgroups.errors import ChannelClosed
from asyncgroups.worker.region import Region

__all__ = ["Crew", "Post"]


class Post:
    """A channel that a thread may have; see above."""

    __slots__ = ("channel", "descriptor", "idle", "is_dismissed", "is_known")

    def __init__(self, channel: Channel) -> None:
        """``channel`` is from here on its own."""
        self.channel: Channel = channel
        self.descriptor: int = channel.fileno()
        self.idle: select.poll | None = None
        """Waits for it, and for any that is parked."""
        self.is_known: bool = False
        """Whether it has ever been parked."""
        self.is_dismissed: bool = False
        """Whether nobody is there any more for what is still in its channel."""

    def take(self, region: Region) -> None:
        """It is the calling thread's, whose region that is, until it is served."""
        raise NotImplementedError

    def serve(self, crew: Crew) -> Post:
        """Do what comes over the channel, until ``crew.wait`` returns a post to be taken; that one.

        Raises ChannelClosed when there will be no more.
        """
        raise NotImplementedError

    def part(self) -> None:
        """Close the channel."""
        raise NotImplementedError


class Crew:
    """The threads of one interpreter.

    name: of its threads, before a number. limit: how many threads there may be, None for as many as there are posts.
    daemon: as for threading.Thread. Raises OSError.
    """

    def __init__(self, *, name: str, limit: int | None, daemon: bool) -> None:
        self._name = name
        self._limit = limit if hasattr(select, "epoll") else None
        self._daemon = daemon
        self._lock = threading.Lock()
        self._posts = 0
        self._begun = 0
        self._due = 0
        """Threads that have a post, or wait for one."""
        self._threads: list[threading.Thread] = []
        self._parked: dict[int, Post] = {}
        # Each post that is ready is told to one thread, in the order in which they became so: EPOLLONESHOT, epoll(7).
        self._ready: select.epoll | None = select.epoll() if self._limit else None

    def __repr__(self) -> str:
        return f"<Crew {self._name!r}: {self._due} threads, {self._posts} posts, {len(self._parked)} parked>"

    # By the control thread --------------------------------------------------------------------------------------------

    def add(self, post: Post, number: int) -> None:
        """Have ``post`` served, by a thread of this ``number`` if there is to be one more. Raises RuntimeError."""
        with self._lock:
            self._posts += 1
            is_full = self._limit is not None and self._due >= self._limit
            self._due += not is_full
            self._begun += not is_full
            begun = self._begun
        if self._ready is not None:
            post.idle = select.poll()
            post.idle.register(post.descriptor, select.POLLIN)
            post.idle.register(self._ready.fileno(), select.POLLIN)
        if is_full:
            self.park(post)
            return
        thread = threading.Thread(
            target=self._live, args=(post, begun), name=f"{self._name}-{number}", daemon=self._daemon
        )
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._posts -= 1
                self._due -= 1
            raise
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]

    def claim(self, post: Post) -> bool:
        """Take ``post`` if it is parked; whether it was. Whoever has it parks it again."""
        with self._lock:
            if self._parked.get(post.descriptor) is not post:  # its thread may have closed it: the number is another's
                return False
            del self._parked[post.descriptor]
            return True

    def dismiss(self, post: Post) -> bool:
        """End the channel of ``post`` if it is parked, whatever has come over it; whether it was."""
        if not self.claim(post):
            return False
        post.is_dismissed = True
        post.channel.shut()
        self.park(post)  # whoever takes it leaves it
        return True

    def join(self, until: float) -> int:
        """Wait for the end of the threads, until ``until`` by the monotonic clock; how many have not ended."""
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)

    # By a thread ------------------------------------------------------------------------------------------------------

    def wait(self, post: Post) -> Post | None:
        """For a thread that has nothing to do for its ``post``: None when that is ready, or the one to take instead."""
        assert post.idle is not None
        if self._posts <= (self._limit or 0) and post.idle.poll()[0][0] == post.descriptor:
            return None
        self.park(post)
        return self._next()

    def _live(self, post: Post, number: int) -> None:
        """What a thread does."""
        region = Region(number)
        following: Post | None = post
        while following is not None:
            post = following
            post.take(region)
            try:
                following = None if post.is_dismissed else post.serve(self)
            except ChannelClosed:
                following = None
            if following is None:
                post.part()
                following = self._leave()

    def _leave(self) -> Post | None:
        """A channel has ended: another one for its thread, None when that is one too many."""
        with self._lock:
            self._posts -= 1
            if self._due > self._posts:
                self._due -= 1
                return None
        return self._next()

    def park(self, post: Post) -> None:
        """Give ``post`` to whoever gets free."""
        assert self._ready is not None
        with self._lock:  # nobody gets it, parks it again or closes it in between
            self._parked[post.descriptor] = post
            if post.is_known:
                self._ready.modify(post.descriptor, select.EPOLLIN | select.EPOLLONESHOT)
            else:
                post.is_known = True
                self._ready.register(post.descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def _unpark(self, descriptor: int) -> Post | None:
        with self._lock:
            return self._parked.pop(descriptor, None)

    def _next(self) -> Post:
        assert self._ready is not None
        while True:
            for descriptor, _ in self._ready.poll(maxevents=1):
                post = self._unpark(descriptor)
                if post is not None:  # else it has been claimed
                    return post


TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncgroups.wire.channel import Channel
