"""Paddock's worker: RQ's, with the windows closed in which RQ loses a job.

    python worker.py --queues cpu,mail      what `paddock work` starts, one process a core
    python worker.py --io                   the worker of jobs that mostly wait (`io_worker`)
    rq worker -w worker.Worker -S json cpu  the same worker under RQ's own command

It takes a job (`claim`), has a forked horse run it (`stable`, `watch`), records how that ended
(`settlement`), and between jobs brings back what others left behind (`housekeeping`). Tasks are
imported before the fork. Due jobs are moved by a process of their own (`scheduler`).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import redis
from redis.exceptions import RedisError
from rq import Queue
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.worker import DequeueStrategy, WorkerStatus

from jobs.catalogue import Catalogue
from jobs.errors import TaskError
from service.broker.connection import connect, redis_url
from service.errors import PaddockError
from service.execution.assignment import about
from service.execution.channel import Channel
from service.execution.claim import (
    EXECUTION_TTL,
    Claim,
    Claimer,
    Suspended,
    function_path,
)
from service.execution.decision import Ended
from service.execution.harness import Harness
from service.execution.horse import run_horse
from service.execution.io_worker import IOWorker
from service.execution.registered import HEARTBEAT, LEASE
from service.execution.reporting.reported import Reported
from service.execution.scripts import run_together
from service.execution.serving import (
    FIRST_RECONNECT_WAIT,
    LONGEST_RECONNECT_WAIT,
    SUSPENDED_LOOK,
    UPKEEP_INTERVAL,
    ServingWorker,
)
from service.execution.stable import Stable
from service.execution.traces import begin_span, end_span
from service.execution.watch import Watch
from service.logs import configure_logs
from service.settings import Settings
from service.tracing.export import configure_tracing


class Worker(ServingWorker):
    """Takes jobs of the catalogue from its queues, the first queue's first."""

    def __init__(
        self,
        queues: str | Queue | Sequence[str] | Sequence[Queue],
        name: str | None = None,
        connection: "redis.Redis | None" = None,
        settings: Settings | None = None,
        catalogue: Catalogue | None = None,
        **stock: Any,
    ) -> None:
        super().__init__(queues, name, connection, settings, catalogue, **stock)
        self._ended: Ended | None = None  # what is still to be recorded
        self._claimer = Claimer(self.connection, self.name, LEASE)
        self._stable = Stable(self._run_horse)
        self._horse: Harness | None = None  # the one that runs a job

    # The loop

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = True,
        dequeue_strategy: DequeueStrategy = DequeueStrategy.DEFAULT,
    ) -> bool:
        """Run jobs until told to stop; in burst mode until the queues are empty.

        The scheduler always runs: without one, delayed jobs and retries would wait for ever.
        """
        self._install_signal_handlers()
        self.bootstrap(logging_level, date_format, log_format)
        self._dequeue_strategy = dequeue_strategy
        completed = 0
        try:
            self.start_scheduler(self._catalogue, burst=burst)
            while taken := self._next_job(
                burst, max_idle_time, last=self._is_spent(completed, max_jobs)
            ):
                self.execute_job(*taken)
                completed += 1
        except StopRequested:
            self.log.info("Worker %s: stopping, as it was told to", self.name)
        finally:
            self._leave()
        return completed > 0

    def _next_job(
        self, burst: bool, max_idle_time: int | None, *, last: bool
    ) -> tuple[Job, Queue] | None:
        """Record how the last job ended and take the next, waiting for one; None to leave."""
        idle_since, wait = time.monotonic(), FIRST_RECONNECT_WAIT
        while True:
            try:
                if self._ended and time.monotonic() >= self._upkeep_due:
                    self._record_and_claim(claim=False)  # upkeep may take a while
                self._keep_up()
                leaving = last or self._stop_requested
                if claimed := self._record_and_claim(claim=not leaving):
                    return self._take(claimed)
                if leaving or (burst and not self._claimer.left_some):
                    return None
                if max_idle_time and time.monotonic() - idle_since > max_idle_time:
                    self.log.info("Worker %s: idle for %s s, quitting", self.name, max_idle_time)
                    return None
                self._rest()
                wait = FIRST_RECONNECT_WAIT
            except Suspended:
                if burst:
                    return None
                self._sit_out()
            except RedisError as error:
                if not self._outlast(error, wait):
                    return None
                wait = min(wait * 2, LONGEST_RECONNECT_WAIT)

    def _record_and_claim(self, *, claim: bool) -> Claim | None:
        """Both at once, as far as there is something to record and something may be taken."""
        recording = self._recorder.calls([self._ended] if self._ended else [])
        claiming = [self._claimer.call(self._ordered_queues)] if claim else []
        calls = recording + claiming
        answers = run_together(self.connection, calls) if calls else []
        told, taken = answers[: len(recording)], answers[len(recording) :]
        if self._recorder.answered(told):
            self._ended = None
        for answer in (self._recorder.refused, *taken):
            if isinstance(answer, RedisError):
                raise answer
        return self._claimer.answered(self._ordered_queues, taken[0]) if claim else None

    def _outlast(self, error: RedisError, wait: float) -> bool:
        """Wait for Redis, however long it is away: a result may be waiting. False to give up."""
        self.log.warning("Worker %s: Redis is away (%s)", self.name, error)
        self._house.was_cut_off()
        if self._ended is None:
            with self.stoppable():
                time.sleep(wait)
            return True
        time.sleep(wait)
        leave_by = self.orders.leave_by
        return leave_by is None or time.monotonic() < leave_by  # others will find it abandoned

    def _sit_out(self) -> None:
        if self._state != WorkerStatus.SUSPENDED:
            self.log.info("Worker %s: suspended, `rq resume` has it go on", self.name)
        self._show(WorkerStatus.SUSPENDED)
        with self.stoppable():
            time.sleep(SUSPENDED_LOOK)

    def _rest(self) -> None:
        """Nothing to do: say so, have a horse ready, and wait for the bell."""
        self._show(WorkerStatus.IDLE)
        self._stable.prepare()
        with self.stoppable():
            self._bell.wait(UPKEEP_INTERVAL)

    def _take(self, claimed: Claim) -> tuple[Job, Queue]:
        job = claimed.job(self.connection)
        execution = Execution(claimed.execution_id, job.id, self.connection, self.name)
        execution._job = job
        begin_span(job, claimed.fields, self.name)
        self.executions[execution.id] = execution
        self._state = WorkerStatus.BUSY
        self.reorder_queues(reference_queue=claimed.queue)
        self.log.debug(
            "Worker %s: %s begins: %s", self.name, job.id, job.description, extra=about(job)
        )
        return job, claimed.queue

    # One job

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a horse run it, and record how that ended."""
        (execution,) = self.executions.values()
        task = self._catalogue.at(function_path(job))
        shared = task is not None and task.policy.isolation == "shared"
        reported = self._reports.open(queue, job.id, execution.id)
        horse = self._stable.give(job, reported, shared=shared)
        self._stable.prepare()  # the next one, while this one runs
        self._horse = horse
        watch = Watch(job, task, horse, self.orders, self._settings.timeout_grace)
        outcome = watch.until_ended(
            lambda: self._keep_alive(job, execution), HEARTBEAT, lambda: self._write(reported)
        )
        self._horse = None
        self._stable.take_back(horse, shared=shared)
        self.orders.forget(job.id)
        self.executions.pop(execution.id, None)
        # Recorded as the next one is taken
        self._ended = Ended(queue, job, execution, outcome, reported)
        self._tell_end(self._ended)
        end_span(self._ended)

    def _horses(self) -> Sequence[int]:
        return [self._horse.pid] if self._horse else []

    def _run_horse(self, channel: Channel, pipes: dict[str, int]) -> NoReturn:
        """In the child."""
        self._is_horse = True
        run_horse(channel, pipes, self._catalogue, self.connection, self.name)

    def _write(self, reported: Reported) -> None:
        try:
            self._reports.write(reported)
        except RedisError as error:
            self.log.warning("Worker %s: no reports of %s: %s", self.name, reported.job_id, error)

    def _keep_alive(self, job: Job, execution: Execution) -> None:
        self.ensure_scheduler()
        try:
            with self.connection.pipeline() as pipe:
                pipe.hget(job.key, "cancel_requested")
                self.heartbeat(pipeline=pipe)
                execution.heartbeat(job.started_job_registry, EXECUTION_TTL, pipeline=pipe)
                if pipe.execute()[0]:
                    self.orders.cancel(job.id)
        except RedisError as error:
            self.log.warning("Worker %s: no heartbeat for %s: %s", self.name, job.id, error)
            self._house.was_cut_off()

    def _leave(self) -> None:
        self._stable.close()
        super()._leave()


def main() -> int:
    """`python worker.py`."""
    parser = argparse.ArgumentParser(description="Paddock's worker")
    parser.add_argument("--queues", help="comma-separated, in order of priority")
    parser.add_argument("--io", action="store_true", help="run jobs that wait, many at once")
    parser.add_argument("--burst", action="store_true", help="quit when the queues are empty")
    options = parser.parse_args()
    try:
        kind, setting = (IOWorker, "io_queues") if options.io else (Worker, "queues")
        settings = Settings.load(**{setting: options.queues})
        configure_logs(settings)
        configure_tracing("worker")
        catalogue = Catalogue.load(settings.tasks)
        connection = connect(redis_url(settings))
        queues = getattr(settings, setting)
        worker = kind(queues, None, connection, settings, catalogue)
        worker.work(burst=options.burst)
    except (PaddockError, TaskError) as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return 2
    except RedisError as error:  # only before it has begun: then it waits
        print(f"worker.py: Redis can't be reached: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
