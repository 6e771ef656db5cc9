"""A job's log over HTTP, as JSON or as the bare text."""

from fastapi import APIRouter, Request, Response

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep, JobId
from service.api.schemas import LogView

TEXT = "text/plain"

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/log",
    summary="Read what a job has printed and logged",
    response_model=LogView,
    responses=problems(s404="No such job.", s503="Redis is away.")
    | {
        200: {
            "description": "The last 10,000 lines or MiB.",
            "content": {TEXT: {"schema": {"type": "string"}}},
        }
    },
)
def show_log(job_id: JobId, broker: BrokerDep, request: Request) -> Response:
    """Of all its executions, also while it runs; `Accept: text/plain` gets the bare text."""
    log = broker.log(job_id)
    if _prefers_text(request.headers.get("accept", "*/*")):
        return Response(str(log), media_type=TEXT)
    return json_response(LogView.model_validate(log))


def _prefers_text(accept: str) -> bool:
    """Whether this header likes it better than JSON."""
    weights = dict(map(_weighed, accept.lower().split(",")))
    any_kind = weights.get("*/*", 0.0)
    text = weights.get(TEXT, weights.get("text/*", any_kind))
    return text > weights.get("application/json", weights.get("application/*", any_kind))


def _weighed(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip() for piece in part.split(";"))
    weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return kind, float(weight)
    except ValueError:
        return kind, 0.0
