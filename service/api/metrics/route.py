"""Metrics over HTTP, for Prometheus."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from service.api.dependencies import BrokerDep, SettingsDep
from service.api.metrics.families import build_info, of_service, redis_up
from service.api.metrics.http import requests
from service.api.metrics.refusals import refusals
from service.broker.broker import Broker
from service.broker.intake import known_queues
from service.broker.readings import Readings, readings
from service.settings import Settings

OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "In Prometheus's text format, or as OpenMetrics where that is accepted.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def get_metrics(request: Request, broker: BrokerDep, settings: SettingsDep) -> Response:
    """Queues, jobs, workers and Redis as the whole service has them, and HTTP as this process has.

    It answers also while Redis is away: then with `paddock_redis_up 0` and HTTP.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(broker, settings))
    # Not by the library's own choice, which takes versions out of the header, and fails over some.
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        return Response(openmetrics.generate_latest(registry), media_type=OPENMETRICS)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Scrape(Collector):
    """What one request is answered with."""

    def __init__(self, broker: Broker, settings: Settings) -> None:
        self._broker, self._settings = broker, settings

    def collect(self) -> Iterator[Metric]:
        found, tasks = self._readings(), [task.name for task in self._broker.catalogue]
        yield build_info()
        yield from redis_up(found)
        if found is not None:
            yield from of_service(found, tasks)
        answered = list(requests())
        yield from answered
        yield refusals(answered)

    def _readings(self) -> Readings | None:
        broker = self._broker
        known = known_queues(self._settings, broker.catalogue)
        try:
            return readings(broker.client, broker.overview, broker.history, known)
        except RedisError:  # which is what is to be told
            return None
