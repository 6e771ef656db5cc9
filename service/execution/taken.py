"""A job that a worker has taken and has to answer for."""

from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.queue import Queue

from jobs import Task
from jobs.catalogue import Catalogue
from jobs.policy import DEFAULT_MAX_CRASHES
from service.execution.claim import Claim, ClaimedJob, function_path
from service.execution.decision import Ended
from service.execution.outcome import Outcome
from service.execution.reporting.reported import Reported
from service.execution.reporting.writer import ReportWriter


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """One job, from its claim to its end."""

    queue: Queue
    job: ClaimedJob
    execution: Execution
    task: Task[..., Any] | None  #: None where the job names no task of the catalogue
    may_be_poison: bool  #: a process has died with it, and at its next such death it is failed
    reported: Reported

    @classmethod
    def of(
        cls,
        claim: Claim,
        connection: Redis,
        catalogue: Catalogue,
        worker_name: str,
        reports: ReportWriter,
    ) -> "Taken":
        """What this claim has taken for this worker."""
        job = claim.job(connection)
        execution = Execution(claim.execution_id, job.id, connection, worker_name)
        execution._job = job
        crashes = _number(claim, b"crashes", 0)
        most = _number(claim, b"max_crashes", DEFAULT_MAX_CRASHES)
        poison = crashes > 0 and crashes + 1 >= most
        reported = reports.open(claim.queue, job.id, execution.id)
        return cls(claim.queue, job, execution, catalogue.at(function_path(job)), poison, reported)

    def ended(self, outcome: Outcome) -> Ended:
        """What is to be recorded of it."""
        return Ended(self.queue, self.job, self.execution, outcome, self.reported)


def _number(claim: Claim, field: bytes, default: int) -> int:
    text = claim.fields.get(field, b"")
    return int(text) if text.isdigit() else default
