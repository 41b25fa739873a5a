"""The commands; the only module that reads argv or prints. Imports ``server`` and ``config`` when one needs them."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncgroups import __version__
from asyncgroups.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncgroups.config import Configuration

__all__ = ["main"]

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="asyncgroups")
def main() -> None:
    """Serve WSGI applications in named application groups."""


@main.command()
@click.argument("target", required=False)
@click.option("-b", "--bind", multiple=True, metavar="ADDRESS", help="host:port or unix:PATH to listen on; repeatable.")
@click.option("--mount", metavar="PATH", help="URL path of a module:attribute.  [default: /]")
@click.option(
    "--application-group", metavar="NAME", help="%{GLOBAL}, %{SERVER}, %{RESOURCE}, %{ENV:variable} or a name."
)
@click.option("--threads", type=int, metavar="N", help="Threads in each interpreter.")
@click.option("--app-dir", metavar="FOLDER", help="First folder of sys.path.  [default: the file's, or this one]")
@click.option("--server-name", metavar="NAME[:PORT]", help="Name of the server in names of groups.")
@click.option(
    "--log-level",
    metavar="LEVEL",
    callback=lambda _, __, level: level and level.lower(),
    help="critical, error, warning, info or debug.",
)
@click.option("--certfile", metavar="FILE", help="TLS certificate with its chain.")
@click.option("--keyfile", metavar="FILE", help="TLS private key.")
@click.option("--keyfile-password", metavar="PASSWORD", help="Password of the private key.")
@click.option("--ca-certs", metavar="FILE", help="Authorities that clients' certificates are checked against.")
def serve(target: str | None, mount: str | None, **options: Any) -> None:
    """Serve TARGET: a configuration file, or one application as module:attribute.

    Without TARGET, asyncgroups.toml in this folder. A command-line option beats the file. SIGTERM and SIGINT end the
    server when running requests have been answered.
    """
    try:
        configuration = _configuration(target, mount=mount, options=options)
    except ConfigurationError as error:
        click.echo(f"asyncgroups: {error}", err=True)
        sys.exit(2)
    from asyncgroups.server import serve as serve_configuration  # noqa: PLC0415 - a wrong command line needs no server

    serve_configuration(configuration)


def _configuration(target: str | None, *, mount: str | None, options: dict[str, Any]) -> Configuration:
    """Raises ConfigurationError, click.UsageError."""
    from asyncgroups.config import Override, from_mapping, read  # noqa: PLC0415 - --help and --version need no pydantic

    if target is None:
        target = "asyncgroups.toml"
        if not Path(target).exists():
            raise click.UsageError(
                "there is no asyncgroups.toml here: give a file, or an application as module:attribute."
            )
    overrides = {
        key: Override(option, options[key])
        for key, option in _OVERRIDES.items()
        if options[key] is not None and options[key] != ()
    }
    if target.endswith(".py") and Path(target).is_file():
        raise click.UsageError(f"{target!r} is a module: name its application, as in {Path(target).stem}:application.")
    if target.endswith(".toml") or Path(target).is_file():
        if mount is not None:
            raise click.UsageError("--mount goes with module:attribute; in a file, path of [[mount]] says the same.")
        return read(target, overrides=overrides)
    if not _APPLICATION.fullmatch(target):
        raise click.UsageError(f"{target!r} is neither a file nor an application such as shop.wsgi:application.")
    mapping = {"mount": [{"path": mount if mount is not None else "/", "app": target}]}
    return from_mapping(mapping, base=Path.cwd(), source="command line", overrides=overrides)
