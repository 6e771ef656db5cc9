"""Metrics of the whole service, out of what Redis holds: the same whichever process is asked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from platform import python_version

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from service.broker.readings import Readings
from service.history import BOUNDS

QUEUE_STATES = ("queued", "running", "scheduled", "waiting", "finished", "failed", "canceled")
WORKER_STATES = ("started", "idle", "busy", "suspended")
OUTCOMES = ("finished", "failed", "canceled")

Row = tuple[Sequence[str], float]


def build_info() -> Metric:
    """Which Paddock this is."""
    told = [((version("paddock"), python_version()), 1.0)]
    return _gauge("paddock_build_info", "Always 1.", ("version", "python"), told)


def redis_up(readings: Readings | None) -> Iterator[Metric]:
    """Whether Redis answers. What it holds is missing where it does not."""
    told = 0.0 if readings is None else 1.0
    yield _gauge("paddock_redis_up", "Whether Redis answers.", (), [((), told)])
    if readings is not None:
        yield _gauge(
            "paddock_redis_round_trip_seconds",
            "Time that Redis took to answer a PING.",
            (),
            [((), readings.round_trip)],
        )


def of_service(readings: Readings, tasks: Iterable[str]) -> Iterator[Metric]:
    """All else; counts of these tasks are there from the beginning, so that rates of them are."""
    yield from _of_queues(readings)
    yield from _of_workers(readings)
    yield from _of_jobs(readings, sorted(tasks))
    yield from _of_usage(readings)


def _of_queues(readings: Readings) -> Iterator[Metric]:
    queues = readings.queues
    yield _gauge(
        "paddock_queue_jobs",
        "Jobs by queue and status; those that have ended as long as they are kept.",
        ("queue", "status"),
        [((queue.name, s), getattr(queue, s)) for queue in queues for s in QUEUE_STATES],
    )
    yield _gauge(
        "paddock_queue_oldest_age_seconds",
        "How long the job at the front of the queue has been on it; 0 where there is none.",
        ("queue",),
        [((queue.name,), max(queue.oldest_age or 0.0, 0.0)) for queue in queues],
    )
    yield _gauge(
        "paddock_queue_workers",
        "Living workers that listen on the queue.",
        ("queue",),
        [((queue.name,), queue.workers) for queue in queues],
    )
    yield _gauge(
        "paddock_queue_paused",
        "1 where the queue is paused.",
        ("queue",),
        [((queue.name,), queue.paused) for queue in queues],
    )


def _of_workers(readings: Readings) -> Iterator[Metric]:
    states = Counter(worker.state for worker in readings.workers)
    own, horses = Counter[str](), Counter[str]()
    for worker in readings.workers:
        own[worker.host] += worker.rss or 0
        horses[worker.host] += worker.horses_rss or 0
    yield _gauge(
        "paddock_workers",
        "Living workers by state.",
        ("state",),
        [((state,), states[state]) for state in WORKER_STATES],
    )
    yield _gauge(
        "paddock_worker_memory_bytes",
        "Resident memory of the worker processes of a host, without their horses'.",
        ("host",),
        _rows(own),
    )
    yield _gauge(
        "paddock_horse_memory_bytes",
        "Resident memory of the processes that run jobs, shared pages included.",
        ("host",),
        _rows(horses),
    )


def _of_jobs(readings: Readings, tasks: Sequence[str]) -> Iterator[Metric]:
    totals = [(total.task or "", total.queue, total) for total in readings.totals]
    submitted = dict.fromkeys(tasks, 0) | readings.submitted
    yield _counter(
        "paddock_jobs_submitted",
        "Jobs that were enqueued, over HTTP, by a program or a schedule.",
        ("task",),
        _rows(submitted),
    )
    yield _counter(
        "paddock_jobs",
        "Jobs that have ended, by outcome.",
        ("task", "queue", "outcome"),
        [((task, queue, o), getattr(total, o)) for task, queue, total in totals for o in OUTCOMES],
    )
    yield _counter(
        "paddock_executions_retried",
        "Executions that failed, died or were put back, and whose jobs went on.",
        ("task", "queue"),
        [((task, queue), total.retried) for task, queue, total in totals],
    )
    runs = HistogramMetricFamily(
        "paddock_job_run_seconds", "Duration of executions.", labels=("task", "queue")
    )
    waits = HistogramMetricFamily(
        "paddock_job_wait_seconds",
        "Time on the queue until an execution began.",
        labels=("task", "queue"),
    )
    for task, queue, total in totals:
        runs.add_metric((task, queue), _buckets(total.runs), total.run_seconds)
        waits.add_metric((task, queue), _buckets(total.waits), total.wait_seconds)
    yield from (runs, waits)


def _of_usage(readings: Readings) -> Iterator[Metric]:
    yield _counter(
        "paddock_job_cpu_seconds",
        "CPU time that executions used, their child processes' included.",
        ("task",),
        _rows(readings.cpu_seconds),
    )
    yield _gauge(
        "paddock_job_peak_memory_bytes",
        "Most memory that the process of the execution that ended last has held.",
        ("task",),
        _rows(readings.peak_rss),
    )


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """As Prometheus has them: each holds those below it as well."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(counts or [0] * len(bounds)), strict=True))


def _rows(values: dict[str, float] | dict[str, int]) -> list[Row]:
    return [((label,), value) for label, value in sorted(values.items())]


def _gauge(name: str, told: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    return _filled(GaugeMetricFamily(name, told, labels=labels), rows)


def _counter(name: str, told: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    return _filled(CounterMetricFamily(name, told, labels=labels), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[Row]) -> Metric:
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
