"""Queues over HTTP."""

from fastapi import APIRouter, Response

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep, SettingsDep
from service.api.schemas import QueueView
from service.broker.broker import Broker
from service.broker.intake import known_queues
from service.broker.overview import QueueOverview
from service.settings import Settings

router = APIRouter(prefix="/queues", tags=["queues"])

_GONE = problems(s404="No such queue.", s503="Redis is away.")


@router.get(
    "",
    summary="List the queues",
    response_model=list[QueueView],
    responses=problems(s503="Redis is away."),
)
def list_queues(broker: BrokerDep, settings: SettingsDep) -> Response:
    queues = broker.overview.queues(_known(broker, settings))
    return json_response([QueueView.model_validate(queue) for queue in queues])


@router.get("/{queue}", summary="Show a queue", response_model=QueueView, responses=_GONE)
def show_queue(queue: str, broker: BrokerDep, settings: SettingsDep) -> Response:
    return _response(broker.overview.queue(queue, _known(broker, settings)))


@router.post("/{queue}/pause", summary="Pause a queue", response_model=QueueView, responses=_GONE)
def pause_queue(queue: str, broker: BrokerDep, settings: SettingsDep) -> Response:
    """Have its jobs wait, also those still to come; those that run go on."""
    return _response(broker.queue_actions.pause(queue, _known(broker, settings)))


@router.post("/{queue}/resume", summary="Resume a queue", response_model=QueueView, responses=_GONE)
def resume_queue(queue: str, broker: BrokerDep, settings: SettingsDep) -> Response:
    """Have the jobs of a paused queue run again, from now on."""
    return _response(broker.queue_actions.resume(queue, _known(broker, settings)))


def _known(broker: Broker, settings: Settings) -> list[str]:
    return known_queues(settings, broker.catalogue)


def _response(queue: QueueOverview) -> Response:
    return json_response(QueueView.model_validate(queue))
