"""What happens to jobs, for those who follow them live: one connection and one look for them all.

A message only says that there is something new; what it is, is read from where each follower
stands. So nothing can be lost with a message, nor come twice. And all are looked at every now and
then: not everything that moves a job publishes it.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial

import redis.asyncio
from redis.exceptions import RedisError

from service.broker.journals import JournalReader, Reading
from service.broker.news import News, Place, news_in
from service.broker.subscription import Subscription
from service.errors import JobNotFound
from service.journal import JOB_CHANNEL

COLLECT = 0.02  # seconds between reads, in which what is new is collected
LOOK = 2.0  # seconds between looks at everything that is followed
AT_ONCE = 200  # followers that are read for in one look
REDIS_AWAY_PAUSE = 0.5  # seconds

logger = logging.getLogger("paddock.feed")

Told = list[tuple[Place, News]]  # and the place after each


class Follower:
    """One who follows a job. Nothing is kept for it: what it has not taken stands in Redis."""

    def __init__(self, feed: "JobFeed", job_id: str, place: Place) -> None:
        self._feed = feed
        self.job_id, self.place = job_id, place
        self.has_ended = False  #: whether the job has, and all until then was taken
        self.is_marked = True  #: whether there may be something new
        self.answer: asyncio.Future[Told] | None = None

    async def news(self, seconds: float) -> Told:
        """What is new, once there is something or the job has ended; nothing after so long.

        Raises `JobNotFound` once the job is deleted.
        """
        self.answer = asyncio.get_running_loop().create_future()
        if self.is_marked:
            self._feed.hurry(self)
        try:
            async with asyncio.timeout(seconds):
                return await self.answer
        except TimeoutError:
            return []
        finally:
            self.answer = None

    def mark(self) -> None:
        """There may be something new."""
        self.is_marked = True
        if self.answer is not None:
            self._feed.hurry(self)

    @property
    def waits(self) -> bool:
        """Whether it would take something now."""
        return self.answer is not None and not self.answer.done()

    def take(self, reading: Reading | None, told: Told) -> None:
        """What was read for it."""
        if self.answer is None or not self.waits:
            self.is_marked = True  # it has left meanwhile, and may come back
        elif reading is None:
            self.answer.set_exception(JobNotFound(self.job_id))
        elif told or (reading.has_ended and not self.has_ended):
            if told:
                self.place = told[-1][0]
            self.has_ended = reading.has_ended
            self.is_marked |= not reading.is_all
            self.answer.set_result(told)
        else:
            self.has_ended = reading.has_ended
            if not reading.is_all:  # nobody can read these entries
                last = reading.first + len(reading.entries) - 1
                self.place = replace(self.place, entry=last)
                self.mark()


class JobFeed:
    """Reads for all followers in an event loop."""

    def __init__(self, client: "redis.asyncio.Redis", subscription: Subscription) -> None:
        self._journals, self._subscription = JournalReader(client), subscription
        self._followers: dict[str, set[Follower]] = {}  # by job
        self._hurried: dict[Follower, None] = {}  # who wait, and may have something new; in order
        self._is_hurried = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many follow a job."""
        return sum(map(len, self._followers.values()))

    async def look(self, job_id: str, place: Place) -> Reading:
        """What is new to one at this place. Raises `JobNotFound` and `redis.RedisError`."""
        (reading,) = await self._journals.read([(job_id, place.entry)])
        if reading is None:
            raise JobNotFound(job_id)
        return reading

    @contextlib.contextmanager
    def follow(self, job_id: str, place: Place) -> Iterator[Follower]:
        """One who goes on from this place, for as long as the block lasts."""
        follower = Follower(self, job_id, place)
        others = self._followers.setdefault(job_id, set())
        others.add(follower)
        if len(others) == 1:
            channel = JOB_CHANNEL + job_id
            self._subscription.listen(channel, partial(self._heard, job_id))
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(
                self._read_on(),
                context=Context(),  # no part of the request that came first
            )
        try:
            yield follower
        finally:
            self._hurried.pop(follower, None)
            others.discard(follower)
            if not others:
                del self._followers[job_id]
                self._subscription.leave(JOB_CHANNEL + job_id)
            if not self._followers:
                self._is_hurried.set()

    def hurry(self, follower: Follower) -> None:
        """It waits, and may have something new."""
        self._hurried[follower] = None
        self._is_hurried.set()

    async def aclose(self) -> None:
        """Read for nobody any more."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def _heard(self, job_id: str, _message: bytes | None) -> None:
        for follower in self._followers.get(job_id, ()):
            follower.mark()

    def _mark_all(self) -> None:
        for job_id in self._followers:
            self._heard(job_id, None)

    async def _read_on(self) -> None:
        clock = asyncio.get_running_loop().time
        next_look = clock() + LOOK
        try:
            while self._followers:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_look):
                        await self._is_hurried.wait()
                self._is_hurried.clear()
                if clock() >= next_look:
                    self._mark_all()
                    next_look = clock() + LOOK
                began = clock()
                await self._read_for_all()
                await asyncio.sleep(max(0.0, began + COLLECT - clock()))
        finally:
            self._reading = None

    async def _read_for_all(self) -> None:
        """For those who wait now; who comes meanwhile is collected with others."""
        hurried = list(self._hurried)
        for start in range(0, len(hurried), AT_ONCE):
            try:
                await self._read_for(hurried[start : start + AT_ONCE])
            except RedisError as error:
                logger.debug("Live events: %s", error)
                await asyncio.sleep(REDIS_AWAY_PAUSE)
                return

    async def _read_for(self, followers: Sequence[Follower]) -> None:
        groups: dict[tuple[str, Place], list[Follower]] = defaultdict(list)
        for follower in followers:
            self._hurried.pop(follower, None)
            if follower.waits:
                follower.is_marked = False  # whatever is heard from now on is new again
                groups[follower.job_id, follower.place].append(follower)
        if not groups:
            return
        found: list[Reading | None] = []
        try:
            found = await self._journals.read([(job_id, place.entry) for job_id, place in groups])
        finally:
            for group in list(groups.values())[len(found) :]:  # there was no room, or no answer
                for follower in group:
                    follower.mark()
        for reading, (_, place), group in zip(found, groups, groups.values(), strict=False):
            told = [] if reading is None else news_in(reading, place)
            for follower in group:
                follower.take(reading, told)
