"""Schedules on the page: look, run one now, delete."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from pydantic_core import to_json

from service.api.dependencies import BrokerDep, SettingsDep
from service.api.page.rendering import PageRoute, page, see
from service.broker.broker import Broker
from service.broker.intake import Options, submission_of
from service.broker.schedules import Schedules
from service.errors import AlreadySubmitted, ParametersInvalid, ScheduleDeclared

router = APIRouter(prefix="/page/schedules", include_in_schema=False, route_class=PageRoute)


@router.get("")
def list_schedules(request: Request, broker: BrokerDep) -> Response:
    return _schedules_page(request, broker)


@router.post("/{name}/run")
async def run_schedule(
    name: str, request: Request, broker: BrokerDep, settings: SettingsDep
) -> Response:
    """Submit a job as the schedule does, beside those that it goes on to enqueue."""
    entry = await run_in_threadpool(_schedules(broker).get, name)
    task, given = broker.catalogue[entry.definition.task], entry.definition.schedule.parameters
    try:
        accepted = task.parameters.accept(to_json(given))
    except ValidationError as error:
        raise ParametersInvalid(f"The schedule does not fit its task any more: {error}") from error
    submission = submission_of(task, accepted, Options(), settings, broker.catalogue)
    try:
        job_id = (await broker.enqueuer.submit(submission)).id
    except AlreadySubmitted as found:
        job_id = found.job_id
    return see(request, f"/page/jobs/{job_id}")


@router.post("/{name}/delete")
def delete_schedule(name: str, request: Request, broker: BrokerDep) -> Response:
    try:
        _schedules(broker).delete(name)
    except ScheduleDeclared as problem:
        return _schedules_page(request, broker, HTTPStatus.CONFLICT, problem.detail)
    return see(request, "/page/schedules")


def _schedules(broker: Broker) -> Schedules:
    return Schedules(broker.client, broker.catalogue)


def _schedules_page(
    request: Request, broker: Broker, status: HTTPStatus = HTTPStatus.OK, notice: str = ""
) -> Response:
    return page(
        request,
        "schedules.html",
        status,
        path="/page/schedules",
        active="schedules",
        entries=_schedules(broker).all(),
        tasks={task.name for task in broker.catalogue},
        notice=notice,
    )
