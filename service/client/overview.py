"""What the service tells of tasks, queues and workers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetry:
    """How often a task's jobs are run again by themselves."""

    max: int
    intervals: tuple[int, ...]  #: seconds before each retry; an example where random


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task of the catalogue, and what it takes and returns as JSON Schema."""

    name: str
    description: str
    queue: str
    timeout: int  #: seconds one execution may take
    retry: TaskRetry | None = None
    result_ttl: int  #: seconds a finished job is kept; -1 for ever
    failure_ttl: int  #: seconds a failed job is kept; -1 for ever
    concurrency: int | None = None  #: how many of its jobs may run at once
    concurrency_key: str | None = None
    unique: bool = False
    parameters: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue, and how many jobs stand where."""

    name: str
    queued: int
    running: int
    scheduled: int
    waiting: int
    finished: int
    failed: int
    canceled: int
    oldest_age: float | None = None  #: seconds its first job has been waiting
    workers: int  #: that listen on it
    eta: float | None = None  #: seconds that a job which came now would wait
    throughput: float = 0.0  #: jobs that ended lately, a minute
    paused: bool = False  #: they take no jobs from it until it is resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A living worker. Times are in UTC."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    state: str  #: idle, busy
    job: str | None = None  #: the id of the job it runs
    started_at: datetime | None = None
    last_seen_at: datetime | None = None
    finished: int
    failed: int
    rss: int | None  #: bytes of memory that it holds
    horses_rss: int | None  #: and those that the processes of its jobs hold
