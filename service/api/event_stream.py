"""An answer that goes on: Server-Sent Events, for as long as there are any and somebody reads them.

Neither sse-starlette nor FastAPI's own response would do: the first takes four tasks for a stream
where this takes two, both leave a connection open whose reader is stuck, and neither ends streams
where the server stops without patching it. The format is FastAPI's.
"""

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from fastapi import Response
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from service.api.answers import encoded
from service.api.stopping import canceled_when_stopping

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0  # seconds without an event, after which a comment shows that the stream lives
LONGEST_SEND = 10.0  # seconds in which a reader must have made room for what comes next
RECONNECT = (1000, 3000)  # milliseconds before a browser does; at random, lest all come at once
FAREWELL = 1.0  # seconds to say that a stream has ended

COMMENT = b":\n\n"

logger = logging.getLogger("paddock.feed")


def event(name: str, data: Any, event_id: object = None) -> bytes:
    """One event, as it is sent."""
    return format_sse_event(
        event=name,
        data_str=encoded(data).decode(),
        id=None if event_id is None else str(event_id),
    )


class EventStream(Response):
    """Sends what the generator yields until it ends, the reader leaves, or the server stops.

    A reader that takes nothing for so long that a piece can't be sent is dropped.
    """

    media_type = MEDIA_TYPE

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group, aclosing(self._pieces):
            streaming = anyio.CancelScope()
            group.start_soon(_cancel_when_left, receive, streaming)
            with canceled_when_stopping(streaming), streaming:
                await _start(self, send)
                await self._send_all(send)
            with anyio.move_on_after(FAREWELL):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        try:
            async for piece in self._pieces:
                with anyio.fail_after(LONGEST_SEND):
                    await _send_piece(send, piece)
        except TimeoutError:
            logger.warning("A stream was closed: its reader took nothing for %g s", LONGEST_SEND)


async def _start(stream: EventStream, send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": stream.status_code,
            "headers": stream.raw_headers,
        }
    )
    await _send_piece(send, format_sse_event(retry=random.randint(*RECONNECT)))


async def _send_piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
