"""The pieces that answer a request, made of what an Apache configuration becomes in our words."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asyncgroups.apache.reading import read
from asyncgroups.apache.translation import translate
from asyncgroups.apache.writing import toml
from asyncgroups.config.patterns import Expression
from asyncgroups.errors import GroupNameUnresolved, NotMounted, ScriptNotFound
from asyncgroups.frontend.scripts import find
from asyncgroups.selection import Selection
from asyncgroups.selection.directories import Glob, Section, Sections
from asyncgroups.selection.hosts import VirtualHost, VirtualHosts
from asyncgroups.selection.matched import ScriptMatch, ScriptTarget
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable, normalise_path
from asyncgroups.selection.names import Facts, parse
from asyncgroups.selection.rewrite import Condition, Equal, Request, Rule, Rules, Template, path_of
from asyncgroups.selection.trees import Alias, Candidate, Trees, UserDirectories

__all__ = ["Mounts", "Pieces", "request_of"]


class Answer(NamedTuple):
    script: str
    group: str
    script_name: str
    path_info: str
    env: dict[str, str]


class Pieces:
    """The server of a configuration, as one on port 80 has it; virtual hosts are for ``Mounts``."""

    def __init__(self, file: Path) -> None:
        translation = translate(read(file))
        table = tomllib.loads(toml(translation.mapping))  # as it would be read again from a file
        self.remarks = translation.remarks
        self.follows = bool(table.get("follow_symlinks"))
        self.server_name = table["server_name"]
        aliases = [
            Alias(path=normalise_path(one["path"]), target=one["directory"], place=f"alias[{number}]")
            for number, one in enumerate(table.get("alias", ()))
        ]
        users = table.get("userdir")
        root = table.get("document_root")
        self.trees = Trees(
            aliases,
            UserDirectories(patterns=tuple(users["path"]), place="userdir") if users else None,
            document_root=Alias(path="", target=root, place="document_root") if root else None,
            matches=[
                ScriptMatch(
                    pattern=Expression(one["match"]), target=ScriptTarget(one["script"]), place=f"mount[{number}]"
                )
                for number, one in enumerate(table.get("mount", ()))
                if "match" in one
            ],
        )
        self.mounts = mounts(table, (), default="")
        self.sections = Sections(
            section(one, f"directory[{number}]") for number, one in enumerate(table.get("directory", ()))
        )
        self.rules = Rules(rule(one, f"rewrite[{number}]") for number, one in enumerate(table.get("rewrite", ())))

    def answer(self, row: Mapping[str, Any]) -> Answer | str:
        """The script for a row of the table and its group, or why there is none."""
        raw_path, request = request_of(row)
        env = self.rules.variables(request)
        mounted = self.mounts.match(raw_path)
        depth = -1 if mounted is None else mounted[0].path.count("/")
        located = self.trees.locate(raw_path, request.path, mounted=depth)
        if located is None:
            return "nowhere" if mounted is None else self._of_mount(*mounted, env=env)
        reason = "nowhere"
        for candidate in located:
            try:
                script = find(candidate, may_follow=self._follower(candidate))
            except ScriptNotFound as error:
                reason = str(error)
                continue
            settled = self.sections.settle(script.path)
            if not candidate.place.startswith("mount") and not settled.runs(script.path):
                return "no handler"
            return self._answer(script.path, "", script.script_name, script.path_info, env=env)
        return reason

    def _of_mount(self, mount: Mount, path_info: bytes, *, env: dict[str, str]) -> Answer | str:
        if not Path(mount.application).is_file():
            return "no such script"
        return self._answer(mount.application, mount.application_group.text, mount.path, path_info, env=env)

    def _answer(self, path: str, group: str, script_name: str, path_info: bytes, *, env: dict[str, str]) -> Answer:
        """The mount's own group counts most, then that of the sections that its script falls into."""
        values = self.sections.settle(path).values
        env |= values.get("env", {})  # type: ignore[arg-type, operator]
        name = parse(group or str(values.get("application_group", "%{RESOURCE}")))
        facts = Facts(server_name=self.server_name, port=80, script=script_name, env=env, process_env={})
        return Answer(path, name.expand(facts), script_name, path_info.decode(), env)

    def _follower(self, candidate: Candidate) -> Callable[[str], bool]:
        # Links in users' directories are followed only where a section says so.
        otherwise = self.follows and candidate.place != "userdir"
        return lambda directory: bool(self.sections.settle(f"{directory}/").values.get("follow_symlinks", otherwise))


class Mounts:
    """The virtual hosts of a configuration with their mounts of exact paths, as a server on port 80 has them."""

    def __init__(self, file: Path) -> None:
        table = tomllib.loads(toml(translate(read(file)).mapping))
        server = VirtualHost(
            server_name=table.get("server_name"),
            mounts=mounts(table, (table,)),
            inherited=MountTable(()),
            place="server config",
        )
        hosts = [
            VirtualHost(
                server_name=one["server_name"],
                server_alias=tuple(one.get("server_alias", ())),
                mounts=mounts(one, (one, table)),
                inherited=mounts(table, (one, table)),
                place=f"virtual_host[{number}]",
            )
            for number, one in enumerate(table.get("virtual_host", ()))
        ]
        flagged = [number for number, one in enumerate(table.get("virtual_host", ())) if one.get("default")]
        default = hosts[flagged[0]] if flagged else None
        self.selection = Selection(VirtualHosts(server, hosts, default=default), process_env={})

    def answer(self, row: Mapping[str, Any]) -> tuple[str, str, str, str] | str:
        """Script, group, SCRIPT_NAME and PATH_INFO; or why there are none."""
        raw_path, request = request_of(row)
        host = self.selection.virtual_host(request.header("host").encode(), 80)
        try:
            mount, rest = self.selection.mounted(host, raw_path)
            group = self.selection.group(host, mount, port=80, env=mount.env)
        except (NotMounted, GroupNameUnresolved) as error:
            return str(error)
        return mount.application, group, mount.path, rest.decode()


def mounts(
    table: Mapping[str, Any], contexts: tuple[Mapping[str, Any], ...], *, default: str = "%{RESOURCE}"
) -> MountTable:
    """The mounts of one context, with what those around it say."""
    return MountTable(
        Mount(
            path=normalise_path(one["path"]),
            application=one["script"],
            application_group=parse(
                next((it["application_group"] for it in (one, *contexts) if "application_group" in it), default)
            ),
            env={name: value for context in reversed(contexts) for name, value in context.get("env", {}).items()},
            settings=GroupSettings(app_dir="/"),
            place=f"mount[{number}]",
        )
        for number, one in enumerate(table.get("mount", ()))
        if "path" in one
    )


def section(table: Mapping[str, Any], place: str) -> Section:
    where = Glob(table["path"]) if "path" in table else Expression(table["match"])
    settings = {key: value for key, value in table.items() if key not in ("path", "match")}
    if "extensions" in settings:
        settings["extensions"] = tuple(settings["extensions"])
    return Section(where=where, settings=settings, place=place)


def rule(table: Mapping[str, Any], place: str) -> Rule:
    env: list[tuple[str, Template | None]] = [(name, None) for name in table.get("unset", ())]
    env += [(name, Template(value)) for name, value in table.get("env", {}).items()]
    return Rule(
        path=Expression(table.get("match") or table["not_match"], nocase=table.get("nocase", False)),
        negated="not_match" in table,
        conditions=tuple(map(condition, table.get("condition", ()))),
        env=tuple(env),
        is_chained=table.get("chain", False),
        skip=table.get("skip", 0),
        is_last=table.get("last", False),
        place=place,
    )


def condition(table: Mapping[str, Any]) -> Condition:
    nocase = table.get("nocase", False)
    key = next(key for key in ("match", "not_match", "equals", "not_equals") if key in table)
    return Condition(
        test=Template(table["test"]),
        wanted=Expression(table[key], nocase=nocase) if "match" in key else Equal(table[key], nocase),
        negated=key.startswith("not_"),
        or_next=table.get("or_next", False),
    )


def request_of(row: Mapping[str, Any]) -> tuple[bytes, Request]:
    raw_path, _, query = row["url"].encode().partition(b"?")
    headers = {"host": "www.example.com"} | {name.lower(): value for name, value in row.get("headers", {}).items()}
    return raw_path, Request(
        path=path_of(raw_path),
        method=row.get("method", "GET"),
        query=query.decode(),
        scheme="http",
        protocol="HTTP/1.1",
        server_name="www.example.com",
        server_port="80",
        client="127.0.0.1",
        header=lambda name: headers.get(name, ""),
    )
