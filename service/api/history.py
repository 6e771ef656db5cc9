"""What has become of jobs, over time, over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep
from service.api.schemas import View
from service.broker.history import SPANS, Span
from service.errors import OptionsInvalid
from service.history import BOUNDS

router = APIRouter(tags=["history"])


class HistoryOptions(BaseModel):
    """Which part of the history."""

    model_config = ConfigDict(extra="forbid")

    task: str | None = Field(None, description="Of this task's jobs alone.")
    queue: str | None = Field(None, description="Of this queue's jobs alone.")
    span: Span = Field("hour", description="The last hour, day or month.")


class SlotView(View):
    at: datetime = Field(description="Its beginning; the last one is still going on.")
    finished: int
    failed: int
    canceled: int
    retried: int = Field(
        description="Executions that raised, died or were put back, and whose jobs went on."
    )
    run_seconds: float = Field(description="Of all executions together.")
    wait_seconds: float = Field(description="From queued to started, of all executions together.")
    runs: list[int] = Field(
        description="Executions by their duration: for each of `bounds` those that took no longer, "
        "and longer than the one before; then the rest. Empty where there were none."
    )
    waits: list[int] = Field(description="The same, by their waits.")


class HistoryView(BaseModel):
    span: Literal["hour", "day", "month"]
    seconds: int = Field(description="Each slot's length.")
    bounds: list[float] = Field(description="Of the histograms' buckets, in seconds.")
    slots: list[SlotView] = Field(description="Oldest first, all of them.")


@router.get(
    "/history",
    summary="Show what has become of jobs, over time",
    response_model=HistoryView,
    responses=problems(s422="The options in the query are not valid.", s503="Redis is away."),
)
def show_history(options: Annotated[HistoryOptions, Query()], broker: BrokerDep) -> Response:
    """Of a task's jobs, a queue's, or all. A name that is unknown has a history of nothing."""
    if options.task is not None and options.queue is not None:
        raise OptionsInvalid("Give either `task` or `queue`, not both.", errors=[])
    kind: Literal["task", "queue"] | None = None
    if options.task is not None:
        kind = "task"
    elif options.queue is not None:
        kind = "queue"
    slots = broker.history.series(kind, options.task or options.queue or "", options.span)
    return json_response(
        HistoryView(
            span=options.span,
            seconds=SPANS[options.span][0],
            bounds=list(BOUNDS),
            slots=[SlotView.model_validate(slot) for slot in slots],
        )
    )
