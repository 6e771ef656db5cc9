"""What can be done to a job that exists: cancel it, run it again, delete it."""

import contextlib
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import WatchError
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import CanceledJobRegistry, FailedJobRegistry, ScheduledJobRegistry
from rq.utils import as_text, current_timestamp, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.admission import UNIQUE, UNIQUE_TTL
from service.batch_store import TELL_BATCH
from service.broker.status import Status, status_of
from service.errors import JobNotFound, StatusConflict
from service.webhooks.notice import NOTIFY

# Each action decides and acts in one script, since workers move jobs at the same moment. Each
# answers with the status that it found. They are functions, so that batches act in the same way.

# `kept`: seconds that canceled jobs are kept; `moment` is Unix time, `timestamp` RQ's text
CANCEL = f"""
{TELL_BATCH}{NOTIFY}{UNIQUE}
local function file_canceled(job, canceled, id, moment, timestamp, kept)
    redis.call('HSET', job, 'status', 'canceled', 'ended_at', timestamp)
    redis.call('EXPIRE', job, kept)
    release(job, id)
    -- RQ never drops anything from this registry
    redis.call('ZREMRANGEBYSCORE', canceled, '-inf', moment - kept)
    redis.call('ZADD', canceled, moment, id)
    tell_batch(job, id)
    notify(id, 'canceled', timestamp)
end

local function cancel(job, queue, scheduled, canceled, id, moment, timestamp, kept)
    local status = redis.call('HGET', job, 'status')
    if (status == 'queued' and redis.call('LREM', queue, 1, id) > 0)
            or (status == 'scheduled' and redis.call('ZREM', scheduled, id) > 0) then
        file_canceled(job, canceled, id, moment, timestamp, kept)
        return 'canceled by this call'
    end
    if status == 'started' then
        redis.call('HSET', job, 'cancel_requested', 1)  -- stays until it is retried
        return 'told to stop by this call'
    end
    return status
end
"""

# `retries`: that it gets again, or ''; `timestamp` is RQ's text
RETRY = f"""
{TELL_BATCH}{UNIQUE}
local function retry(job, queue, failed, queues, id, timestamp, retries)
    local status = redis.call('HGET', job, 'status')
    local lock = redis.call('HGET', job, 'unique_lock')
    local other = status == 'failed' and lock and holder(lock, string.sub(job, 1, -#id - 1))
    if other and other ~= id then
        return 'held by ' .. other
    end
    if status and redis.call('ZREM', failed, id) > 0 then
        redis.call('HDEL', job, 'cancel_requested')
        redis.call('HSET', job, 'status', 'queued', 'enqueued_at', timestamp,
            'started_at', '', 'ended_at', '', 'exc_info', '', 'worker_name', '', 'crashes', 0)
        if retries ~= '' then
            redis.call('HSET', job, 'retries_left', retries)
        end
        if lock then
            redis.call('SET', lock, id, 'EX', {UNIQUE_TTL})
        end
        redis.call('PERSIST', job)
        redis.call('SADD', queues, queue)
        redis.call('RPUSH', queue, id)
        tell_batch(job, id)
        return 'queued by this call'
    end
    return status
end
"""

# KEYS: job, queue, scheduled registry, canceled registry
# ARGV: job id, now (Unix), now (RQ's text), how long canceled jobs are kept
_CANCEL_ONE = f"""{CANCEL}
return cancel(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
"""

# KEYS: job, queue, failed registry, set of queues
# ARGV: job id, now (RQ's text), retries that it gets again, or ''
_RETRY_ONE = f"""{RETRY}
return retry(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
"""

# KEYS: job; ARGV: its id
_TELL_BATCH = f"{TELL_BATCH}tell_batch(KEYS[1], ARGV[1])"

_HELD = "held by "
_TOLD = "told to stop by this call"
_DONE = ("canceled by this call", "queued by this call", _TOLD)


class JobActions:
    """Acts on jobs by id. Each raises `JobNotFound`, or `StatusConflict` where it does not fit."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._cancel = client.register_script(_CANCEL_ONE)
        self._retry = client.register_script(_RETRY_ONE)
        self._tell_batch = client.register_script(_TELL_BATCH)

    def cancel(self, job_id: str) -> bool:
        """Take a job off its queue, schedule or dependency; have one that runs stopped.

        Returns False for the latter: its worker interrupts it, and kills it a second later.
        """
        job = self._find(job_id)
        if status_of(job.get_status(refresh=False)) is Status.WAITING:
            self._cancel_waiting(job)
            self._tell_batch(keys=[job.key], args=[job_id])
            return True
        queue = self._queue(job)
        registries = (ScheduledJobRegistry(queue=queue), CanceledJobRegistry(queue=queue))
        done = self._act(
            self._cancel,
            job_id,
            keys=[job.key, queue.key, *(registry.key for registry in registries)],
            args=[job_id, current_timestamp(), utcformat(now()), DEFAULT_FAILURE_TTL],
            only="Only a job that has not ended can be canceled",
        )
        if done == _TOLD:
            self._tell_worker(job_id)
            return False
        _give_up_place(job)
        return True

    def retry(self, job_id: str) -> None:
        """Queue a failed job again, with its parameters and all its retries."""
        job = self._find(job_id)
        if job.has_rate_limit and status_of(job.get_status(refresh=False)) is Status.FAILED:
            job.requeue()  # RQ's own, which has it wait for a place under its limit
            self._tell_batch(keys=[job.key], args=[job_id])
            return
        queue = self._queue(job)
        self._act(
            self._retry,
            job_id,
            keys=[
                job.key,
                queue.key,
                FailedJobRegistry(queue=queue).key,
                Queue.redis_queues_keys,
            ],
            # The enqueuer lists one interval for each retry, so their number is the policy's.
            args=[job_id, utcformat(now()), len(job.retry_intervals or []) or "", UNIQUE_TTL],
            only="Only a failed job can be retried",
        )

    def delete(self, job_id: str) -> None:
        """Remove a job and its result for good. One that runs has to end first."""
        deleted = False
        while not deleted:
            with self._client.pipeline() as pipe:
                pipe.watch(Job.key_for(job_id))
                job = self._find(job_id)
                if job.get_status(refresh=False) == JobStatus.STARTED:
                    raise _conflict(Status.RUNNING, "Only a job that does not run can be deleted")
                pipe.multi()
                # Refused where a worker took the job meanwhile, or somebody else deleted it.
                with contextlib.suppress(WatchError, InvalidJobOperation):
                    job.delete(pipeline=pipe)
                    pipe.delete(f"{job.key}:history")
                    pipe.execute()
                    deleted = True
        _give_up_place(job)

    def retry_failed(self) -> list[str]:
        """Queue every failed job again, on every queue; return their ids."""
        with self._client.pipeline(transaction=False) as pipe:
            for queue in Queue.all(connection=self._client, serializer="json"):
                pipe.zrange(FailedJobRegistry(queue=queue).key, 0, -1)
            failed = [as_text(job_id) for ids in pipe.execute() for job_id in ids]
        retried = []
        for job_id in failed:
            with contextlib.suppress(JobNotFound, StatusConflict):  # expired, or retried meanwhile
                self.retry(job_id)
                retried.append(job_id)
        return retried

    def _find(self, job_id: str) -> Job:
        fields = self._client.hgetall(Job.key_for(job_id))
        if not fields or b"data" not in fields:
            raise JobNotFound(job_id)
        job = Job(connection=self._client, serializer="json")
        job._id = job_id
        job.restore(fields)
        return job

    def _queue(self, job: Job) -> Queue:
        return Queue(job.origin, connection=self._client, serializer="json")

    def _act(
        self,
        script: Callable[..., Any],
        job_id: str,
        *,
        keys: list[str],
        args: list[Any],
        only: str,
    ) -> str:
        found = script(keys=keys, args=args)
        if found is None:
            raise JobNotFound(job_id)
        if as_text(found).startswith(_HELD):
            other = as_text(found).removeprefix(_HELD)
            raise StatusConflict(
                f"Its task is unique, and job {other} with the same parameters has not ended.",
                job_status=Status.FAILED,
                job=other,
            )
        if as_text(found) not in _DONE:
            raise _conflict(status_of(JobStatus(as_text(found))), only)
        return as_text(found)

    def _tell_worker(self, job_id: str) -> None:
        """By RQ's own command. One that misses it sees the mark at its next heartbeat."""
        with contextlib.suppress(InvalidJobOperation, NoSuchJobError):  # it has just ended
            send_stop_job_command(self._client, job_id, serializer="json")

    def _cancel_waiting(self, job: Job) -> None:
        try:
            job.cancel()
        except InvalidJobOperation as error:
            raise _conflict(Status.CANCELED, "It was canceled already") from error
        self._client.expire(job.key, DEFAULT_FAILURE_TTL)


def _give_up_place(job: Job) -> None:
    """Let another job have its place under its concurrency limit."""
    if job.has_rate_limit:
        RateLimitRegistry.from_job(job).cancel(job.id)


def _conflict(status: Status, only: str) -> StatusConflict:
    return StatusConflict(f"{only}; this one is {status}.", job_status=status)
