"""RQ's worker, as far as others know it: its record, its signs of life, what it can be told."""

import contextlib
import signal
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
from rq import Worker as RQWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.utils import now
from rq.worker_registration import register

from jobs.catalogue import Catalogue
from service.execution.claim import EXECUTION_TTL
from service.execution.limits import resident_bytes, resident_bytes_of
from service.execution.orders import Orders
from service.execution.scheduler import Scheduler
from service.logs import ABOUT

HEARTBEAT = 3  # seconds between a worker's signs of life
SOCKET_TIMEOUT = 2  # seconds until a Redis that does not answer is taken for away
REGISTER_INTERVAL = 20  # seconds between entries in the lists of workers, which others tidy
LEASE = 10  # seconds without one until its jobs are given to others


class RegisteredWorker(RQWorker):
    """Known to RQ's tools like any worker, forgotten soon after it has died.

    Whatever serializer, job class and intervals RQ's command line passes, Paddock's own are used.
    """

    scheduler: Any  # ours, where RQ declares its own
    room = 1  #: how many jobs it runs at once

    def __init__(
        self,
        queues: str | Queue | Sequence[str] | Sequence[Queue],
        shutdown_grace: float,
        name: str | None = None,
        connection: "redis.Redis | None" = None,
        **stock: Any,
    ) -> None:
        self.orders = Orders()
        self._shutdown_grace = shutdown_grace
        self._registers_from = 0.0  # monotonic time of the next entry in RQ's lists
        self._interruptible = False  # whether SIGTERM may leave what is going on: it waits only
        listed: list[Any] = [queues] if isinstance(queues, str | Queue) else list(queues)
        names = [queue.name if isinstance(queue, Queue) else queue for queue in listed]
        if connection is None and isinstance(listed[0], Queue):
            connection = listed[0].connection
        stock |= {"serializer": "json", "job_class": Job, "queue_class": Queue, "worker_ttl": LEASE}
        stock.pop("default_worker_ttl", None)
        super().__init__(names, name=name, connection=connection, **stock)
        # redis-py would send a transaction again whose reply was lost: jobs pushed twice.
        self.connection.set_retry(Retry(NoBackoff(), 0))

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Enter RQ's lists. From here on each log record of this process bears its name."""
        ABOUT.set({"worker": self.name})
        super().bootstrap(*args, **kwargs)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Show that this worker lives, for `LEASE` seconds, whatever RQ asks for.

        All of its record is written: it may have expired while the machine slept.
        """
        self.last_heartbeat = now()
        # Not `if pipeline`: an empty one is false
        with (
            contextlib.nullcontext(pipeline)
            if pipeline is not None
            else self.connection.pipeline(transaction=False) as pipe
        ):
            record: dict[Any, Any] = {**self.serialize(), "state": self._state}
            pipe.hset(self.key, mapping=record)
            pipe.expire(self.key, LEASE)
            if self.executions:
                pipe.expire(self.executions_key, EXECUTION_TTL)
            if time.monotonic() >= self._registers_from:
                register(self, pipe)
                self._registers_from = time.monotonic() + REGISTER_INTERVAL
            if pipeline is None:
                pipe.execute()

    def serialize(self) -> dict[str, Any]:
        """Its record, with what is ours in it."""
        return {**super().serialize(), **self._memory(), "room": self.room}

    def _memory(self) -> dict[str, Any]:
        """Bytes that it holds, and its horses; those hold most of its own in common with it."""
        held = [resident_bytes_of(pid) or 0 for pid in self._horses()]
        return {"rss": resident_bytes(), "horses_rss": sum(held)}

    def _horses(self) -> Sequence[int]:
        """The processes that run jobs."""
        return ()

    def start_scheduler(self, catalogue: Catalogue, *, burst: bool) -> None:
        """Fork it; in burst mode move what is due now, and no more."""
        self.scheduler = Scheduler(self.queues, self.connection, catalogue)
        if burst:
            self.scheduler.move_once()
        else:
            self.scheduler.start()

    def ensure_scheduler(self) -> None:
        """Start it again if it has died: RQ looks every ten minutes."""
        if self.scheduler and self.scheduler._process and not self.scheduler.is_alive:
            self.log.warning("Worker %s: the scheduler died, starting it again", self.name)
            self.scheduler.start()

    @property
    def connection_timeout(self) -> int:
        return SOCKET_TIMEOUT  # nothing blocks in Redis, so RQ need not stretch it to minutes

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """RQ's listener for commands outlives a lost connection, but not one that is slow."""
        if not isinstance(exc, RedisError):
            raise exc
        self.log.warning("Worker %s: deaf to commands for a moment: %s", self.name, exc)
        time.sleep(1)

    def sign_off(self) -> None:
        """Stop the scheduler and leave RQ's lists."""
        try:
            self.teardown()
        except RedisError as error:
            # Its key expires by itself; what it left is brought back by others.
            self.log.warning("Worker %s: left without saying so (%s)", self.name, error)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Warm shutdown: take no more, and give what runs its grace.

        RQ's raises from anywhere but inside a job, also just after one was taken (rq#2236).
        """
        self._shutdown_requested_date = now()
        signal.signal(signal.SIGINT, self.request_force_stop)
        signal.signal(signal.SIGTERM, self.request_force_stop)
        self.handle_warm_shutdown_request()
        self._stop_requested = True
        self.orders.leave(self._shutdown_grace)
        if self._interruptible:
            raise StopRequested

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Cold shutdown, at the second signal: what runs is put back at once."""
        self.orders.leave(0)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """RQ's commands to stop a job come to this, in a thread of their own."""
        job_id, self._stopped_job_id = self._stopped_job_id or self.get_current_job_id(), None
        if job_id is not None:
            self.orders.cancel(job_id)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Around what only waits: SIGTERM ends it at once."""
        self._interruptible = True
        try:
            if self._stop_requested:
                raise StopRequested
            yield
        finally:
            self._interruptible = False
