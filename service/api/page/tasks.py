"""Tasks on the page: the catalogue, and for each a form that submits its jobs."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from jobs import Task
from service.api.dependencies import BrokerDep, SettingsDep
from service.api.options import RunOptions
from service.api.page.charts import run_times, throughput
from service.api.page.fields import Filled, fields_of, filled, shown_values
from service.api.page.forms import FormDep
from service.api.page.rendering import PageRoute, page, see
from service.api.problems import failing_fields, options_refusal
from service.broker.broker import Broker
from service.broker.intake import Options, known_queues, submission_of
from service.broker.listing import JobFilter
from service.broker.records import JOB_ID
from service.errors import AlreadySubmitted, JobNotFound, Problem
from service.settings import Settings

MOST_JOBS = 10
_OPTION = "option."  # before the names of options, which no parameter can begin with

router = APIRouter(prefix="/page/tasks", include_in_schema=False, route_class=PageRoute)


@router.get("")
def list_tasks(request: Request, broker: BrokerDep) -> Response:
    rows = [
        (task, throughput(broker.history.series("task", task.name, "hour")))
        for task in broker.catalogue
    ]
    return page(request, "tasks.html", active="tasks", rows=rows)


@router.get("/{task}")
def show_task(
    task: str,
    request: Request,
    broker: BrokerDep,
    settings: SettingsDep,
    like: Annotated[str | None, Query(alias="from")] = None,
) -> Response:
    """With the parameters of the job that it is to be `from`, where there is one."""
    declared = broker.catalogue[task]
    texts = shown_values(fields_of(declared.parameters.schema), _parameters(broker, like, task))
    return _task_page(request, broker, settings, declared, Filled(texts))


@router.post("/{task}")
async def submit(
    task: str, request: Request, broker: BrokerDep, settings: SettingsDep, form: FormDep
) -> Response:
    declared = broker.catalogue[task]
    read = filled(fields_of(declared.parameters.schema), form)
    asked = {
        name.removeprefix(_OPTION): text
        for name, text in form.items()
        if name.startswith(_OPTION) and text
    }
    status, headers = HTTPStatus.UNPROCESSABLE_ENTITY, dict[str, str]()
    try:
        if not read.faults:
            parameters = declared.parameters.accept(to_json(read.values))
            submission = submission_of(
                declared, parameters, _options(asked), settings, broker.catalogue
            )
            job = await broker.enqueuer.submit(submission)
            return see(request, f"/page/jobs/{job.id}")
    except ValidationError as error:
        read.faults.update(_faults(error))
    except AlreadySubmitted as found:  # the task is unique, and such a job has not ended
        return see(request, f"/page/jobs/{found.job_id}")
    except PydanticSerializationError as error:
        read.faults[""] = f"This can't be written as JSON: {error}"
    except Problem as problem:
        read.faults[""] = problem.detail
        status, headers = HTTPStatus(problem.status), problem.headers
    return await run_in_threadpool(
        _task_page, request, broker, settings, declared, read, asked, status, headers
    )


@router.post("/{task}/retry")
def retry_failed(task: str, request: Request, broker: BrokerDep) -> Response:
    """Run all failed jobs of it again."""
    broker.bulk_actions.retry(JobFilter(task=broker.catalogue[task].name))
    return see(request, f"/page/jobs?{urlencode({'task': task})}")


def _parameters(broker: Broker, like: str | None, task: str) -> dict[str, Any]:
    if like is None or not JOB_ID.fullmatch(like):
        return {}
    try:
        job = broker.job(like)
    except JobNotFound:
        return {}
    return (job.parameters or {}) if job.task == task else {}


def _options(asked: dict[str, str]) -> Options:
    """Raises `OptionsInvalid`."""
    try:
        options = RunOptions.model_validate(asked)
    except ValidationError as error:
        raise options_refusal(error) from error
    return Options(delay=options.delay, queue=options.queue, at_front=options.at_front)


def _faults(error: ValidationError) -> dict[str, str]:
    """What does not fit, by the field that it is told at."""
    faults: dict[str, str] = {}
    for row in failing_fields(error, "body"):
        name, _, within = row["field"].partition(".")
        told = f"{within}: {row['message']}" if within else row["message"]
        faults[name] = f"{faults[name]}; {told}" if name in faults else told
    return faults


def _task_page(
    request: Request,
    broker: Broker,
    settings: Settings,
    task: Task[..., Any],
    read: Filled,
    asked: dict[str, str] | None = None,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    fields = fields_of(task.parameters.schema)
    others = {name: told for name, told in read.faults.items() if name not in read.texts}
    faults = {each.name: read.faults[each.name] for each in fields if each.name in read.faults}
    return page(
        request,
        "task.html",
        status,
        headers=headers,
        active="tasks",
        task=task,
        fields=fields,
        texts=read.texts,
        faults=faults,
        fault=_told(faults, others),
        options=asked or {},
        queue_names=known_queues(settings, broker.catalogue),
        jobs=broker.listing.latest(JobFilter(task=task.name), MOST_JOBS),
        throughput=throughput(broker.history.series("task", task.name, "hour")),
        times=run_times(broker.history.series("task", task.name, "day")),
    )


def _told(faults: dict[str, str], others: dict[str, str]) -> str:
    """The summary above the form."""
    if others:
        return "; ".join(f"{name}: {told}" if name else told for name, told in others.items())
    if not faults:
        return ""
    return f"Nothing was submitted: see {', '.join(faults)}."
