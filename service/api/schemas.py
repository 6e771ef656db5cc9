"""What the API answers, as its callers read it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.schedule import DEFAULT_MISSED, DEFAULT_TIMEZONE, Missed
from service.broker.status import Status


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ErrorView(View):
    type: str = Field(description="The exception's name.", examples=["ValueError"])
    message: str
    traceback: str = Field(description="As Python prints it.")


class EtaView(View):
    """An estimate, from how long the latest jobs of each task took."""

    position: int | None = Field(
        description="Its place on its queue, 1 is taken next; null where it stands on none."
    )
    start_at: datetime | None = Field(description="Null where it runs already, or nobody can tell.")
    end_at: datetime | None = Field(description="Null where nobody can tell.")


class ProgressView(View):
    """How far a job is, as it tells itself."""

    fraction: float | None = Field(description="From 0 to 1; null where it can't tell.")
    message: str | None


class JobView(View):
    """A job. Times are RFC 3339 in UTC; those that have not come yet are null."""

    id: str
    task: str = Field(examples=["heavy_cpu_task"])
    status: Status
    queue: str = Field(examples=["cpu"])
    parameters: dict[str, Any] | None = Field(description="What the task is called with.")
    result: Any = Field(None, description="What the task returned, once finished.")
    error: ErrorView | None = Field(
        description="Why it failed; or `Expired`, where it was canceled for that."
    )
    enqueued_at: datetime | None
    scheduled_for: datetime | None = Field(description="When it is to be queued (again).")
    expires_at: datetime | None = Field(
        description="When it is canceled if no worker has started it by then."
    )
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
    eta: EtaView | None = Field(
        None, description="What is expected of it; told of a single job that has not ended."
    )
    progress: ProgressView | None = Field(
        None, description="What its latest execution has told of itself; null if nothing."
    )
    canceled_by: str | None = Field(
        None,
        description="Who canceled it, for people: of a key the first digits of its SHA-256.",
        examples=["the API (key 5f70bf18)", "the command line (ada@web1)", "expiry"],
    )


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


class LogLineView(View):
    """A line that a job has printed or logged."""

    at: datetime
    stream: Literal["stdout", "stderr", "log"] = Field(description="`log` is Python's logging.")
    level: str | None = Field(description="Of what was logged.", examples=["INFO"])
    text: str


class LogView(View):
    """The end of what a job has printed and logged, in all of its executions."""

    lines: list[LogLineView]
    dropped: int = Field(description="Lines before those that are not kept.")


class JobPage(BaseModel):
    """Newest first. A page may be short and yet have a `next`."""

    jobs: list[JobView]
    next: str | None = Field(description="The `cursor` of the next page; null on the last.")


class JobsCanceled(View):
    """What became of the jobs that fitted, and had not ended."""

    canceled: int = Field(description="At once.")
    stopping: int = Field(description="They run; their workers were told to stop them.")


class JobsRetried(View):
    """What became of the failed jobs that fitted."""

    retried: int = Field(description="Queued again, or waiting again for others.")
    skipped: int = Field(
        description="Left failed: what they depend on has failed, or another like them lives."
    )


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


class QueueView(View):
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
    eta: float | None = Field(
        description="Seconds that a job which came now would wait; null where nobody can tell."
    )
    throughput: float = Field(description="Jobs that ended lately, a minute.")
    paused: bool = Field(description="They take no jobs from it until it is resumed.")


class WorkerView(View):
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
    rss: int | None = Field(description="Bytes of memory that it holds.")
    horses_rss: int | None = Field(description="And those that the processes of its jobs hold.")


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


class FaultView(BaseModel):
    """One thing that does not validate."""

    model_config = ConfigDict(extra="allow")

    where: str = Field(alias="in", examples=["body", "query"])
    field: str = Field(examples=["n"])
    message: str


class ProblemView(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:paddock:problem:unknown-job"])
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
    errors: list[FaultView] = Field(
        default_factory=list, description="Of what does not validate: all that fails."
    )
