"""An ASGI application asked in process."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from tests.serving import APPS

PATIENCE = 15.0

WHO = {"app_dir": APPS, "timeouts": {"graceful": PATIENCE, "interrupt": 5}}
"""Of applications out of ``tests/apps``."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def ask(
    application: Callable[[Any, Any, Any], Awaitable[None]], path: str = "/", **options: Any
) -> httpx.Response:
    """The answer to one GET."""
    transport = httpx.ASGITransport(application, **options)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=PATIENCE) as client:
        return await client.get(path)


async def who(application: Callable[[Any, Any, Any], Awaitable[None]], path: str = "/") -> Mapping[str, Any]:
    """What ``embed_who`` says."""
    answer = await ask(application, path)
    assert answer.status_code == 200, answer.text
    said: Mapping[str, Any] = answer.json()
    return said
