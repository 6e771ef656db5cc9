"""Queues on the page: pause, resume. They are shown on the overview."""

from fastapi import APIRouter, Request, Response

from service.api.dependencies import BrokerDep, SettingsDep
from service.api.page.rendering import PageRoute, see
from service.broker.intake import known_queues

router = APIRouter(prefix="/page/queues", include_in_schema=False, route_class=PageRoute)


@router.post("/{queue}/pause")
def pause_queue(queue: str, request: Request, broker: BrokerDep, settings: SettingsDep) -> Response:
    broker.queue_actions.pause(queue, known_queues(settings, broker.catalogue))
    return see(request, "/")


@router.post("/{queue}/resume")
def resume_queue(
    queue: str, request: Request, broker: BrokerDep, settings: SettingsDep
) -> Response:
    broker.queue_actions.resume(queue, known_queues(settings, broker.catalogue))
    return see(request, "/")
