"""Jobs on the page: the list, each of them, and what can be done to one."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from service.api.dependencies import BrokerDep, JobId, SettingsDep, caller_of
from service.api.page.choice import Choice, ChoiceDep
from service.api.page.rendering import PageRoute, is_part, page, see
from service.api.page.results import shown
from service.api.page.timeline import timeline
from service.api.schemas import ExecutionView
from service.broker.broker import Broker
from service.broker.intake import known_queues
from service.broker.listing import Page
from service.broker.log import Log
from service.broker.overview import QueueDepth
from service.broker.records import JobRecord
from service.broker.status import Status
from service.errors import StatusConflict

MOST_JOBS = 50
TOLD_ELSEWHERE = ("running", "exception")  # kinds of reasons: by its status, or its error
MOST_LINES = 2_000  # of a log; scripts keep as many

router = APIRouter(prefix="/page/jobs", include_in_schema=False, route_class=PageRoute)


@router.get("")
def list_jobs(
    request: Request, broker: BrokerDep, settings: SettingsDep, choice: ChoiceDep
) -> Response:
    found = _found(broker, choice)
    is_one = len(found.jobs) == 1 and not found.next_cursor
    if choice.id and is_one and not is_part(request):
        return see(request, f"/page/jobs/{found.jobs[0].id}")
    queues = broker.overview.depths(known_queues(settings, broker.catalogue))
    return page(
        request,
        "jobs.html",
        active="jobs",
        jobs=found.jobs,
        next=found.next_cursor,
        counts=[(str(status), _count(queues, status, choice)) for status in Status],
        choice=choice,
        tasks=sorted(task.name for task in broker.catalogue),
        queue_names=[queue.name for queue in queues],
    )


@router.get("/{job_id}")
def show_job(job_id: JobId, request: Request, broker: BrokerDep) -> Response:
    return _job_page(request, broker, job_id)


@router.post("/{job_id}/cancel")
def cancel_job(job_id: JobId, request: Request, broker: BrokerDep) -> Response:
    return _acted(request, broker, job_id, partial(broker.actions.cancel, by=caller_of(request)))


@router.post("/{job_id}/retry")
def retry_job(job_id: JobId, request: Request, broker: BrokerDep) -> Response:
    return _acted(request, broker, job_id, broker.actions.retry)


@router.post("/{job_id}/delete")
def delete_job(job_id: JobId, request: Request, broker: BrokerDep) -> Response:
    return _acted(request, broker, job_id, broker.actions.delete, then="/page/jobs")


def _found(broker: Broker, choice: Choice) -> Page:
    """The newest of them at little cost; whoever looks for older ones, or one, waits for a look at
    all ids.
    """
    if choice.id or choice.cursor:
        return broker.listing.page(choice.filter(), choice.cursor, MOST_JOBS)
    jobs = broker.listing.latest(choice.filter(), MOST_JOBS)
    return Page(jobs, jobs[-1].id if len(jobs) == MOST_JOBS else None)


def _reasons(broker: Broker, job: JobRecord) -> list[str]:
    """Why it stands where it does, as far as the rest of the page does not tell it."""
    reasons = [] if job.status is Status.FINISHED else broker.explainer.why(job).reasons
    return [reason.detail for reason in reasons if reason.kind not in TOLD_ELSEWHERE]


def _latest_lines(request: Request, broker: Broker, job_id: str) -> Log:
    """None where scripts have the log already, and hear of each new line."""
    if is_part(request):
        return Log([], 0)
    log = broker.log(job_id)
    left_out = max(len(log.lines) - MOST_LINES, 0)
    return Log(log.lines[left_out:], log.dropped + left_out)


def _count(queues: list[QueueDepth], status: Status, choice: Choice) -> int | None:
    """None where nobody has counted them: of one task, say."""
    if choice.task or choice.id:
        return None
    fitting = (each for each in queues if choice.queue in (None, each.name))
    return sum(int(getattr(each, status)) for each in fitting)


def _acted(
    request: Request,
    broker: Broker,
    job_id: str,
    act: Callable[[str], object],
    then: str | None = None,
) -> Response:
    try:
        act(job_id)
    except StatusConflict as problem:
        return _job_page(request, broker, job_id, HTTPStatus.CONFLICT, problem.detail)
    return see(request, then or f"/page/jobs/{job_id}")


def _job_page(
    request: Request,
    broker: Broker,
    job_id: str,
    status: HTTPStatus = HTTPStatus.OK,
    notice: str = "",
) -> Response:
    job = broker.job(job_id)
    executions = [ExecutionView(**entry) for entry in broker.executions(job_id)]
    return page(
        request,
        "job.html",
        status,
        path=f"/page/jobs/{job_id}",
        active="jobs",
        job=job,
        is_task=broker.catalogue.named(job.task) is not None,
        parameters={name: shown(value) for name, value in (job.parameters or {}).items()},
        result=shown(job.result),
        executions=executions,
        timeline=timeline(job, executions),
        steps=broker.steps(job_id),
        log=_latest_lines(request, broker, job_id),
        reasons=_reasons(broker, job),
        eta=broker.forecaster.eta(job),
        notice=notice,
    )
