"""A program's relay: sends what its own transactions left, and those of programs that died."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self, overload

from sqlalchemy import Engine

from service.adapters.door import Door, the_door
from service.adapters.outbox.sweep import Sweep
from service.adapters.outbox.sweeper import sweeper_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

INTERVAL = 5.0  # seconds between sweeps
REFUSED_EVERY = 60.0  # seconds until what was refused is tried again: a deploy may have mended it


class _Relay:
    """Sweeps for as long as its `async with` block lasts."""

    def __init__(self, engine: Engine, door: Door, interval: float) -> None:
        self._engine, self._door, self._interval = engine, door, interval
        self._sweeper = sweeper_of(engine, door)
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises what loading the settings and the tasks does."""
        _loaded = self._door.catalogue
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_raised: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        await self._sweeper.leave()

    async def _tick(self) -> None:
        again = 0.0
        while True:
            refused_too = time.monotonic() >= again
            if refused_too:
                again = time.monotonic() + REFUSED_EVERY
            self._sweeper.nudge(refused_too=refused_too)
            await asyncio.sleep(self._interval)

    def _sweep(self) -> Sweep:
        return Sweep(self._engine, self._door, refused_too=True)


class Relay(_Relay):
    """Of an `Engine`."""

    def sweep(self) -> int:
        """Send what is committed, also what was refused before; how many jobs were sent.

        Not counted is what another relay sends at this moment. Raises `RedisAway`, which leaves
        the rest for another time, and what the database raises.
        """
        return self._door.begin(self._sweep().run).result()


class AsyncRelay(_Relay):
    """Of an `AsyncEngine`, for the event loop that this is used in."""

    async def sweep(self) -> int:
        """As `Relay.sweep`."""
        return await self._sweep().run()


@overload
def outbox_relay(engine: Engine, door: Door | None = None, *, interval: float = ...) -> Relay: ...


@overload
def outbox_relay(
    engine: "AsyncEngine", door: Door | None = None, *, interval: float = ...
) -> AsyncRelay: ...


def outbox_relay(engine: Any, door: Door | None = None, *, interval: float = INTERVAL) -> Any:
    """What sends the jobs in this database's outbox: `async with` it in the program's lifespan.

    There it sweeps at once and then every so many seconds; elsewhere, call its `sweep`. Any number
    of programs, on any hosts, may have one for the same database. It goes through the program's
    own door, unless another is given.
    """
    door = door or the_door()
    if isinstance(engine, Engine):
        return Relay(engine, door, interval)
    if isinstance(getattr(engine, "sync_engine", None), Engine):
        return AsyncRelay(engine.sync_engine, door, interval)
    raise TypeError(f"outbox_relay takes an Engine or an AsyncEngine, not {engine!r}")
