"""The page: what people look at in a browser, and what they do there without a program of theirs.

It is rendered here and works without scripts. Where scripts run, what is shown is fetched anew and
morphed into place whenever the service's events tell that something has changed.
"""

from fastapi import APIRouter

from service.api.page import assets, jobs, overview, queues, schedules, tasks, workers


def add_page_routes(router: APIRouter) -> None:
    """`/`, and what lies below `/page` and `/assets`. Documented in no OpenAPI document."""
    for module in (overview, queues, jobs, tasks, schedules, workers):
        router.include_router(module.router)
    router.routes += assets.router.routes
