"""What happens in the whole service, for those who look on: the latest of it, once for them all.

Nothing is kept for any of them. Who falls behind what is kept for all, or comes after it was heard,
has missed it, and is told so.
"""

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from redis.exceptions import RedisError
from rq.job import JobStatus

from service.broker.overview import QueueOverview
from service.broker.status import Status, status_of
from service.broker.subscription import Subscription
from service.journal import JOBS_CHANNEL

TICK = 0.1  # seconds between what is told
MOST_A_TICK = 40  # jobs; of the others the latest is told later
MOST_WAITING = 10_000  # jobs that may be told of later
KEPT = 2_000  # changes, for those who are behind
QUEUES_PAUSE = 1.0  # seconds between looks at the queues while jobs move
QUEUES_LOOK = 5.0  # seconds between such looks while none do: workers come and go as well

logger = logging.getLogger("paddock.feed")

LookAtQueues = Callable[[], list[QueueOverview]]


@dataclass(frozen=True, slots=True)
class JobNews:
    """A job has come to a status."""

    id: str
    task: str | None  #: None for a job that another program has enqueued
    status: Status
    queue: str
    at: datetime  #: when it was heard of


@dataclass(slots=True)
class ServiceNews:
    """What is new to one who looks on."""

    jobs: list[JobNews] = field(default_factory=list)
    queues: list[QueueOverview] | None = None  #: None where they are as they were
    has_missed: bool = False  #: whether some changes are told of no more

    def __bool__(self) -> bool:
        return bool(self.jobs or self.queues is not None or self.has_missed)


class Onlooker:
    """One who looks on."""

    def __init__(self, feed: "ServiceFeed", seen: int, missed: int) -> None:
        self._feed, self._seen, self._missed = feed, seen, missed
        self._queues = 0  # the version that was seen

    async def news(self, seconds: float) -> ServiceNews:
        """What is new, once there is something; nothing after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (news := self._take()):
                    await self._feed.changed()
                return news
        return ServiceNews()

    def _take(self) -> ServiceNews:
        feed, news = self._feed, ServiceNews()
        if not feed.is_subscribed:
            return news  # who is told of anything is told of all that comes after it
        news.has_missed = feed.missed > self._missed or feed.count - self._seen > len(feed.kept)
        behind = min(feed.count - self._seen, len(feed.kept))
        news.jobs = [feed.kept[index] for index in range(len(feed.kept) - behind, len(feed.kept))]
        if feed.queues_version > self._queues:
            news.queues = feed.queues
        self._seen, self._missed, self._queues = feed.count, feed.missed, feed.queues_version
        return news


class ServiceFeed:
    """Hears for all onlookers in an event loop."""

    def __init__(self, subscription: Subscription, look_at_queues: LookAtQueues) -> None:
        self._subscription, self._look_at_queues = subscription, look_at_queues
        self._onlookers: set[Onlooker] = set()
        self._waiting: dict[str, JobNews] = {}  # by job, the longest heard of first
        self._telling: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._next_look = 0.0
        self.is_subscribed = False  #: whether Redis has taken note that changes are heard
        self.kept: deque[JobNews] = deque(maxlen=KEPT)
        self.count = 0  #: of the changes that were ever told
        self.missed = 0  #: times that some were missed
        self.queues: list[QueueOverview] = []
        self.queues_version = 0

    @property
    def onlookers(self) -> int:
        """How many look on."""
        return len(self._onlookers)

    async def look(self) -> None:
        """Look at the queues now. Raises `redis.RedisError`."""
        found = await asyncio.to_thread(self._look_at_queues)
        if self.queues_version == 0 or _lasting(found) != _lasting(self.queues):
            self.queues_version += 1
        self.queues = found

    @contextlib.contextmanager
    def look_on(self) -> Iterator[Onlooker]:
        """One who looks on, for as long as the block lasts."""
        onlooker = Onlooker(self, self.count, self.missed)
        self._onlookers.add(onlooker)
        if self._telling is None:
            self.is_subscribed = False
            self._subscription.listen(JOBS_CHANNEL, self._heard)
            self._telling = asyncio.get_running_loop().create_task(
                self._tell_on(),
                context=Context(),  # no part of the request that came first
            )
        try:
            yield onlooker
        finally:
            self._onlookers.discard(onlooker)
            if not self._onlookers and self._telling is not None:
                self._telling.cancel()
                self._stop()

    async def changed(self) -> None:
        """Wait for something new."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def aclose(self) -> None:
        """Hear nothing any more."""
        if self._telling is not None:
            self._telling.cancel()
            self._stop()

    def _stop(self) -> None:
        self._subscription.leave(JOBS_CHANNEL)
        self._telling = None
        self._waiting.clear()

    def _heard(self, message: bytes | None) -> None:
        self._next_look = min(self._next_look, asyncio.get_running_loop().time() + QUEUES_PAUSE)
        if message is None:
            self.missed += self.is_subscribed  # there was a connection before
            self.is_subscribed = True
        elif news := _read(message):
            self._waiting[news.id] = news
            if len(self._waiting) > MOST_WAITING:
                self._waiting.clear()
                self.missed += 1

    async def _tell_on(self) -> None:
        clock = asyncio.get_running_loop().time
        last_look = clock()
        self._next_look = last_look + QUEUES_PAUSE
        told = self._versions()
        while True:
            await asyncio.sleep(TICK)
            for job_id in list(self._waiting)[:MOST_A_TICK]:
                self.kept.append(self._waiting.pop(job_id))
                self.count += 1
            if clock() >= max(self._next_look, last_look + QUEUES_PAUSE):
                try:
                    await self.look()
                except RedisError as error:
                    logger.debug("Live events: %s", error)
                except Exception:  # whatever somebody wrote into Redis, the rest is told
                    logger.exception("Live events: the queues can't be looked at")
                last_look = clock()
                self._next_look = last_look + QUEUES_LOOK
            if told != (told := self._versions()):
                self._wake()

    def _versions(self) -> tuple[int, int, int, bool]:
        return self.count, self.missed, self.queues_version, self.is_subscribed

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None


def _lasting(queues: list[QueueOverview]) -> list[QueueOverview]:
    """But for what changes by itself as time goes by."""
    return [replace(queue, oldest_age=None, eta=None, throughput=0.0) for queue in queues]


def _read(message: bytes) -> JobNews | None:
    """None where it can't be read: anybody may publish anything."""
    try:
        told = json.loads(message)
        status = status_of(JobStatus(told["status"]))
        return JobNews(told["id"], told.get("task"), status, told["queue"], datetime.now(UTC))
    except (ValueError, TypeError, KeyError):
        return None
