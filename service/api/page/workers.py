"""The workers on the page."""

from fastapi import APIRouter, Request, Response

from service.api.dependencies import BrokerDep
from service.api.page.crew import busy, crew
from service.api.page.rendering import PageRoute, page

router = APIRouter(prefix="/page/workers", include_in_schema=False, route_class=PageRoute)


@router.get("")
def list_workers(request: Request, broker: BrokerDep) -> Response:
    workers = broker.overview.workers()
    return page(
        request,
        "workers.html",
        active="workers",
        workers=crew(broker, workers),
        busy=busy(workers),
    )
