"""Whose turn it is: what waits for threads, by where each may be held up.

Law: decides, and is not thread-safe: it is for whoever has a lock. Standard library only. Guarantees:

- Of one tree, a directory that the configuration names, no more than ``of_tree`` are begun and not over, and of one
  directory below it no more than ``of_directory``. What cannot be begun for that is passed over.
- Trees take turns, and so do the directories of one; what waits for the same directory goes in the order it came in.
- A turn is found in as many steps as there are trees in use, and directories of one that have no turn left.
"""

from collections import OrderedDict

__all__ = ["Place", "Turns"]

type Place = tuple[str, str]
"""Tree and directory."""


class _Tree[Task]:
    """What is begun, by directory, and how much that is; what waits in those directories that something waits for."""

    __slots__ = ("begun", "count", "waiting", "waits")

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.count = 0
        self.waiting: dict[str, OrderedDict[Task, None]] = {}
        self.waits = 0


class Turns[Task]:
    """What waits, and how much of what has been begun is not over. of_tree, of_directory: how much may be, at most."""

    __slots__ = ("_of_directory", "_of_tree", "_trees", "_waits", "begun")

    def __init__(self, *, of_tree: int, of_directory: int) -> None:
        self._of_tree = of_tree
        self._of_directory = of_directory
        self._trees: dict[str, _Tree[Task]] = {}
        self._waits = 0
        self.begun: int = 0
        """How much has been begun and is not over."""

    def __repr__(self) -> str:
        return f"<Turns: {self._waits} wait>"

    def __len__(self) -> int:
        return self._waits

    def waiting(self, place: Place) -> tuple[int, int]:
        """How much waits for the tree, and for the directory."""
        tree = self._trees.get(place[0])
        return (tree.waits, len(tree.waiting.get(place[1], ()))) if tree is not None else (0, 0)

    def put(self, task: Task, place: Place) -> None:
        """Have it wait."""
        name, directory = place
        if (tree := self._trees.get(name)) is None:
            tree = self._trees[name] = _Tree()
        if (waiting := tree.waiting.get(directory)) is None:
            waiting = tree.waiting[directory] = OrderedDict()
        waiting[task] = None
        tree.waits += 1
        self._waits += 1

    def drop(self, task: Task, place: Place) -> None:
        """Have it wait no longer, if it does."""
        name, directory = place
        tree = self._trees.get(name)
        waiting = tree.waiting.get(directory) if tree is not None else None
        if tree is None or waiting is None or task not in waiting:
            return
        del waiting[task]
        if not waiting:
            del tree.waiting[directory]
        self._has_left(name, tree)

    @property
    def is_any(self) -> bool:
        """Whether there is something to begin."""
        return self._waits > 0 and self._find() is not None

    def take(self) -> tuple[Task, Place] | None:
        """What is to be begun now, and its place, which ``over`` wants back; None where nothing is."""
        if not self._waits or (place := self._find()) is None:
            return None
        name, directory = place
        tree = self._trees[name] = self._trees.pop(name)  # the last from now on, and so is the directory
        waiting = tree.waiting.pop(directory)
        task, _ = waiting.popitem(last=False)
        if waiting:
            tree.waiting[directory] = waiting
        tree.begun[directory] = tree.begun.get(directory, 0) + 1
        tree.count += 1
        self.begun += 1
        self._has_left(name, tree)
        return task, place

    def over(self, place: Place) -> None:
        """What was begun there is over."""
        name, directory = place
        tree = self._trees[name]
        tree.count -= 1
        self.begun -= 1
        tree.begun[directory] -= 1
        if not tree.begun[directory]:
            del tree.begun[directory]
        self._forget(name, tree)

    def _has_left(self, name: str, tree: _Tree[Task]) -> None:
        tree.waits -= 1
        self._waits -= 1
        self._forget(name, tree)

    def _forget(self, name: str, tree: _Tree[Task]) -> None:
        if not tree.count and not tree.waits:
            del self._trees[name]

    def _find(self) -> Place | None:
        for name, tree in self._trees.items():
            if tree.count >= self._of_tree:
                continue
            for directory in tree.waiting:
                if tree.begun.get(directory, 0) < self._of_directory:
                    return name, directory
        return None
