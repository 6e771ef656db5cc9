"""What there is to measure of the whole service, read in a few round trips, and nothing changed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import redis
from rq.utils import as_text

from service.broker.history import History, Total
from service.broker.overview import Overview, QueueDepth, WorkerOverview
from service.tally import CPU, MEMORY, SUBMITTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The service at one moment; the counts are of since ever."""

    round_trip: float  #: seconds that Redis took to answer a PING
    queues: list[QueueDepth]
    workers: list[WorkerOverview]
    totals: list[Total]
    submitted: dict[str, int]  #: by task: jobs
    cpu_seconds: dict[str, float]  #: by task: of all executions together
    peak_rss: dict[str, int]  #: by task: bytes, of the execution that ended last


def readings(
    client: "redis.Redis", overview: Overview, history: History, queues: Iterable[str]
) -> Readings:
    """All of it, with these queues among others. Raises `redis.RedisError`."""
    began = time.perf_counter()
    client.ping()
    round_trip = time.perf_counter() - began
    with client.pipeline(transaction=False) as pipe:
        for key in (SUBMITTED, CPU, MEMORY):
            pipe.hgetall(key)
        submitted, cpu, memory = map(_by_task, pipe.execute())
    return Readings(
        round_trip=round_trip,
        queues=overview.depths(queues),
        workers=overview.workers(),
        totals=history.totals(),
        submitted=submitted,
        cpu_seconds={task: microseconds / 1e6 for task, microseconds in cpu.items()},
        peak_rss=memory,
    )


def _by_task(answer: dict[bytes, bytes]) -> dict[str, int]:
    return {as_text(task): int(count) for task, count in answer.items()}
