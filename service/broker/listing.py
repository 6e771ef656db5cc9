"""Finding jobs: newest first, filtered, a page at a time.

RQ keeps no list of all jobs, but each is in the registry of its status. Their ids sort by the
time they were made (UUIDv7), so the registries together are that list. Jobs that another program
enqueued under random ids (UUIDv4) are listed too, at an arbitrary place.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.utils import as_text

from service.broker.records import JobReader, JobRecord
from service.broker.status import Status

CHUNK = 200  # jobs read in one round trip
MOST_READ = 5_000  # jobs read for one page, however few of them fit the filter
LATEST = 1_000  # of each queue and registry, in which the latest jobs are looked for

_REGISTRIES: dict[Status, tuple[type[Any], ...]] = {
    Status.QUEUED: (),
    Status.SCHEDULED: (ScheduledJobRegistry,),
    Status.WAITING: (DeferredJobRegistry, ReadyJobRegistry),
    Status.RUNNING: (StartedJobRegistry,),
    Status.FINISHED: (FinishedJobRegistry,),
    Status.FAILED: (FailedJobRegistry,),
    Status.CANCELED: (CanceledJobRegistry, FailedJobRegistry),  # RQ files stopped ones as failed
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list; what is None does not matter."""

    status: Status | None = None
    task: str | None = None
    queue: str | None = None
    since: datetime | None = None  #: enqueued at this time or later
    part_of_id: str | None = None

    def fits(self, job: JobRecord) -> bool:
        """Whether this job is one to list."""
        return (
            self.status in (None, job.status)
            and self.task in (None, job.task)
            and self.queue in (None, job.queue)
            and (self.since is None or (job.enqueued_at or self.since) >= self.since)
            and (self.part_of_id or "") in job.id
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and where the next page begins, if there is one."""

    jobs: list[JobRecord]
    next_cursor: str | None


class JobListing:
    """Lists jobs out of RQ's registries, without RQ's habit of cleaning them up on the way."""

    def __init__(self, client: "redis.Redis", reader: JobReader) -> None:
        self._client, self._reader = client, reader

    def page(self, wanted: JobFilter, cursor: str | None, limit: int) -> Page:
        """The newest jobs that come after the cursor, which is the id that ended the last page.

        A page may be short, or even empty, and yet have a next: one request reads a bounded
        number of jobs.
        """
        ids = sorted(self.ids(wanted), reverse=True)
        if cursor is not None:
            ids = [job_id for job_id in ids if job_id < cursor]
        found: list[JobRecord] = []
        for job in self._read(ids[:MOST_READ]):
            if wanted.fits(job):
                found.append(job)
                if len(found) == limit:
                    return Page(found, job.id if job.id != ids[-1] else None)
        return Page(found, ids[MOST_READ - 1] if len(ids) > MOST_READ else None)

    def latest(self, wanted: JobFilter, limit: int) -> list[JobRecord]:
        """The newest of those that were last put on their queue, or in their registry.

        However many jobs there are, this takes the same time, which `page` does not. A job among
        very many that went another way than most, to the front of its queue, say, may be missing.
        """
        ids = sorted(self.ids(wanted, most=LATEST), reverse=True)
        fitting = (job for job in self._read(ids[:MOST_READ]) if wanted.fits(job))
        return list(itertools.islice(fitting, limit))

    def _read(self, ids: list[str]) -> Iterator[JobRecord]:
        for start in range(0, len(ids), CHUNK):
            for job in self._reader.read(ids[start : start + CHUNK]):
                if job is not None:
                    yield job

    def ids(self, wanted: JobFilter, most: int = 0) -> set[str]:
        """Of all jobs that may fit: they stand where those of this status and queue do.

        Of each queue and registry the last so many; all of them where it is 0.
        """
        statuses = [wanted.status] if wanted.status else list(Status)
        queues = [
            queue
            for queue in Queue.all(connection=self._client, serializer="json")
            if wanted.queue in (None, queue.name)
        ]
        with self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                if Status.QUEUED in statuses:
                    pipe.lrange(queue.key, -most, -1)
                for registry in {kind for status in statuses for kind in _REGISTRIES[status]}:
                    pipe.zrange(registry(queue=queue).key, -most, -1)
            if Status.WAITING in statuses:
                for limited in RateLimitRegistry.all(self._client):
                    pipe.zrange(limited.rate_limited_key, -most, -1)
            answers = pipe.execute()
        # The registry of started jobs holds "job:execution", the others bare ids.
        ids = {as_text(entry).partition(":")[0] for answer in answers for entry in answer}
        part = wanted.part_of_id
        return {job_id for job_id in ids if part in job_id} if part else ids
