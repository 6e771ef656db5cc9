"""What the service tells of batches."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.client.jobs import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that was accepted."""

    id: str
    task: str
    count: int
    jobs: tuple[str, ...]  #: the jobs' ids, in the order of the parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """A batch's jobs by status; together they are its total."""

    queued: int
    scheduled: int
    waiting: int
    running: int
    finished: int
    failed: int
    canceled: int
    gone: int  #: removed before anybody saw how they ended


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """How a batch does. Times are in UTC."""

    id: str
    task: str
    queue: str
    created_at: datetime
    total: int
    counts: BatchCounts
    progress: float  #: the share of its jobs that have ended, from 0 to 1
    eta: datetime | None = None  #: when all will have, at the pace since the first did
    finished_at: datetime | None = None  #: when the last of them did

    @property
    def has_ended(self) -> bool:
        """Whether each of its jobs has."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """How one job of a batch stands."""

    index: int  #: its place in the batch, from 0
    id: str
    status: str
    result: Any = None  #: what the task returned, once finished
    error: Failure | None = None  #: why it failed
    expired: bool = False  #: only its last status is known any more


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCanceled:
    """What canceling a batch did."""

    canceled: int  #: jobs that will not run
    stopping: int  #: jobs that run; their workers were told to stop them


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRetried:
    """What retrying a batch did."""

    retried: int  #: failed jobs that were queued again
