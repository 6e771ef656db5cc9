"""The FastAPI application: routes, middleware and the lifetime of its connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import RedirectResponse

from jobs.catalogue import Catalogue
from service.api import health, jobs, problems, queues, schedules, workers
from service.api.auth import Guard
from service.api.dashboard import dashboard
from service.api.requests import BodyLimit, RequestId
from service.api.tasks import parameter_schemas, task_routes
from service.broker.broker import Broker
from service.broker.connection import redis_url
from service.settings import Settings

DESCRIPTION = """\
Submit a task, get a job: durable, retried, watched. `POST /tasks/<task>` with the task's
parameters answers `202` once the job is kept; `GET /jobs/<id>` tells how it does.

Errors are problem documents (RFC 9457). Times are RFC 3339 in UTC, durations seconds.
"""


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
    )
    app.state.settings, app.state.catalogue = settings, tasks
    app.include_router(task_routes(tasks))
    for module in (jobs, queues, workers, schedules, health):
        app.include_router(module.router)
    app.add_api_route("/", _home, include_in_schema=False)
    app.mount("/dashboard", dashboard(redis_url(settings)))
    problems.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestId)  # added last, so outermost: refusals bear an id as well
    app.openapi = lambda: _openapi(app, tasks)  # type: ignore[method-assign]  # FastAPI's own way
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.broker = Broker.open(app.state.settings, app.state.catalogue)
    try:
        yield
    finally:
        await app.state.broker.aclose()


async def _home() -> RedirectResponse:
    return RedirectResponse("docs")


def _openapi(app: FastAPI, catalogue: Catalogue) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        document["components"]["schemas"] |= parameter_schemas(catalogue)
        keys = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["components"]["securitySchemes"] = keys
        document["security"] = [{}, *({name: []} for name in keys)]
        app.openapi_schema = document
    return app.openapi_schema
