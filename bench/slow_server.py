"""A server that takes its time: `uvicorn bench.slow_server:app`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bench.waits import SECONDS

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"4")]


async def app(
    scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """An ASGI application that answers each request after a while."""
    if scope["type"] != "http":
        return
    await asyncio.sleep(SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"done"})
