"""Many jobs at once over HTTP: cancel, or run again, all that fit a filter."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.answers import json_response, problems
from service.api.dependencies import BrokerDep, caller_of
from service.api.options import CancelOptions, RetryOptions
from service.api.schemas import JobsCanceled, JobsRetried
from service.broker.listing import JobFilter
from service.errors import OptionsInvalid

router = APIRouter(
    prefix="/jobs",
    tags=["jobs"],
    responses=problems(s422="The filter is not valid.", s503="Redis is away."),
)


@router.post("/cancel", summary="Cancel many jobs", response_model=JobsCanceled)
def cancel_jobs(
    options: Annotated[CancelOptions, Query()], broker: BrokerDep, request: Request
) -> Response:
    """Cancel every job that fits and has not ended; those that run are interrupted."""
    wanted = JobFilter(**options.model_dump())
    if wanted == JobFilter():
        told = "Say which jobs, by at least one of status, task, queue and since."
        raise OptionsInvalid(told, errors=[])
    done = broker.bulk_actions.cancel(wanted, by=caller_of(request))
    return json_response(JobsCanceled.model_validate(done))


@router.post(
    "/retry",
    summary="Run many failed jobs again",
    status_code=HTTPStatus.ACCEPTED,
    response_model=JobsRetried,
)
def retry_jobs(options: Annotated[RetryOptions, Query()], broker: BrokerDep) -> Response:
    """Queue every failed job that fits again, with its parameters and all its retries."""
    wanted = JobFilter(task=options.task, queue=options.queue, since=options.since)
    done = broker.bulk_actions.retry(wanted)
    answer = JobsRetried(retried=len(done.ids), skipped=done.skipped)
    return json_response(answer, HTTPStatus.ACCEPTED)
