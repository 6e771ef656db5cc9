"""One word for where a job stands, for each of RQ's."""

from enum import StrEnum

from rq.job import JobStatus


class Status(StrEnum):
    """A job's status as callers see it."""

    QUEUED = "queued"  #: on its queue; the next free worker takes it
    SCHEDULED = "scheduled"  #: for a later time, given or that of its next retry
    WAITING = "waiting"  #: on another job, or for a place under a concurrency limit
    RUNNING = "running"  #: a worker runs it
    FINISHED = "finished"  #: it returned; the result is kept for its result_ttl
    FAILED = "failed"  #: it raised, timed out or was abandoned, and is not retried by itself
    CANCELED = "canceled"  #: stopped by request, before or while it ran

    @property
    def is_final(self) -> bool:
        """Whether the job stays as it is unless somebody acts."""
        return self in FINAL


FINAL = frozenset({Status.FINISHED, Status.FAILED, Status.CANCELED})


_OF_RQ = {
    JobStatus.CREATED: Status.WAITING,  # saved, and not (yet) put on any list
    JobStatus.QUEUED: Status.QUEUED,
    JobStatus.FINISHED: Status.FINISHED,
    JobStatus.FAILED: Status.FAILED,
    JobStatus.STARTED: Status.RUNNING,
    JobStatus.DEFERRED: Status.WAITING,
    JobStatus.SCHEDULED: Status.SCHEDULED,
    JobStatus.STOPPED: Status.CANCELED,  # RQ's word for canceled while it ran
    JobStatus.CANCELED: Status.CANCELED,
    JobStatus.RATE_LIMITED: Status.WAITING,
    JobStatus.READY_TO_ENQUEUE: Status.WAITING,  # its dependency is met; about to be queued
}


def status_of(rq: JobStatus) -> Status:
    """What a caller is told for RQ's own status."""
    return _OF_RQ[rq]


def read_status(text: str) -> Status:
    """The same, where RQ's own stands written. Raises `ValueError` where it is none."""
    return status_of(JobStatus(text))


_BY_WORD = {rq.value: status for rq, status in _OF_RQ.items()}


def known_status(word: str) -> Status | None:
    """The same; None for a word that another program's RQ may have, and ours has not."""
    return _BY_WORD.get(word)
