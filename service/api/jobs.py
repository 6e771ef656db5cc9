"""Jobs over HTTP: look, wait, list, act."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.api.answers import job_response, json_response, problems
from service.api.dependencies import BrokerDep, JobId, caller_of
from service.api.options import ListOptions, WaitOption
from service.api.schemas import ExecutionView, JobPage, JobView
from service.api.visit import address
from service.broker.broker import Broker
from service.broker.listing import JobFilter
from service.broker.records import JobRecord
from service.broker.status import Status
from service.errors import StatusConflict

router = APIRouter(prefix="/jobs", tags=["jobs"])

_GONE = problems(s404="No such job.", s503="Redis is away.")
_UNFIT = _GONE | problems(s409="The job's status forbids this.")
_OPTIONS = problems(s422="The options in the query are not valid.")


@router.get(
    "",
    summary="List jobs, newest first",
    response_model=JobPage,
    responses=problems(s503="Redis is away.") | _OPTIONS,
)
def list_jobs(options: Annotated[ListOptions, Query()], broker: BrokerDep) -> Response:
    wanted = JobFilter(
        status=options.status, task=options.task, queue=options.queue, since=options.since
    )
    page = broker.listing.page(wanted, options.cursor, options.limit)
    jobs = [JobView.model_validate(job) for job in page.jobs]
    return json_response(JobPage(jobs=jobs, next=page.next_cursor))


@router.get("/{job_id}", summary="Show a job", response_model=JobView, responses=_GONE | _OPTIONS)
async def show_job(
    job_id: JobId, options: Annotated[WaitOption, Query()], broker: BrokerDep
) -> Response:
    job = await _awaited(broker, job_id, options.wait)
    eta = None if job.status.is_final else await run_in_threadpool(broker.forecaster.eta, job)
    return job_response(job, eta=eta)


@router.get("/{job_id}/result", summary="Get a job's result", responses=_UNFIT | _OPTIONS)
async def get_result(
    job_id: JobId, options: Annotated[WaitOption, Query()], broker: BrokerDep
) -> Response:
    """What the task returned, and nothing else, once the job has finished."""
    job = await _awaited(broker, job_id, options.wait)
    if job.status is not Status.FINISHED:
        raise _no_result(job)
    return json_response(job.result)


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_model=JobView,
    responses=_UNFIT
    | {202: {"model": JobView, "description": "It runs; its worker was told to stop it."}},
)
def cancel_job(job_id: JobId, broker: BrokerDep, request: Request) -> Response:
    """Take it off its queue or schedule; interrupt one that runs, and kill it a second later."""
    at_once = broker.actions.cancel(job_id, by=caller_of(request))
    return job_response(broker.job(job_id), HTTPStatus.OK if at_once else HTTPStatus.ACCEPTED)


@router.get(
    "/{job_id}/executions",
    summary="List a job's executions",
    response_model=list[ExecutionView],
    responses=_GONE,
)
def list_executions(job_id: JobId, broker: BrokerDep) -> Response:
    """How each ended and what it used, oldest first; the last fifty of them."""
    return json_response([ExecutionView(**entry) for entry in broker.executions(job_id)])


@router.post(
    "/{job_id}/retry",
    summary="Run a failed job again",
    status_code=HTTPStatus.ACCEPTED,
    response_model=JobView,
    responses=_UNFIT,
)
def retry_job(job_id: JobId, broker: BrokerDep, request: Request) -> Response:
    """Queue it again with the same parameters, and all its retries."""
    broker.actions.retry(job_id)
    response = job_response(broker.job(job_id), HTTPStatus.ACCEPTED)
    response.headers["Location"] = address(request.scope, f"/jobs/{job_id}")
    return response


@router.delete(
    "/{job_id}",
    summary="Delete a job",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=_UNFIT,
)
def delete_job(job_id: JobId, broker: BrokerDep) -> Response:
    """Remove a job that does not run, and its result, for good."""
    broker.actions.delete(job_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _awaited(broker: Broker, job_id: str, wait: float | None) -> JobRecord:
    if wait:
        await broker.ended(job_id, wait)
    return await run_in_threadpool(broker.job, job_id)


def _no_result(job: JobRecord) -> StatusConflict:
    if job.error is not None:
        how = "failed with" if job.status is Status.FAILED else "was canceled:"
        return StatusConflict(
            f"The job has no result: it {how} {job.error.type}: {job.error.message}",
            job_status=job.status,
            error_type=job.error.type,
        )
    return StatusConflict(
        f"The job has no result: it is {job.status}."
        + ("" if job.status.is_final else " `?wait=` waits for one."),
        job_status=job.status,
    )
