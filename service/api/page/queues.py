"""What can be done to a queue on the page."""

from fastapi import APIRouter, Request, Response

from service.api.dependencies import BrokerDep, SettingsDep
from service.api.page.overview import queue_names
from service.api.page.rendering import PageRoute, see

router = APIRouter(prefix="/page/queues", include_in_schema=False, route_class=PageRoute)


@router.post("/{queue}/pause")
def pause_queue(queue: str, request: Request, broker: BrokerDep, settings: SettingsDep) -> Response:
    broker.queue_actions.pause(queue, queue_names(broker, settings))
    return see(request, "/")


@router.post("/{queue}/resume")
def resume_queue(
    queue: str, request: Request, broker: BrokerDep, settings: SettingsDep
) -> Response:
    broker.queue_actions.resume(queue, queue_names(broker, settings))
    return see(request, "/")
