"""Time that passes for jobs, without anybody's waiting for it.

The clock is left alone: what is to come comes nearer instead. So nothing else changes, neither the
time that tasks see nor how long anything is kept, and tools that do set the clock go with it.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis import Redis
from rq.job import Job
from rq.registry import ScheduledJobRegistry
from rq.utils import as_text


class Delays:
    """Of the jobs that are scheduled on some queues."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._registries = [ScheduledJobRegistry(name, connection).key for name in queues]

    def pass_by(self, seconds: float, live: Iterable[str]) -> None:
        """Have every job be due so much sooner, and these expire so much sooner.

        RQ's schedule counts in whole seconds, and rounds up; here one may be due up to a second
        too soon instead, so that what was delayed by so many seconds is due.
        """
        moment = time.time()
        for registry, job_id, due in self._scheduled():
            nearer = due - seconds
            if nearer <= math.ceil(moment):
                nearer = min(nearer, math.floor(moment))
            self._set(registry, job_id, nearer)
        for job in map(Job.key_for, live):
            if self._connection.hexists(job, "expires_at"):
                self._connection.hincrbyfloat(job, "expires_at", -seconds)

    def skip_to_next_retry(self) -> bool:
        """Have the failed job be due that is the next to run again; False where there is none."""
        retries = [
            (due, job_id, registry)
            for registry, job_id, due in self._scheduled()
            if self._connection.hexists(Job.key_for(job_id), "attempts")
        ]
        if not retries:
            return False
        _, job_id, registry = min(retries)
        self._set(registry, job_id, math.floor(time.time()))
        return True

    def _scheduled(self) -> Iterator[tuple[str, str, float]]:
        for registry in self._registries:
            entries: Any = self._connection.zrange(registry, 0, -1, withscores=True)
            for job_id, due in entries:
                yield registry, as_text(job_id), due

    def _set(self, registry: str, job_id: str, due: float) -> None:
        self._connection.zadd(registry, {job_id: due}, xx=True)
