"""Jobs that are not run any more once their time is over."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.status import Status
from service.execution.claim import MOST_EXPIRED
from service.execution.outcome import Kind
from service.execution.scheduler import Scheduler
from service.settings import Settings
from tests.conftest import Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_dependencies import stock_worker

TASKS = (*ALL_TASKS, "tests.sample_unique_tasks")
SOON = timedelta(hours=1)


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS)
    with TestClient(
        create_app(settings, Catalogue.load(TASKS)), base_url="http://127.0.0.1"
    ) as client:
        yield client


def past() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=1)


def expire(connection: redis.Redis, job_id: str) -> None:
    """As if the time had come."""
    key = f"rq:job:{job_id}"
    assert connection.hexists(key, "expires_at")
    connection.hset(key, "expires_at", past().timestamp())


def test_a_job_that_no_worker_started_in_time_is_canceled_and_says_why(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path = str(tmp_path / "lines")
    late = jobs.submit("append_line", path=path, line="late", expires=past())
    in_time = jobs.submit(
        "append_line", path=path, line="in time", expires=datetime.now(UTC) + SOON
    )
    start_all_tasks()
    job = jobs.ended(late)
    assert (job.status, job.attempts, job.started_at) == (Status.CANCELED, 0, None)
    assert (job.error.type, job.error.message) == (
        "Expired",
        "no worker had started it by its expires_at",
    )
    assert job.expires_at < job.ended_at
    assert jobs.ended(in_time).status == Status.FINISHED
    assert (tmp_path / "lines").read_text() == "in time\n"
    assert connection.zrange("rq:canceled:default", 0, -1) == [late.encode()]
    assert connection.ttl(f"rq:job:{late}") > 0
    assert jobs.broker.executions(late) == []


def test_what_waits_for_it_is_told(jobs: Jobs, hand: ByHand, connection: redis.Redis) -> None:
    late = jobs.submit("echo", expires=past(), webhook="https://example.com/")
    after = jobs.submit("echo", depends_on=[late])
    cleanup = jobs.submit("echo", depends_on=[late], on_dependency_failure="run")
    assert hand.run_one() == f"{late}-webhook-1"
    assert hand.run_one() == cleanup
    assert jobs[after].error.message == f"the job {late}, which this one depends on, was canceled"
    event = json.loads(jobs[f"{late}-webhook-1"].parameters["event"])
    assert (event["type"], event["data"]["status"]) == ("job.canceled", "canceled")
    assert event["data"]["error"] == {
        "type": "Expired",
        "message": "no worker had started it by its expires_at",
    }


def test_it_gives_up_its_place_under_a_limit(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    places = jobs.submit_many("two_at_once", [{"folder": "", "expires": past()} for _ in range(2)])
    waiting = jobs.submit("two_at_once", folder="")
    waits_too_long = jobs.submit("two_at_once", folder="", expires=past())
    assert jobs.status(waiting) == Status.WAITING
    assert [hand.run_one(), hand.run_one()] == [waiting, None]
    for job_id in (*places, waits_too_long):
        assert jobs.status(job_id) == Status.CANCELED
    assert connection.keys("rq:rl:two_at_once*") == []


def test_a_batch_counts_those_that_expired(
    api: TestClient, hand: ByHand, connection: redis.Redis
) -> None:
    body = "\n".join(json.dumps({"value": number}) for number in range(3))
    accepted = api.post(
        "/tasks/echo/batch?expires_in=60",
        content=body,
        headers={"Content-Type": "application/x-ndjson"},
    ).json()
    first, second, third = accepted["jobs"]
    assert hand.run_one() == first
    expire(connection, second)
    assert hand.run_one() == third
    counts = api.get(f"/batches/{accepted['id']}").json()["counts"]
    assert (counts["finished"], counts["canceled"]) == (2, 1)
    results = api.get(f"/batches/{accepted['id']}/results").text.splitlines()
    assert json.loads(results[1])["error"]["type"] == "Expired"


def test_one_that_was_started_once_is_retried_and_put_back_as_ever(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    soon = datetime.now(UTC) + SOON
    put_back, fails = jobs.submit("echo", expires=soon), jobs.submit("echo", expires=soon)
    assert hand.run_one(b"", Kind.PUT_BACK) == put_back
    expire(connection, put_back)
    assert hand.run_one() == put_back
    assert hand.fail_one() == fails
    expire(connection, fails)
    jobs.broker.actions.retry(fails)
    assert hand.run_one() == fails


def test_one_that_a_stock_worker_started_has_been_started(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, redis_url: str
) -> None:
    job_id = jobs.submit("fail_as", kind="value", expires=datetime.now(UTC) + timedelta(hours=1))
    connection.hset(f"rq:job:{job_id}", "retries_left", 0)
    stock_worker(redis_url)
    assert jobs.status(job_id) == Status.FAILED
    expire(connection, job_id)
    connection.zrem("rq:failed:default", job_id)  # as `rq requeue` does
    connection.hset(f"rq:job:{job_id}", "status", "queued")
    connection.rpush("rq:queue:default", job_id)
    assert hand.run_one() == job_id


def test_a_job_that_waits_or_is_scheduled_expires_when_its_turn_comes(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    waiting = jobs.submit("echo", depends_on=[root], expires=past())
    later = jobs.submit("echo", delay=0.01, expires=past())
    assert (jobs.status(waiting), jobs.status(later)) == (Status.WAITING, Status.SCHEDULED)
    assert hand.run_one() == root
    connection.zadd("rq:scheduled:default", {later: 1})  # due
    Scheduler(hand.queues, connection, jobs.catalogue).move_once()
    assert jobs.status(later) == Status.QUEUED
    assert hand.run_one() is None
    for job_id in (waiting, later):
        assert jobs[job_id].error.type == "Expired"


def test_a_great_many_that_expired_keep_no_worker_from_those_behind_them(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, start_all_tasks: Start
) -> None:
    number = 3 * MOST_EXPIRED
    jobs.submit_many("echo", [{"expires": past()} for _ in range(number)])
    last = jobs.submit("echo")
    assert hand.claim() is None and hand.claimer.left_some
    assert connection.llen("rq:queue:default") == number - MOST_EXPIRED + 1
    assert start_all_tasks("--burst").wait() == 0
    assert jobs.status(last) == Status.FINISHED
    assert connection.zcard("rq:canceled:default") == number


def test_its_time_is_shown_and_its_result_refused_with_the_reason(
    api: TestClient, hand: ByHand, connection: redis.Redis
) -> None:
    before = datetime.now(UTC)
    job = api.post("/tasks/echo?expires_in=0.5", json={}).json()
    expires_at = datetime.fromisoformat(job["expires_at"])
    assert timedelta(seconds=0.5) <= expires_at - before < timedelta(seconds=30)
    assert api.get(f"/jobs/{job['id']}").json() | {"eta": None} == job
    eventually(lambda: datetime.now(UTC) > expires_at)
    assert hand.claim() is None
    shown = api.get(f"/jobs/{job['id']}").json()
    assert (shown["status"], shown["error"]["type"]) == ("canceled", "Expired")
    assert shown["expires_at"] == job["expires_at"]
    refused = api.get(f"/jobs/{job['id']}/result")
    assert (refused.status_code, refused.json()["error_type"]) == (409, "Expired")
    assert "it was canceled: Expired: no worker" in refused.json()["detail"]


def test_one_that_was_canceled_by_hand_names_no_reason(jobs: Jobs, connection: redis.Redis) -> None:
    job_id = jobs.submit("echo", expires=past())
    assert jobs.broker.actions.cancel(job_id)
    assert (jobs.status(job_id), jobs[job_id].error) == (Status.CANCELED, None)


def test_an_expired_job_of_a_unique_task_does_not_stand_for_another(
    api: TestClient, hand: ByHand, connection: redis.Redis
) -> None:
    def submit() -> tuple[int, str]:
        answer = api.post("/tasks/refresh?expires_in=60", json={"name": "a"})
        return answer.status_code, answer.json()["id"]

    accepted, first = submit()
    assert (accepted, submit()) == (202, (200, first))
    expire(connection, first)
    accepted, second = submit()
    assert accepted == 202 and second != first
    assert hand.run_one(b'"a"') == second  # and the first was not run
    assert api.get(f"/jobs/{first}").json()["status"] == "canceled"
    assert list(connection.scan_iter("paddock:unique:*")) == []
