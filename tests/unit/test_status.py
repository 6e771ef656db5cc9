"""Each of RQ's statuses has one of ours."""

import pytest
from rq.job import JobStatus

from service.broker.status import Status, status_of

FINAL = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


@pytest.mark.parametrize("rq", JobStatus)  # a member that RQ adds fails here
def test_every_status_of_rq_has_one_of_ours(rq: JobStatus) -> None:
    assert status_of(rq) in Status


def test_every_status_of_ours_is_that_of_some_rq_job() -> None:
    assert {status_of(rq) for rq in JobStatus} == set(Status)


@pytest.mark.parametrize("rq", JobStatus)
def test_a_status_is_final_where_nothing_happens_by_itself_any_more(rq: JobStatus) -> None:
    assert status_of(rq).is_final == (rq in FINAL)
