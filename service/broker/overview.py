"""Queues and workers, as they are now."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import redis
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import Job
from rq.queue import Queue
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.utils import as_text, now, utcparse
from rq.worker import Worker
from rq.worker_registration import REDIS_WORKER_KEYS

from service.broker.eta import Forecaster
from service.broker.history import History
from service.errors import QueueNotFound
from service.pausing import PAUSED

# Counted by the registry's size alone: RQ's own `count` cleans up first, which fails jobs.
_COUNTED = {
    "running": StartedJobRegistry,
    "scheduled": ScheduledJobRegistry,
    "waiting": DeferredJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One queue: how much waits on it, and who serves it."""

    name: str
    queued: int
    running: int
    scheduled: int
    waiting: int
    finished: int
    failed: int
    canceled: int
    oldest_age: float | None  #: seconds since the job at its front was enqueued
    workers: int  #: living workers that listen on it
    paused: bool  #: they take no jobs from it until it is resumed


@dataclass(frozen=True, slots=True)
class QueueOverview(QueueDepth):
    """The same, and how fast it goes."""

    eta: float | None  #: seconds that a job which came now would wait; None where nobody can tell
    throughput: float  #: jobs that ended lately, a minute


@dataclass(frozen=True, slots=True)
class WorkerOverview:
    """One living worker."""

    name: str
    host: str
    pid: int
    queues: list[str]  #: in order of priority
    state: str  #: RQ's: started, idle, busy, suspended
    job: str | None  #: the id of what it runs
    jobs: list[str]  #: the ids of all that it runs
    started_at: datetime | None
    last_seen_at: datetime | None
    finished: int  #: jobs since it started
    failed: int
    rss: int | None  #: bytes of memory that it holds itself
    horses_rss: int | None  #: and the processes that run its jobs


class Overview:
    """Reads what RQ records of queues and workers.

    RQ's own `Worker` objects are not used: making one raises the socket timeout of the whole
    connection pool to minutes.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._forecaster, self._history = Forecaster(client), History(client)

    def queues(self, also: Iterable[str] = ()) -> list[QueueOverview]:
        """Every queue that has ever had a job, and those named, by name."""
        depths = self.depths(also)
        etas = self._forecaster.waits([depth.name for depth in depths])
        throughput = self._history.throughput()
        return [
            QueueOverview(
                **asdict(depth), eta=etas[depth.name], throughput=throughput.get(depth.name, 0.0)
            )
            for depth in depths
        ]

    def depths(self, also: Iterable[str] = ()) -> list[QueueDepth]:
        """The same, without a look at the jobs."""
        known = {queue.name for queue in Queue.all(connection=self._client)}
        paused = {as_text(name) for name in self._client.smembers(PAUSED)}
        names = sorted(known.union(paused, also))
        listening = [queue for worker in self.workers() for queue in worker.queues]
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                queue = Queue(name, connection=self._client)
                pipe.llen(queue.key)
                pipe.lindex(queue.key, 0)
                for registry in _COUNTED.values():
                    pipe.zcard(registry(queue=queue).key)
            answers = pipe.execute()
        width = 2 + len(_COUNTED)
        rows = [answers[start : start + width] for start in range(0, len(answers), width)]
        ages = self._ages([row[1] for row in rows])
        return [
            QueueDepth(
                name=name,
                queued=row[0],
                **dict(zip(_COUNTED, row[2:], strict=True)),
                oldest_age=age,
                workers=listening.count(name),
                paused=name in paused,
            )
            for name, row, age in zip(names, rows, ages, strict=True)
        ]

    def queue(self, name: str, also: Iterable[str] = ()) -> QueueOverview:
        """The one of this name. Raises `QueueNotFound`."""
        queues = {queue.name: queue for queue in self.queues(also)}
        if name not in queues:
            raise QueueNotFound(f"There is no queue {name!r}. There are: {', '.join(queues)}.")
        return queues[name]

    def held_up(self) -> list[tuple[str, int]]:
        """The paused queues that jobs wait on, and how many, by name."""
        names = sorted(as_text(name) for name in self._client.smembers(PAUSED))
        keys = [Queue(name, connection=self._client).key for name in names]
        counts = [(name, self._client.llen(key)) for name, key in zip(names, keys, strict=True)]
        return [(name, count) for name, count in counts if count]

    def workers(self) -> list[WorkerOverview]:
        """Every worker that has given a sign of life lately, by host and process."""
        keys = [as_text(key) for key in self._client.smembers(REDIS_WORKER_KEYS)]
        prefix = Worker.redis_worker_namespace_prefix
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
                pipe.smembers(WORKER_EXECUTIONS_KEY_TEMPLATE.format(key.removeprefix(prefix)))
            answers = pipe.execute()
        found = [
            _worker(key.removeprefix(prefix), fields, executions)
            for key, fields, executions in zip(keys, answers[::2], answers[1::2], strict=True)
            if b"pid" in fields and b"death" not in fields
        ]
        return sorted(found, key=lambda worker: (worker.host, worker.pid))

    def _ages(self, front: list[bytes | None]) -> list[float | None]:
        with self._client.pipeline(transaction=False) as pipe:
            for job_id in front:
                pipe.hget(Job.key_for(as_text(job_id or b"")), "enqueued_at")
            answers = pipe.execute()
        moment = now()
        return [
            (moment - utcparse(as_text(enqueued))).total_seconds() if enqueued else None
            for enqueued in answers
        ]


def _worker(name: str, raw: dict[bytes, bytes], executions: set[bytes]) -> WorkerOverview:
    fields: dict[str, Any] = {as_text(key): as_text(value) for key, value in raw.items()}
    job_ids = sorted(as_text(entry).partition(":")[0] for entry in executions)
    return WorkerOverview(
        name=name,
        host=fields.get("hostname", ""),
        pid=int(fields["pid"]),
        queues=[queue for queue in fields.get("queues", "").split(",") if queue],
        state=fields.get("state", "started"),
        job=job_ids[0] if job_ids else None,
        jobs=job_ids,
        started_at=utcparse(fields["birth"]) if "birth" in fields else None,
        last_seen_at=utcparse(fields["last_heartbeat"]) if "last_heartbeat" in fields else None,
        finished=int(fields.get("successful_job_count", 0)),
        failed=int(fields.get("failed_job_count", 0)),
        rss=int(fields["rss"]) if "rss" in fields else None,
        horses_rss=int(fields["horses_rss"]) if "horses_rss" in fields else None,
    )
