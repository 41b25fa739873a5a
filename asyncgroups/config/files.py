"""The tables about files -> what one virtual host has of them: ``selection.files.Files``.

Law: as for ``contexts``: notes every problem and goes on; asks the file system only whether a file or folder exists.
May import ``errors``, ``selection`` and the rest of ``config`` but ``contexts`` and the reader.

A virtual host has what the server configuration has as well, after its own: but for what its own mounts and aliases
cover altogether, and for rules, where its own stand in place of the server's.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asyncgroups.config.merging import Context, Merging, numbered
from asyncgroups.config.model import AliasSection, DirectorySection, FileSettings, MountSection, RewriteSection
from asyncgroups.config.problems import Problems
from asyncgroups.config.rules import expression, rules
from asyncgroups.config.values import shown
from asyncgroups.config.words import Loc
from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.directories import WSGI_SCRIPT, Glob, Section, Sections
from asyncgroups.selection.files import Files
from asyncgroups.selection.matched import ScriptMatch, ScriptTarget
from asyncgroups.selection.mounts import Mount, normalise_path
from asyncgroups.selection.patterns import Pattern
from asyncgroups.selection.rewrite import Rule, Rules
from asyncgroups.selection.trees import Alias, Trees, UserDirectories

__all__ = ["TableReader", "Tables", "files", "within"]

NO_SETTINGS = frozenset({"path", "match", "process_env"})
"""Keys of a section that are none of ``Section.settings``: where it is, and what is never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What one context says of files, or two say together.

    covered: paths of its own mounts and aliases. users: the keys of [userdir], with absolute paths. sections, matches:
    each with what else is written there, matches by their place. rules: None where nothing is said of them.
    follow_symlinks: None where nothing is said of that.
    """

    covered: frozenset[str]
    aliases: tuple[Alias, ...] = ()
    users: Mapping[str, Any]
    document_root: Alias | None = None
    sections: tuple[tuple[Section, Context[DirectorySection]], ...]
    matches: Mapping[str, tuple[ScriptMatch, Context[MountSection]]]
    rules: tuple[Rule, ...] | None = None
    follow_symlinks: bool | None = None

    @property
    def leads_to_files(self) -> bool:
        """Whether a path may lead to a file that only the file system knows of."""
        return bool(self.aliases or self.document_root or self.users.get("path"))

    @property
    def runs_files(self) -> bool:
        """Whether a script may be found by one of its paths."""
        has_handler = any(section.settings.get("handler") == WSGI_SCRIPT for section, _ in self.sections)
        return bool(self.matches) or (self.leads_to_files and has_handler)

    def hides(self, path: str) -> bool:
        """Whether mounts and aliases of its own cover this path and all below it."""
        return any(path == one or path.startswith(f"{one}/") for one in self.covered)

    def covering(self, script: str) -> tuple[Context[DirectorySection], ...]:
        """The sections that a script falls into, the most specific first. Raises PatternTooSlow."""
        found = Sections(section for section, _ in self.sections).covering(script)
        return tuple(context for one in reversed(found) for section, context in self.sections if section is one)


def within(own: Tables, server: Tables) -> Tables:
    """What a virtual host has of files, with the server's."""
    matches = dict(own.matches)
    for match, mount in server.matches.values():
        place = _untaken(match.place, matches)
        matches[place] = replace(match, place=place), mount
    rest = own.hides("")
    return Tables(
        covered=own.covered,
        aliases=(*own.aliases, *(alias for alias in server.aliases if not own.hides(alias.path))),
        users=own.users if rest else {**server.users, **own.users},
        document_root=own.document_root or server.document_root,  # a root of its own comes before it anyhow
        sections=(*server.sections, *own.sections),
        matches=own.matches if rest else matches,
        rules=server.rules if own.rules is None else own.rules,
        follow_symlinks=server.follow_symlinks if own.follow_symlinks is None else own.follow_symlinks,
    )


def files(tables: Tables, around: tuple[Context[Any], ...], *, merging: Merging) -> Files | None:
    """What a request is answered with; None where there is nothing.

    around: the virtual host and the server configuration, or only that.
    """
    if not (tables.leads_to_files or tables.sections or tables.matches or tables.rules):
        return None
    users = tables.users
    # By identity: many may stand at one place of a file that is read more than once.
    directories = {id(section): context for section, context in tables.sections}

    def merge(place: str, covering: tuple[Section, ...]) -> tuple[Mount, str]:
        contexts: list[Context[Any]] = [directories[id(section)] for section in reversed(covering)]
        if place in tables.matches:
            contexts.insert(0, tables.matches[place][1])
            name = place
        else:
            name = covering[-1].place if covering else place
        placed = merging.merge((*contexts, *around), place=name)
        origins = {"path": place, **placed.mount.origins}
        return replace(placed.mount, origins=origins), placed.callable

    return Files(
        trees=Trees(
            tables.aliases,
            UserDirectories(
                patterns=users["path"],
                enabled=None if users.get("enabled") is None else frozenset(users["enabled"]),
                disabled=frozenset(users.get("disabled") or ()),
                place=users["place"],
            )
            if users.get("path")
            else None,
            document_root=tables.document_root,
            matches=[match for match, _ in tables.matches.values()],
        ),
        sections=Sections(section for section, _ in tables.sections),
        rules=Rules(tables.rules or ()),
        follow_symlinks=bool(tables.follow_symlinks),
        merge=merge,
    )


class TableReader:
    """Reads what contexts say of files.

    base: absolute path of the folder that relative paths start from. dropped: as for ``Contexts``.
    """

    def __init__(self, *, base: Path, dropped: Collection[Loc], problems: Problems) -> None:
        self._base = os.path.normpath(base)
        self._dropped = dropped
        self._problems = problems
        self._place = problems.words.place

    def absolute(self, path: str) -> str:
        """A path as sections are asked for it: absolute, and in its one spelling."""
        # Two slashes at the beginning may stay two, and mean something else: POSIX.1-2024, 4.16.
        return "/" + os.path.normpath(os.path.join(self._base, path)).lstrip("/")

    def tables(self, context: Context[FileSettings], mounts: list[Context[MountSection]]) -> Tables:
        """What one context says. mounts: its own, those by pattern among them."""
        loc, section = context
        aliases = tuple(self._aliases(numbered((*loc, "alias"), section.alias, dropped=self._dropped), mounts))
        directories = numbered((*loc, "directory"), section.directory, dropped=self._dropped)
        sections = [(found, one) for one in directories if (found := self._section(one)) is not None]
        matches: dict[str, tuple[ScriptMatch, Context[MountSection]]] = {}
        for mount in (mount for mount in mounts if mount.section.match is not None):
            place = _untaken(self._place(mount.loc), matches)
            if (match := self._match(mount, place)) is not None:
                matches[place] = match, mount
        written = numbered((*loc, "rewrite"), section.rewrite or (), dropped=self._dropped)
        return Tables(
            covered=frozenset(
                [normalise_path(mount.section.path) for mount in mounts if mount.section.path is not None]
                + [alias.path for alias in aliases]
            ),
            aliases=aliases,
            users=self._users(context),
            document_root=self._document_root(context),
            sections=tuple(sections),
            matches=matches,
            rules=None if section.rewrite is None else rules(self._with_conditions(written), self._problems),
            follow_symlinks=section.follow_symlinks,
        )

    def check_users(self, loc: Loc, own: Tables, *, together: Tables) -> None:
        """Who has a directory has to have a path to it; who has none needs none.

        own: what the context at ``loc`` says. together: with what those around it say.
        """
        users = own.users
        is_meant = bool(users.get("enabled")) or ("place" in users and not users.keys() & {"enabled", "disabled"})
        if is_meant and "path" not in together.users and (*loc, "userdir", "path") not in self._dropped:
            self._problems.add((*loc, "userdir", "path"), "is missing")

    def _aliases(
        self, sections: Iterator[Context[AliasSection]], mounts: list[Context[MountSection]]
    ) -> Iterator[Alias]:
        seen = {normalise_path(mount.section.path): mount.loc for mount in mounts if mount.section.path is not None}
        for loc, section in sections:
            path = normalise_path(section.path)
            if path in seen:
                sentence = f"{shown(path or '/')} is the path of {self._place(seen[path])} already"
                self._problems.add((*loc, "path"), sentence)
                continue
            seen[path] = loc
            target = self._folder((*loc, "directory"), section.directory)
            yield Alias(path=path, target=target, place=self._place(loc))

    def _document_root(self, context: Context[FileSettings]) -> Alias | None:
        written = context.section.document_root
        if written is None:
            return None
        loc = (*context.loc, "document_root")
        return Alias(path="", target=self._folder(loc, written), place=self._place(loc))

    def _users(self, context: Context[FileSettings]) -> dict[str, Any]:
        """The keys that are given."""
        section = context.section.userdir
        if section is None:
            return {}
        loc = (*context.loc, "userdir")
        users: dict[str, Any] = {"place": self._place(loc)}
        if section.enabled is not None:
            users["enabled"] = section.enabled
        if section.disabled is not None:
            users["disabled"] = section.disabled
        if section.path is not None:
            users["path"] = tuple(map(self.absolute, section.path))
            for path in users["path"]:
                if path.count("*") > 1:
                    self._problems.add((*loc, "path"), f"{shown(path)}: one '*' is the user's name; there is only one")
                elif not os.path.isdir(folder := _before_users(path)):
                    self._problems.miss((*loc, "path"), f"there is no folder {folder!r}")
        return users

    def _folder(self, loc: Loc, written: str) -> str:
        path = self.absolute(written)
        if not os.path.exists(path):
            self._problems.miss(loc, f"there is no folder {path!r}")
        return path

    def _section(self, context: Context[DirectorySection]) -> Section | None:
        loc, section = context
        where: Glob | Pattern | None = None
        key = self._one_of(context, "path", "match")
        if key == "path":
            where = self._pattern((*loc, "path"), section.path or "", escape=_for_globs, kind=Glob)
        elif key == "match":
            where = expression(section.match or "", loc=(*loc, "match"), problems=self._problems)
        if where is None:
            return None
        given = {name: getattr(section, name) for name in DirectorySection.model_fields if name not in NO_SETTINGS}
        settings = {name: value for name, value in given.items() if value is not None}
        return Section(where=where, settings=settings, place=self._place(loc))

    def _match(self, context: Context[MountSection], place: str) -> ScriptMatch | None:
        loc, section = context
        pattern = expression(section.match or "", loc=(*loc, "match"), problems=self._problems)
        if section.script is None:
            return None
        target = self._pattern((*loc, "script"), section.script, escape=_as_it_is, kind=ScriptTarget)
        if pattern is None or target is None:
            return None
        for group in re.finditer(r"\\([1-9])", section.script):
            if int(group[1]) > pattern.groups:
                sentence = f"the expression has {pattern.groups or 'no'} group{'s' * (pattern.groups != 1)}"
                self._problems.add((*loc, "script"), str(PatternSyntaxError(section.script, group.span(), sentence)))
        return ScriptMatch(pattern=pattern, target=target, place=place)

    def _one_of(self, context: Context[DirectorySection], first: str, second: str) -> str | None:
        """The one of two keys that is given; a problem where that is not so."""
        given = [key for key in (first, second) if getattr(context.section, key) is not None]
        if len(given) == 1:
            return given[0]
        if given:
            self._problems.add((*context.loc, second), f"stands beside {first}; there is only one of the two")
        else:
            self._problems.add((*context.loc, first), f"is missing; give it, or {second}")
        return None

    def _pattern[Kind: Glob | ScriptTarget](
        self, loc: Loc, text: str, *, escape: Callable[[str], str], kind: Callable[[str], Kind]
    ) -> Kind | None:
        """A path with more than names in it, made absolute. escape: makes a name of one that stands for itself."""
        names = [name for name in text.split("/") if name not in ("", ".")]
        folder = [] if text.startswith("/") else self._base.split("/")
        while folder and names[:1] == [".."]:
            del names[0], folder[-1:]
        before = "".join(f"/{escape(name)}" for name in folder if name)
        whole = before + "".join(f"/{name}" for name in names) or "/"
        try:
            return kind(text if text.startswith("/") else whole)
        except PatternSyntaxError as error:
            shift = len(error.text) - len(text)
            start, end = (at - shift for at in error.span)
            if error.text.endswith(text) and start >= 0:
                error = PatternSyntaxError(text, (start, end), error.message)
            self._problems.add(loc, str(error))
            return None

    def _with_conditions(self, sections: Iterator[Context[RewriteSection]]) -> Iterator[Any]:
        for one in sections:
            yield one, tuple(numbered((*one.loc, "condition"), one.section.condition, dropped=self._dropped))


def _before_users(path: str) -> str:
    """The part of a path to users' directories that is the same for all of them; without a ``*`` all of it is."""
    before, star, _ = path.partition("*")
    return (before.rpartition("/")[0] or "/") if star else path


def _untaken(place: str, taken: Collection[str]) -> str:
    """A name for what stands at ``place``: two may stand at one of a file that is read more than once."""
    return next(
        name for name in itertools.chain([place], (f"{place} ({n})" for n in itertools.count(2))) if name not in taken
    )


def _for_globs(name: str) -> str:
    return re.sub(r"([*?\[\\])", r"\\\1", name)


def _as_it_is(name: str) -> str:
    return name
