"""The jobs of one batch as they are written: what all have in common is worked out once."""

import json
import zlib
from dataclasses import dataclass, replace
from typing import Any

import redis.asyncio
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.policy import Exponential
from service.batch_marks import MARKS
from service.batch_store import job_id_in, shared_part
from service.submission import (
    Submission,
    description_of,
    enqueue_arguments,
    job_fields,
    unlimited_job_of,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the batch's jobs are put when it is committed."""

    queue: str  #: Redis keys
    queues: str
    scheduled: str
    push: str  #: RPUSH | LPUSH | ZADD
    moment: int  #: Unix time for ZADD


class JobTemplate:
    """Field by field what a single submission writes, at a fraction of its cost for each job."""

    def __init__(
        self, submission: Submission, batch_id: str, client: "redis.asyncio.Redis"
    ) -> None:
        self._task = submission.task
        blank = replace(submission, parameters={})
        job = unlimited_job_of(blank, job_id_in(batch_id, 0), client)
        most = self._task.policy.concurrency
        retry = self._task.policy.retry
        # Each job's waits are drawn for it alone, lest those that fail together come back together.
        self._draws = retry if retry and isinstance(retry.interval, Exponential) else None
        self.own = [
            "data",
            "description",
            *(["rate_limit_key"] if most else []),
            *(["retry_intervals"] if self._draws else []),
        ]
        fields = job_fields(job, blank) | {"batch": batch_id}
        if most:  # workers give them places, or set them aside, as they come to them
            fields["rate_limit_concurrency"] = most
        self.common = [
            part for entry in fields.items() if entry[0] not in self.own for part in entry
        ]
        keys, args = enqueue_arguments(job, blank)
        _job, queue, queues, scheduled = keys
        self.place = Place(queue, queues, scheduled, push=args[1], moment=args[2])
        self.key_prefix = Job.key_for(shared_part(batch_id))
        self._fields = fields

    def record(self, total: int, submission: Submission) -> dict[str, Any]:
        """The batch's own record."""
        fields, retry = self._fields, self._task.policy.retry
        initial = "s" if submission.at else "q"  # the mark that all of its jobs begin with
        return {
            "task": self._task.name,
            "queue": fields["origin"],
            "created_at": fields["created_at"],
            "result_ttl": fields["result_ttl"],
            "failure_ttl": fields["failure_ttl"],
            "retries": retry.max if retry else "",  # that a job gets again when it is run again
            "total": total,
            "open": total,  # jobs that have not ended
            "initial": initial,
            **{mark: total if mark == initial else 0 for mark in MARKS},
            "first_ended_at": "",
            "last_ended_at": "",
        }

    def values(self, parameters: dict[str, Any]) -> list[Any]:
        """Of the fields in `own`, for a job with these parameters."""
        call = JSONSerializer.dumps((self._task.path, None, (), parameters))
        values: list[Any] = [zlib.compress(call), description_of(self._task, parameters)]
        if limit := self._task.limit(parameters):
            values.append(limit[0])
        if self._draws:
            values.append(json.dumps(self._draws.intervals()))
        return values
