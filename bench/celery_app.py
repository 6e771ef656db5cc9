"""The same loads as Celery tasks."""

import os

from celery import Celery

from bench import waits
from bench.plain import spin

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(
    task_acks_late=True,  # else Celery loses what a killed worker had: not the same job
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task(name="noop")
def noop() -> None:
    """Nothing."""


@app.task(name="spin_10ms")
def spin_10ms() -> float:
    """10 ms of CPU."""
    return spin(0.010)


@app.task(name="spin_200ms")
def spin_200ms() -> float:
    """200 ms of CPU."""
    return spin(0.200)


@app.task(name="sleep")
def sleep() -> None:
    """Wait."""
    waits.sleep_blocking()


@app.task(name="fetch")
def fetch() -> None:
    """The same, over HTTP."""
    waits.fetch_blocking()
