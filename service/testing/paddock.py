"""What the fixture `paddock` gives a test: its jobs, and a way to have them run."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from datetime import datetime
from typing import Self, TypeVar

from rq.job import Job
from rq.utils import as_text

from jobs.catalogue import Catalogue
from service.broker.connection import connect, redis_url
from service.broker.records import JobReader, JobRecord
from service.errors import JobNotFound
from service.settings import Settings
from service.testing.delays import Delays
from service.testing.local_worker import LocalWorker, keep_webhooks_apart
from service.webhooks.delivery import QUEUE, deliver_webhook

T = TypeVar("T")

MOST_RUNS = 1_000  # executions until it is thought that there is no end to them
LOOK_INTERVAL = 0.01  # seconds between looks of `worker` for jobs


class Paddock:
    """The jobs of one test. Nothing is waited for: see `advance`."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.settings, self.catalogue = settings, catalogue
        self._connection = connect(redis_url(settings))
        self._reader = JobReader(self._connection, Catalogue(catalogue, unlisted=[deliver_webhook]))
        self._queues = list(dict.fromkeys([*settings.queues, *catalogue.queues()]))

    def __enter__(self) -> Self:
        """Forget whatever is in its Redis."""
        self._connection.flushdb()
        keep_webhooks_apart(self._connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def jobs(self) -> list[JobRecord]:
        """Every job as it is now, oldest first."""
        return [job for job in self._reader.read(self._ids()) if job is not None]

    def job(self, job_id: str) -> JobRecord:
        """One job as it is now. Raises `JobNotFound`."""
        (record,) = self._reader.read([job_id])
        if record is None:
            raise JobNotFound(job_id)
        return record

    def run_jobs(
        self,
        *,
        retries: bool = True,
        webhooks: bool = False,
        raising: bool = False,
        most: int = MOST_RUNS,
    ) -> list[JobRecord]:
        """Run what is queued, and what is queued by that, until nothing is; what ended, in order.

        One job after the other, in this process: those of the first queue first. A job that is to
        be retried is run again when nothing else is left to do, without the wait before it;
        `retries=False` leaves it scheduled. Those that were submitted for later are not run before
        their time: see `advance`. With `webhooks` they are delivered, and else stay queued.

        With `raising` the first exception that fails a job for good is raised, rather than only
        recorded. Raises `StillJobs` after so many executions as `most` says.
        """

        def run() -> list[JobRecord]:
            before = dict(self._ends())
            with closing(self._worker(webhooks=webhooks)) as worker:
                worker.run_all(retries=retries, raising=raising, most=most)
            ended = {job: at for job, at in self._ends() if before.get(job) != at}
            return [self.job(job) for job in sorted(ended, key=ended.__getitem__)]

        return _outside_of_loops(run)

    def advance(self, seconds: float) -> None:
        """Let so much time pass for jobs, as if no worker were there; `run_jobs` runs what is due.

        No clock is set, and nothing else grows older. In whole seconds, as the schedule is.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds}: time does not go back")
        live = [job.id for job in self.jobs if not job.status.is_final]
        Delays(self._connection, [*self._queues, QUEUE]).pass_by(seconds, live)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Have jobs run as they come, in a thread, for as long as the block lasts.

        For code that waits for what it submits, and would wait for ever. They are run as `run_jobs`
        does; what it would raise is raised when the block ends.
        """
        over = threading.Event()
        with (
            closing(self._worker(webhooks=False)) as worker,
            ThreadPoolExecutor(1, "paddock jobs") as thread,
        ):
            serving = thread.submit(copy_context().run, _serve, worker, over)
            try:
                yield
            finally:
                over.set()
            serving.result()

    def _worker(self, *, webhooks: bool) -> LocalWorker:
        queues = [*self._queues, QUEUE] if webhooks else self._queues
        return LocalWorker(self._connection, queues, self.catalogue)

    def _ends(self) -> Iterator[tuple[str, datetime]]:
        for job in self.jobs:
            if job.status.is_final and job.ended_at is not None:
                yield job.id, job.ended_at

    def _ids(self) -> list[str]:
        """By when they were made, and those of a batch by their place in it.

        Others of one moment, as where a test has frozen the clock, are in the order in which Redis
        lists them: that in which they came, where it is the fake one.
        """
        prefix = Job.key_for("")
        keys = [as_text(key) for key in self._connection.keys(f"{prefix}*")]
        ids = [key.removeprefix(prefix) for key in keys if ":" not in key.removeprefix(prefix)]
        with self._connection.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hmget(Job.key_for(job_id), "created_at", "batch")
            fields = pipe.execute()
        ages = {
            job_id: (made or b"", job_id if batch else "")
            for job_id, (made, batch) in zip(ids, fields, strict=True)
        }
        return sorted(ages, key=ages.__getitem__)


def _serve(worker: LocalWorker, over: threading.Event) -> None:
    """Until it is over, and once more; the first thing that is to be raised is raised then."""
    trouble: BaseException | None = None
    is_last = False
    while not is_last:
        is_last = over.wait(LOOK_INTERVAL)
        try:
            worker.run_all(retries=True, raising=False, most=MOST_RUNS)
        except BaseException as error:  # noqa: BLE001  # those who wait for others go on
            trouble = trouble or error
    if trouble is not None:
        raise trouble


def _outside_of_loops(function: Callable[[], T]) -> T:
    """Call it, and from within an event loop in another thread: jobs may run loops of their own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1, "paddock jobs") as thread:
        return thread.submit(copy_context().run, function).result()
