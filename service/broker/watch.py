"""Waiting for jobs, many at once: one look at all that are waited for, not one at each."""

import asyncio
import heapq
import itertools
from collections.abc import Collection, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from rq.job import Job
from rq.utils import as_text

from service.broker.status import Status, known_status
from service.errors import JobNotFound

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between looks at a job that is waited for
MORE_PAUSE = 1.3  # times the pause before
AT_ONCE = 1_000  # jobs in one look, during which Redis serves nobody else: under 1 ms
LOOKS_PER_SECOND = 20_000  # at jobs; with more of them each is looked at less often

# KEYS: jobs; → the status of each, '' where there is none
_LOOK = """
local found = {}
for i, job in ipairs(KEYS) do
    found[i] = redis.call('HGET', job, 'status') or ''
end
return found
"""


@dataclass(eq=False, slots=True)
class _Waiter:
    job_id: str
    wanted: Collection[Status]
    answer: "asyncio.Future[Status]"
    pause: float = FIRST_PAUSE


class StatusWatch:
    """Tells those who wait in an event loop when their jobs have come to a status."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._look_up = client.register_script(_LOOK)
        self._due: list[tuple[float, int, _Waiter]] = []  # a heap, by when to look next
        self._numbers = itertools.count()
        self._looking: asyncio.Task[None] | None = None
        self._earlier: asyncio.Event | None = None  # somebody has come who won't wait so long

    async def until(
        self, job_id: str, wanted: Collection[Status], seconds: float | None = None
    ) -> Status | None:
        """The job's status, once it is one of these; None where it is not in so many seconds.

        Raises `JobNotFound`, and `redis.RedisError` where it can't be looked at.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(job_id, wanted, loop.create_future())
        self._put(waiter, loop.time())
        if self._looking is None or self._looking.get_loop() is not loop:
            self._earlier = asyncio.Event()
            self._looking = loop.create_task(
                self._look_on(self._earlier),
                context=Context(),  # no part of the request that came first
            )
        elif self._earlier:
            self._earlier.set()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.answer
        except TimeoutError:
            return None
        finally:
            waiter.answer.cancel()  # it is not looked at any more

    def _put(self, waiter: _Waiter, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), waiter))

    async def _look_on(self, earlier: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._due:
                earlier.clear()
                pause = self._due[0][0] - loop.time()
                if pause > 0:
                    loop.call_later(pause, earlier.set)
                    await earlier.wait()
                elif waiters := self._next(loop.time()):
                    await self._look_at(waiters, loop)
        finally:
            self._looking = None

    def _next(self, now: float) -> list[_Waiter]:
        waiters: list[_Waiter] = []
        while self._due and self._due[0][0] <= now and len(waiters) < AT_ONCE:
            waiter = heapq.heappop(self._due)[2]
            if not waiter.answer.done():  # who waited has not left
                waiters.append(waiter)
        return waiters

    async def _look_at(self, waiters: Sequence[_Waiter], loop: asyncio.AbstractEventLoop) -> None:
        try:
            found = await self._look_up(keys=[Job.key_for(waiter.job_id) for waiter in waiters])
            statuses = list(map(as_text, found))
        except (RedisError, UnicodeDecodeError) as error:
            for waiter in waiters:
                _answer(waiter, error)
            return
        least = (len(self._due) + len(waiters)) / LOOKS_PER_SECOND
        for waiter, status in zip(waiters, statuses, strict=True):
            if not status:
                _answer(waiter, JobNotFound(waiter.job_id))
            elif (known := known_status(status)) in waiter.wanted:
                _answer(waiter, known)
            else:
                self._put(waiter, loop.time() + max(waiter.pause, least))
                waiter.pause = min(waiter.pause * MORE_PAUSE, LONGEST_PAUSE)


def _answer(waiter: _Waiter, answer: Any) -> None:
    if waiter.answer.done():
        return
    if isinstance(answer, Exception):
        waiter.answer.set_exception(answer)
    else:
        waiter.answer.set_result(answer)
