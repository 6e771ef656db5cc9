"""The latest jobs, found without looking at all of them."""

import pytest

from service.broker.listing import JobFilter
from service.broker.status import Status
from tests.integration.conftest import Jobs


def test_the_latest_jobs_come_newest_first_out_of_the_ends_of_what_there_is(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.broker.listing.LATEST", 3)
    ids = jobs.submit_many("echo", [{"value": number} for number in range(5)])
    later = jobs.submit("sleep", seconds=0, delay=60)
    listing = jobs.broker.listing

    def latest(limit: int = 10, **wanted: object) -> list[str]:
        return [job.id for job in listing.latest(JobFilter(**wanted), limit)]

    assert latest() == [later, *reversed(ids[-3:])]
    assert latest(2) == [later, ids[-1]]
    assert latest(status=Status.SCHEDULED) == latest(task="sleep") == [later]
    assert latest(status=Status.FAILED) == []
