"""What became of a job, in Celery's words."""

from typing import Any

from jobs import Task
from service.adapters import operations
from service.adapters.door import Door
from service.adapters.raised import error_in
from service.broker.records import JobRecord
from service.broker.status import Status

_STATES = {
    Status.RUNNING: "STARTED",
    Status.FINISHED: "SUCCESS",
    Status.FAILED: "FAILURE",
    Status.CANCELED: "REVOKED",
}
_FOR_ANOTHER = "DependencyFailed"  # what a job fails with where one before it did not finish


def state_of(job: JobRecord) -> str:
    """PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED."""
    return _STATES.get(job.status) or ("RETRY" if job.attempts else "PENDING")


def outcome_of(job: JobRecord, task: Task[..., Any] | None) -> Any:
    """What it returned, in its task's type; the exception that it ended with; None until then."""
    if job.status is not Status.FINISHED:
        return error_in(job)
    return task.result.load(job.result) if task else job.result


def cause_of(job: JobRecord, door: Door) -> Exception:
    """What it ended with; of one that failed for a job before it, what that one ended with."""
    cause = job
    while cause.error is not None and cause.error.type == _FOR_ANOTHER:
        before = door.begin(operations.find_all, cause.depends_on).result()
        ended = [each for each in before if each is not None and error_in(each) is not None]
        if not ended:  # it was deleted, or has been run again
            break
        cause = ended[0]
    error = error_in(cause)
    if error is None:
        raise AssertionError(f"job {job.id} has not ended so: {job.status}")
    if cause is not job:
        error.add_note(f"This ended the job {cause.id}, after which {job.id} was to run.")
    return error
