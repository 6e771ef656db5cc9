"""Which jobs are where: a queue's list and RQ's registries, counted and cut into pages."""

from collections import Counter
from dataclasses import dataclass

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import (
    BaseRegistry,
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)

LOOKED_AT = 1000  # jobs that wait on one rate limit; those beyond are neither counted nor listed

QUEUED = "queued"
RATE_LIMITED = "rate_limited"
_REGISTRIES: dict[str, type[BaseRegistry]] = {
    "scheduled": ScheduledJobRegistry,
    "deferred": DeferredJobRegistry,
    "started": StartedJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
    "ready": ReadyJobRegistry,
}
NAMES = (QUEUED, *_REGISTRIES, RATE_LIMITED)  # of the lists that a queue's jobs can be in


@dataclass(frozen=True, slots=True)
class Listing:
    """One of a queue's lists. Reading it cleans nothing up, since RQ's cleanups change jobs."""

    connection: Redis
    queue: str
    name: str  #: one of `NAMES`

    def count(self) -> int:
        match self.name:
            case "queued":
                return self.connection.llen(self._queue().key)
            case "rate_limited":
                return len(self._rate_limited(LOOKED_AT))
            case _:
                return self._registry().get_job_count(cleanup=False)

    def page(self, offset: int, size: int, *, newest_first: bool) -> list[str]:
        """The ids of at most `size` jobs.

        Upstream takes the end of the slice for its length, so that page 2 of 8 shows 16 jobs
        (no upstream issue known; #263 was its forerunner).
        """
        last = offset + size - 1
        match self.name:
            case "queued" if newest_first:
                # Counted from the list's end, where the newest are, so that it can't shift
                # between being measured and being read.
                return self._ids_in_queue(-last - 1, -offset - 1)[::-1]
            case "queued":
                return self._ids_in_queue(offset, last)
            case "rate_limited":
                ids = self._rate_limited(LOOKED_AT)
                return (ids[::-1] if newest_first else ids)[offset : last + 1]
            case _:
                return self._registry().get_job_ids(offset, last, desc=newest_first, cleanup=False)

    def everything(self) -> list[str]:
        """The ids of all its jobs."""
        match self.name:
            case "queued":
                return self._ids_in_queue(0, -1)
            case "rate_limited":
                return self._rate_limited(None)
            case _:
                return self._registry().get_job_ids(cleanup=False)

    def forget(self, job_id: str) -> None:
        """Take out the id of a job that is gone."""
        if self.name not in (QUEUED, RATE_LIMITED, "started"):  # those are tidied by RQ alone
            self._registry().remove(job_id)

    def _queue(self) -> Queue:
        return Queue(self.queue, connection=self.connection)

    def _registry(self) -> BaseRegistry:
        return _REGISTRIES[self.name](self.queue, connection=self.connection)

    def _ids_in_queue(self, first: int, last: int) -> list[str]:
        return [_text(job_id) for job_id in self.connection.lrange(self._queue().key, first, last)]

    def _rate_limited(self, at_most: int | None) -> list[str]:
        waiting = waiting_on_limits(self.connection, at_most)
        return [job_id for job_id, queue in waiting if queue == self.queue]


def waiting_on_limits(connection: Redis, at_most: int | None) -> list[tuple[str, str]]:
    """Job id and queue of jobs that wait on a rate limit, oldest first within each limit.

    RQ keeps them by limit, not by queue, so each job is asked for its queue.
    """
    last = -1 if at_most is None else at_most - 1
    with connection.pipeline(transaction=False) as pipe:
        for limit in RateLimitRegistry.all(connection):
            pipe.zrange(limit.rate_limited_key, 0, last)
        ids = [_text(job_id) for job_ids in pipe.execute() for job_id in job_ids]
        for job_id in ids:
            pipe.hget(Job.key_for(job_id), "origin")
        origins = pipe.execute()
    return [(job_id, _text(origin or b"")) for job_id, origin in zip(ids, origins, strict=True)]


def counts_by_queue(connection: Redis) -> Counter[str]:
    """How many jobs of each queue wait on a rate limit."""
    return Counter(queue for _job_id, queue in waiting_on_limits(connection, LOOKED_AT))


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
