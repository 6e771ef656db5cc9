"""Each of our statuses has a state of Celery's."""

from typing import Any

import pytest

from service.adapters.errors import JobCanceled, JobFailed
from service.adapters.outcome import outcome_of, state_of
from service.adapters.raised import error_in
from service.broker.records import JobRecord
from service.broker.status import Status
from service.failure import Failure


def record(status: Status, attempts: int = 0, **given: Any) -> JobRecord:
    blank = dict.fromkeys(JobRecord.__dataclass_fields__)
    return JobRecord(**blank | {"id": "a", "status": status, "attempts": attempts} | given)


STATES = {
    Status.QUEUED: ("PENDING", "RETRY"),
    Status.SCHEDULED: ("PENDING", "RETRY"),
    Status.WAITING: ("PENDING", "RETRY"),
    Status.RUNNING: ("STARTED", "STARTED"),
    Status.FINISHED: ("SUCCESS", "SUCCESS"),
    Status.FAILED: ("FAILURE", "FAILURE"),
    Status.CANCELED: ("REVOKED", "REVOKED"),
}


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_state_before_its_first_execution_and_after(status: Status) -> None:
    assert (state_of(record(status)), state_of(record(status, attempts=1))) == STATES[status]


@pytest.mark.parametrize("status", Status)
def test_what_has_not_ended_has_no_outcome(status: Status) -> None:
    error = Failure("builtins.ValueError", "no", "…") if status is Status.FAILED else None
    outcome = outcome_of(record(status, error=error, result=7), task=None)
    match status:
        case Status.FINISHED:
            assert outcome == 7
        case Status.FAILED:
            assert isinstance(outcome, ValueError)
        case Status.CANCELED:
            assert isinstance(outcome, JobCanceled)
        case _:
            assert outcome is None


def test_a_failure_of_which_nothing_is_known_is_one() -> None:
    assert isinstance(error_in(record(Status.FAILED)), JobFailed)
