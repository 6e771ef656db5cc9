"""Live events for those who read them in an event loop, however many: one subscription for all.

What is published only says that something is new. It is read from where each reader stands, so
nothing is missed or told twice, and who reads slowly keeps nobody else waiting, nor any memory.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from rq.job import JobStatus

from service.broker.journals import JournalReader, Reading
from service.broker.news import News, Place, news_in
from service.broker.status import status_of
from service.broker.subscription import Subscription
from service.errors import JobNotFound
from service.journal import JOB_CHANNEL, JOBS_CHANNEL

GATHER = 0.02  # seconds that looks are gathered for, to go to Redis together
LOOK_INTERVAL = 2.0  # seconds between looks at a job that was not heard of: RQ's own tools are mute
AWAY_PAUSE = 1.0  # seconds between tries while Redis is away
HEARTBEAT = 15.0  # seconds of silence after which a reader is given a sign of life
MOST_TOLD = 500  # jobs that one reader of all jobs is told of at once, the latest ones


_Look = tuple[str, int, "asyncio.Future[Reading | None]"]  # job, the entry come to, the answer


class Feed:
    """What one event loop's readers are told. It connects when somebody reads."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._journals = JournalReader(client)
        self._subscription = Subscription(client)
        self._bells: dict[str, set[asyncio.Event]] = {}  # by channel
        self._gathered: list[_Look] = []
        self._looking: asyncio.Task[None] | None = None
        self._readers: list[dict[str, dict[str, Any]]] = []
        self._is_over = False

    def end(self) -> None:
        """Have all streams end: the server leaves, and their readers are to ask another."""
        self._is_over = True
        for bell in (bell for bells in self._bells.values() for bell in bells):
            bell.set()

    async def aclose(self) -> None:
        """Listen to nothing any more."""
        self.end()
        await self._subscription.aclose()

    async def follow(
        self, job_id: str, place: Place
    ) -> AsyncGenerator[tuple[Place, News | None], None]:
        """What happens to a job from this place on, until it has ended; None now and then.

        While Redis is away it waits. It ends without the job's end where the job is deleted, and
        where the server leaves. Raises `JobNotFound` where there is no such job at first.
        """
        is_known = False
        with self._bell(f"{JOB_CHANNEL}{job_id}") as bell:
            quiet_since = _now()
            while not self._is_over:
                bell.clear()
                try:
                    reading = await self._look(job_id, place.entry)
                except RedisError:
                    await _rung(bell, AWAY_PAUSE)
                else:
                    if reading is None:
                        if not is_known:
                            raise JobNotFound(job_id)
                        return
                    is_known = True
                    for now_at, news in news_in(reading, place):
                        place, quiet_since = now_at, _now()
                        yield place, news
                    if reading.has_ended:
                        return
                    if reading.is_all:
                        await _rung(bell, LOOK_INTERVAL)
                if _now() - quiet_since >= HEARTBEAT:
                    quiet_since = _now()
                    yield place, None

    async def has_no_more(self, job_id: str, place: Place) -> bool:
        """Whether the job has ended, and who has come to this place was told of all of it.

        Raises `redis.RedisError`.
        """
        reading = await self._look(job_id, place.entry)
        return reading is not None and reading.has_ended and reading.last == place.entry

    async def jobs(self, pause: float) -> AsyncIterator[list[dict[str, Any]]]:
        """The jobs that came to a status meanwhile, the latest of each; at most every `pause`.

        Nothing in it now and then: at the beginning, and where some may have been missed.
        """
        told: dict[str, dict[str, Any]] = {}
        self._readers.append(told)
        try:
            with self._bell(JOBS_CHANNEL) as bell:
                while not self._is_over:
                    yield list(told.values())
                    told.clear()
                    bell.clear()
                    await _rung(bell, HEARTBEAT)
                    await asyncio.sleep(pause)
        finally:
            self._readers = [reader for reader in self._readers if reader is not told]

    # Hearing

    @contextlib.contextmanager
    def _bell(self, channel: str) -> Iterator[asyncio.Event]:
        """Rings when there may be something new on the channel, and at the beginning."""
        bell = asyncio.Event()
        bells = self._bells.setdefault(channel, set())
        bells.add(bell)
        if len(bells) == 1:
            self._subscription.listen(channel, lambda data: self._heard(channel, data))
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(channel, None)
                self._subscription.leave(channel)

    def _heard(self, channel: str, data: bytes | None) -> None:
        if data and channel == JOBS_CHANNEL:
            self._note(data)
        for bell in self._bells.get(channel, ()):
            bell.set()

    def _note(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # anybody may publish anything
            job = json.loads(data)
            job["status"] = status_of(JobStatus(job["status"])).value
            for told in self._readers:
                told.pop(job["id"], None)
                told[job["id"]] = job
                if len(told) > MOST_TOLD:
                    del told[next(iter(told))]

    # Looking

    async def _look(self, job_id: str, entry: int) -> Reading | None:
        """A look at one job's journal, together with all others that are due now."""
        answer: asyncio.Future[Reading | None] = asyncio.get_running_loop().create_future()
        self._gathered.append((job_id, entry, answer))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_at_all())
        return await answer

    async def _look_at_all(self) -> None:
        try:
            while self._gathered:
                await asyncio.sleep(GATHER)
                wanted, self._gathered = self._gathered, []
                while wanted := [each for each in wanted if not each[2].done()]:
                    await self._look_at(wanted)
        finally:
            self._looking = None

    async def _look_at(self, wanted: list[_Look]) -> None:
        try:
            found = await self._journals.read([(job_id, entry) for job_id, entry, _ in wanted])
        except Exception as error:  # noqa: BLE001  # whoever waits is told, whatever it is
            for _, _, answer in wanted:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, _, answer), reading in zip(wanted, found, strict=False):
            if not answer.done():
                answer.set_result(reading)


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
