"""Paddock's client: submit jobs over HTTP, wait for them, act on them; it needs httpx alone.

    with Client("http://localhost:8000") as paddock:
        job = paddock.submit("heavy_cpu_task", {"n": 1000})
        print(paddock.result(job, timeout=60))

`AsyncClient` has the same methods for an event loop.
"""

from service.client.async_client import AsyncClient
from service.client.batches import Batch, BatchCanceled, BatchCounts, BatchRow, BatchStatus
from service.client.client import Client
from service.client.errors import (
    AnswerUnreadable,
    BatchNotFound,
    BatchTooLarge,
    BodyTooLarge,
    ClientError,
    IdempotencyKeyReused,
    Invalid,
    JobGone,
    JobNotFound,
    KeyMissing,
    NotFound,
    OptionsInvalid,
    PaddockHTTPError,
    ParametersInvalid,
    QueueFull,
    QueueNotFound,
    RedisAway,
    RequestFailed,
    RequestRefused,
    ServiceUnreachable,
    StatusConflict,
    TaskNotFound,
    WaitTimeout,
    WebhooksOff,
)
from service.client.jobs import (
    Eta,
    Event,
    Execution,
    Failure,
    Job,
    JobCanceled,
    JobFailed,
    JobsCanceled,
    JobsRetried,
    Log,
    LogLine,
    Progress,
    Why,
)
from service.client.options import BatchOptions, SubmitOptions
from service.client.overview import Queue, Task, TaskRetry, Worker
from service.client.retries import Retries

__all__ = [
    "AnswerUnreadable",
    "AsyncClient",
    "Batch",
    "BatchCanceled",
    "BatchCounts",
    "BatchNotFound",
    "BatchOptions",
    "BatchRow",
    "BatchStatus",
    "BatchTooLarge",
    "BodyTooLarge",
    "Client",
    "ClientError",
    "Eta",
    "Event",
    "Execution",
    "Failure",
    "IdempotencyKeyReused",
    "Invalid",
    "Job",
    "JobCanceled",
    "JobFailed",
    "JobGone",
    "JobNotFound",
    "JobsCanceled",
    "JobsRetried",
    "KeyMissing",
    "NotFound",
    "OptionsInvalid",
    "Log",
    "LogLine",
    "PaddockHTTPError",
    "ParametersInvalid",
    "Progress",
    "Queue",
    "QueueFull",
    "QueueNotFound",
    "RedisAway",
    "RequestFailed",
    "RequestRefused",
    "Retries",
    "ServiceUnreachable",
    "StatusConflict",
    "SubmitOptions",
    "Task",
    "TaskNotFound",
    "TaskRetry",
    "WaitTimeout",
    "Why",
    "WebhooksOff",
    "Worker",
]
