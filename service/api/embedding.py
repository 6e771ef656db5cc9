"""Paddock's routes in a FastAPI application of the user's own.

    app = FastAPI()
    app.include_router(paddock_router(), prefix="/work")

The application's own routes, errors and OpenAPI document stay as they are.
"""

from collections.abc import Container
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.catalogue import Catalogue
from service.api.answers import REFUSALS, problems
from service.api.gate import Gate
from service.api.keys import documented_keys
from service.api.lifespan import closing
from service.api.problems import HANDLERS
from service.api.routes import add_routes
from service.api.task_schemas import TaskSchemas
from service.broker.brokers import Brokers
from service.broker.connection import redis_url
from service.settings import Settings

_ROUTE = "paddock.route"  # in the scope: the one that the request will come to

OTHERS = problems(default="Any other problem.")


def paddock_router(
    settings: Settings | None = None,
    catalogue: Catalogue | None = None,
    *,
    dashboard: bool = False,
    page: bool = False,
) -> APIRouter:
    """All of Paddock's routes, to be included in an application under any prefix, or none.

    They bring along what guards them, and answer errors as problems; the application's own routes
    and exception handlers stay as they are. Settings and tasks are those of PADDOCK_* where they
    are not given. With `dashboard`, rq-dashboard is among them; with `page`, the page that people
    watch and submit jobs on, at the prefix itself.

    Raises `SettingsInvalid`, and `jobs.errors.DeclarationError` where a task is declared wrongly.
    """
    settings = settings or Settings.load()
    tasks = catalogue or Catalogue.load(settings.tasks)
    router = _GatedRouter(settings, Brokers(settings, tasks), has_dashboard=dashboard)
    add_routes(router, tasks, TaskSchemas.numbered(tasks))
    if page:
        from service.api.page import add_page_routes

        add_page_routes(router)
    if dashboard:
        from service.api.dashboard import dashboard as dashboard_of  # Flask: not all want it

        router.mount("/dashboard", dashboard_of(redis_url(settings)))
    return router


class _GatedRouter(APIRouter):
    """A router that brings the gate along, wherever it is included or mounted."""

    def __init__(self, settings: Settings, brokers: Brokers, *, has_dashboard: bool) -> None:
        super().__init__(
            responses=REFUSALS | OTHERS,
            dependencies=documented_keys() if settings.api_keys else [],
            lifespan=closing(brokers),
        )
        gate = partial(
            Gate,
            settings=settings,
            brokers=brokers,
            has_dashboard=has_dashboard,
            spares=_handled_outside,
        )
        self._included = gate(_answering(super().handle), path_of=_path_of_route)
        self._mounted = gate(_answering(super().__call__))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            # It is missing where the route is a further router's.
            scope[_ROUTE] = child_scope.get("route")
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._included(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._mounted(scope, receive, send)


def _answering(app: ASGIApp) -> ASGIApp:
    return ExceptionMiddleware(app, handlers=HANDLERS)


def _path_of_route(scope: Scope) -> str:
    route: Any = scope[_ROUTE]
    return route.path if route else ""


def _handled_outside(scope: Scope) -> Container[type]:
    """What the user's application has handlers for: errors of their own, say, out of a dependency
    that they gave the router.
    """
    by_type, _by_status = scope.get("starlette.exception_handlers", ({}, {}))
    handled: Container[type] = by_type
    return handled
