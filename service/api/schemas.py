"""What the API answers, as its callers read it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from jobs.schedule import DEFAULT_MISSED, DEFAULT_TIMEZONE, Missed
from service.broker.status import Status

DAY = 24 * 3600  # seconds
LONGEST_DELAY = 3650 * DAY
LONGEST_TIMEOUT = 30 * DAY
LONGEST_WAIT = 300  # seconds a request may be kept open

Wait = Annotated[
    float | None,
    Field(
        ge=0,
        le=LONGEST_WAIT,
        description="Seconds to wait for the job to end before answering.",
    ),
]


def _not_a_number(value: Any) -> Any:
    # Pydantic takes numbers for seconds since 1970, and `at=60` would mean: at once.
    if isinstance(value, str) and value.strip("+-.0123456789 ") == "":
        raise ValueError("should be written like 2030-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ErrorView(_View):
    type: str = Field(description="The exception's name.", examples=["ValueError"])
    message: str
    traceback: str = Field(description="As Python prints it.")


class JobView(_View):
    """A job. Times are RFC 3339 in UTC; those that have not come yet are null."""

    id: str
    task: str = Field(examples=["heavy_cpu_task"])
    status: Status
    queue: str = Field(examples=["cpu"])
    parameters: dict[str, Any] | None = Field(description="What the task is called with.")
    result: Any = Field(None, description="What the task returned, once finished.")
    error: ErrorView | None = Field(description="Why it failed.")
    enqueued_at: datetime | None
    scheduled_for: datetime | None = Field(description="When it is to be queued (again).")
    started_at: datetime | None = Field(description="Of its latest execution.")
    ended_at: datetime | None
    attempts: int = Field(description="Executions begun.")
    retries_left: int
    worker: str | None = Field(description="The worker that runs it, or ran it last.")
    depends_on: list[str] = Field(description="Ids of the jobs that it is run after.")
    waiting_for: Literal["dependencies", "concurrency"] | None = Field(
        description="What keeps it `waiting`: those jobs, or a place under a limit."
    )
    batch: str | None = Field(None, description="The batch that it came with.")


class ExecutionView(BaseModel):
    """One execution of a job that has ended."""

    id: str
    worker: str
    host: str | None = Field(None, description="Unknown where the worker was lost.")
    started_at: datetime | None
    ended_at: datetime
    outcome: str = Field(examples=["returned", "raised", "canceled", "put back", "died", "lost"])
    reason: str = Field(examples=["returned", "ValueError", "killed by SIGKILL"])
    wall_seconds: float | None = None
    cpu_seconds: float | None = Field(None, description="Of its process and what it waited for.")
    peak_rss: int | None = Field(None, description="Most memory it held, in bytes.")


class JobPage(BaseModel):
    """Newest first. A page may be short and yet have a `next`."""

    jobs: list[JobView]
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")


class BatchCounts(_View):
    """A batch's jobs by status; together they are its total."""

    queued: int
    scheduled: int
    waiting: int
    running: int
    finished: int
    failed: int
    canceled: int
    gone: int = Field(description="Removed before anybody saw how they ended.")


class BatchView(_View):
    """A batch. Times are RFC 3339 in UTC; those that have not come yet are null."""

    id: str
    task: str = Field(examples=["heavy_cpu_task"])
    queue: str = Field(examples=["cpu"])
    created_at: datetime
    total: int
    counts: BatchCounts
    progress: float = Field(description="The share of its jobs that have ended, from 0 to 1.")
    eta: datetime | None = Field(
        description="When all will have ended, at the pace since the first did."
    )
    finished_at: datetime | None = Field(description="When the last of its jobs ended.")


class BatchAccepted(BaseModel):
    id: str
    task: str = Field(examples=["heavy_cpu_task"])
    count: int
    jobs: list[str] = Field(description="The jobs' ids, in the order of the parameters.")


class BatchRowView(_View):
    """One line of a batch's results."""

    index: int = Field(description="Its place in the batch, from 0.")
    id: str
    status: str = Field(examples=["finished"])
    result: Any = Field(None, description="What the task returned, once finished.")
    error: ErrorView | None = Field(description="Why it failed.")
    expired: bool = Field(description="Only its last status is known any more.")


class BatchCanceled(_View):
    canceled: int = Field(description="Jobs that will not run.")
    stopping: int = Field(description="Jobs that run; their workers were told to stop them.")


class BatchRetried(_View):
    retried: int = Field(description="Failed jobs that were queued again.")


class RetryView(BaseModel):
    max: int
    intervals: list[int] = Field(description="Seconds before each retry; an example where random.")


class TaskView(BaseModel):
    """A task, and what it takes and returns as JSON Schema."""

    name: str
    description: str
    queue: str
    timeout: int = Field(description="Seconds one execution may take.")
    retry: RetryView | None
    result_ttl: int = Field(description="Seconds a finished job is kept; -1 for ever.")
    failure_ttl: int = Field(description="Seconds a failed job is kept; -1 for ever.")
    concurrency: int | None = Field(description="How many of its jobs may run at once.")
    concurrency_key: str | None = Field(
        description="So many for each value of this parameter, or of a function of them all."
    )
    unique: bool = Field(description="Of jobs with the same parameters one waits or runs at most.")
    parameters: dict[str, Any]
    result: dict[str, Any]


class QueueView(_View):
    name: str
    queued: int
    running: int
    scheduled: int
    waiting: int
    finished: int
    failed: int
    canceled: int
    oldest_age: float | None = Field(description="Seconds its first job has been waiting.")
    workers: int = Field(description="Workers that listen on it.")


class WorkerView(_View):
    name: str
    host: str
    pid: int
    queues: list[str]
    state: str = Field(examples=["idle", "busy"])
    job: str | None = Field(description="The job it runs.")
    started_at: datetime | None
    last_seen_at: datetime | None
    finished: int
    failed: int


class ScheduleBody(BaseModel):
    """A schedule, as it is to be from now on."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="A schedule that has this name is replaced.",
        examples=["nightly-report"],
    )
    task: str = Field(examples=["heavy_cpu_task"])
    parameters: dict[str, Any] = Field({}, description="What the task is called with.")
    cron: str = Field(
        description="Minute, hour, day, month and weekday; a sixth field is for seconds.",
        examples=["0 3 * * *"],
    )
    timezone: str = Field(
        DEFAULT_TIMEZONE, description="On whose clocks.", examples=["Europe/Berlin"]
    )
    missed: Missed = Field(
        DEFAULT_MISSED,
        description="What becomes of the ticks at which no scheduler ran: `skip` them, run `once` "
        "for all of them, or run `all` (of the latest thousand).",
    )


class ScheduleView(BaseModel):
    """A schedule. Times are RFC 3339 in UTC; those that have not come yet are null."""

    name: str
    task: str
    parameters: dict[str, Any]
    cron: str = Field(examples=["0 3 * * *"])
    timezone: str = Field(examples=["Europe/Berlin"])
    missed: Missed
    source: str = Field(description="`task` where @job declares it, `api` where it was posted.")
    next_at: datetime | None = Field(description="The next tick, or the first not yet dealt with.")
    last_at: datetime | None = Field(description="The last tick that a job was enqueued for.")
    last_job: str | None = Field(description="That job's id.")


class ReadyView(BaseModel):
    status: str = Field(examples=["ready"])
    warnings: list[str] = Field(description="What does not stop a submission, but may a job.")


class LiveView(BaseModel):
    status: str = Field(examples=["live"])


class ProblemView(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:paddock:problem:unknown-job"])
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")


class RunOptions(BaseModel):
    """How jobs are to be run. They ride in the query, apart from the task's own parameters."""

    model_config = ConfigDict(extra="forbid")

    delay: float | None = Field(
        None, ge=0, le=LONGEST_DELAY, description="Seconds from now until it is queued."
    )
    at: Moment | None = Field(
        None, description="When it is queued, RFC 3339 with a time zone; at once if in the past."
    )
    queue: str | None = Field(None, description="Another queue than the task's own.")
    timeout: int | None = Field(
        None, ge=1, le=LONGEST_TIMEOUT, description="Seconds one execution may take."
    )
    result_ttl: int | None = Field(
        None, ge=1, le=LONGEST_DELAY, description="Seconds the finished job is kept."
    )
    at_front: bool = Field(False, description="Put it at the front of its queue.")
    webhook: str | None = Field(
        None,
        description="URL that gets a signed POST when the job has ended, however it did.",
        examples=["https://example.com/hooks/paddock"],
    )


class SubmitOptions(RunOptions):
    """The same, for one job, which may wait for others, or be waited for."""

    depends_on: str | None = Field(
        None, description="Ids of jobs to wait for, comma-separated.", max_length=4_000
    )
    on_dependency_failure: Literal["fail", "run"] = Field(
        "fail",
        description="What it does if one of them does not finish: fail, or run all the same.",
    )
    result_as: str | None = Field(
        None,
        description="The parameter that is given the result of the (one) job in `depends_on`; "
        "left out of the body.",
    )
    wait: Wait = None


class WaitOption(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: Wait = None


class ListOptions(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    task: str | None = None
    queue: str | None = None
    since: Moment | None = Field(None, description="Enqueued at this time or later.")
    cursor: str | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=500)
