"""One connection for all channels that an event loop listens to."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

PULSE = 5.0  # seconds of silence after which Redis is asked for a sign of life
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds before it is connected to again
TURN = 100  # messages heard, until others in the loop get their turn

Hear = Callable[[bytes | None], None]

logger = logging.getLogger("paddock.feed")


class Subscription:
    """Hands each message to whoever listens on its channel; None where some may have been missed.

    That is at the beginning, once Redis has taken note, and whenever the connection was made anew.
    There is a connection for as long as anybody listens.
    """

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        # Not the pool's own connections: it would judge Redis by how long one was lent.
        self._connection: Callable[[], Any] = client.connection_pool.make_connection
        self._wanted: dict[bytes, Hear] = {}
        self._new: set[bytes] = set()  # those of them that Redis is to be told of, in any case
        self._changed = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def listen(self, channel: str, hear: Hear) -> None:
        """Have `hear` called from now on. One listens on a channel at a time."""
        self._wanted[channel.encode()] = hear
        self._new.add(channel.encode())  # it may have been left just now, and Redis not told of it
        self._changed.set()
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(
                self._keep_on(),
                context=Context(),  # no part of the request that came first
            )

    def leave(self, channel: str) -> None:
        """Have it called no more."""
        self._wanted.pop(channel.encode(), None)
        self._changed.set()

    async def aclose(self) -> None:
        """Listen to nothing any more."""
        self._wanted.clear()
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping

    async def _keep_on(self) -> None:
        pause = FIRST_PAUSE
        try:
            while self._wanted:
                try:
                    await self._use(self._connection())
                    pause = FIRST_PAUSE
                except (RedisError, OSError) as error:
                    logger.warning("Live events: Redis is away: %s", error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._keeping = None

    async def _use(self, connection: Any) -> None:
        """Until nobody listens. Raises `RedisError` and `OSError` where it breaks."""
        hearing: asyncio.Task[None] | None = None
        try:
            await connection.connect()
            hearing = asyncio.get_running_loop().create_task(self._hear(connection))
            hearing.add_done_callback(lambda _: self._changed.set())
            await self._subscribe(connection, hearing)
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.wait([hearing])
            await connection.disconnect(nowait=True)
        if not hearing.cancelled():
            hearing.result()

    async def _subscribe(self, connection: Any, hearing: "asyncio.Task[None]") -> None:
        """Keep Redis told of what is listened to."""
        told: set[bytes] = set()
        while self._wanted and not hearing.done():
            self._changed.clear()
            wanted, new = set(self._wanted), self._new
            self._new = set()
            for command, channels in (
                ("SUBSCRIBE", wanted & new | wanted - told),
                ("UNSUBSCRIBE", told - wanted),
            ):
                if channels:
                    await _send(connection, command, *channels)
            told = wanted
            await self._changed.wait()

    async def _hear(self, connection: Any) -> None:
        is_asked = False
        for count in itertools.count(1):
            reply = await connection.read_response(timeout=PULSE)
            if reply is None:
                if is_asked:
                    raise RedisTimeoutError(f"no sign of life for {2 * PULSE:g} s")
                await _send(connection, "PING")
                is_asked = True
                continue
            is_asked = False
            match reply:
                case [b"message", channel, data]:
                    self._pass_on(channel, data)
                case [b"subscribe", channel, _]:
                    self._pass_on(channel, None)
            if count % TURN == 0:
                await asyncio.sleep(0)  # what has arrived is read without waiting for anything

    def _pass_on(self, channel: bytes, data: bytes | None) -> None:
        if hear := self._wanted.get(channel):
            hear(data)


async def _send(connection: Any, *command: Any) -> None:
    await connection.send_packed_command(connection.pack_command(*command), check_health=False)
