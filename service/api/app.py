"""The FastAPI application: routes, middleware and the lifetime of its connections."""

from importlib.metadata import version
from importlib.util import find_spec

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from jobs.catalogue import Catalogue
from service.api.answers import REFUSALS
from service.api.dashboard import dashboard
from service.api.gate import Gate
from service.api.lifespan import closing
from service.api.openapi import openapi
from service.api.page import add_page_routes
from service.api.problems import HANDLERS
from service.api.routes import add_routes
from service.api.task_schemas import TaskSchemas
from service.broker.brokers import Brokers
from service.broker.connection import redis_url
from service.settings import Settings

DESCRIPTION = """\
Submit a task, get a job: durable, retried, watched. `POST /tasks/<task>` with the task's
parameters answers `202` once the job is kept; `GET /jobs/<id>` tells how it does.

Errors are problem documents (RFC 9457). Times are RFC 3339 in UTC, durations seconds.
"""

TELEMETRY: TelemetryConfig = {"operation_spans": False}  # a span for the request is enough
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def create_app(settings: Settings, catalogue: Catalogue | None = None) -> FastAPI:
    """The service as an ASGI application. It connects to Redis at the first request.

    Raises `jobs.errors.DeclarationError` where a task is declared wrongly.
    """
    tasks = catalogue or Catalogue.load(settings.tasks)
    brokers = Brokers(settings, tasks)
    app = FastAPI(
        title="Paddock",
        version=version("paddock"),
        description=DESCRIPTION,
        responses=REFUSALS,
        lifespan=closing(brokers),
        exception_handlers=HANDLERS,
        # FastAPI looks for a provider at each request; without the SDK there can't be one.
        telemetry=TELEMETRY if find_spec("opentelemetry.sdk") else NO_TELEMETRY,
    )
    app.state.settings, app.state.broker = settings, brokers.first
    add_routes(app.router, tasks, TaskSchemas.of(tasks))
    add_page_routes(app.router)
    app.mount("/dashboard", dashboard(redis_url(settings)))
    app.add_middleware(Gate, settings=settings, brokers=brokers)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app
