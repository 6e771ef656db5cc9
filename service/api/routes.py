"""All of Paddock's routes, for an application of its own or for the user's."""

from fastapi import APIRouter

from jobs.catalogue import Catalogue
from service.api import (
    batches,
    bulk,
    events,
    health,
    history,
    job_log,
    jobs,
    queues,
    schedules,
    why,
    workers,
)
from service.api.batches import add_batch_routes
from service.api.components import ComponentsRoute
from service.api.metrics import route as metrics
from service.api.task_schemas import TaskSchemas
from service.api.tasks import add_submit_routes, task_routes


def add_routes(router: APIRouter, catalogue: Catalogue, schemas: TaskSchemas) -> None:
    """Add them to this router, documented by these schemas.

    Those that the gate tells apart, and the busiest, are the router's own; the others' routers are
    included.
    """
    add_submit_routes(router, catalogue, schemas)
    add_batch_routes(router, catalogue, schemas)
    router.include_router(task_routes(catalogue))
    for module in (jobs, bulk, job_log, events, why, batches, queues, workers, schedules, history):
        router.include_router(module.router)
    router.include_router(metrics.router)
    router.routes += [*health.router.routes, ComponentsRoute(schemas.components)]
