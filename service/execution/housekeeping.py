"""What a worker does between jobs: bring back the abandoned, settle its own, drop the expired."""

import logging
import time
from collections.abc import Sequence

from redis import Redis
from rq.executions import Execution
from rq.group import Group
from rq.job import Job
from rq.queue import Queue
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.worker_registration import clean_worker_registry

from service.execution.recovery import Recovery

RECOVERY_INTERVAL = 1  # seconds between looks for jobs whose workers have died
CLEANUP_INTERVAL = 60  # seconds between clean-ups of what has expired

logger = logging.getLogger("rq.worker")


class Housekeeper:
    """Keeps one worker's queues in order. All of it may be done by any number of workers."""

    def __init__(
        self, connection: Redis, queues: Sequence[Queue], job_class: type[Job], lease: float
    ) -> None:
        self._connection, self._queues, self._job_class = connection, queues, job_class
        self._lease = lease
        self._recovery = Recovery(connection)
        self._unsettled: list[tuple[Queue, Execution, bool]] = []
        self._recovers_from = 0.0
        self._cleans_from = 0.0

    def keep(self) -> None:
        """Do what is due."""
        self.settle()
        if time.monotonic() >= self._recovers_from:
            self._tell(*self._recovery.recover(self._queues))
            self._recovers_from = time.monotonic() + RECOVERY_INTERVAL
        if time.monotonic() >= self._cleans_from:
            self._clean()
            self._cleans_from = time.monotonic() + CLEANUP_INTERVAL

    def ended(self, queue: Queue, execution: Execution, *, crashed: bool) -> None:
        """The horse of this execution is gone; `settle` sees to what it may have left.

        `crashed` says whether the job is to blame if it has left no record of its end.
        """
        self._unsettled.append((queue, execution, crashed))

    def settle(self) -> None:
        """Bring back the jobs whose horses ended without having recorded how."""
        while self._unsettled:
            queue, execution, crashed = self._unsettled[0]
            self._tell(*self._recovery.release(queue, execution.composite_key, crashed=crashed))
            self._unsettled.pop(0)

    def was_cut_off(self) -> None:
        """Redis was away, for every worker: give the others time to show that they live."""
        self._recovers_from = time.monotonic() + self._lease

    def _clean(self) -> None:
        """RQ's clean-up of started jobs, which fails them, is left out: `recovery` is for those."""
        for queue in self._queues:
            for registry in (FinishedJobRegistry, FailedJobRegistry, ReadyJobRegistry):
                registry(queue=queue, job_class=self._job_class).cleanup()
            clean_worker_registry(queue)
        for limited in RateLimitRegistry.all(self._connection):
            limited.cleanup()
        if Group.acquire_maintenance_lock(self._connection, CLEANUP_INTERVAL - 1):
            Group.clean_registries(connection=self._connection)

    def _tell(self, back: list[str], poison: list[str]) -> None:
        for job_id in back:
            logger.warning("%s was abandoned by its worker or horse: queued again", job_id)
        for job_id in poison:
            logger.error("%s was abandoned too often: failed", job_id)
