"""A worker's part, done in the tests' own process: take a job, run it, record how it ended.

What decides is what decides in a worker: the same scripts in Redis, the same policies. Only the
horse is missing. A job is a plain call here, which nothing interrupts, limits or survives.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextvars import ContextVar

from redis import Redis
from rq.executions import Execution
from rq.job import Job, JobStatus, _current_job
from rq.queue import Queue
from rq.utils import as_text
from rq.worker import Worker
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from jobs.catalogue import Catalogue
from jobs.reporting import Reporter, report_to
from service.execution.assignment import header_of, job_of, peak_rss, raised, returned, task_of
from service.execution.claim import EXECUTION_TTL, Claim, Claimer, Suspended
from service.execution.decision import Ended
from service.execution.dependents import Dependents
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.reporting.reported import Reported
from service.execution.reporting.writer import ReportWriter
from service.execution.scheduler import Scheduler
from service.execution.settlement import Settler
from service.testing.delays import Delays
from service.webhooks.delivery import QUEUE, deliver_webhook

NAME = "paddock.testing"

# What a job may fail of. Anything else, as Ctrl-C and `pytest.fail()` raise it, is the test's own.
_A_JOBS_OWN = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)


_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)
report_to(_reporter.get)  # of the job that runs, if one does


class StillJobs(Exception):
    """More jobs were run than a test expects; there may be no end to them."""


class LocalWorker:
    """Serves some queues, in order of priority."""

    def __init__(self, connection: Redis, queues: Sequence[str], catalogue: Catalogue) -> None:
        self._connection = connection
        self._queues = [Queue(name, connection=connection, serializer="json") for name in queues]
        self._catalogue = Catalogue(catalogue, unlisted=[deliver_webhook])
        self._claimer = Claimer(connection, NAME, EXECUTION_TTL)
        self._settler = Settler(connection, NAME, socket.gethostname())
        self._reports = ReportWriter(connection)
        self._scheduler = Scheduler(self._queues, connection, catalogue)
        self._dependents = Dependents(connection, self._queues)
        self._delays = Delays(connection, queues)

    def run_all(self, *, retries: bool, raising: bool, most: int) -> None:
        """Run what is queued until nothing is, and with `retries` what is to be retried later.

        With `raising` what has failed a job for good is raised, once that is recorded; what is the
        test's own always is. Raises `StillJobs` after more than `most` executions.
        """
        runs = 0
        while claim := self._next(retries=retries):
            self._run(claim, raising=raising)
            runs += 1
            if runs > most:
                raise StillJobs(f"More than {most} jobs were run: does one submit itself anew?")

    def close(self) -> None:
        """Close the connection that its scheduler has of its own."""
        self._scheduler.connection.close()

    def _next(self, *, retries: bool) -> Claim | None:
        """The first job there is; none once `rq suspend` was said."""
        try:
            claim = self._claim() or self._look_around()
            while claim is None and retries and self._delays.skip_to_next_retry():
                claim = self._look_around()
        except Suspended:
            return None
        return claim

    def _look_around(self) -> Claim | None:
        """Queue what may run by now, as is done each second, or every few, where workers are."""
        self._scheduler.move_once()
        self._dependents.look()
        return self._claim()

    def _claim(self) -> Claim | None:
        claim = self._claimer.claim(self._queues)
        while claim is None and self._claimer.left_some:
            claim = self._claimer.claim(self._queues)
        return claim

    def _run(self, claim: Claim, *, raising: bool) -> None:
        job = claim.job(self._connection)
        execution = Execution(claim.execution_id, job.id, self._connection, NAME)
        reported = self._reports.open(claim.queue, job.id, execution.id)
        token = _reporter.set(_Told(reported))
        try:
            outcome, error = self._perform(job, execution.id)
        finally:
            _reporter.reset(token)
        for call in self._reports.calls(reported, everything=True):
            call.run()
        self._settler.call(Ended(claim.queue, job, execution, outcome)).run()
        if error is None:
            return
        is_the_tests = not isinstance(error, _A_JOBS_OWN)
        if is_the_tests or (raising and self._status(job) == JobStatus.FAILED):
            raise error

    def _perform(self, job: Job, execution_id: str) -> tuple[Outcome, BaseException | None]:
        """How it ended, and what it raised. As in a horse, the task sees a copy of the job."""
        began, cpu_before = time.monotonic(), time.process_time()

        def usage() -> Usage:
            return Usage(time.monotonic() - began, time.process_time() - cpu_before, peak_rss())

        running = job_of(header_of(job, execution_id), job.data, self._connection)
        running.worker_name = NAME
        task = None
        token = _current_job.set(running)
        try:
            task = task_of(running, self._catalogue)
            return returned(task.run(*running.args, **running.kwargs), usage()), None
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            if self._connection.hexists(job.key, "cancel_requested"):
                return Outcome(Kind.CANCELED, usage(), "canceled"), error
            return raised(error, task, usage()), error
        finally:
            _current_job.reset(token)

    def _status(self, job: Job) -> str:
        return as_text(self._connection.hget(job.key, "status") or b"")


class _Told:
    """How far the job is. What it prints and logs is the test's, which may want to look at it."""

    def __init__(self, reported: Reported) -> None:
        self._reported = reported
        self.latest: tuple[float | None, str | None] = None, None

    def report(self, fraction: float | None, message: str | None) -> None:
        self.latest = fraction, message
        self._reported.progress(time.time(), fraction, message)


def keep_webhooks_apart(connection: Redis) -> None:
    """Have deliveries go to the queue for them, as where a worker serves it."""
    key = f"{Worker.redis_worker_namespace_prefix}{NAME}"
    connection.hset(key, "name", NAME)
    connection.sadd(WORKERS_BY_QUEUE_KEY % QUEUE, key)
