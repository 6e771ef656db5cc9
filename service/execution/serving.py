"""What the workers have in common that run tasks of the catalogue, however they run them."""

import socket
import time
from collections.abc import Sequence
from typing import Any

import redis
from rq import Queue
from rq.worker import WorkerStatus

from jobs.catalogue import Catalogue
from jobs.policy import parse_memory
from service.execution.assignment import about
from service.execution.decision import Ended
from service.execution.doorbell import Doorbell
from service.execution.housekeeping import Housekeeper
from service.execution.limits import resident_bytes
from service.execution.recording import Recorder
from service.execution.registered import LEASE, RegisteredWorker
from service.execution.reporting.writer import ReportWriter
from service.execution.settlement import Settler
from service.settings import Settings
from service.webhooks.delivery import deliver_webhook

UPKEEP_INTERVAL = 2.5  # seconds between looks around, for what others left behind
SUSPENDED_LOOK = 1.0  # seconds between looks whether work may go on
FIRST_RECONNECT_WAIT = 0.1
LONGEST_RECONNECT_WAIT = 2.0  # seconds


class ServingWorker(RegisteredWorker):
    """Serves queues: has settings, a catalogue, and what it takes to keep its queues in order."""

    def __init__(
        self,
        queues: str | Queue | Sequence[str] | Sequence[Queue],
        name: str | None = None,
        connection: "redis.Redis | None" = None,
        settings: Settings | None = None,
        catalogue: Catalogue | None = None,
        **stock: Any,
    ) -> None:
        self._settings = settings or Settings.load()
        super().__init__(
            queues, self._settings.shutdown_grace, name=name, connection=connection, **stock
        )
        listed = catalogue or Catalogue.load(self._settings.tasks)
        self._catalogue = Catalogue(listed, unlisted=[deliver_webhook])
        self._most_memory = parse_memory(self._settings.worker_max_memory)
        self._upkeep_due = 0.0
        self._reports = ReportWriter(self.connection)
        settler = Settler(self.connection, self.name, socket.gethostname())
        self._recorder = Recorder(settler, self._reports)
        self._house = Housekeeper(self.connection, self.queues, LEASE)
        self._bell = Doorbell(self.connection, self.queues)

    def _is_spent(self, completed: int, max_jobs: int | None) -> bool:
        """Whether it is to leave after so many jobs; its supervisor starts a fresh one."""
        most_jobs = max_jobs or self._settings.worker_max_jobs
        if most_jobs and completed >= most_jobs:
            self.log.info("Worker %s: has run its %d jobs", self.name, completed)
            return True
        if completed and self._most_memory and (used := resident_bytes()) >= self._most_memory:
            self.log.info("Worker %s: has grown to %d MiB", self.name, used >> 20)
            return True
        return False

    def _keep_up(self) -> bool:
        """What is to be done now and then, also while one short job follows another.

        Whether it was due.
        """
        if time.monotonic() < self._upkeep_due:
            return False
        self.heartbeat()
        self.ensure_scheduler()
        self._house.keep()
        self._upkeep_due = time.monotonic() + UPKEEP_INTERVAL
        return True

    def _tell_end(self, ended: Ended) -> None:
        """In the log: a line for each execution."""
        outcome = ended.outcome
        self.log.info(
            "Worker %s: %s: %s (%s) %s in %.3f s",
            self.name,
            ended.queue.name,
            ended.job.description,
            ended.job.id,
            outcome.reason,
            outcome.usage.wall_seconds,
            extra={**about(ended.job), "outcome": outcome.kind.value},
        )

    def _show(self, state: WorkerStatus) -> None:
        """To others, where it is new."""
        if self._state != state:
            self.set_state(state)

    def _leave(self) -> None:
        self._bell.close()
        self.sign_off()
