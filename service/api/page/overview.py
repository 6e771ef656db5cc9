"""The home page: what is amiss, the queues, the workers, the latest jobs."""

from fastapi import APIRouter, Request, Response

from service.api.dependencies import BrokerDep, SettingsDep
from service.api.page.charts import Bars, depth, throughput
from service.api.page.choice import ChoiceDep
from service.api.page.crew import busy, crew
from service.api.page.notices import notices
from service.api.page.rendering import PageRoute, page
from service.broker.broker import Broker
from service.broker.durability import durability
from service.broker.intake import known_queues
from service.broker.overview import QueueOverview

MOST_JOBS = 15

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
def show_overview(
    request: Request, broker: BrokerDep, settings: SettingsDep, choice: ChoiceDep
) -> Response:
    queues = broker.overview.queues(known_queues(settings, broker.catalogue))
    workers = broker.overview.workers()
    kept = durability(broker.client, settings.durability)
    return page(
        request,
        "overview.html",
        active="overview",
        notices=notices(queues, workers, kept),
        queues=_charted(broker, queues),
        workers=crew(broker, workers),
        busy=busy(workers),
        jobs=broker.listing.latest(choice.filter(), MOST_JOBS),
        choice=choice,
        tasks=sorted(task.name for task in broker.catalogue),
        queue_names=[queue.name for queue in queues],
    )


def _charted(broker: Broker, queues: list[QueueOverview]) -> list[tuple[QueueOverview, Bars, Bars]]:
    """Each with its depth and its throughput over the last hour."""
    depths = broker.depths.lately([queue.name for queue in queues])
    return [
        (
            queue,
            depth(depths[queue.name], queue.queued),
            throughput(broker.history.series("queue", queue.name, "hour")),
        )
        for queue in queues
    ]
