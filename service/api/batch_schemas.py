"""What the API answers about batches."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from service.api.schemas import ErrorView, View


class BatchCounts(View):
    """A batch's jobs by status; together they are its total."""

    queued: int
    scheduled: int
    waiting: int
    running: int
    finished: int
    failed: int
    canceled: int
    gone: int = Field(description="Removed before anybody saw how they ended.")


class BatchView(View):
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


class BatchRowView(View):
    """One line of a batch's results."""

    index: int = Field(description="Its place in the batch, from 0.")
    id: str
    status: str = Field(examples=["finished"])
    result: Any = Field(None, description="What the task returned, once finished.")
    error: ErrorView | None = Field(description="Why it failed.")
    expired: bool = Field(description="Only its last status is known any more.")


class BatchCanceled(View):
    canceled: int = Field(description="Jobs that will not run.")
    stopping: int = Field(description="Jobs that run; their workers were told to stop them.")


class BatchRetried(View):
    retried: int = Field(description="Failed jobs that were queued again.")
