"""For load balancers and process managers. Open to all: no key is asked for here."""

from fastapi import APIRouter, Response

from service.api.answers import FOREIGN, json_response, problems
from service.api.dependencies import BrokerDep, SettingsDep
from service.api.schemas import LiveView, ReadyView
from service.broker.health import check_ready
from service.broker.intake import known_queues

router = APIRouter(prefix="/health", tags=["health"], responses=problems(s403=FOREIGN))

OPEN_PATHS = ("/health/live", "/health/ready")


@router.get("/live", summary="Is the process alive?", response_model=LiveView)
async def live() -> Response:
    """Answers at once, whatever goes on elsewhere."""
    return json_response(LiveView(status="live"))


@router.get(
    "/ready",
    summary="Can jobs be accepted?",
    response_model=ReadyView,
    responses=problems(s503="They can't."),
)
def ready(broker: BrokerDep, settings: SettingsDep) -> Response:
    """Writes to Redis, as a submission would."""
    warnings = check_ready(
        broker.client,
        known_queues(settings, broker.catalogue),
        settings,
    )
    return json_response(ReadyView(status="ready", warnings=warnings))


# Some load balancers ask for the headers alone.
router.add_api_route("/live", live, methods=["HEAD"], include_in_schema=False)
router.add_api_route("/ready", ready, methods=["HEAD"], include_in_schema=False)
