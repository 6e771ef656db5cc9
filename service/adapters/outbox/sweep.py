"""One sweep: what stands in a database's outbox becomes jobs, and leaves it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row

from service.adapters.door import Door
from service.adapters.outbox.rows import prepare, settle, take
from service.adapters.outbox.sending import Fate, Outcome, Sender
from service.broker.broker import Broker
from service.errors import RedisAway

PORTION = 200  # rows that are read, sent and deleted together


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Sweep:
    """A run through the outbox, the oldest rows first."""

    engine: Engine  #: of an `AsyncEngine` its `sync_engine`
    door: Door
    refused_too: bool  #: send also what was refused before
    goes_on: Callable[[], bool] = _always  #: asked after each portion

    async def run(self, broker: Broker | None = None) -> int:
        """How many rows were sent. With a `broker` it runs in the door's loop, else in another.

        An engine of an `asyncio` driver wants the loop that the program uses it in.

        Raises `RedisAway`; what was sent before is cleared then. Raises what the database does.
        """
        sender = Sender(self.door)
        count, last = 0, ""
        async with _connected(self.engine) as run:
            await run(prepare)
            while True:
                rows = await run(take, last, PORTION, refused_too=self.refused_too)
                outcomes = await self._send(sender, broker, rows)
                await run(settle, outcomes)
                count += sum(outcome.fate is Fate.SENT for outcome in outcomes)
                for outcome in outcomes:
                    if isinstance(outcome.error, RedisAway):
                        raise outcome.error
                if len(rows) < PORTION or not self.goes_on():
                    return count
                last = rows[-1].id

    async def _send(
        self, sender: Sender, broker: Broker | None, rows: Sequence[Row[Any]]
    ) -> list[Outcome]:
        if not rows:
            return []
        if broker is not None:
            return await sender.send(broker, rows)
        return await asyncio.wrap_future(self.door.begin(sender.send, rows))


_Run = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def _connected(engine: Engine) -> AsyncIterator[_Run]:
    """What runs a function of a connection, such as `take`, without holding up the loop."""
    if engine.dialect.is_async:
        from sqlalchemy.ext.asyncio import AsyncEngine

        async with AsyncEngine(engine).connect() as connected:
            yield connected.run_sync
        return
    connection = await _in_thread(engine.connect)
    try:
        yield lambda step, *args, **kwargs: _in_thread(step, connection, *args, **kwargs)
    finally:
        await _in_thread(connection.close)


async def _in_thread(step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Waited for even where the sweep is canceled: no two threads may use a connection at once."""
    running = asyncio.ensure_future(asyncio.to_thread(step, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
