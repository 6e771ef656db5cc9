"""The FastAPI application: routes, middleware and the lifetime of its connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.telemetry import TelemetryConfig

from jobs.catalogue import Catalogue
from service.api import batches, health, jobs, problems, queues, schedules, workers
from service.api.answers import problems as problems_of
from service.api.auth import Guard
from service.api.batches import batch_routes
from service.api.dashboard import dashboard
from service.api.openapi import openapi
from service.api.requests import BodyLimit, BodyTimeLimit, RequestId
from service.api.tasks import add_submit_routes, task_routes
from service.broker.broker import Broker
from service.broker.connection import redis_url
from service.settings import Settings

DESCRIPTION = """\
Submit a task, get a job: durable, retried, watched. `POST /tasks/<task>` with the task's
parameters answers `202` once the job is kept; `GET /jobs/<id>` tells how it does.

Errors are problem documents (RFC 9457). Times are RFC 3339 in UTC, durations seconds.
"""

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
FOREIGN = "It comes from another site's page, or under a foreign Host name."
REFUSALS = problems_of(s401="A key is needed.", s403=FOREIGN)


def create_app(settings: Settings, catalogue: Catalogue | None = None) -> FastAPI:
    """The service as an ASGI application. It connects to Redis at the first request.

    Raises `jobs.errors.DeclarationError` where a task is declared wrongly.
    """
    tasks = catalogue or Catalogue.load(settings.tasks)
    app = FastAPI(
        title="Paddock",
        version=version("paddock"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        # FastAPI looks for a provider at each request; without the SDK there can't be one.
        telemetry=None if find_spec("opentelemetry.sdk") else NO_TELEMETRY,
    )
    app.state.settings, app.state.broker = settings, Broker.open(settings, tasks)
    add_submit_routes(app.router, tasks, REFUSALS)
    app.include_router(task_routes(tasks), responses=REFUSALS)
    app.include_router(batch_routes(tasks), responses=REFUSALS)
    for module in (jobs, batches, queues, workers, schedules):
        app.include_router(module.router, responses=REFUSALS)
    app.include_router(health.router, responses=problems_of(s403=FOREIGN))
    app.add_api_route("/", _home, include_in_schema=False)
    app.mount("/dashboard", dashboard(redis_url(settings)))
    problems.install(app)
    app.add_middleware(BodyTimeLimit, seconds=settings.request_timeout)
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestId)  # added last, so outermost: refusals bear an id as well
    app.openapi = lambda: openapi(app, tasks)  # type: ignore[method-assign]  # FastAPI's own way
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await app.state.broker.aclose()


async def _home() -> RedirectResponse:
    return RedirectResponse("docs")
