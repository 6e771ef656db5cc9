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
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
)
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.broker.action_scripts import CANCEL, RETRY
from service.broker.canceler import this_program
from service.broker.status import Status, status_of
from service.errors import JobNotFound, StatusConflict
from service.journal import JOURNAL_SUFFIX
from service.waiting import WAITING

# KEYS: those of `cancel`
# ARGV: job id, now (Unix), now (RQ's text), how long canceled jobs are kept, by whom
_CANCEL_ONE, _WITHDRAW_ONE = (
    f"""{CANCEL}
now, stamp = tonumber(ARGV[2]), ARGV[3]
return {does}(ARGV[1], KEYS, ARGV[4], ARGV[5])
"""
    for does in ("cancel", "withdraw")
)

# KEYS: failed registry
# ARGV: job id, now (Unix), now (RQ's text), retries that it gets again, or ''
_RETRY_ONE = f"""{RETRY}
now, stamp = tonumber(ARGV[2]), ARGV[3]
return retry(ARGV[1], KEYS[1], ARGV[4])
"""

# ARGV: job id, now (Unix), now (RQ's text)
_BEFORE_DELETE = (
    WAITING
    + """
now, stamp = tonumber(ARGV[2]), ARGV[3]
look_at_dependents(ARGV[1])  -- as it stands: it may have finished under another program's worker
redis.call('HDEL', key_of(ARGV[1]), 'status')
over(ARGV[1])
"""
)

_HELD = "held by "
_BROKEN = "broken by "
_CANCELED, _TOLD = "canceled by this call", "told to stop by this call"
_DONE = (_CANCELED, _TOLD, "queued by this call")


class JobActions:
    """Acts on jobs by id. Each raises `JobNotFound`, or `StatusConflict` where it does not fit."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._cancel = client.register_script(_CANCEL_ONE)
        self._withdraw = client.register_script(_WITHDRAW_ONE)
        self._retry = client.register_script(_RETRY_ONE)
        self._before_delete = client.register_script(_BEFORE_DELETE)

    def cancel(self, job_id: str, *, by: str | None = None) -> bool:
        """Take a job off its queue or schedule, or from where it waits; have one that runs stopped.

        Returns False for the latter: its worker interrupts it, and kills it a second later. `by`
        tells people who canceled it; where it is left out, that it was this program.
        """
        job = self._find(job_id)
        done = self._act(
            self._cancel,
            job_id,
            keys=cancel_keys(self._queue(job)),
            args=[*_at(job_id), DEFAULT_FAILURE_TTL, by or this_program()],
            only="Only a job that has not ended can be canceled",
        )
        if done == _TOLD:
            self._tell_worker(job_id)
            return False
        return True

    def withdraw(self, job_id: str) -> bool:
        """Cancel a job that no worker has taken yet; say whether this call did so.

        False where it runs or has ended, in whichever way: it is left as it is. Raises only
        `JobNotFound`.
        """
        queue = self._queue(self._find(job_id))
        args = [*_at(job_id), DEFAULT_FAILURE_TTL, this_program()]
        found = self._withdraw(keys=cancel_keys(queue), args=args)
        if found is None:
            raise JobNotFound(job_id)
        return as_text(found) == _CANCELED

    def retry(self, job_id: str) -> None:
        """Queue a failed job again, with its parameters and all its retries.

        It waits again for jobs that it depends on and that have been retried; where one stands as
        failed or canceled, `StatusConflict` names it.
        """
        job = self._find(job_id)
        self._act(
            self._retry,
            job_id,
            keys=[FailedJobRegistry(queue=self._queue(job)).key],
            # The enqueuer lists one interval for each retry, so their number is the policy's.
            args=[*_at(job_id), len(job.retry_intervals or []) or ""],
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
                    self._before_delete(args=_at(job_id), client=pipe)
                    job.delete(pipeline=pipe)
                    pipe.delete(f"{job.key}:history", f"{job.key}{JOURNAL_SUFFIX}")
                    pipe.execute()
                    deleted = True

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
        if as_text(found).startswith(_BROKEN):
            other = as_text(found).removeprefix(_BROKEN)
            raise StatusConflict(
                f"It depends on the job {other}, which has failed or was canceled. If it failed, "
                "retry that one first: this one then waits for it. Else submit both anew.",
                job_status=Status.FAILED,
                depends_on=other,
            )
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


def cancel_keys(queue: Queue) -> list[str]:
    """KEYS of `cancel`, for jobs of this queue."""
    kinds = (ScheduledJobRegistry, CanceledJobRegistry, DeferredJobRegistry, ReadyJobRegistry)
    return [queue.key, *(kind(queue=queue).key for kind in kinds)]


def _at(job_id: str) -> list[Any]:
    """What scripts are told first: the job, and the time in Unix seconds and as RQ writes it."""
    moment = now()
    return [job_id, moment.timestamp(), utcformat(moment)]


def _conflict(status: Status, only: str) -> StatusConflict:
    return StatusConflict(f"{only}; this one is {status}.", job_status=status)
