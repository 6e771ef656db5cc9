"""What a worker does between jobs: bring back the abandoned, drop what has expired."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from rq.group import Group
from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.utils import as_text
from rq.worker_registration import clean_worker_registry

from service.batch_store import StagingArea
from service.execution.dependents import Dependents
from service.execution.recovery import Recovery

DEPENDENTS_INTERVAL = 5  # seconds between looks at jobs that wait for others
CLEANUP_INTERVAL = 60  # seconds between clean-ups of what has expired
LIMITS_AT_ONCE = 100  # concurrency limits that are tidied in one clean-up, drawn at random

logger = logging.getLogger("rq.worker")


class Housekeeper:
    """Keeps one worker's queues in order. All of it may be done by any number of workers."""

    def __init__(self, connection: Redis, queues: Sequence[Queue], lease: float) -> None:
        self._connection, self._queues, self._lease = connection, queues, lease
        self._recovery, self._staging = Recovery(connection), StagingArea(connection)
        self._dependents = Dependents(connection, queues)
        # Nor right after the start: it may be Redis that has just come back, not this worker.
        self._trusts_heartbeats_from = time.monotonic() + lease
        self._looks_from = self._cleans_from = 0.0

    def keep(self) -> None:
        """Do what is due."""
        if time.monotonic() >= self._trusts_heartbeats_from:
            with _outlasted("bring back abandoned jobs"):
                self._tell(*self._recovery.recover(self._queues))
        if time.monotonic() >= self._looks_from:
            self._looks_from = time.monotonic() + DEPENDENTS_INTERVAL
            with _outlasted("look at waiting jobs"):
                self._dependents.look()
        if time.monotonic() >= self._cleans_from:
            self._cleans_from = time.monotonic() + CLEANUP_INTERVAL
            with _outlasted("clean up"):
                self._clean()

    def was_cut_off(self) -> None:
        """Redis was away, for every worker: give the others time to show that they live."""
        self._trusts_heartbeats_from = time.monotonic() + self._lease

    def _clean(self) -> None:
        """RQ's clean-up of started jobs, which fails them, is left out: `recovery` is for those."""
        for queue in self._queues:
            for registry in (FinishedJobRegistry, FailedJobRegistry, ReadyJobRegistry):
                registry(queue=queue).cleanup()
            clean_worker_registry(queue)
        # Some of them: there may be one for each of a great many users.
        limits: Any = self._connection.srandmember(RateLimitRegistry.rl_keys_key, LIMITS_AT_ONCE)
        for key in limits:
            RateLimitRegistry(as_text(key), self._connection).cleanup()
        self._staging.clear_abandoned()
        if Group.acquire_maintenance_lock(self._connection, CLEANUP_INTERVAL - 1):
            Group.clean_registries(connection=self._connection)

    def _tell(self, back: list[str], poison: list[str]) -> None:
        for job_id in back:
            logger.warning("%s was abandoned by its worker or horse: queued again", job_id)
        for job_id in poison:
            logger.error("%s was abandoned too often: failed", job_id)


@contextlib.contextmanager
def _outlasted(what: str) -> Iterator[None]:
    """One record that is broken, or one command that is forbidden, must not keep jobs waiting."""
    try:
        yield
    except ResponseError as error:
        logger.error("Redis refuses to %s: %s", what, error)
