"""Where the settings of a configuration were written, in sentences for people.

Law: pure. May import ``config``, ``selection``.
"""

import tomllib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from asyncgroups.config import Configuration, ProcessSettings
from asyncgroups.config.words import FileWords
from asyncgroups.selection import Found
from asyncgroups.selection.directories import Glob, Section
from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import Mount
from asyncgroups.selection.names import GroupName, split_server_name

__all__ = ["ByRules", "Known", "Origins"]


class ByRules(NamedTuple):
    """What rules have set, and the place of the rule that has set it last."""

    variables: Mapping[str, str] = MappingProxyType({})
    places: Mapping[str, str] = MappingProxyType({})


class Known(NamedTuple):
    """Where a variable may come from, the first first."""

    env: Mapping[str, str]
    mount: Mount
    by_rules: ByRules
    process_env: Mapping[str, str]


class Origins:
    """Where the settings of a configuration were written, in sentences."""

    def __init__(self, configuration: Configuration) -> None:
        self._name = configuration.source
        self._lines = configuration.lines()
        self._server_name = tomllib.loads(configuration.text or "").get("server_name")  # as the file has it

    def of_virtual_host(self, virtual_host: VirtualHost, *, host: bytes | None, port: int | None) -> str:
        """Why it is this one. host: the Host header, bytes; None without one. port: that the request arrives on."""
        default = "the server config"
        if virtual_host.place != "server config":
            default = f"{virtual_host.place}, the default{self._line(f'{virtual_host.place}.default')}"
        if host is None:
            return f"the URL names no host: {default}"
        name = virtual_host.name_for(host)
        if name is None:
            asked = split_server_name(host.decode("latin-1"))[0]
            return f"no virtual host is called {asked} on port {port}: {default}"
        key = "server_name" if name == virtual_host.server_name else "server_alias"
        if virtual_host.place == "server config":
            if name == self._server_name:
                return self._written(key, name, key)
            return f"{key} = {_quoted(name)} in the server config"  # or in a command-line option: no line then
        return self._written(key, name, f"{virtual_host.place}.{key}")

    def of_place(self, mount: Mount, virtual_host: VirtualHost, *, found: Found | None) -> dict[str, str]:
        """What has led to a mount, or to a script; by the name of either."""
        if found is not None:
            return {"script": self._placed(found.candidate.place)}
        said = self._written("path", mount.path or "/", mount.origins.get("path"))
        if any(one is mount for one in virtual_host.inherited):
            said += f", which {virtual_host.place} inherits"
        origin = mount.origins.get("path")
        if mount.script is None or origin is None:
            return {"mount": said}
        return {"mount": said, "script": self._placed(f"{origin.removesuffix('path')}script")}

    def of_sections(self, sections: Sequence[Section]) -> str:
        """Which they are, one after the other."""
        keys = ("path" if isinstance(one.where, Glob) else "match" for one in sections)
        return "; ".join(
            self._written(key, str(one.where), f"{one.place}.{key}") for key, one in zip(keys, sections, strict=True)
        )

    def of_variables(self, by_rules: ByRules) -> str:
        """Which rules have set them."""
        return "; ".join(
            f"{name} = {_quoted(value)} in {self._placed(by_rules.places[name])}"
            for name, value in by_rules.variables.items()
        )

    def of_process_group(self, mount: Mount, known: Known) -> str:
        """What says which process group."""
        sentence = self._setting("process_group", mount.process_group.text, mount, default='the default, ""')
        return self._with_variable(sentence, mount.process_group, "process_group.env", known)

    def of_sticky(self, settings: ProcessSettings) -> str:
        """What says that it is sticky."""
        assert settings.sticky is not None
        place = FileWords().place(("process_group", settings.name, "sticky"))
        return self._written("sticky", settings.sticky.text, place)

    def of_application_group(self, mount: Mount, known: Known) -> str:
        """What says which application group."""
        text = mount.application_group.text
        sentence = self._setting("application_group", text, mount, default="the default, as %{RESOURCE}")
        return self._with_variable(sentence, mount.application_group, "env", known)

    def of_isolation(self, mount: Mount) -> str:
        """What says what it is isolated by."""
        return self._setting("isolation", mount.settings.isolation, mount, default="the default")

    def _with_variable(self, sentence: str, name: GroupName, origin: str, known: Known) -> str:
        variable = name.variable
        if variable is None:
            return sentence
        mount, by_rules = known.mount, known.by_rules
        if variable in known.env:
            return f"{sentence}; {variable} = {_quoted(known.env[variable])} from --env"
        if variable in mount.env:
            return f"{sentence}; {self._written(variable, mount.env[variable], mount.origins.get(origin))}"
        if variable in by_rules.variables:
            place = self._placed(by_rules.places[variable])
            return f"{sentence}; {variable} = {_quoted(by_rules.variables[variable])} in {place}"
        if variable in known.process_env:
            return f"{sentence}; {variable} = {_quoted(known.process_env[variable])} from the process's environment"
        return f"{sentence}; {variable} is not set"

    def _setting(self, key: str, value: str, mount: Mount, *, default: str) -> str:
        return self._written(key, value, mount.origins[key]) if key in mount.origins else default

    def _written(self, key: str, value: str, origin: str | None) -> str:
        """``key = "value" in context (file:line)``."""
        said = f"{key} = {_quoted(value)}"
        if origin is None:
            return said
        if origin.startswith("--"):
            return f"{said} from the command line ({origin})"
        context = origin.removesuffix(key).removesuffix(f'"{key}"').removesuffix(".") or "the server config"
        context = context.removesuffix(": ")  # a statement of Apache's has no key: ``site.conf:12: WSGIScriptAlias``
        return f"{said} in {context}{self._line(origin)}"

    def _placed(self, place: str) -> str:
        """``place (file:line)``."""
        return f"{place}{self._line(place)}"

    def _line(self, place: str) -> str:
        place = place.partition(" in ")[0]  # what a virtual host inherits
        while place and place not in self._lines:  # what stands inside a value has the line of that
            place = place.rpartition(".")[0]
        return f" ({self._name}:{self._lines[place]})" if place else ""


def _quoted(value: str) -> str:
    """``value`` as TOML writes it; on one line."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in escaped) + '"'
