"""Schedules over HTTP."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from pydantic_core import to_json

from jobs import Task
from jobs.catalogue import Catalogue
from jobs.cron import CronInvalid
from jobs.errors import UnknownTask
from jobs.schedule import Schedule
from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep
from service.api.parameters import JSON, what_it_takes
from service.api.problems import failing_fields
from service.api.schemas import ScheduleBody, ScheduleView
from service.api.visit import address
from service.broker.schedules import Schedules
from service.errors import (
    MalformedBody,
    MediaTypeUnsupported,
    ParametersInvalid,
    Problem,
    ScheduleInvalid,
)
from service.schedule_store import Entry

router = APIRouter(prefix="/schedules", tags=["schedules"])

_AWAY = problems(s503="Redis is away.")
_GONE = _AWAY | problems(s404="No such schedule.")


def _schedules(broker: BrokerDep) -> Schedules:
    return Schedules(broker.client, broker.catalogue)


SchedulesDep = Annotated[Schedules, Depends(_schedules)]


@router.get("", summary="List the schedules", response_model=list[ScheduleView], responses=_AWAY)
def list_schedules(schedules: SchedulesDep) -> Response:
    """Those that were posted, and those that tasks declare, once a worker has run with them."""
    return json_response([_view(entry) for entry in schedules.all()])


@router.get("/{name}", summary="Show a schedule", response_model=ScheduleView, responses=_GONE)
def show_schedule(name: str, schedules: SchedulesDep) -> Response:
    return json_response(_view(schedules.get(name)))


@router.post(
    "",
    summary="Make or replace a schedule",
    status_code=HTTPStatus.CREATED,
    response_model=ScheduleView,
    responses={
        200: {"model": ScheduleView, "description": "It replaces the one of this name."},
        **problems(
            s400="The body can't be read.",
            s408="The body came too slowly.",
            s409="A task declares a schedule of this name.",
            s413="The body is too large.",
            s415="Not JSON.",
            s422="The schedule is not valid, or its parameters do not fit the task.",
            s503="Redis is away.",
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ScheduleBody.model_json_schema()}},
        }
    },
)
async def put_schedule(request: Request, broker: BrokerDep, schedules: SchedulesDep) -> Response:
    """Enqueue a task at the times that a cron expression names, from now on.

    Posting a name again replaces its schedule. With the same expression and time zone it goes on;
    with others it begins anew, and ticks that were missed before are forgotten.
    """
    body = await _body(request)
    task, schedule = _checked(body, request, broker.catalogue)
    is_new = await run_in_threadpool(schedules.put, body.name, task, schedule)
    entry = await run_in_threadpool(schedules.get, body.name)
    response = json_response(_view(entry), HTTPStatus.CREATED if is_new else HTTPStatus.OK)
    response.headers["Location"] = address(request.scope, f"/schedules/{body.name}")
    return response


@router.delete(
    "/{name}",
    summary="Delete a schedule",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=_GONE | problems(s409="A task declares it."),
)
def delete_schedule(name: str, schedules: SchedulesDep) -> Response:
    """Enqueue no more. The jobs that it has enqueued stay."""
    schedules.delete(name)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _body(request: Request) -> ScheduleBody:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON and not kind.endswith("+json"):
        raise MediaTypeUnsupported(
            f"{kind or 'A body without a Content-Type'} can't be read. Send {JSON}."
        )
    try:
        return ScheduleBody.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise MalformedBody(f"The body is not valid JSON: {first['ctx']['error']}.") from error
        raise _invalid(failing_fields(error, "body")) from error


def _checked(
    body: ScheduleBody, request: Request, catalogue: Catalogue
) -> tuple[Task[..., Any], Schedule]:
    try:
        task = catalogue[body.task]
    except UnknownTask as error:
        raise _invalid([_row("task", str(error))]) from error
    try:
        parameters = task.parameters.accept(to_json(body.parameters))
    except ValidationError as error:
        raise _parameters_invalid(error, request, task) from error
    try:
        return task, Schedule(
            cron=body.cron, timezone=body.timezone, missed=body.missed, parameters=parameters
        )
    except CronInvalid as error:
        raise _invalid([_row(error.field, error.reason)]) from error


def _row(field: str, message: str) -> dict[str, str]:
    return {"in": "body", "field": field, "message": message}


def _invalid(rows: list[dict[str, str]]) -> Problem:
    return ScheduleInvalid(f"{_told(rows).removesuffix('.')}.", errors=rows)


def _parameters_invalid(error: ValidationError, request: Request, task: Task[..., Any]) -> Problem:
    rows = failing_fields(error, "body")
    for row in rows:
        row["field"] = ".".join(part for part in ("parameters", row["field"]) if part)
    return ParametersInvalid(
        f"{_told(rows)}. {what_it_takes(request, task)}", task=task.name, errors=rows
    )


def _told(rows: list[dict[str, str]]) -> str:
    return "; ".join(f"{row['field'] or 'body'}: {row['message']}" for row in rows)


def _view(entry: Entry) -> ScheduleView:
    definition = entry.definition
    return ScheduleView(
        name=definition.name,
        task=definition.task,
        source=definition.source,
        next_at=entry.next_at,
        last_at=entry.last_at,
        last_job=entry.last_job,
        **asdict(definition.schedule),
    )
