"""The catalogue over HTTP: one POST route per task, so that each shows its own schema."""

import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from jobs import Task
from jobs.catalogue import Catalogue
from service.api.answers import LOCATION, job_response, json_response, problems
from service.api.components import operation_id
from service.api.dependencies import broker_of, settings_of
from service.api.direct import DirectRoute
from service.api.idempotency import DESCRIBED_KEY, once
from service.api.options import (
    SubmitOptions,
    described_options,
    expiry_of,
    moment_of,
    read_options,
)
from service.api.parameters import FORM, JSON, read_parameters
from service.api.schemas import RetryView, TaskView
from service.api.task_schemas import TaskSchemas
from service.api.visit import address, visit_of
from service.broker.broker import Broker
from service.broker.chaining import check_chaining, listed_ids
from service.broker.enqueuer import Submission
from service.broker.intake import accepted_webhook, known_queue
from service.broker.status import Status
from service.errors import (
    AlreadySubmitted,
    JobGone,
    JobNotFound,
)

STANDS_FOR = {
    name: {"description": "`true` where it does.", "schema": {"type": "string"}}
    for name in ("Idempotency-Replayed", "Paddock-Duplicate")
}


def add_submit_routes(router: APIRouter, catalogue: Catalogue, schemas: TaskSchemas) -> None:
    """`POST /tasks/<name>` for each task, on this router itself.

    A router that is included is searched twice for each request; these are the busiest routes.
    """
    for task in catalogue:
        _add_submit_route(router, task, schemas.parameters[task.name], schemas.jobs[task.name])


def task_routes(catalogue: Catalogue) -> APIRouter:
    """`GET /tasks` and `GET /tasks/{task}`."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("", summary="List the tasks", response_model=list[TaskView])
    async def list_tasks() -> Response:
        return json_response([_view(task) for task in catalogue])

    @router.get(
        "/{task}",
        summary="Show a task",
        response_model=TaskView,
        responses=problems(s404="No such task."),
    )
    async def show_task(task: str) -> Response:
        return json_response(_view(catalogue[task]))

    @router.post("/{task}", include_in_schema=False)
    async def submit_to_nothing(task: str) -> Response:
        catalogue[task]  # raises UnknownTask, which lists those there are
        raise AssertionError("unreachable: each task has a route of its own, before this one")

    return router


def _add_submit_route(
    router: APIRouter, task: Task[..., Any], body: dict[str, Any], job: dict[str, Any]
) -> None:
    answered = {JSON: {"schema": job}}
    router.add_api_route(
        f"/tasks/{task.name}",
        _submit_to(task),
        methods=["POST"],
        status_code=HTTPStatus.ACCEPTED,
        route_class_override=DirectRoute,
        tags=["tasks"],
        name=f"submit_{task.name}",
        generate_unique_id_function=operation_id,
        summary=task.description.partition("\n")[0] or task.name,
        description=task.description,
        responses={
            202: {"headers": LOCATION, "content": answered},
            200: {
                "content": answered,
                "headers": LOCATION | STANDS_FOR,
                "description": "It ended within `wait` seconds; or a job stands for it already: "
                "`Idempotency-Replayed` or `Paddock-Duplicate` says so.",
            },
            **problems(
                s400="The body or the Idempotency-Key can't be read.",
                s404="No such queue.",
                s408="The body came too slowly.",
                s409="Webhooks are not set up.",
                s410="The job that stands for this submission is gone.",
                s413="The body is too large.",
                s415="Neither JSON nor a form.",
                s422="The parameters or options are not valid, or differ from those that this "
                "Idempotency-Key came with.",
                s429="The queue is full.",
                s503="Redis is away.",
            ),
        },
        openapi_extra={
            "parameters": [*described_options(SubmitOptions), DESCRIBED_KEY],
            "requestBody": {
                "required": bool(task.parameters.schema.get("required")),
                "content": {kind: {"schema": body} for kind in (JSON, FORM)},
            },
        },
    )


def _submit_to(task: Task[..., Any]) -> Callable[..., Awaitable[Response]]:
    async def submit(request: Request) -> Response:
        options = read_options(request, SubmitOptions)
        broker, settings = broker_of(request), settings_of(request)
        depends_on = listed_ids(options.depends_on) if options.depends_on is not None else ()
        check_chaining(
            task,
            depends_on,
            options.on_dependency_failure,
            options.result_as,
            options.results_as,
            delayed=options.delay is not None or options.at is not None,
        )
        parameters = await read_parameters(request, task, options.given)
        at = moment_of(options)
        submission = Submission(
            task=task,
            parameters=parameters,
            queue=known_queue(options.queue, settings, broker.catalogue),
            timeout=options.timeout,
            result_ttl=options.result_ttl,
            at_front=options.at_front,
            at=at,
            expires=expiry_of(options, at),
            depends_on=depends_on,
            on_dependency_failure=options.on_dependency_failure,
            result_as=options.result_as,
            results_as=options.results_as,
            webhook=accepted_webhook(options.webhook, settings),
            once=once(request, task, parameters, options, settings.idempotency_ttl),
            request_id=visit_of(request.scope).request_id,
            queue_limit=settings.queue_limit,
        )
        try:
            job, status = await broker.enqueuer.submit(submission), HTTPStatus.ACCEPTED
        except AlreadySubmitted as found:
            return await _show_standing(request, broker, found, options.wait)
        # It is accepted: nothing that happens while its end is waited for may say otherwise.
        with contextlib.suppress(RedisError, JobNotFound):
            if job.status is Status.FAILED:  # for its dependency had failed: it has an error
                job = await run_in_threadpool(broker.job, job.id)
            if options.wait and await broker.ended(job.id, options.wait):
                job, status = await run_in_threadpool(broker.job, job.id), HTTPStatus.OK
        response = job_response(job, status)
        response.headers["Location"] = address(request.scope, f"/jobs/{job.id}")
        return response

    return submit


async def _show_standing(
    request: Request, broker: Broker, found: AlreadySubmitted, wait: float | None
) -> Response:
    """The job that stands for this submission already, as it is now."""
    headers = {"Idempotency-Replayed" if found.is_replay else "Paddock-Duplicate": "true"}
    try:
        if wait:
            await broker.ended(found.job_id, wait)
        job = await run_in_threadpool(broker.job, found.job_id)
    except JobNotFound as gone:
        raise JobGone(found.job_id, headers=headers) from gone
    response = job_response(job)
    response.headers["Location"] = address(request.scope, f"/jobs/{job.id}")
    response.headers.update(headers)
    return response


def _view(task: Task[..., Any]) -> TaskView:
    policy, key = task.policy, task.policy.concurrency_key
    retry = policy.retry and RetryView(max=policy.retry.max, intervals=policy.retry.intervals())
    return TaskView(
        name=task.name,
        description=task.description,
        queue=policy.queue,
        timeout=policy.timeout,
        retry=retry,
        result_ttl=policy.result_ttl,
        failure_ttl=policy.failure_ttl,
        concurrency=policy.concurrency,
        concurrency_key=key if isinstance(key, str) else getattr(key, "__name__", None),
        unique=policy.unique,
        parameters=task.parameters.schema,
        result=task.result.schema,
    )
