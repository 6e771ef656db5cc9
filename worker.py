"""Paddock's worker: RQ's, with the windows closed in which RQ loses a job.

    python worker.py --queues cpu,mail      what `paddock work` starts, one process a core
    rq worker -w worker.Worker -S json cpu  the same worker under RQ's own command

It forks a horse for each job, as RQ does; tasks are imported before the fork. What it takes it
takes with `claim` and runs as in `running`, what dies it brings back with `recovery`, and due jobs
move by `scheduler`.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.utils import now
from rq.worker import DequeueStrategy, WorkerStatus
from rq.worker_registration import register

from jobs.catalogue import Catalogue
from jobs.errors import TaskError
from service.broker.connection import SOCKET_TIMEOUT, connect, redis_url
from service.errors import PaddockError
from service.execution.claim import EXECUTION_TTL, Claim, Claimer
from service.execution.doorbell import Doorbell
from service.execution.fence import TaskQueue, fenced
from service.execution.housekeeping import Housekeeper
from service.execution.running import HEARTBEAT, JobRunner
from service.execution.scheduler import Scheduler
from service.settings import Settings

LEASE = 10  # seconds without one until its jobs are given to others
LONGEST_RECONNECT_WAIT = 4.0  # seconds


class Worker(JobRunner):
    """Takes jobs of the catalogue from its queues, the first queue's first.

    Whatever serializer, job class and intervals RQ's command line passes, Paddock's own are used.
    """

    log_result_lifespan = False
    _interruptible = False  # whether SIGTERM may leave what is going on, as it waits only

    def __init__(
        self,
        queues: str | Queue | Sequence[str] | Sequence[Queue],
        name: str | None = None,
        connection: "redis.Redis | None" = None,
        catalogue: Catalogue | None = None,
        **stock: Any,
    ) -> None:
        listed: list[Any] = [queues] if isinstance(queues, str | Queue) else list(queues)
        names = [queue.name if isinstance(queue, Queue) else queue for queue in listed]
        if connection is None and isinstance(listed[0], Queue):
            connection = listed[0].connection
        self._fenced = fenced(catalogue or Catalogue.load(Settings.load().tasks))
        stock |= {
            "serializer": "json",
            "job_class": self._fenced,
            "queue_class": TaskQueue,
            "worker_ttl": LEASE,
        }
        stock.pop("default_worker_ttl", None)
        super().__init__(names, name=name, connection=connection, **stock)
        # redis-py would send a transaction again whose reply was lost: jobs pushed twice.
        self.connection.set_retry(Retry(NoBackoff(), 0))
        self._claimer = Claimer(self.connection, self.name, LEASE)
        self._house = Housekeeper(self.connection, self.queues, self.job_class, LEASE)
        self._bell = Doorbell(self.connection, [queue.key for queue in self.queues])

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
            self._start_scheduler(burst)
            while not self._stop_requested and (max_jobs is None or completed < max_jobs):
                taken = self._next_job(burst, max_idle_time)
                if taken is None:
                    break
                self.execute_job(*taken)
                completed += 1
        except StopRequested:
            self.log.info("Worker %s: stopping, as it was told to", self.name)
        finally:
            self._leave()
        return completed > 0

    def _next_job(self, burst: bool, max_idle_time: int | None) -> tuple[Job, Queue] | None:
        """The next job, waiting for one; None where there is none to wait for."""
        idle_since, wait = time.monotonic(), 0.5
        while True:
            try:
                self._show_idle(burst)
                self._ensure_scheduler()
                self._house.keep()
                if self._stop_requested:
                    return None
                if claimed := self._claimer.claim(self._ordered_queues):
                    return self._take(claimed)
                if burst:
                    return None
                if max_idle_time and time.monotonic() - idle_since > max_idle_time:
                    self.log.info("Worker %s: idle for %s s, quitting", self.name, max_idle_time)
                    return None
                with self._stoppable():
                    self._bell.wait(HEARTBEAT)
                wait = 0.5
            except RedisError as error:  # away, loading, a replica after a failover, full, …
                self.log.warning("Worker %s: waits for Redis (%s)", self.name, error)
                with self._stoppable():
                    time.sleep(wait)
                wait = min(wait * 2, LONGEST_RECONNECT_WAIT)
                self._house.was_cut_off()

    def _take(self, claimed: Claim) -> tuple[Job, Queue]:
        job = self._fenced.taken(claimed.job_id, claimed.fields, claimed.queue)
        execution = Execution(claimed.execution_id, job.id, self.connection, self.name)
        execution._job = job
        self.executions[execution.id] = execution
        self._state = WorkerStatus.BUSY
        self.reorder_queues(reference_queue=claimed.queue)
        self.log.info(
            "Worker %s: %s: %s (%s)", self.name, claimed.queue.name, job.description, job.id
        )
        return job, claimed.queue

    def _show_idle(self, burst: bool) -> None:
        self.check_for_suspension(burst)  # sends a heartbeat, too
        if self._state != WorkerStatus.IDLE:
            self.set_state(WorkerStatus.IDLE)

    # Stopping

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Warm shutdown: take no more, finish what runs.

        RQ's raises from anywhere but inside a job, also just after one was taken (rq#2236).
        """
        self._shutdown_requested_date = now()
        signal.signal(signal.SIGINT, self.request_force_stop)
        signal.signal(signal.SIGTERM, self.request_force_stop)
        self.handle_warm_shutdown_request()
        self._stop_requested = True
        if self._interruptible:
            raise StopRequested

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        self._interruptible = True
        try:
            if self._stop_requested:
                raise StopRequested
            yield
        finally:
            self._interruptible = False

    def _leave(self) -> None:
        self._bell.close()
        self._settle()  # a job that a second Ctrl-C has cut short goes back at once
        try:
            self.teardown()
        except RedisError as error:
            # Its key expires by itself; what it left is brought back by others.
            self.log.warning("Worker %s: left without saying so (%s)", self.name, error)

    # Signs of life

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Show that this worker lives, for `LEASE` seconds, whatever RQ asks for.

        All of its record is written: it may have expired while the machine slept.
        """
        self.last_heartbeat = now()
        with contextlib.nullcontext(pipeline) if pipeline else self.connection.pipeline() as pipe:
            pipe.hset(self.key, mapping={**self.serialize(), "state": self._state})
            pipe.expire(self.key, LEASE)
            pipe.expire(self.executions_key, EXECUTION_TTL)
            register(self, pipe)
            if pipeline is None:
                pipe.execute()

    def _start_scheduler(self, burst: bool = False, *_: Any, **__: Any) -> None:
        self.scheduler = Scheduler(self.queues, self.connection)
        if burst:
            self.scheduler.move_once()
        else:
            self.scheduler.start()

    def _ensure_scheduler(self) -> None:
        if self.scheduler and self.scheduler._process and not self.scheduler.is_alive:
            self.log.warning("Worker %s: the scheduler died, starting it again", self.name)
            self.scheduler.start()

    @property
    def connection_timeout(self) -> int:
        return int(SOCKET_TIMEOUT)  # nothing blocks in Redis, so RQ need not stretch it


def main() -> int:
    """`python worker.py`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queues", help="comma-separated, in order of priority")
    parser.add_argument("--burst", action="store_true", help="quit when the queues are empty")
    options = parser.parse_args()
    try:
        settings = Settings.load(queues=options.queues)
        catalogue = Catalogue.load(settings.tasks)
        connection = connect(redis_url(settings))
        worker = Worker(settings.queues, connection=connection, catalogue=catalogue)
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
