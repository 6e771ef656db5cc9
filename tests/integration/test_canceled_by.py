"""Who canceled a job is told with it."""

import hashlib
import signal
from collections.abc import Iterator

import pytest
import redis
from rq.job import Job
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.canceler import this_program
from service.broker.status import Status
from service.execution.outcome import Kind
from service.execution.recovery import Recovery
from service.settings import Settings
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

KEY = "a-key-of-many-letters"


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default")


@pytest.fixture
def keyed(settings: Settings, catalogue: Catalogue) -> Iterator[TestClient]:
    with_key = Settings(**{**dict(settings), "api_keys": [KEY]})
    headers = {"X-API-Key": KEY}
    with TestClient(create_app(with_key, catalogue), headers=headers) as client:
        yield client


def test_the_api_tells_of_a_key_what_tells_it_from_others(keyed: TestClient) -> None:
    job_id = keyed.post("/tasks/echo", json={}).json()["id"]
    who = f"the API (key {hashlib.sha256(KEY.encode()).hexdigest()[:8]})"
    assert keyed.post(f"/jobs/{job_id}/cancel").json()["canceled_by"] == who


def test_of_a_batch_it_says_so(api: TestClient) -> None:
    batch = api.post("/tasks/echo/batch", json=[{}, {}]).json()
    api.post(f"/batches/{batch['id']}/cancel")
    told = {api.get(f"/jobs/{job_id}").json()["canceled_by"] for job_id in batch["jobs"]}
    assert told == {"the API, with its batch"}


def test_a_program_is_told_by_who_runs_it_and_where(jobs: Jobs) -> None:
    canceled, withdrawn = jobs.submit("echo"), jobs.submit("echo")
    jobs.broker.actions.cancel(canceled)
    jobs.broker.actions.withdraw(withdrawn)
    assert jobs[canceled].canceled_by == jobs[withdrawn].canceled_by == this_program()
    assert this_program().startswith("a program (") and "@" in this_program()


def test_a_job_that_runs_is_canceled_by_who_asked_first(jobs: Jobs, start_all_tasks: Start) -> None:
    job_id = jobs.submit("sleep", seconds=60)
    worker = start_all_tasks()
    jobs.await_status(job_id, Status.RUNNING)
    worker.send_signal(signal.SIGSTOP)  # or the job may have ended when it is canceled again
    jobs.broker.actions.cancel(job_id, by="the first")
    jobs.broker.actions.cancel(job_id, by="the second")
    worker.send_signal(signal.SIGCONT)
    ended = jobs.ended(job_id)
    assert (ended.status, ended.canceled_by) == (Status.CANCELED, "the first")


def test_also_where_its_worker_died_meanwhile(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo")
    hand.claim()
    jobs.broker.actions.cancel(job_id, by="the first")
    connection.delete("rq:worker:by-hand")
    Recovery(connection).recover(hand.queues)
    assert (jobs.status(job_id), jobs[job_id].canceled_by) == (Status.CANCELED, "the first")


def test_one_that_ended_before_it_could_be_stopped_was_canceled_by_nobody(
    jobs: Jobs, hand: ByHand
) -> None:
    finished, failed = jobs.submit("echo"), jobs.submit("echo")
    for job_id, kind in ((finished, Kind.RETURNED), (failed, Kind.RAISED)):
        claim = hand.claim()
        jobs.broker.actions.cancel(job_id, by="too late")
        hand.settle(claim, b"1" if kind is Kind.RETURNED else b"builtins.ValueError: no", kind)
        assert jobs[job_id].canceled_by is None
    jobs.broker.actions.retry(failed)
    jobs.broker.actions.cancel(failed, by="in time")
    assert jobs[failed].canceled_by == "in time"


def test_rqs_own_tools_leave_no_name(jobs: Jobs, connection: redis.Redis) -> None:
    job_id = jobs.submit("echo")
    Job.fetch(job_id, connection=connection, serializer="json").cancel()
    assert (jobs.status(job_id), jobs[job_id].canceled_by) == (Status.CANCELED, None)
