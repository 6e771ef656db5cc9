"""What a worker does between jobs: bring back the abandoned, drop what has expired."""

import logging
import time
from collections.abc import Sequence

from redis import Redis
from rq.group import Group
from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.worker_registration import clean_worker_registry

from service.batch_store import StagingArea
from service.execution.dependents import Dependents
from service.execution.recovery import Recovery

DEPENDENTS_INTERVAL = 5  # seconds between looks at jobs that wait for others
CLEANUP_INTERVAL = 60  # seconds between clean-ups of what has expired

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
            self._tell(*self._recovery.recover(self._queues))
        if time.monotonic() >= self._looks_from:
            self._dependents.look()
            self._looks_from = time.monotonic() + DEPENDENTS_INTERVAL
        if time.monotonic() >= self._cleans_from:
            self._clean()
            self._cleans_from = time.monotonic() + CLEANUP_INTERVAL

    def was_cut_off(self) -> None:
        """Redis was away, for every worker: give the others time to show that they live."""
        self._trusts_heartbeats_from = time.monotonic() + self._lease

    def _clean(self) -> None:
        """RQ's clean-up of started jobs, which fails them, is left out: `recovery` is for those."""
        for queue in self._queues:
            for registry in (FinishedJobRegistry, FailedJobRegistry, ReadyJobRegistry):
                registry(queue=queue).cleanup()
            clean_worker_registry(queue)
        for limited in RateLimitRegistry.all(self._connection):
            limited.cleanup()
        self._staging.clear_abandoned()
        if Group.acquire_maintenance_lock(self._connection, CLEANUP_INTERVAL - 1):
            Group.clean_registries(connection=self._connection)

    def _tell(self, back: list[str], poison: list[str]) -> None:
        for job_id in back:
            logger.warning("%s was abandoned by its worker or horse: queued again", job_id)
        for job_id in poison:
            logger.error("%s was abandoned too often: failed", job_id)
