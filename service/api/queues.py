"""Queues over HTTP."""

from fastapi import APIRouter, Response

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep, SettingsDep
from service.api.schemas import QueueView
from service.broker.broker import Broker
from service.errors import QueueNotFound
from service.settings import Settings

router = APIRouter(prefix="/queues", tags=["queues"])


@router.get(
    "",
    summary="List the queues",
    response_model=list[QueueView],
    responses=problems(s503="Redis is away."),
)
def list_queues(broker: BrokerDep, settings: SettingsDep) -> Response:
    return json_response(_views(broker, settings))


@router.get(
    "/{queue}",
    summary="Show a queue",
    response_model=QueueView,
    responses=problems(s404="No such queue.", s503="Redis is away."),
)
def show_queue(queue: str, broker: BrokerDep, settings: SettingsDep) -> Response:
    views = _views(broker, settings)
    for view in views:
        if view.name == queue:
            return json_response(view)
    known = ", ".join(view.name for view in views)
    raise QueueNotFound(f"There is no queue {queue!r}. There are: {known}.")


def _views(broker: Broker, settings: Settings) -> list[QueueView]:
    known = {*settings.served_queues, *broker.catalogue.queues()}
    return [QueueView.model_validate(queue) for queue in broker.overview.queues(known)]
