"""Why a job stands where it does, over HTTP."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep, JobId
from service.broker.status import Status

router = APIRouter(prefix="/jobs", tags=["jobs"])


class ReasonView(BaseModel):
    """One of them; further members tell what it is about."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(examples=["position", "no_worker", "dependency", "concurrency", "exception"])
    detail: str = Field(description="A sentence.")


class WhyView(BaseModel):
    status: Status
    summary: str = Field(description="The first reason's sentence.")
    reasons: list[ReasonView] = Field(description="The one to look at first comes first.")


@router.get(
    "/{job_id}/why",
    summary="Tell why a job stands where it does",
    response_model=WhyView,
    responses=problems(s404="No such job.", s503="Redis is away."),
)
def explain_job(job_id: JobId, broker: BrokerDep) -> Response:
    """What it waits for, how its execution goes, or how it came to its end."""
    why = broker.explainer.why(broker.job(job_id))
    reasons = [_reason(each.kind, each.detail, each.data) for each in why.reasons]
    return json_response(WhyView(status=why.status, summary=why.summary, reasons=reasons))


def _reason(kind: str, detail: str, data: dict[str, Any]) -> ReasonView:
    return ReasonView.model_validate({**data, "kind": kind, "detail": detail})
