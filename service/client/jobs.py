"""What the service tells of jobs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.client.errors import ClientError

#: Statuses in which a job stays unless somebody acts.
ENDED = frozenset({"finished", "failed", "canceled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed."""

    type: str  #: the exception's name
    message: str
    traceback: str  #: as Python prints it


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """An estimate, from how long the latest jobs of each task took. Times are in UTC."""

    position: int | None = None  #: on its queue, 1 is taken next
    start_at: datetime | None = None  #: None where it runs already, or nobody can tell
    end_at: datetime | None = None  #: None where nobody can tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is, as it tells itself."""

    fraction: float | None = None  #: from 0 to 1
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a job has printed or logged."""

    at: datetime
    stream: Literal["stdout", "stderr", "log"]
    level: str | None = None  #: of what was logged
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The end of what a job has printed and logged, in all of its executions."""

    lines: tuple[LogLine, ...]
    dropped: int = 0  #: lines before those that are not kept

    def __str__(self) -> str:
        return "".join(f"{line.text}\n" for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job, as it was when the service was asked. Times are in UTC."""

    id: str
    task: str
    status: str  #: queued, scheduled, waiting, running, finished, failed or canceled
    queue: str
    parameters: dict[str, Any] | None = None  #: what the task is called with
    result: Any = None  #: what the task returned, once finished
    error: Failure | None = None  #: why it failed, or was canceled by itself
    enqueued_at: datetime | None = None
    scheduled_for: datetime | None = None  #: when it is to be queued (again)
    expires_at: datetime | None = None  #: when it is canceled unless it was started
    started_at: datetime | None = None  #: of its latest execution
    ended_at: datetime | None = None
    attempts: int = 0  #: executions begun
    retries_left: int = 0
    worker: str | None = None  #: the worker that runs it, or ran it last
    depends_on: tuple[str, ...] = ()  #: ids of the jobs that it is run after
    waiting_for: Literal["dependencies", "concurrency"] | None = None
    batch: str | None = None  #: the id of the batch that it came with
    eta: Eta | None = None  #: what is expected of it; told of a single job that has not ended
    progress: Progress | None = None  #: what its latest execution has told of itself
    canceled_by: str | None = None  #: who canceled it, in words for people

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, failed or canceled."""
        return self.status in ENDED


class JobFailed(ClientError):
    """The job whose result was asked for failed: `job`, and why: `type`, `message`, `traceback`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        why = job.error or Failure(type="unknown", message="no reason is known", traceback="")
        self.job = job
        self.type, self.message, self.traceback = why.type, why.message, why.traceback

    def __str__(self) -> str:
        return f"{self.job.task} {self.job.id} failed with {self.type}: {self.message}"


class JobCanceled(ClientError):
    """The job whose result was asked for was canceled: `job`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        why = f": {self.job.error.message}" if self.job.error else ""
        return f"{self.job.task} {self.job.id} was canceled{why}"


def outcome(job: Job) -> Any:
    """The result of a job that has ended. Raises `JobFailed` and `JobCanceled`."""
    if job.status == "failed":
        raise JobFailed(job)
    if job.status == "canceled":
        raise JobCanceled(job)
    return job.result


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Some of the jobs that were asked for, newest first, and how to ask for those after them."""

    jobs: tuple[Job, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsRetried:
    """What became of the failed jobs that were to be run again."""

    retried: int
    skipped: int  #: what they depend on has failed, or another like them lives


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsCanceled:
    """What became of the jobs that were to be canceled."""

    canceled: int  #: at once
    stopping: int  #: they run; their workers were told to stop them


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened to a job."""

    kind: Literal["status", "progress", "log", "result"]  #: the result is the last of them
    job: Job  #: as far as it is known by then; with the result, all of it
    at: datetime | None = None  #: None for lines, which have times of their own
    lines: tuple[LogLine, ...] = ()  #: of a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a job stands where it does."""

    status: str
    summary: str  #: the first reason's sentence
    reasons: tuple[dict[str, Any], ...]  #: each has a `kind`, a `detail`, and what it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of a job that has ended."""

    id: str
    worker: str
    host: str | None = None  #: unknown where the worker was lost
    started_at: datetime | None = None
    ended_at: datetime
    outcome: str  #: returned, raised, canceled, put back, died or lost
    reason: str
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_rss: int | None = None  #: most memory it held, in bytes
