"""Acting on many jobs at once: all that fit a filter, and no others."""

import threading
import time
from datetime import UTC, datetime

import pytest
import redis
from rq import Queue
from starlette.testclient import TestClient

from service.broker.batch_actions import AT_ONCE, Canceled
from service.broker.bulk_actions import BulkActions
from service.broker.connection import connect
from service.broker.listing import JobFilter
from service.broker.status import Status
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

WHO = "a test"


@pytest.fixture
def bulk(jobs: Jobs) -> BulkActions:
    return jobs.broker.bulk_actions


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


# Retrying


def test_the_failed_jobs_that_fit_are_queued_again_and_no_others(
    jobs: Jobs, bulk: BulkActions, hand: ByHand
) -> None:
    fitting = [jobs.submit("echo", value=n) for n in range(2)]
    before = jobs.submit("echo", value="before")
    elsewhere, other = jobs.submit("echo", queue="cpu"), jobs.submit("double", n=1)
    failed = [*fitting, before, other, elsewhere]
    assert [hand.fail_one() for _ in failed] == failed
    finished = jobs.submit("echo")
    assert hand.run_one() == finished
    queued = jobs.submit("echo")
    hand.connection.hset(f"rq:job:{before}", "enqueued_at", "2026-01-01T00:00:00.000000Z")
    done = bulk.retry(
        JobFilter(task="echo", queue="default", since=datetime(2026, 1, 2, tzinfo=UTC))
    )
    assert (done.ids, done.skipped) == (fitting, 0)
    for job_id in fitting:
        assert (jobs.status(job_id), jobs[job_id].error) == (Status.QUEUED, None)
    assert {jobs.status(job_id) for job_id in (before, elsewhere, other)} == {Status.FAILED}
    assert (jobs.status(finished), jobs.status(queued)) == (Status.FINISHED, Status.QUEUED)
    assert sorted(bulk.retry(JobFilter()).ids) == sorted([before, elsewhere, other])
    assert bulk.retry(JobFilter()).ids == []


def test_each_gets_all_its_retries_again(jobs: Jobs, bulk: BulkActions, hand: ByHand) -> None:
    with_retries, without = jobs.submit("fail_as", kind="key"), jobs.submit("echo")
    assert [hand.fail_one(), hand.fail_one()] == [with_retries, without]
    assert jobs[with_retries].retries_left == 0
    bulk.retry(JobFilter())
    assert (jobs[with_retries].retries_left, jobs[without].retries_left) == (3, 0)


def test_what_depends_on_others_that_are_retried_waits_for_them_again(
    jobs: Jobs, bulk: BulkActions, hand: ByHand
) -> None:
    first = jobs.submit("double", n=1)
    second = jobs.submit("double", n=2, depends_on=[first])
    third = jobs.submit("echo", depends_on=[second])
    assert hand.fail_one() == first
    assert jobs.status(third) == Status.FAILED
    alone = bulk.retry(JobFilter(task="echo"))
    assert (alone.ids, alone.skipped) == ([], 1)  # what it depends on stands as failed
    assert bulk.retry(JobFilter()).ids == [first, second, third]
    assert [hand.run_one() for _ in range(4)] == [first, second, third, None]


def test_more_than_one_step_takes(jobs: Jobs, bulk: BulkActions, hand: ByHand) -> None:
    many = jobs.submit_many("echo", [{"value": n} for n in range(AT_ONCE + 10)])
    for _ in many:
        hand.fail_one()
    assert bulk.retry(JobFilter(task="echo")).ids == many
    assert hand.run_one() == many[0]


def test_jobs_of_other_programs_are_told_by_their_function(
    jobs: Jobs, bulk: BulkActions, hand: ByHand, connection: redis.Redis
) -> None:
    queue = Queue("default", connection=connection, serializer="json")
    echo, wait, late = (
        queue.enqueue(f"tests.sample_tasks.{name}", kwargs={}).id
        for name in ("echo", "sleep", "echo")
    )
    assert [hand.fail_one(), hand.fail_one()] == [echo, wait]
    assert bulk.retry(JobFilter(task="echo")).ids == [echo]
    assert bulk.cancel(JobFilter(task="echo"), by=WHO) == Canceled(2, 0)
    assert {jobs.status(echo), jobs.status(late)} == {Status.CANCELED}
    assert jobs.status(wait) == Status.FAILED


def test_a_damaged_record_keeps_no_others_from_being_retried(
    jobs: Jobs, bulk: BulkActions, hand: ByHand, connection: redis.Redis
) -> None:
    damaged, sound = jobs.submit("echo"), jobs.submit("echo")
    hand.fail_one(), hand.fail_one()
    connection.hset(f"rq:job:{damaged}", "retry_intervals", "{")
    done = bulk.retry(JobFilter())
    assert (done.ids, done.skipped) == ([sound], 1)


def test_what_was_stopped_is_not_retried_though_rq_files_it_with_the_failed(
    jobs: Jobs, bulk: BulkActions, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo")
    connection.lpop("rq:queue:default")
    connection.hset(f"rq:job:{job_id}", "status", "stopped")
    connection.zadd("rq:failed:default", {job_id: time.time() + 60})
    assert (bulk.retry(JobFilter()).ids, jobs.status(job_id)) == ([], Status.CANCELED)


# Canceling


def test_jobs_are_canceled_wherever_they_stand(
    jobs: Jobs, bulk: BulkActions, start_all_tasks: Start, connection: redis.Redis
) -> None:
    running = jobs.submit("sleep", seconds=60, queue="cpu")
    start_all_tasks("--queues", "cpu")
    jobs.await_status(running, Status.RUNNING)
    queued, scheduled = jobs.submit("echo"), jobs.submit("echo", delay=60)
    waiting = jobs.submit("echo", depends_on=[running])
    limited = jobs.submit_many("two_at_once", [{"folder": ""} for _ in range(3)])
    all_of_them = [queued, scheduled, waiting, *limited]
    assert bulk.cancel(JobFilter(status=Status.FINISHED), by=WHO) == Canceled(0, 0)
    assert bulk.cancel(JobFilter(since=datetime(2026, 1, 1, tzinfo=UTC)), by=WHO) == Canceled(6, 1)
    jobs.ended(running)
    for job_id in (*all_of_them, running):
        assert (jobs.status(job_id), jobs[job_id].canceled_by) == (Status.CANCELED, WHO)
    left = ("rq:queue:default", "rq:scheduled:default", "rq:deferred:default", "rq:wip:cpu")
    assert connection.exists(*left, "rq:rl:two_at_once:rate_limited") == 0


@pytest.mark.parametrize("status", ["queued", "scheduled", "waiting", "running"])
def test_those_of_one_status_alone(
    jobs: Jobs, bulk: BulkActions, hand: ByHand, status: str
) -> None:
    standing = {"running": jobs.submit("echo")}
    hand.claim()
    standing["queued"] = jobs.submit("echo")
    standing["scheduled"] = jobs.submit("echo", delay=60)
    standing["waiting"] = jobs.submit(
        "echo", depends_on=[standing["queued"]], on_dependency_failure="run"
    )
    done = bulk.cancel(JobFilter(status=Status(status)), by=WHO)
    assert done == (Canceled(0, 1) if status == "running" else Canceled(1, 0))
    for other in {*standing} - {status, "waiting" if status == "queued" else ""}:
        assert jobs.status(standing[other]) == other


def test_of_a_long_queue_others_keep_their_places(
    jobs: Jobs, bulk: BulkActions, connection: redis.Redis
) -> None:
    many = [{"value": n} for n in range(3)]
    mixed = [job for _ in range(AT_ONCE // 2) for job in (*many[:1], *many[1:])]
    others = jobs.submit_many("double", [{"n": 1}] * 300)
    mine = jobs.submit_many("echo", mixed)
    others += jobs.submit_many("double", [{"n": 1}] * 300)
    mine += jobs.submit_many("echo", many)
    assert bulk.cancel(JobFilter(task="echo"), by=WHO) == Canceled(len(mine), 0)
    assert [each.decode() for each in connection.lrange("rq:queue:default", 0, -1)] == others
    assert {jobs.status(job_id) for job_id in mine} == {Status.CANCELED}


def test_a_worker_and_who_cancels_never_both_get_a_job(
    jobs: Jobs, bulk: BulkActions, redis_url: str
) -> None:
    many = jobs.submit_many("echo", [{} for _ in range(2_000)])
    begin, ran = threading.Barrier(2), []

    def work() -> None:
        with connect(redis_url) as own:
            worker = ByHand(own, "default")
            ran.append(worker.run_one())  # one at least, however slow this thread is
            begin.wait()
            while job_id := worker.run_one():
                ran.append(job_id)

    thread = threading.Thread(target=work)
    thread.start()
    begin.wait()
    done = bulk.cancel(JobFilter(status=Status.QUEUED), by=WHO)
    thread.join()
    assert ran and done.canceled
    assert len(ran) + done.canceled == len(many)
    for job_id in many:
        assert jobs.status(job_id) == (Status.FINISHED if job_id in set(ran) else Status.CANCELED)


# Over HTTP


def test_over_http_they_are_counted(api: TestClient, connection: redis.Redis) -> None:
    ids = [api.post("/tasks/echo", json={}).json()["id"] for _ in range(3)]
    hand = ByHand(connection, "default")
    assert [hand.fail_one(), hand.fail_one()] == ids[:2]
    retried = api.post("/jobs/retry", params={"status": "failed", "task": "echo"})
    assert (retried.status_code, retried.json()) == (202, {"retried": 2, "skipped": 0})
    canceled = api.post("/jobs/cancel", params={"task": "echo", "since": "2026-01-01T00:00:00Z"})
    assert (canceled.status_code, canceled.json()) == (200, {"canceled": 3, "stopping": 0})
    assert api.get(f"/jobs/{ids[0]}").json()["canceled_by"] == "the API"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/jobs/cancel", "at least one of status, task, queue and since"),
        ("/jobs/cancel?taks=echo", "taks"),
        ("/jobs/cancel?status=finished", "status"),
        ("/jobs/cancel?status=nonsense", "status"),
        ("/jobs/cancel?since=60", "since"),
        ("/jobs/retry", "status"),
        ("/jobs/retry?task=echo", "status"),
        ("/jobs/retry?status=canceled", "status"),
        ("/jobs/retry?status=failed&id=1", "id"),
    ],
)
def test_a_filter_that_is_not_understood_moves_nothing(
    api: TestClient, path: str, told: str
) -> None:
    job_id = api.post("/tasks/echo", json={}).json()["id"]
    refused = api.post(path)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:paddock:problem:invalid-options"
    assert told in refused.json()["detail"]
    assert api.get(f"/jobs/{job_id}").json()["status"] == "queued"


@pytest.mark.parametrize("status", ["queued", "scheduled", "waiting", "running"])
def test_any_status_that_is_no_end_may_be_named(api: TestClient, status: str) -> None:
    answer = api.post("/jobs/cancel", params={"status": status})
    assert (answer.status_code, answer.json()) == (200, {"canceled": 0, "stopping": 0})


def test_a_filter_that_is_empty_fits_nothing(api: TestClient) -> None:
    api.post("/tasks/echo", json={})
    answer = api.post("/jobs/cancel?task=&queue=")
    assert (answer.status_code, answer.json()) == (200, {"canceled": 0, "stopping": 0})
