"""The web side's way to Redis, in one object: submit, read, act, look around."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import redis
import redis.asyncio
from rq.job import Job

from jobs.catalogue import Catalogue
from service.broker.actions import JobActions
from service.broker.batch_actions import BatchActions
from service.broker.batch_staging import BatchEnqueuer
from service.broker.batches import Batches
from service.broker.bulk_actions import BulkActions
from service.broker.connection import (
    CALLERS_TIMEOUT,
    connect_async,
    connect_for_callers,
    redis_url,
)
from service.broker.depths import Depths
from service.broker.durability import Wait, durability, refusal
from service.broker.embedded import why_away
from service.broker.enqueuer import Enqueuer
from service.broker.entries import Step
from service.broker.eta import Forecaster
from service.broker.feed import JobFeed
from service.broker.history import History
from service.broker.intake import known_queues
from service.broker.listing import JobListing
from service.broker.log import Log, read_log
from service.broker.overview import Overview
from service.broker.patience import Patience
from service.broker.queue_actions import QueueActions
from service.broker.records import JobReader, JobRecord
from service.broker.service_feed import ServiceFeed
from service.broker.status import FINAL
from service.broker.steps import read_steps
from service.broker.subscription import Subscription
from service.broker.watch import StatusWatch
from service.broker.why import Explainer
from service.errors import JobNotFound, RedisUnsuitable
from service.settings import Settings
from service.webhooks.delivery import deliver_webhook


@dataclass(frozen=True, slots=True)
class Broker:
    """The enqueuers, feeds, `watch` and `ended` are for the event loop; the rest is for threads."""

    client: "redis.Redis"
    async_client: "redis.asyncio.Redis"
    enqueuer: Enqueuer
    batch_enqueuer: BatchEnqueuer
    watch: StatusWatch
    subscription: Subscription
    feed: JobFeed
    service_feed: ServiceFeed
    reader: JobReader
    listing: JobListing
    actions: JobActions
    batches: Batches
    batch_actions: BatchActions
    bulk_actions: BulkActions
    overview: Overview
    history: History
    forecaster: Forecaster
    explainer: Explainer
    queue_actions: QueueActions
    depths: Depths
    assurer: ThreadPoolExecutor = field(repr=False)
    catalogue: Catalogue = field(repr=False)

    @classmethod
    def open(cls, settings: Settings, catalogue: Catalogue) -> Self:
        """Make the clients; they connect when first used."""
        url = redis_url(settings)
        patience = Patience(CALLERS_TIMEOUT)
        client = connect_for_callers(url, patience)
        async_client = connect_async(url, patience)
        reader = JobReader(client, Catalogue(catalogue, unlisted=[deliver_webhook]))
        # A thread of its own: all submissions wait for it, and must not do so behind whoever keeps
        # the loop's other threads busy.
        assurer = ThreadPoolExecutor(1, thread_name_prefix="paddock-assure")

        async def assure() -> Wait | None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(assurer, _assure, client, settings)

        actions, batches = JobActions(client), Batches(client, reader)
        overview, listing = Overview(client), JobListing(client, reader)
        subscription = Subscription(async_client)
        look_at_queues = partial(overview.queues, known_queues(settings, catalogue))
        return cls(
            client=client,
            async_client=async_client,
            enqueuer=Enqueuer(
                async_client,
                assure=assure,
                explain=partial(why_away, settings=settings),
            ),
            batch_enqueuer=BatchEnqueuer(async_client, client, assure),
            watch=StatusWatch(async_client),
            subscription=subscription,
            feed=JobFeed(async_client, subscription),
            service_feed=ServiceFeed(subscription, look_at_queues),
            reader=reader,
            listing=listing,
            actions=actions,
            batches=batches,
            batch_actions=BatchActions(client, batches, actions),
            overview=overview,
            history=History(client),
            forecaster=Forecaster(client),
            explainer=Explainer(client),
            bulk_actions=BulkActions(client, reader, listing, actions),
            queue_actions=QueueActions(client, overview),
            depths=Depths(client),
            assurer=assurer,
            catalogue=catalogue,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self.feed.aclose()
        await self.service_feed.aclose()
        await self.subscription.aclose()
        self.assurer.shutdown(wait=False)
        await self.async_client.aclose()
        self.client.close()

    def job(self, job_id: str) -> JobRecord:
        """Raises `JobNotFound`."""
        (record,) = self.reader.read([job_id])
        if record is None:
            raise JobNotFound(job_id)
        return record

    def executions(self, job_id: str) -> list[dict[str, Any]]:
        """What workers recorded of the job's executions, oldest first. Raises `JobNotFound`."""
        key = Job.key_for(job_id)
        with self.client.pipeline() as pipe:
            pipe.exists(key)
            pipe.lrange(f"{key}:history", 0, -1)
            exists, entries = pipe.execute()
        if not exists:
            raise JobNotFound(job_id)
        return [json.loads(entry) for entry in entries]

    def log(self, job_id: str) -> Log:
        """What the job has printed and logged, as far as it is kept. Raises `JobNotFound`."""
        return read_log(self.client, job_id)

    def steps(self, job_id: str) -> list[Step]:
        """The statuses that the job has come to since it was enqueued, oldest first."""
        return read_steps(self.client, job_id)

    async def ended(self, job_id: str, seconds: float) -> bool:
        """Wait until the job has ended, or for this long; say whether it has.

        Raises `JobNotFound`.
        """
        return await self.watch.until(job_id, FINAL, seconds) is not None


def _assure(client: "redis.Redis", settings: Settings) -> Wait | None:
    """What a submission waits for, beyond Redis's answer. Raises `RedisUnsuitable`."""
    found = durability(client, settings.durability)
    if found.faults and not settings.allow_volatile:
        raise RedisUnsuitable(refusal(found.faults))
    return None if found.faults else found.wait
