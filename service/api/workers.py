"""Workers over HTTP."""

from fastapi import APIRouter, Response

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep
from service.api.schemas import WorkerView

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get(
    "",
    summary="List the living workers",
    response_model=list[WorkerView],
    responses=problems(s503="Redis is away."),
)
def list_workers(broker: BrokerDep) -> Response:
    return json_response(
        [WorkerView.model_validate(worker) for worker in broker.overview.workers()]
    )
