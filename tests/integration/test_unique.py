"""`@job(unique=True)`: of jobs with the same parameters one waits or runs, and no more."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis
from rq.job import JobStatus
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from jobs.schedule import Schedule
from service.api.app import create_app
from service.broker.enqueuer import new_job_id
from service.execution.cron import Ticker
from service.schedule_store import LAST, NEXT, Definition, ScheduleStore
from service.settings import Settings
from service.submission import ENQUEUE, Once, Submission, enqueue_arguments, job_of
from tests.conftest import ROOT, Start, eventually
from tests.integration.serving import TIMEOUT, serve

UNIQUE_TASKS = ("jobs", "tests.sample_tasks", "tests.sample_unique_tasks")
ENVIRONMENT = {"PADDOCK_TASKS": ",".join(UNIQUE_TASKS)}


@pytest.fixture(scope="module")
def tasks() -> Catalogue:
    return Catalogue.load(UNIQUE_TASKS)


@pytest.fixture
def api(redis_url: str, tasks: Catalogue, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=UNIQUE_TASKS)
    with TestClient(create_app(settings, tasks), base_url="http://127.0.0.1") as client:
        yield client


def submit(api: Any, task: str = "refresh", query: str = "", **parameters: Any) -> Any:
    return api.post(f"/tasks/{task}{query}", json=parameters or {"name": "a"})


def new(answer: Any) -> str:
    assert answer.status_code == 202, answer.text
    assert "Paddock-Duplicate" not in answer.headers
    job_id: str = answer.json()["id"]
    return job_id


def stands_for(answer: Any, job_id: str) -> bool:
    return (
        (answer.status_code, answer.json()["id"]) == (200, job_id)
        and answer.headers["Paddock-Duplicate"] == "true"
        and answer.headers["Location"] == f"/jobs/{job_id}"
    )


def locks(connection: redis.Redis) -> list[bytes]:
    return list(connection.scan_iter("paddock:unique:*"))


def ended(api: TestClient, job_id: str, status: str) -> None:
    eventually(lambda: api.get(f"/jobs/{job_id}").json()["status"] == status)


# While one lives


def test_a_second_is_answered_with_the_first_while_that_waits(
    api: TestClient, connection: redis.Redis
) -> None:
    first = new(submit(api))
    assert stands_for(submit(api), first)
    assert stands_for(submit(api, name="a", seconds=0), first)  # a default that is spelt out
    other = new(submit(api, name="b"))
    assert connection.llen("rq:queue:default") == 2
    assert api.get(f"/jobs/{other}").json()["status"] == "queued"


def test_a_scheduled_job_counts_and_so_does_one_that_runs(
    api: TestClient, start_worker: Start
) -> None:
    scheduled = new(submit(api, query="?delay=600"))
    assert stands_for(submit(api), scheduled)
    running = new(submit(api, name="b", seconds=30))
    start_worker("--queues", "default", **ENVIRONMENT)
    ended(api, running, "running")
    assert stands_for(submit(api, name="b", seconds=30), running)


def test_a_job_that_waits_for_its_retry_counts(api: TestClient, start_worker: Start) -> None:
    start_worker("--queues", "default", **ENVIRONMENT)
    job_id = new(submit(api, "refresh_or_fail", name="a"))
    ended(api, job_id, "scheduled")
    assert stands_for(submit(api, "refresh_or_fail", name="a"), job_id)


def test_a_job_that_waits_for_another_counts(api: TestClient, connection: redis.Redis) -> None:
    first = new(submit(api))
    connection.lrem("rq:queue:default", 1, first)
    for status in (JobStatus.DEFERRED, JobStatus.RATE_LIMITED, JobStatus.READY_TO_ENQUEUE):
        connection.hset(f"rq:job:{first}", "status", status)
        assert stands_for(submit(api), first)


def test_tasks_that_are_not_unique_take_no_lock(api: TestClient, connection: redis.Redis) -> None:
    assert [api.post("/tasks/echo", json={}).status_code for _ in range(2)] == [202, 202]
    assert locks(connection) == []


def test_the_catalogue_tells_which_tasks_are_unique(api: TestClient) -> None:
    assert api.get("/tasks/refresh").json()["unique"] is True
    assert api.get("/tasks/echo").json()["unique"] is False


# However it ends, there is room for the next


def run_here(*command: str, url: str) -> None:
    environment = os.environ | {"PADDOCK_REDIS_URL": url} | ENVIRONMENT
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize(
    ("task", "status"),
    [("refresh", "finished"), ("fail_until_there", "failed"), ("crash", "failed")],
)
def test_a_job_that_has_ended_stands_for_none_and_leaves_no_lock(
    api: TestClient, connection: redis.Redis, start_worker: Start, task: str, status: str
) -> None:
    parameters = {"path": "/nowhere"} if task == "fail_until_there" else {"name": "a"}
    first = new(submit(api, task, **parameters))
    worker = start_worker("--queues", "default", **ENVIRONMENT)
    ended(api, first, status)
    worker.kill()
    worker.wait()
    if task != "crash":  # that one's lock says nothing, and goes with its time
        assert locks(connection) == []
    assert new(submit(api, task, **parameters)) != first


def test_a_job_that_was_canceled_or_deleted_stands_for_none(
    api: TestClient, connection: redis.Redis
) -> None:
    first = new(submit(api))
    assert api.post(f"/jobs/{first}/cancel").status_code == 200
    assert locks(connection) == []
    second = new(submit(api))
    assert api.delete(f"/jobs/{second}").status_code == 204
    assert new(submit(api)) not in (first, second)


def test_a_job_that_was_canceled_while_it_ran_stands_for_none(
    api: TestClient, start_worker: Start
) -> None:
    start_worker("--queues", "default", **ENVIRONMENT)
    first = new(submit(api, name="b", seconds=60))
    ended(api, first, "running")
    assert api.post(f"/jobs/{first}/cancel").status_code == 202
    ended(api, first, "canceled")
    assert new(submit(api, name="b", seconds=60)) != first


def test_a_job_whose_hash_has_expired_stands_for_none(
    api: TestClient, connection: redis.Redis
) -> None:
    first = new(submit(api))
    connection.delete(f"rq:job:{first}")
    assert new(submit(api)) != first


def test_a_job_that_a_stock_worker_ran_stands_for_none(
    api: TestClient, redis_url: str, connection: redis.Redis
) -> None:
    first = new(submit(api))
    rq = str(Path(sys.executable).with_name("rq"))
    run_here(rq, "worker", "-b", "-S", "json", "-u", redis_url, "default", url=redis_url)
    assert api.get(f"/jobs/{first}").json()["status"] == "finished"
    assert new(submit(api)) != first


def test_a_lock_ends_some_day_by_itself(api: TestClient, connection: redis.Redis) -> None:
    new(submit(api))
    new(submit(api, name="b", query="?delay=8640000"))
    month = 30 * 24 * 3600
    first, second = sorted(connection.ttl(lock) for lock in locks(connection))
    assert month - 60 < first <= month
    assert month + 8_640_000 - 60 < second <= month + 8_640_001


# Run again


def test_a_failed_job_is_retried_unless_another_lives(
    api: TestClient, connection: redis.Redis, start_worker: Start, tmp_path: Path
) -> None:
    path = {"path": str(tmp_path / "there")}
    failed = new(submit(api, "fail_until_there", **path))
    worker = start_worker("--queues", "default", **ENVIRONMENT)
    ended(api, failed, "failed")
    worker.kill()
    worker.wait()
    other = new(submit(api, "fail_until_there", **path))
    refusal = api.post(f"/jobs/{failed}/retry")
    assert refusal.status_code == 409
    assert (refusal.json()["job"], refusal.json()["job_status"]) == (other, "failed")
    assert api.get(f"/jobs/{failed}").json()["status"] == "failed"

    api.post(f"/jobs/{other}/cancel")
    assert api.post(f"/jobs/{failed}/retry").status_code == 202
    assert stands_for(submit(api, "fail_until_there", **path), failed)


# With an Idempotency-Key


def test_a_key_that_met_a_live_job_stands_for_that_one_from_then_on(
    api: TestClient, connection: redis.Redis
) -> None:
    first = new(submit(api))
    keyed = {"Idempotency-Key": "k"}
    met = api.post("/tasks/refresh", json={"name": "a"}, headers=keyed)
    assert stands_for(met, first)
    api.post(f"/jobs/{first}/cancel")
    again = api.post("/tasks/refresh", json={"name": "a"}, headers=keyed)
    assert (again.status_code, again.json()["id"]) == (200, first)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert connection.llen("rq:queue:default") == 0


def test_a_call_whose_reply_was_lost_is_answered_in_the_same_way_when_it_is_sent_again(
    connection: redis.Redis, tasks: Catalogue
) -> None:
    script = connection.register_script(f"{ENQUEUE}return enqueue(1, 1)")

    def call(task: str, key: str) -> tuple[str, Callable[[], Any]]:
        parameters = {"name": "a", "seconds": 0.0} if task == "refresh" else {"value": None}
        once = Once(record=f"paddock:idempotency:{key}", fingerprint="f", ttl=60)
        submission = Submission(task=tasks[task], parameters=parameters, once=once)
        job = job_of(submission, new_job_id(), connection)
        keys, args = enqueue_arguments(job, submission)
        return job.id, lambda: script(keys=keys, args=args)

    first, submit_first = call("refresh", "a")
    assert (submit_first(), submit_first()) == (1, 0)
    _, submit_second = call("refresh", "b")
    duplicate = [b"duplicate", first.encode()]
    assert (submit_second(), submit_second()) == (duplicate, duplicate)
    # Also when what it met, or what it became, is gone by then.
    connection.delete(f"rq:job:{first}")
    assert submit_second() == duplicate
    gone, submit_third = call("echo", "c")
    assert submit_third() == 1
    connection.delete(f"rq:job:{gone}")
    assert submit_third() == 0
    assert connection.lrange("rq:queue:default", 0, -1) == [first.encode(), gone.encode()]


# At the same instant


def test_of_fifty_at_the_same_instant_on_two_processes_one_becomes_a_job(
    start: Start, connection: redis.Redis
) -> None:
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(httpx.Client(base_url=serve(start, **ENVIRONMENT), timeout=TIMEOUT))
            for _ in range(2)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(50))
        answers = list(pool.map(lambda number: submit(services[number % 2]), range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert connection.llen("rq:queue:default") == 1


# By the clock, and from a shell


def test_a_tick_that_meets_a_live_job_adds_none(connection: redis.Redis, tasks: Catalogue) -> None:
    store = ScheduleStore(connection)
    schedule = Schedule(cron="* * * * *", missed="all", parameters={"name": "a", "seconds": 0.0})
    store.put(Definition("often", "refresh", schedule, "api"), over="")
    ticker = Ticker(connection, "one", tasks)
    ticker.tick()
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
    connection.zadd(NEXT, {"often": due.timestamp()})
    ticker.tick()
    (live,) = connection.lrange("rq:queue:default", 0, -1)
    assert connection.hget(LAST, "often").split()[1] == live
    # The schedule goes on all the same.
    assert connection.zscore(NEXT, "often") > datetime.now(UTC).timestamp()


def test_a_shell_is_shown_the_live_job(api: TestClient, redis_url: str) -> None:
    first = new(submit(api))
    told = subprocess.run(
        [sys.executable, "-m", "service.cli", "submit", "refresh", "name=a", "--json"],
        cwd=ROOT,
        env=os.environ | {"PADDOCK_REDIS_URL": redis_url} | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(told.stdout)["id"] == first
    assert "there is such a job already" in told.stderr
