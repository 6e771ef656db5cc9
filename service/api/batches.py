"""Batches over HTTP: many calls of one task in one request, and how they do."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from jobs import Task
from jobs.catalogue import Catalogue
from service.api.answers import LOCATION, encoded, json_response, problems
from service.api.batch_body import LINES, BatchBody
from service.api.batch_schemas import (
    BatchAccepted,
    BatchCanceled,
    BatchRetried,
    BatchRowView,
    BatchView,
)
from service.api.components import operation_id
from service.api.dependencies import BatchId, BrokerDep, SettingsDep, caller_of
from service.api.idempotency import DESCRIBED_KEY, batch_once
from service.api.options import RunOptions, expiry_of, moment_of
from service.api.parameters import JSON
from service.api.task_schemas import TaskSchemas
from service.api.visit import address, visit_of
from service.batch_store import job_id_in
from service.broker.batches import BatchRow
from service.broker.enqueuer import Submission
from service.broker.intake import accepted_webhook, known_queue
from service.errors import AlreadySubmitted, OptionsInvalid

IDS_AT_ONCE = 1_000  # job ids in one piece of an answer

router = APIRouter(prefix="/batches", tags=["batches"])

_GONE = problems(s404="No such batch.", s503="Redis is away.")


def add_batch_routes(router: APIRouter, catalogue: Catalogue, schemas: TaskSchemas) -> None:
    """`POST /tasks/<name>/batch` for each task."""
    for task in catalogue:
        _add_batch_route(router, task, schemas.parameters[task.name])

    @router.post("/tasks/{task}/batch", include_in_schema=False)
    async def submit_to_nothing(task: str) -> Response:
        catalogue[task]  # raises UnknownTask, which lists those there are
        raise AssertionError("unreachable: each task has a route of its own, before this one")


def _add_batch_route(router: APIRouter, task: Task[..., Any], body: dict[str, Any]) -> None:
    listed = {"type": "array", "items": body, "minItems": 1}
    lines = {"type": "string", "description": "One JSON object a line."}
    router.add_api_route(
        f"/tasks/{task.name}/batch",
        _submit_batch_to(task),
        methods=["POST"],
        status_code=HTTPStatus.ACCEPTED,
        name=f"submit_batch_{task.name}",
        generate_unique_id_function=operation_id,
        tags=["batches"],
        summary=f"Many of: {task.description.partition(chr(10))[0] or task.name}",
        description="All of them are accepted, or none. The body is read as a stream.",
        response_model=BatchAccepted,
        responses={
            202: {"headers": LOCATION},
            200: {
                "model": BatchAccepted,
                "headers": LOCATION,
                "description": "This Idempotency-Key came before: the batch of then.",
            },
            **problems(
                s400="The body or the Idempotency-Key can't be read.",
                s404="No such queue.",
                s409="Webhooks are not set up.",
                s408="The body came too slowly.",
                s413="The batch, or one of its items, is too large.",
                s415="Neither a JSON array nor NDJSON.",
                s422="A line's parameters or the options are not valid, or differ from those that "
                "this Idempotency-Key came with.",
                s429="The queue is full.",
                s503="Redis is away.",
            ),
        },
        openapi_extra={
            "parameters": [DESCRIBED_KEY],
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {"schema": listed},
                    **{kind: {"schema": lines} for kind in LINES},
                },
            },
        },
    )


def _submit_batch_to(task: Task[..., Any]) -> Callable[..., Awaitable[Response]]:
    async def submit_batch(
        request: Request,
        options: Annotated[RunOptions, Query()],
        broker: BrokerDep,
        settings: SettingsDep,
    ) -> Response:
        at = moment_of(options)
        submission = Submission(
            task=task,
            parameters={},
            queue=known_queue(options.queue, settings, broker.catalogue),
            timeout=options.timeout,
            result_ttl=options.result_ttl,
            at_front=options.at_front,
            at=at,
            expires=expiry_of(options, at),
            webhook=accepted_webhook(options.webhook, settings),
            once=batch_once(request, task, options, settings.idempotency_ttl),
            request_id=visit_of(request.scope).request_id,
            queue_limit=settings.queue_limit,
        )
        if task.policy.unique:
            raise OptionsInvalid(
                f"{task.name} has one live job per parameters: submit its jobs one by one.",
                errors=[],
            )
        body = BatchBody(request, task, settings)
        status, headers = HTTPStatus.ACCEPTED, {}
        try:
            async with broker.batch_enqueuer.begin(submission) as staging:
                batch_id = staging.id
                async with aclosing(body.parameters(staging.keep)) as sets:
                    async for parameters in sets:
                        await staging.add(parameters)
                await staging.commit()
        except AlreadySubmitted as found:  # and has been discarded: the first one stands for it
            batch_id, status = found.job_id, HTTPStatus.OK
            headers = {"Idempotency-Replayed": "true"}
        headers["Location"] = address(request.scope, f"/batches/{batch_id}")
        accepted = _accepted(batch_id, task.name, staging.count)
        return StreamingResponse(accepted, status, headers, media_type=JSON)

    return submit_batch


def _accepted(batch_id: str, task: str, count: int) -> Iterator[bytes]:
    """The answer, a hundred thousand ids long perhaps, as it is sent."""
    head = encoded({"id": batch_id, "task": task, "count": count})
    yield head[:-1] + b',"jobs":['
    for start in range(0, count, IDS_AT_ONCE):
        numbers = range(start, min(start + IDS_AT_ONCE, count))
        ids = ",".join(f'"{job_id_in(batch_id, number)}"' for number in numbers)
        yield (("," if start else "") + ids).encode()
    yield b"]}"


@router.get("/{batch_id}", summary="Show a batch", response_model=BatchView, responses=_GONE)
def show_batch(batch_id: BatchId, broker: BrokerDep) -> Response:
    """How many of its jobs stand where, and when all will have ended."""
    return json_response(BatchView.model_validate(broker.batches.get(batch_id)))


@router.get(
    "/{batch_id}/results",
    summary="Get a batch's results",
    response_class=Response,
    responses={
        200: {
            "description": "A line for each of its jobs, in their order, as they are now.",
            "content": {LINES[0]: {"schema": {"$ref": "#/components/schemas/BatchRowView"}}},
        },
        **_GONE,
    },
)
def get_results(batch_id: BatchId, broker: BrokerDep) -> Response:
    """NDJSON: index, id, status, and the result or the error of each job."""
    rows = broker.batches.results(batch_id)
    return StreamingResponse(map(_lines, rows), media_type=LINES[0])


def _lines(rows: list[BatchRow]) -> bytes:
    return b"".join(encoded(BatchRowView.model_validate(row)) + b"\n" for row in rows)


@router.post(
    "/{batch_id}/cancel",
    summary="Cancel a batch",
    response_model=BatchCanceled,
    responses=_GONE,
)
def cancel_batch(batch_id: BatchId, broker: BrokerDep, request: Request) -> Response:
    """Cancel every job of it that has not ended; those that run are interrupted."""
    done = broker.batch_actions.cancel(batch_id, by=caller_of(request))
    return json_response(BatchCanceled.model_validate(done))


@router.post(
    "/{batch_id}/retry",
    summary="Run a batch's failed jobs again",
    status_code=HTTPStatus.ACCEPTED,
    response_model=BatchRetried,
    responses=_GONE,
)
def retry_batch(batch_id: BatchId, broker: BrokerDep) -> Response:
    """Queue every failed job of it again, with its parameters and all its retries."""
    retried = broker.batch_actions.retry(batch_id)
    return json_response(BatchRetried(retried=retried), HTTPStatus.ACCEPTED)
