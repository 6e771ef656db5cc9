"""Group commit: calls of a script that arrive together go to Redis together, and are synced once.

While one group is on its way, the next forms. Redis runs what it has read of a group before it
syncs its file, so that a hundred callers wait for one sync rather than for a hundred.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.broker.durability import Wait
from service.broker.exchange import Call, ScriptCaller
from service.errors import RedisUnsuitable

ANSWER_WITHIN = 1.6  # seconds from a call's arrival, whatever becomes of Redis
TRIES = 3
PAUSE = 0.15  # seconds between tries
MOST_CALLS, MOST_BYTES = 256, 1024 * 1024  # of one group; a larger call goes alone
IN_FLIGHT = 3  # groups: one that Redis works on, others that lie ready for it or are being answered
MOST_IN_FLIGHT = 32  # groups that wait for the server's next sync, where it syncs by the clock
LINGER = 0.002  # seconds that the next group forms for, for each group that waits so
ASSURED_FOR = 5.0  # seconds until it is asked again what to wait for: servers are reconfigured

Assure = Callable[[], Awaitable[Wait | None]]


class GroupCommit:
    """Calls one script, which must be safe to send again, for the callers of an event loop.

    `assure` tells what to wait for after a group. It raises `RedisUnsuitable` where no job may be
    accepted.
    """

    def __init__(
        self, client: "redis.asyncio.Redis", script: str, assure: Assure | None = None
    ) -> None:
        self._caller = ScriptCaller(client, script)
        self._assure = assure
        self._wait: Wait | None = None
        self._assured_until = 0.0
        self._waiting: deque[Call] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._leader: asyncio.Task[None] | None = None

    async def run(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script; what it answers, once that is as durable as was asked for.

        Raises `redis.ResponseError` where it was refused, and did nothing; `Unanswered` where
        nothing came of it in time.
        """
        loop = asyncio.get_running_loop()
        call = Call(self._caller.packed(keys, args), loop.create_future())
        self._waiting.append(call)
        if self._leader is None:
            self._leader = loop.create_task(
                self._lead(),
                context=Context(),  # no part of the request that came first
            )
        timer = loop.call_later(ANSWER_WITHIN, _give_up, call)
        try:
            return await call.answer
        finally:
            timer.cancel()

    async def _lead(self) -> None:
        """Send one group after the other, for as long as there are any."""
        try:
            while self._waiting:
                if len(self._flights) >= (MOST_IN_FLIGHT if self._wait else IN_FLIGHT):
                    await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)
                    continue
                if self._flights and self._wait:
                    await asyncio.sleep(LINGER * len(self._flights))
                if group := self._next_group():
                    flight = asyncio.create_task(self._carry(group))
                    self._flights.add(flight)
                    flight.add_done_callback(self._flights.discard)
        finally:
            self._leader = None

    def _next_group(self) -> list[Call]:
        group: list[Call] = []
        size = 0
        while self._waiting and len(group) < MOST_CALLS:
            size += len(self._waiting[0].packed)
            if group and size > MOST_BYTES:
                break
            call = self._waiting.popleft()
            if not call.answer.done():  # its caller has not left
                group.append(call)
        return group

    async def _carry(self, group: list[Call]) -> None:
        """See a group through: what was not answered is sent again."""
        trouble: Exception = RedisError("Redis forgets its scripts")
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE)
            try:
                await self._caller.exchange(group, await self._assured())
                group = _unanswered(group)
                if group:  # it did not know the script
                    await self._caller.exchange(group, self._wait)
            except (RedisError, RedisUnsuitable) as error:
                self._assured_until = 0.0  # another server may be the next to answer
                trouble = error
            group = _unanswered(group)
            if not group:
                return
        for call in group:
            call.settle(trouble)

    async def _assured(self) -> Wait | None:
        if self._assure is not None and time.monotonic() >= self._assured_until:
            self._wait = await self._assure()
            self._assured_until = time.monotonic() + ASSURED_FOR
        return self._wait


def _unanswered(group: list[Call]) -> list[Call]:
    return [call for call in group if not call.answer.done()]


def _give_up(call: Call) -> None:
    call.settle(RedisTimeoutError(f"no answer within {ANSWER_WITHIN} seconds"))
