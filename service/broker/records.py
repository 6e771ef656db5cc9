"""A job as it stands in Redis, read in RQ's terms and told in ours."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import ScheduledJobRegistry
from rq.results import Result
from rq.utils import as_text

from jobs.catalogue import Catalogue
from service.broker.progress import Progress, read_progress
from service.broker.status import Status, status_of
from service.failure import Failure, read_failure

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")  # what RQ allows; anything else names no job


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. Times are UTC; those that have not come yet are None."""

    id: str
    task: str  #: its name in the catalogue, or the function's path where it is in none
    status: Status
    queue: str
    parameters: dict[str, Any] | None  #: None where another program's data can't be read
    result: Any
    error: Failure | None
    enqueued_at: datetime | None
    scheduled_for: datetime | None
    expires_at: datetime | None  #: canceled if no worker has started it by then
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int  #: executions begun
    retries_left: int
    worker: str | None  #: the worker that runs it, or ran it last
    depends_on: list[str]  #: the jobs that had to end before it could be queued
    waiting_for: str | None  #: what keeps a waiting one: "dependencies" or "concurrency"
    batch: str | None = None  #: the id of the batch that it came with
    progress: Progress | None = None  #: what it has last told of itself in its latest execution
    canceled_by: str | None = None  #: who canceled it, in words; None where RQ's own tools did


class JobReader:
    """Reads jobs, many in a round trip."""

    def __init__(self, client: "redis.Redis", catalogue: Catalogue) -> None:
        self._client, self._catalogue = client, catalogue

    def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """One record for each id, None where there is no such job."""
        with self._client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(Job.key_for(job_id))
                pipe.xrevrange(Result.get_key(job_id), "+", "-", count=1)
            answers = pipe.execute()
        jobs = [
            self._restore(job_id, fields)
            for job_id, fields in zip(job_ids, answers[::2], strict=True)
        ]
        times = self._scheduled_times(job for job in jobs if job is not None)
        return [
            self._record(job, fields, results, times.get(job.id)) if job else None
            for job, fields, results in zip(jobs, answers[::2], answers[1::2], strict=True)
        ]

    def _restore(self, job_id: str, fields: dict[bytes, bytes]) -> Job | None:
        if not fields:
            return None
        job = Job(connection=self._client, serializer="json")
        job._id = job_id  # read from Redis, where RQ itself takes ids that its setter refuses
        try:
            job.restore(fields)
        except NoSuchJobError:  # a hash without data: left behind by a late heartbeat (rq#1450)
            return None
        return job

    def _scheduled_times(self, jobs: Iterable[Job]) -> dict[str, datetime]:
        waiting = [
            job
            for job in jobs
            if status_of(job.get_status(refresh=False)) is Status.SCHEDULED and job.origin
        ]
        if not waiting:
            return {}
        with self._client.pipeline(transaction=False) as pipe:
            for job in waiting:
                pipe.zscore(ScheduledJobRegistry(job.origin, connection=self._client).key, job.id)
            scores = pipe.execute()
        return {
            job.id: datetime.fromtimestamp(score, UTC)
            for job, score in zip(waiting, scores, strict=True)
            if score is not None
        }

    def _record(
        self,
        job: Job,
        fields: dict[bytes, bytes],
        results: list[tuple[bytes, dict[bytes, bytes]]],
        scheduled_for: datetime | None,
    ) -> JobRecord:
        status = status_of(job.get_status(refresh=False))
        result = self._latest(job, results)
        task, parameters = self._call(job)
        # RQ keeps no count of attempts; our claim does. A stock worker's first one still shows.
        attempts = max(int(fields.get(b"attempts", 0)), 1 if job.started_at else 0)
        return JobRecord(
            id=job.id,
            task=task,
            status=status,
            queue=job.origin,
            parameters=parameters,
            result=result.return_value if result and status is Status.FINISHED else None,
            error=_error(status, job, result),
            enqueued_at=job.enqueued_at,
            scheduled_for=scheduled_for,
            expires_at=_moment(fields.get(b"expires_at")),
            started_at=job.started_at,
            ended_at=job.ended_at,
            attempts=attempts,
            retries_left=job.retries_left or 0,
            worker=job.worker_name,
            depends_on=list(job._dependency_ids),
            waiting_for=awaited(job.get_status(refresh=False)),
            batch=_text(fields.get(b"batch")),
            progress=read_progress(fields.get(b"progress")),
            canceled_by=_text(fields.get(b"canceled_by")) if status is Status.CANCELED else None,
        )

    def _latest(self, job: Job, results: list[tuple[bytes, dict[bytes, bytes]]]) -> Result | None:
        if not results:
            return None
        result_id, payload = results[0]
        try:
            return Result.restore(
                job.id, as_text(result_id), payload, connection=self._client, serializer="json"
            )
        except (ValueError, UnicodeDecodeError):  # another program's pickled result
            return None

    def _call(self, job: Job) -> tuple[str, dict[str, Any] | None]:
        try:
            path, args, kwargs = job.func_name, job.args, job.kwargs
        except DeserializationError:
            return "unreadable", None
        task = self._catalogue.at(path)
        names = task.parameters.names if task else [str(number) for number in range(len(args))]
        name = task.name if task else str(path)
        return name, dict(zip(names, args, strict=False)) | kwargs


def awaited(status: JobStatus | None) -> str | None:
    """What a job of this status waits for, other than its time and a worker."""
    match status:
        case JobStatus.DEFERRED | JobStatus.READY_TO_ENQUEUE:
            return "dependencies"
        case JobStatus.RATE_LIMITED:
            return "concurrency"
    return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _moment(unix: bytes | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(float(unix), UTC)


def _error(status: Status, job: Job, result: Result | None) -> Failure | None:
    """Why it failed, or was canceled without anybody's asking for it."""
    text = None
    if status is Status.FAILED:
        text = (result.exc_string if result else None) or job._exc_info
    elif status is Status.CANCELED:
        text = job._exc_info
    return read_failure(as_text(text)) if text else None
