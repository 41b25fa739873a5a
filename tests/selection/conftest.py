"""Builders that the tests of this room share. A setting that a test does not name has no part in what it shows."""

from collections.abc import Callable, Iterable

import pytest

from asyncgroups.selection.hosts import VirtualHost
from asyncgroups.selection.mounts import GroupSettings, Mount, MountTable
from asyncgroups.selection.names import parse


@pytest.fixture(scope="session")
def mount() -> Callable[..., Mount]:
    def mount(
        path: str, *, group: str = "%{RESOURCE}", env: dict[str, str] | None = None, place: str | None = None
    ) -> Mount:
        return Mount(
            path=path,
            application="shop.wsgi:application",
            application_group=parse(group),
            env=env or {},
            settings=GroupSettings(app_dir="/srv/shop"),
            place=place or f"mount {path or '/'}",
        )

    return mount


@pytest.fixture(scope="session")
def host() -> Callable[..., VirtualHost]:
    def host(
        server_name: str | None,
        *,
        aliases: Iterable[str] = (),
        mounts: Iterable[Mount] = (),
        inherited: Iterable[Mount] = (),
        place: str | None = None,
    ) -> VirtualHost:
        return VirtualHost(
            server_name=server_name,
            server_alias=tuple(aliases),
            mounts=MountTable(mounts),
            inherited=MountTable(inherited),
            place=place or f"virtual_host {server_name}",
        )

    return host
