"""The commands; the only room that reads argv or prints. Imports what a command needs when it runs.

loads       ``check --load``
printing    what all of them print
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncgroups import __version__
from asyncgroups.cli.printing import Commands, print_err, print_out, printable
from asyncgroups.errors import ConfigurationError, RequestRefused

if TYPE_CHECKING:
    from asyncgroups.config import Configuration
    from asyncgroups.loading import Group

__all__ = ["main"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_APPLICATION = re.compile(r"[^/\\:]+:[^/\\:]+")

_OVERRIDES = {
    "bind": "--bind",
    "application_group": "--application-group",
    "threads": "--threads",
    "app_dir": "--app-dir",
    "server_name": "--server-name",
    "log_level": "--log-level",
    "certfile": "--certfile",
    "keyfile": "--keyfile",
    "keyfile_password": "--keyfile-password",
    "ca_certs": "--ca-certs",
}

_OPTIONS = {
    "bind": click.option(
        "-b", "--bind", multiple=True, metavar="ADDRESS", help="host:port or unix:PATH to listen on; repeatable."
    ),
    "mount": click.option("--mount", metavar="PATH", help="URL path of a module:attribute.  [default: /]"),
    "application_group": click.option(
        "--application-group", metavar="NAME", help="%{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} or a name."
    ),
    "threads": click.option("--threads", type=int, metavar="N", help="Threads in each interpreter."),
    "app_dir": click.option(
        "--app-dir", metavar="FOLDER", help="First folder of sys.path.  [default: the file's, or this one]"
    ),
    "server_name": click.option("--server-name", metavar="NAME[:PORT]", help="Name of the server in names of groups."),
    "log_level": click.option(
        "--log-level",
        metavar="LEVEL",
        callback=lambda _, __, level: level and level.lower(),
        help="critical, error, warning, info or debug.",
    ),
    "certfile": click.option("--certfile", metavar="FILE", help="TLS certificate with its chain."),
    "keyfile": click.option("--keyfile", metavar="FILE", help="TLS private key."),
    "keyfile_password": click.option("--keyfile-password", metavar="PASSWORD", help="Password of the private key."),
    "ca_certs": click.option(
        "--ca-certs", metavar="FILE", help="Authorities that clients' certificates are checked against."
    ),
    "define": click.option(
        "-D",
        "--define",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="What Apache is told by -D, where TARGET is a configuration of Apache's; repeatable.",
    ),
}
"""What can be said on the command line instead of in the file."""


def _options[Command: Callable[..., Any]](*keys: str) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for key in reversed(keys):
            command = _OPTIONS[key](command)
        return command

    return decorate


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="asyncgroups")
def main() -> None:
    """Serve WSGI applications in named application groups."""
    _open_what_was_closed()


@main.command()
@click.argument("target", required=False)
@_options(*_OPTIONS)
def serve(target: str | None, mount: str | None, **options: Any) -> None:
    """Serve TARGET: a configuration file, or one application as module:attribute.

    Without TARGET, asyncgroups.toml in this folder. A file whose name ends in .conf is Apache's. A command-line option
    beats the file. SIGTERM and SIGINT end the
    server when running requests have been answered.

    Exit status: 0 after a signal, 2 for a wrong command line or configuration, 3 if an application that is to be
    preloaded does not load, 1 for the rest.
    """
    configuration = _configuration_or_exit(target, mount=mount, options=options)
    from asyncgroups.server import serve as serve_configuration  # noqa: PLC0415 - a wrong command line needs no server

    serve_configuration(configuration)


@main.command()
@click.argument("target", required=False)
@click.option("--load", is_flag=True, help="Load each application in its group, and print a table of what came of it.")
@_options(*_OPTIONS)
def check(target: str | None, mount: str | None, *, load: bool, **options: Any) -> None:
    """Check TARGET, as for serve, and report every error with its place. The files of TLS are loaded, too.

    With --load each application is loaded in its group, in an interpreter or process that is thrown away again. The
    table on stdout says what the group is in, whether the application loads, in how many seconds, by how many megabytes
    the processes grew, which extension modules it fails for or does without because they refuse to be loaded in an
    interpreter of its own, and which setting or module has decided what the group is in. What applications print,
    and why one does not load, goes to stderr. An application that ends the process is named there, and what comes
    after it is not loaded.

    Exit status: 0 if all is right, 2 for a wrong command line or configuration, 3 if an application does not load, 130
    after Ctrl-C.
    """
    configuration = _configuration_or_exit(target, mount=mount, options=options)
    from asyncgroups.loading import groups_of  # noqa: PLC0415 - as above
    from asyncgroups.tls import check_files  # noqa: PLC0415 - as above

    try:
        if configuration.tls is not None:
            check_files(configuration.tls)
    except OSError as error:
        print_err(f"asyncgroups: {configuration.source}: {error}")
        sys.exit(2)
    groups = groups_of(configuration, process_env=os.environ)
    source = printable(configuration.source)
    print_out(f"{source}: no errors; {', '.join(_counts(configuration, groups))}")
    if places := configuration.asked():
        where = ", ".join(map(printable, places))
        print_out(f"{source}: requests tell which scripts, and so which application groups, there are in {where}")
    for warning in configuration.warnings():
        print_err(f"asyncgroups: {source}: {printable(warning)}")
    if configuration.remarks:
        told = _count(len(configuration.remarks), "remark")
        print_err(f"asyncgroups: {told} on what was not translated; asyncgroups migrate {source} lists them")
    if load:
        from asyncgroups.cli.loads import load_all  # noqa: PLC0415 - as above

        load_all(configuration, groups)


@main.command()
@click.argument("target", metavar="FILE")
@click.argument("url")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="What an outer ASGI application adds; repeatable.")
@click.option("-X", "--method", default="GET", metavar="METHOD", help="Of the request.  [default: GET]")
@click.option("--header", multiple=True, metavar="NAME:VALUE", help="A field of the request; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_options("bind", "mount", "application_group", "app_dir", "server_name", "define")
def explain(
    target: str,
    url: str,
    *,
    mount: str | None,
    env: tuple[str, ...],
    method: str,
    header: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Say which application and group a request for URL gets under FILE, and which setting decided.

    URL is http://host:port/path, where the port stands for the one that the request arrives on, or a path alone, for no
    host in particular and the first port of bind. FILE may be a module:attribute, as for serve.

    Exit status: 0 if an application gets the request, 1 if none does, 2 for a wrong command line or configuration.
    """
    variables, fields = _variables(env), _fields(header)
    configuration = _configuration_or_exit(target, mount=mount, options=options)
    from asyncgroups.explanation import explain as explain_url  # noqa: PLC0415 - as above
    from asyncgroups.explanation import parse_url, plain, rows_of  # noqa: PLC0415 - as above

    port = next((port for port in configuration.ports if port is not None), None)
    try:
        where = parse_url(url, port=port)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        explanation = explain_url(
            configuration, where, env=variables, process_env=os.environ, method=method, headers=fields
        )
    except RequestRefused as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_out(json.dumps(plain(explanation), indent=2))
    else:
        print_out("\n".join(_lines_of(rows_of(explanation))))
    if explanation.refusal is not None:
        print_err(f"asyncgroups: {explanation.refusal.status}: {printable(str(explanation.refusal))}")
        sys.exit(1)


@main.command()
@click.argument("file")
@click.option("-o", "--output", metavar="FILE", help="Write the translation there.  [default: stdout]")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@_options("define")
def migrate(file: str, *, output: str | None, define: tuple[str, ...], force: bool) -> None:
    """Translate FILE, a configuration of Apache with mod_wsgi, into one of asyncgroups that behaves the same.

    What it includes is read as well. What has no counterpart is told on stderr, with its file and line, and what it
    means. Variables such as ${APACHE_LOG_DIR} come from Define, from -D, or from the environment.

    Exit status: 0 if all was translated, 1 if there are remarks, 2 for a wrong command line, or if a file cannot be
    read or written.
    """
    from asyncgroups.cli.migration import migrate_file  # noqa: PLC0415 - as above

    migrate_file(file, output=output, force=force, defines=_definitions(define))


@main.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors.

    Write it to a file, and begin asyncgroups.toml with the line: #:schema ./asyncgroups.schema.json
    """
    from asyncgroups.config import schema as schema_of_file  # noqa: PLC0415 - as above

    print_out(json.dumps(schema_of_file(), indent=2))


# explain --------------------------------------------------------------------------------------------------------------


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--env {pair!r}: write NAME=VALUE.")
        variables[name] = value
    return variables


def _fields(lines: Sequence[str]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not line.isascii() or not line.isprintable():
            raise click.UsageError(f"--header {line!r}: write NAME:VALUE.")
        fields.append((name.lower().encode(), value.strip().encode()))
    return fields


def _lines_of(rows: Sequence[tuple[str, str | None, str | None]]) -> list[str]:
    shown = [
        (name, "-" if value is None else printable(value) or '""', reason and printable(reason))
        for name, value, reason in rows
    ]
    width = max(len(value) for _, value, reason in shown if reason)
    return [
        f"{name:17}  {value:{width}}  ({reason})" if reason else f"{name:17}  {value}" for name, value, reason in shown
    ]


def _counts(configuration: Configuration, groups: Sequence[Group]) -> list[str]:
    hosts = (configuration.server, *configuration.virtual_hosts)
    files = [host.files for host in hosts if host.files is not None]
    # What virtual hosts inherit is there once, wherever it counts.
    patterns = {place.partition(" in ")[0] for one in files for place in one.trees.patterns}
    directories = {section.place for one in files for section in one.sections}
    rules = {rule.place for one in files for rule in one.rules}
    counts = [
        _count(sum(not mounted.inherited for mounted in configuration.mounts()) + len(patterns), "mount"),
        _count(len(configuration.virtual_hosts), "virtual host"),
        _count(len(groups), "application group"),
    ]
    if directories:
        counts.append(f"{len(directories)} director{'y' if len(directories) == 1 else 'ies'}")
    return [*counts, _count(len(rules), "rule")] if rules else counts


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _open_what_was_closed() -> None:
    """Where stdin, stdout or stderr was closed (``>&-``) what is written goes nowhere.

    Else the next file or socket would get its number, and what is written.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in (0, 1, 2):
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the standard library's signature
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


# The configuration ----------------------------------------------------------------------------------------------------


def _configuration_or_exit(target: str | None, *, mount: str | None, options: dict[str, Any]) -> Configuration:
    """Raises click.UsageError; a wrong configuration ends the process with status 2."""
    try:
        return _configuration(target, mount=mount, options=options)
    except ConfigurationError as error:
        print_err(f"asyncgroups: {error}")
        sys.exit(2)


def _definitions(written: Iterable[str]) -> dict[str, str]:
    """What was given as ``-D NAME`` and ``-D NAME=VALUE``."""
    return {name: value for name, _, value in (one.partition("=") for one in written)}


def _configuration(target: str | None, *, mount: str | None, options: dict[str, Any]) -> Configuration:
    """Raises ConfigurationError, click.UsageError."""
    from asyncgroups.config import Override, from_mapping, is_apache, read  # noqa: PLC0415 - --help and --version need no pydantic

    if target is None:
        target = "asyncgroups.toml"
        if not Path(target).exists():
            raise click.UsageError(
                "there is no asyncgroups.toml here: give a file, or an application as module:attribute."
            )
    overrides = {
        key: Override(option, options[key])
        for key, option in _OVERRIDES.items()
        if options.get(key) is not None and options[key] != ()
    }
    defines = _definitions(options.get("define") or ())
    if defines and not is_apache(target):
        raise click.UsageError("--define goes with a configuration of Apache's, whose name ends in .conf.")
    if target.endswith(".py") and Path(target).is_file():
        raise click.UsageError(f"{target!r} is a module: name its application, as in {Path(target).stem}:application.")
    if target.endswith(".toml") or is_apache(target) or Path(target).is_file():
        if mount is not None:
            raise click.UsageError("--mount goes with module:attribute; in a file, path of [[mount]] says the same.")
        return read(target, overrides=overrides, defines=defines)
    if not _APPLICATION.fullmatch(target):
        raise click.UsageError(f"{target!r} is neither a file nor an application such as shop.wsgi:application.")
    mapping = {"mount": [{"path": mount if mount is not None else "/", "app": target}]}
    return from_mapping(mapping, base=Path.cwd(), source="command line", overrides=overrides)
