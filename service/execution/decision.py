"""What follows from how an execution ended: the one place that decides it."""

import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import (
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
)
from rq.results import Result
from rq.utils import utcformat

from service.execution.outcome import Kind, Outcome
from service.execution.reporting.reported import Reported


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """An execution, and how it ended."""

    queue: Queue
    job: Job
    execution: Execution
    outcome: Outcome
    reported: Reported | None = None  #: what it has reported, where it could


@dataclass(slots=True)
class Decision:
    """What is to be written."""

    fields: dict[str, Any]  #: of the job's hash
    counter: str = ""  #: of the worker's hash
    registry: Any = CanceledJobRegistry
    score: float | str = ""
    push: str = ""
    ttl: int | str = ""
    follows: str = ""  #: for jobs that wait: 'over', 'gives up place' or nothing
    result: dict[str, Any] = field(default_factory=dict)  #: fields of RQ's result


def decide(ended: Ended, moment: datetime, worker_name: str) -> Decision:
    """What follows from how it ended, at this moment."""
    match ended.outcome.kind:
        case Kind.RETURNED:
            return _finish(ended, moment, worker_name)
        case Kind.CANCELED:
            return _cancel(moment)
        case Kind.PUT_BACK:
            return _requeue(moment, push="LPUSH")
        case Kind.RAISED if ended.outcome.may_retry and ended.job.should_retry:
            return _retry(ended.job, moment)
        case _:
            return _fail(ended, moment, worker_name)


def _finish(ended: Ended, moment: datetime, worker_name: str) -> Decision:
    ttl = ended.job.get_result_ttl(DEFAULT_RESULT_TTL)
    return Decision(
        {"status": JobStatus.FINISHED.value, "ended_at": utcformat(moment)},
        counter="successful_job_count",
        registry=FinishedJobRegistry,
        score=_expiry(moment, ttl),
        ttl=ttl,
        follows="over",
        result={
            **_result(Result.Type.SUCCESSFUL, ended.execution, moment, worker_name),
            # RQ writes no field at all for None
            **(
                {"return_value": b64encode(ended.outcome.body)}
                if ended.outcome.body != b"null"
                else {}
            ),
        },
    )


def _fail(ended: Ended, moment: datetime, worker_name: str) -> Decision:
    kept = ended.job.failure_ttl
    ttl = DEFAULT_FAILURE_TTL if kept is None else kept
    return Decision(
        {"status": JobStatus.FAILED.value, "ended_at": utcformat(moment), "retries_left": 0},
        counter="failed_job_count",
        registry=FailedJobRegistry,
        score=_expiry(moment, ttl),
        ttl=ttl,
        follows="over",
        result={
            **_result(Result.Type.FAILED, ended.execution, moment, worker_name),
            "exc_string": b64encode(zlib.compress(ended.outcome.body)),
        },
    )


def _result(
    kind: Result.Type, execution: Execution, moment: datetime, worker_name: str
) -> dict[str, Any]:
    return {
        "type": kind.value,
        "worker_name": worker_name,
        "execution_id": execution.id,
        "execution_started_at": execution.created_at.timestamp(),
        "execution_ended_at": moment.timestamp(),
    }


def _retry(job: Job, ended: datetime) -> Decision:
    wait = job.get_retry_interval()
    assert job.retries_left, "asked only where there are retries left"
    left = job.retries_left - 1
    if not wait:
        push = "LPUSH" if job.enqueue_at_front_on_retry else "RPUSH"
        return _requeue(ended, push=push, counter="failed_job_count", retries_left=left)
    # Up to the next whole second, which is what RQ's schedule counts in.
    due = ended + timedelta(seconds=wait, microseconds=999_999)
    return Decision(
        {
            "status": JobStatus.SCHEDULED.value,
            "ended_at": utcformat(ended),
            "retries_left": left,
        },
        counter="failed_job_count",
        registry=ScheduledJobRegistry,
        score=int(due.timestamp()),
        follows="gives up place",
    )


def _requeue(ended: datetime, *, push: str, counter: str = "", **fields: Any) -> Decision:
    return Decision(
        {"status": JobStatus.QUEUED.value, "enqueued_at": utcformat(ended), **fields},
        counter=counter,
        push=push,
    )


def _cancel(ended: datetime) -> Decision:
    return Decision(
        {"status": JobStatus.CANCELED.value, "ended_at": utcformat(ended)},
        registry=CanceledJobRegistry,
        score=ended.timestamp(),
        ttl=DEFAULT_FAILURE_TTL,
        follows="over",
    )


def _expiry(ended: datetime, ttl: int) -> float | str:
    return ended.timestamp() + ttl if ttl >= 0 else "+inf"
