"""An answer that goes on: Server-Sent Events, as the HTML standard has them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SEND_PATIENCE = 20.0  # seconds that one event may take to be taken; then its reader is dropped
HEARTBEAT = b": still here\n\n"
RETRY = b"retry: 1000\n\n"  # milliseconds until a browser connects again

logger = logging.getLogger("paddock.events")


def event(name: str, data: bytes, place: str | None = None) -> bytes:
    """One event. The data is JSON, and so has no line break in it."""
    number = f"id: {place}\n".encode() if place is not None else b""
    return b"%sevent: %s\ndata: %s\n\n" % (number, name.encode(), data)


class EventStream(Response):
    """Sends what the generator yields, and ends with it; closes it when the reader has gone."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait((sending, leaving))
            await self._events.aclose()
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await send({"type": "http.response.body", "body": RETRY, "more_body": True})
        async for chunk in self._events:
            try:
                async with asyncio.timeout(SEND_PATIENCE):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                logger.warning("A reader of events did not read for %g s: dropped", SEND_PATIENCE)
                return
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
