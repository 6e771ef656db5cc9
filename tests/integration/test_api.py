"""The HTTP contract of DESIGN §4: what each route answers, and what it does to RQ's own jobs."""

import base64
import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue, Retry
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.rate_limit import RateLimit
from rq.registry import CanceledJobRegistry, FailedJobRegistry, ReadyJobRegistry
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.errors import JobNotFound
from service.settings import Settings
from tests.conftest import RedisServer, Start, eventually

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ECHO = "tests.sample_tasks.echo.run"
MOMENT = "2026-01-02T03:04:05Z"
KEY = "0190d5a5-0000-7000-8000-000000000000"

# What `describe` can be given, in JSON and in a form, and what it is then called with.
KINDS: dict[str, tuple[Any, list[str], Any, str]] = {
    "count": (7, ["7"], 7, "int"),
    "ratio": (0.25, ["0.25"], 0.25, "float"),
    "name": ("Ada & Bob", ["Ada & Bob"], "Ada & Bob", "str"),
    "flag": (True, ["true"], True, "bool"),
    "when": (MOMENT, [MOMENT], MOMENT, "datetime"),
    "key": (KEY, [KEY], KEY, "UUID"),
    "color": ("blue", ["blue"], "blue", "Color"),
    "mode": ("slow", ["slow"], "slow", "str"),
    "tags": (["a", "b c"], ["a", "b c"], ["a", "b c"], "list"),
    "sizes": ({"s": 1}, ['{"s": 1}'], {"s": 1}, "dict"),
    "address": (
        {"street": "Main"},
        ['{"street": "Main"}'],
        {"street": "Main", "number": 1},
        "Address",
    ),
    "point": ({"x": 1}, ['{"x": 1}'], {"x": 1.0, "y": 0.0}, "Point"),
    "blob": ("AP8=", ["AP8="], "AP8=", "bytes"),
}


def submit(api: TestClient, value: Any = None, **options: Any) -> str:
    answer = api.post("/tasks/echo", json={"value": value}, params=options)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def rq_job(connection: redis.Redis, job_id: str) -> Job:
    return Job.fetch(job_id, connection=connection, serializer="json")


def rq_queue(connection: redis.Redis, name: str = "default") -> Queue:
    return Queue(name, connection=connection, serializer="json")


def ids_on(connection: redis.Redis, name: str = "default") -> list[str]:
    return rq_queue(connection, name).get_job_ids()


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


# The catalogue


def test_the_catalogue_tells_what_a_task_takes_and_returns(api: TestClient) -> None:
    answer = api.get("/tasks/heavy_cpu_task")
    task = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert (task["name"], task["queue"], task["timeout"]) == ("heavy_cpu_task", "cpu", 600)
    assert task["description"] == "Sum of the squares below n."
    assert task["parameters"]["properties"]["n"]["minimum"] == 0
    assert task["parameters"]["required"] == ["n"]
    assert task["result"] == {"type": "integer"}
    assert (task["retry"], task["result_ttl"]) == (None, 86400)
    assert api.get("/tasks/fail_and_log").json()["retry"] == {"max": 2, "intervals": [1, 2]}


def test_every_task_of_the_catalogue_is_listed(api: TestClient, catalogue: Catalogue) -> None:
    listed = api.get("/tasks").json()
    assert [task["name"] for task in listed] == [task.name for task in catalogue]
    for task in listed:
        shown = api.get(f"/tasks/{task['name']}").json()
        assert task | {"retry": None} == shown | {"retry": None}  # intervals may be random


# Submitting


def submit_describe(api: TestClient, as_form: bool) -> Any:
    if as_form:
        data = {name: form for name, (_json, form, _carried, _type) in KINDS.items()}
        return api.post("/tasks/describe", data=data)
    return api.post("/tasks/describe", json={name: kind[0] for name, kind in KINDS.items()})


@pytest.mark.parametrize("as_form", [False, True], ids=["as JSON", "as a form"])
def test_parameters_of_every_kind_are_accepted(
    api: TestClient, connection: redis.Redis, as_form: bool
) -> None:
    answer = submit_describe(api, as_form)
    carried = {name: kind[2] for name, kind in KINDS.items()}
    assert answer.status_code == 202, answer.text
    assert answer.json()["parameters"] == carried
    assert rq_job(connection, answer.json()["id"]).kwargs == carried


def test_parameters_reach_the_task_in_its_own_types(api: TestClient, start: Start) -> None:
    submitted = [submit_describe(api, as_form).json()["id"] for as_form in (False, True)]
    assert start_burst(start) == 0
    for job_id in submitted:
        answer = api.get(f"/jobs/{job_id}/result")
        assert answer.json() == {name: kind[3] for name, kind in KINDS.items()}


def start_burst(start: Start) -> int:
    """Run what is queued, by a real worker in a process of its own."""
    return start(sys.executable, "worker.py", "--burst").wait()


def test_bytes_travel_as_base64(api: TestClient, connection: redis.Redis) -> None:
    raw = bytes(range(256))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        body = {"count": 0, "blob": encode(raw).decode()}
        job_id = api.post("/tasks/describe", json=body).json()["id"]
        assert base64.urlsafe_b64decode(rq_job(connection, job_id).kwargs["blob"]) == raw


@pytest.mark.parametrize("name", ["when", "key", "address"])
def test_an_empty_form_field_is_null_where_the_parameter_may_be(api: TestClient, name: str) -> None:
    answer = api.post("/tasks/describe", data={"count": "1", name: ""})
    assert (answer.status_code, answer.json()["parameters"][name]) == (202, None)


def test_an_empty_form_field_is_empty_text_where_text_is_asked_for(api: TestClient) -> None:
    answer = api.post("/tasks/describe", data={"count": "1", "name": ""})
    assert answer.json()["parameters"]["name"] == ""


def test_a_task_without_parameters_needs_no_body(api: TestClient) -> None:
    for headers in ({}, FORM, {"Content-Type": "application/json"}):
        assert api.post("/tasks/ignore_timeout", headers=headers).status_code == 202


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.x+json"])
def test_json_by_another_name_is_json(api: TestClient, kind: str) -> None:
    answer = api.post("/tasks/echo", content='{"value": "é"}', headers={"Content-Type": kind})
    assert answer.json()["parameters"] == {"value": "é"}


def test_an_accepted_job_is_told_in_full(api: TestClient, connection: redis.Redis) -> None:
    before = datetime.now(UTC)
    answer = api.post("/tasks/fail_and_log", json={"path": "x"})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert answer.headers["Content-Type"] == "application/json"
    assert before <= moment_of(job.pop("enqueued_at")) <= datetime.now(UTC)
    assert job == {
        "id": job["id"],
        "task": "fail_and_log",
        "status": "queued",
        "queue": "default",
        "parameters": {"path": "x"},
        "result": None,
        "error": None,
        "scheduled_for": None,
        "expires_at": None,
        "started_at": None,
        "ended_at": None,
        "attempts": 0,
        "retries_left": 2,
        "worker": None,
        "depends_on": [],
        "waiting_for": None,
        "batch": None,
        "eta": None,
        "progress": None,
        "canceled_by": None,
    }
    shown = api.get(f"/jobs/{job['id']}").json()
    shown.pop("enqueued_at")
    assert shown == job | {"eta": {"position": 1, "start_at": None, "end_at": None}}


def test_a_job_is_one_that_any_rq_worker_can_run(api: TestClient, connection: redis.Redis) -> None:
    job_id = api.post("/tasks/fail_and_log", json={"path": "x"}).json()["id"]
    job = rq_job(connection, job_id)
    assert (job.func_name, job.args, job.kwargs) == (
        "tests.sample_tasks.fail_and_log.run",
        [],
        {"path": "x"},
    )
    assert (job.timeout, job.result_ttl, job.failure_ttl) == (180, 86400, 31536000)
    assert (job.retries_left, job.retry_intervals) == (2, [1, 2])
    assert job.description == "fail_and_log(path='x')"
    assert job.get_status() is JobStatus.QUEUED
    assert connection.ttl(job.key) == -1
    assert ids_on(connection) == [job_id]
    assert [queue.name for queue in Queue.all(connection=connection)] == ["default"]


def test_timeout_and_result_ttl_reach_the_job(api: TestClient, connection: redis.Redis) -> None:
    job = rq_job(connection, submit(api, timeout=7, result_ttl=11))
    assert (job.timeout, job.result_ttl) == (7, 11)


def test_a_job_can_be_put_on_another_queue(api: TestClient, connection: redis.Redis) -> None:
    job_id = submit(api, queue="mail")
    assert rq_job(connection, job_id).origin == "mail"
    assert (ids_on(connection, "mail"), ids_on(connection)) == ([job_id], [])


def test_a_job_can_be_put_at_the_front(api: TestClient, connection: redis.Redis) -> None:
    last, first = submit(api), submit(api, at_front=True)
    assert ids_on(connection) == [first, last]


def test_a_delayed_job_is_scheduled_not_before_its_time(
    api: TestClient, connection: redis.Redis
) -> None:
    before = datetime.now(UTC)
    answer = api.post("/tasks/echo?delay=60.5&at_front=true", json={}).json()
    due = rq_queue(connection).scheduled_job_registry.get_scheduled_time(answer["id"])
    after = datetime.now(UTC) + timedelta(seconds=1)  # RQ's times are whole seconds
    assert before + timedelta(seconds=60.5) <= due <= after + timedelta(seconds=60.5)
    assert answer["status"] == "scheduled"
    assert moment_of(answer["scheduled_for"]) == due
    assert api.get(f"/jobs/{answer['id']}").json() == answer
    assert ids_on(connection) == []
    job = rq_job(connection, answer["id"])
    assert job.get_status() is JobStatus.SCHEDULED
    assert job.should_enqueue_at_front()


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ("2090-01-01T00:00:00+02:00", "2089-12-31T22:00:00Z"),
        ("2090-01-01T00:00:00.000001Z", "2090-01-01T00:00:01Z"),
        ("9998-12-31T23:59:59-12:00", "9999-01-01T11:59:59Z"),
    ],
)
def test_a_job_can_be_given_a_time_which_is_told_in_utc(api: TestClient, at: str, due: str) -> None:
    answer = api.post("/tasks/echo", json={}, params={"at": at}).json()
    assert (answer["status"], answer["scheduled_for"]) == ("scheduled", due)
    assert api.get(f"/jobs/{answer['id']}").json()["scheduled_for"] == due


@pytest.mark.parametrize(
    "query", ["at=2020-01-01T00:00:00Z", "at=0001-01-01T00:00:00%2B12:00", "delay=0"]
)
def test_a_time_that_has_passed_means_at_once(api: TestClient, query: str) -> None:
    answer = api.post(f"/tasks/echo?{query}", json={}).json()
    assert (answer["status"], answer["scheduled_for"]) == ("queued", None)


# Waiting


def test_a_wait_that_sees_the_end_answers_200_with_the_result(
    api: TestClient, start_worker: Start
) -> None:
    start_worker()
    answer = api.post("/tasks/echo?wait=30", json={"value": {"a": 1}})
    job = answer.json()
    assert (answer.status_code, job["status"], job["result"]) == (200, "finished", {"a": 1})
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert (job["attempts"], job["error"]) == (1, None)
    assert job["worker"]
    assert job["enqueued_at"] <= job["started_at"] <= job["ended_at"]
    assert api.get(f"/jobs/{job['id']}/result").json() == {"a": 1}

    failed = api.post("/tasks/fail_as?wait=30", json={"kind": "permanent"}).json()
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert failed["error"]["type"] == "jobs.policy.PermanentFailure"
    assert failed["error"]["message"] == "no use"
    assert failed["error"]["traceback"].startswith("Traceback (most recent call last):")


def test_a_wait_that_ends_too_early_answers_202(api: TestClient) -> None:
    answer = api.post("/tasks/echo?wait=0.1", json={})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    path = answer.headers["Location"]
    assert api.get(f"{path}?wait=0.1").json()["status"] == "queued"
    assert api.get(f"{path}/result?wait=0.1").status_code == 409


def test_a_wait_for_a_job_ends_when_the_job_does(api: TestClient, connection: redis.Redis) -> None:
    job_id = submit(api)
    canceling = threading.Timer(0.3, lambda: api.post(f"/jobs/{job_id}/cancel"))
    canceling.start()
    assert api.get(f"/jobs/{job_id}?wait=30").json()["status"] == "canceled"
    canceling.join()  # its answer comes a moment later


def lose_redis(*_: object) -> None:
    raise RedisConnectionError("gone")


def delete_the_job(api: TestClient) -> Callable[..., None]:
    def delete(_broker: Any, job_id: str, _seconds: float) -> None:
        api.app.state.broker.actions.delete(job_id)  # type: ignore[attr-defined]
        raise JobNotFound(job_id)

    return delete


@pytest.mark.parametrize("what", ["Redis is lost", "the job is deleted"])
def test_an_accepted_job_stays_accepted_whatever_happens_while_its_end_is_waited_for(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    happens = lose_redis if what == "Redis is lost" else delete_the_job(api)
    broker = api.app.state.broker  # type: ignore[attr-defined]
    monkeypatch.setattr(type(broker), "ended", happens)
    answer = api.post("/tasks/echo?wait=5", json={})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


# Listing


@pytest.fixture
def some_jobs(api: TestClient, connection: redis.Redis) -> dict[str, str]:
    """Jobs that differ in what a listing can be filtered by."""
    jobs = {
        "plain": submit(api),
        "mail": submit(api, queue="mail"),
        "later": submit(api, delay=600),
        "other": api.post("/tasks/heavy_cpu_task", json={"n": 1}).json()["id"],
        "canceled": submit(api),
    }
    api.post(f"/jobs/{jobs['canceled']}/cancel")
    return jobs


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["canceled", "other", "later", "mail", "plain"]),
        ("status=queued", ["other", "mail", "plain"]),
        ("status=scheduled", ["later"]),
        ("status=canceled", ["canceled"]),
        ("status=finished", []),
        ("task=heavy_cpu_task", ["other"]),
        ("task=none", []),
        ("queue=mail", ["mail"]),
        ("queue=none", []),
        ("queue=default&status=queued&task=echo", ["plain"]),
        ("limit=2", ["canceled", "other"]),
        ("since=2020-01-01T00:00:00Z", ["canceled", "other", "later", "mail", "plain"]),
        ("since=2090-01-01T00:00:00%2B02:00", []),
    ],
)
def test_jobs_are_listed_newest_first_as_the_filters_say(
    api: TestClient, some_jobs: dict[str, str], query: str, names: list[str]
) -> None:
    page = api.get(f"/jobs?{query}").json()
    assert [job["id"] for job in page["jobs"]] == [some_jobs[name] for name in names]
    shown = [api.get(f"/jobs/{some_jobs[name]}").json() for name in names]
    assert page["jobs"] == [job | {"eta": None} for job in shown]  # which single jobs alone tell


def test_since_begins_with_the_job_of_that_very_moment(api: TestClient) -> None:
    older, middle, newer = (submit(api) for _ in range(3))
    since = api.get(f"/jobs/{middle}").json()["enqueued_at"]
    page = api.get("/jobs", params={"since": since}).json()
    assert [job["id"] for job in page["jobs"]] == [newer, middle]
    assert older not in json.dumps(page)


def test_pages_hold_every_job_once_while_new_ones_arrive(api: TestClient) -> None:
    submitted = [submit(api, number) for number in range(120)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/jobs", params={"limit": 50, **cursor}).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        submit(api, "meanwhile")
    assert seen == submitted[::-1]


def test_the_last_page_has_no_next_even_when_it_is_full(api: TestClient) -> None:
    for _ in range(4):
        submit(api)
    first = api.get("/jobs?limit=2").json()
    last = api.get("/jobs", params={"limit": 2, "cursor": first["next"]}).json()
    assert (len(last["jobs"]), last["next"]) == (2, None)
    assert api.get("/jobs", params={"cursor": last["jobs"][-1]["id"]}).json()["jobs"] == []


def test_a_filter_that_few_jobs_fit_still_finds_them_page_by_page(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.broker.listing.MOST_READ", 10)
    rare = api.post("/tasks/heavy_cpu_task", json={"n": 1}).json()["id"]
    for _ in range(25):
        submit(api)
    found, cursor, pages = [], {}, 0
    while cursor is not None:
        page = api.get("/jobs", params={"task": "heavy_cpu_task", **cursor}).json()
        found += [job["id"] for job in page["jobs"]]
        cursor, pages = {"cursor": page["next"]} if page["next"] else None, pages + 1
    assert (found, pages) == ([rare], 3)


# Acting


@pytest.mark.parametrize("options", [{}, {"delay": 600}], ids=["queued", "scheduled"])
def test_a_job_that_does_not_run_yet_can_be_canceled(
    api: TestClient, connection: redis.Redis, options: dict[str, Any]
) -> None:
    job_id = submit(api, **options)
    answer = api.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert answer.json()["ended_at"] is not None
    job = rq_job(connection, job_id)
    assert job.get_status() is JobStatus.CANCELED
    assert job_id in CanceledJobRegistry(queue=rq_queue(connection))
    assert ids_on(connection) == []
    assert rq_queue(connection).scheduled_job_registry.get_job_ids(cleanup=False) == []
    assert connection.ttl(job.key) > 0
    assert api.post(f"/jobs/{job_id}/cancel").json()["job_status"] == "canceled"


def test_a_waiting_job_can_be_canceled(api: TestClient, connection: redis.Redis) -> None:
    queue = rq_queue(connection)
    waiting = queue.enqueue(ECHO, depends_on=queue.enqueue(ECHO))
    assert api.post(f"/jobs/{waiting.id}/cancel").json()["status"] == "canceled"
    assert waiting.id not in queue.deferred_job_registry
    assert connection.ttl(waiting.key) > 0


def test_canceling_a_job_gives_up_its_place_under_a_limit(
    api: TestClient, connection: redis.Redis
) -> None:
    for act in (
        lambda job: api.post(f"/jobs/{job.id}/cancel"),
        lambda job: api.delete(f"/jobs/{job.id}"),
    ):
        queue, limit = rq_queue(connection), RateLimit("few", 1)
        first, second = (queue.enqueue(ECHO, rate_limit=limit) for _ in range(2))
        assert ids_on(connection) == [first.id]
        act(first)
        assert ids_on(connection) == [second.id]
        api.delete(f"/jobs/{second.id}")


def failed_job(connection: redis.Redis, **options: Any) -> Job:
    queue = rq_queue(connection)
    job = queue.enqueue(ECHO, kwargs={"value": 5}, **options)
    queue.remove(job)
    fail(job)
    return job


def fail(job: Job, status: JobStatus = JobStatus.FAILED) -> None:
    """As RQ's worker does."""
    with job.connection.pipeline() as pipe:
        job.set_status(status, pipeline=pipe)
        job._handle_failure("ValueError: it never works\n", pipe)
        pipe.execute()


def test_a_failed_job_can_be_run_again(
    api: TestClient, connection: redis.Redis, start: Start
) -> None:
    job = failed_job(connection, retry=Retry(2, interval=[3, 4]))
    connection.hset(job.key, "retries_left", 0)
    assert api.get(f"/jobs/{job.id}").json()["error"]["message"] == "it never works"

    answer = api.post(f"/jobs/{job.id}/retry")
    told = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{job.id}")
    assert (told["status"], told["error"], told["ended_at"]) == ("queued", None, None)
    assert told["retries_left"] == 2
    assert job.id not in FailedJobRegistry(queue=rq_queue(connection))
    assert ids_on(connection) == [job.id]
    assert connection.ttl(job.key) == -1

    assert start_burst(start) == 0
    assert api.get(f"/jobs/{job.id}/result").json() == 5


@pytest.mark.parametrize("name", ["queued", "scheduled", "failed", "canceled", "finished"])
def test_a_deleted_job_leaves_nothing_behind(
    api: TestClient, connection: redis.Redis, name: str
) -> None:
    job = {status.value: make for status, make in MAKERS.items()}[name](connection)
    answer = api.delete(f"/jobs/{job.id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(f"/jobs/{job.id}").status_code == 404
    assert api.get("/jobs").json()["jobs"] == []
    assert [key for key in connection.scan_iter() if job.id.encode() in key] == []


def test_a_job_that_a_worker_takes_at_that_moment_is_not_deleted(
    api: TestClient, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(api)
    actions = type(api.app.state.broker.actions)  # type: ignore[attr-defined]
    find = actions._find

    def find_just_before_it_is_taken(self: Any, asked: str) -> Job:
        job = find(self, asked)
        if job.get_status(refresh=False) is JobStatus.QUEUED:
            run(rq_job(connection, job_id))
        return job

    monkeypatch.setattr(actions, "_find", find_just_before_it_is_taken)
    assert api.delete(f"/jobs/{job_id}").json()["job_status"] == "running"
    assert rq_job(connection, job_id).get_status() is JobStatus.STARTED


# Every status of RQ's


def run(job: Job) -> None:
    """As RQ's worker does."""
    rq_queue(job.connection).remove(job)
    with job.connection.pipeline() as pipe:
        Execution.create(job, ttl=60, pipeline=pipe, worker_name="worker")
        job.prepare_for_execution("worker", pipe)
        pipe.execute()


def created(connection: redis.Redis) -> Job:
    job = Job.create(ECHO, connection=connection, serializer="json", origin="default")
    job.save()
    return job


def queued(connection: redis.Redis) -> Job:
    return rq_queue(connection).enqueue(ECHO)


def scheduled(connection: redis.Redis) -> Job:
    return rq_queue(connection).enqueue_in(timedelta(minutes=5), ECHO)


def deferred(connection: redis.Redis) -> Job:
    return rq_queue(connection).enqueue(ECHO, depends_on=queued(connection))


def ready_to_enqueue(connection: redis.Redis) -> Job:
    job = deferred(connection)
    with connection.pipeline() as pipe:
        ReadyJobRegistry(queue=rq_queue(connection)).register_jobs([job], pipe)
        pipe.execute()
    return job


def rate_limited(connection: redis.Redis) -> Job:
    limit = RateLimit("few", 1)
    rq_queue(connection).enqueue(ECHO, rate_limit=limit)
    return rq_queue(connection).enqueue(ECHO, rate_limit=limit)


def started(connection: redis.Redis) -> Job:
    job = queued(connection)
    run(job)
    return job


def finished(connection: redis.Redis) -> Job:
    job = queued(connection)
    rq_queue(connection).remove(job)
    job._result = 5
    with connection.pipeline() as pipe:
        job._handle_success(500, pipe)
        pipe.execute()
    return job


def stopped(connection: redis.Redis) -> Job:
    job = started(connection)
    fail(job, JobStatus.STOPPED)
    return job


def canceled(connection: redis.Redis) -> Job:
    job = queued(connection)
    job.cancel()
    return job


MAKERS: dict[JobStatus, Callable[[redis.Redis], Job]] = {
    JobStatus.CREATED: created,
    JobStatus.QUEUED: queued,
    JobStatus.FINISHED: finished,
    JobStatus.FAILED: failed_job,
    JobStatus.STARTED: started,
    JobStatus.DEFERRED: deferred,
    JobStatus.SCHEDULED: scheduled,
    JobStatus.STOPPED: stopped,
    JobStatus.CANCELED: canceled,
    JobStatus.RATE_LIMITED: rate_limited,
    JobStatus.READY_TO_ENQUEUE: ready_to_enqueue,
}
TOLD = {
    JobStatus.CREATED: "waiting",
    JobStatus.QUEUED: "queued",
    JobStatus.FINISHED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.STARTED: "running",
    JobStatus.DEFERRED: "waiting",
    JobStatus.SCHEDULED: "scheduled",
    JobStatus.STOPPED: "canceled",
    JobStatus.CANCELED: "canceled",
    JobStatus.RATE_LIMITED: "waiting",
    JobStatus.READY_TO_ENQUEUE: "waiting",
}
UNLISTED = (JobStatus.CREATED,)  # RQ has it on no list, so that it can be found by its id only


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_of_every_rq_status_is_shown_and_listed(
    api: TestClient, connection: redis.Redis, status: JobStatus
) -> None:
    job = MAKERS[status](connection)
    assert rq_job(connection, job.id).get_status() is status
    shown = api.get(f"/jobs/{job.id}").json()
    assert (shown["status"], shown["task"]) == (TOLD[status], "echo")
    assert (shown["error"] is not None) == (status is JobStatus.FAILED)
    for query in ("", f"?status={TOLD[status]}", "?queue=default"):
        listed = [found["id"] for found in api.get(f"/jobs{query}").json()["jobs"]]
        assert listed.count(job.id) == (0 if status in UNLISTED else 1), query


# Jobs of other programs, on the same Redis


def test_jobs_of_other_programs_are_shown_as_far_as_they_can_be_read(
    api: TestClient, connection: redis.Redis
) -> None:
    by_function = rq_queue(connection).enqueue("tests.sample_tasks.echo", 5)
    foreign = rq_queue(connection).enqueue("os.getpid", 1, a=2)
    pickled = Queue("default", connection).enqueue(
        "os.getpid", 1, meta={"a": datetime.now(UTC)}, description="é"
    )
    shown = {job["id"]: job for job in api.get("/jobs").json()["jobs"]}
    assert (shown[by_function.id]["task"], shown[by_function.id]["parameters"]) == (
        "echo",
        {"value": 5},
    )
    assert (shown[foreign.id]["task"], shown[foreign.id]["parameters"]) == (
        "os.getpid",
        {"0": 1, "a": 2},
    )
    assert (shown[pickled.id]["task"], shown[pickled.id]["parameters"]) == ("unreadable", None)
    assert api.post(f"/jobs/{pickled.id}/cancel").json()["status"] == "canceled"
    assert api.delete(f"/jobs/{pickled.id}").status_code == 204


def test_values_that_json_has_no_word_for_are_told_all_the_same(
    api: TestClient, connection: redis.Redis
) -> None:
    job = rq_queue(connection).enqueue(ECHO, kwargs={"value": float("nan")})
    half = rq_queue(connection).enqueue(ECHO, kwargs={"value": "\ud800"})
    assert api.get(f"/jobs/{job.id}").json()["parameters"] == {"value": None}
    assert api.get(f"/jobs/{half.id}").json()["parameters"] == {"value": "\ud800"}
    assert len(api.get("/jobs").json()["jobs"]) == 2

    job._result = [float("inf")]
    with connection.pipeline() as pipe:
        job._handle_success(500, pipe)
        pipe.execute()
    assert api.get(f"/jobs/{job.id}/result").text == "[null]"


def test_a_hash_without_a_job_is_no_job(api: TestClient, connection: redis.Redis) -> None:
    connection.hset("rq:job:ghost", "last_heartbeat", MOMENT)  # as a late heartbeat leaves it
    rq_queue(connection).push_job_id("ghost")
    for answer in (
        api.get("/jobs/ghost"),
        api.delete("/jobs/ghost"),
        api.post("/jobs/ghost/cancel"),
    ):
        assert answer.status_code == 404
    assert api.get("/jobs").json()["jobs"] == []


# Queues, workers, health


def test_queues_are_counted_by_status(api: TestClient, connection: redis.Redis) -> None:
    for make in (queued, started, scheduled, finished, failed_job, canceled):
        make(connection)
    connection.hset(
        rq_job(connection, ids_on(connection)[0]).key,
        "enqueued_at",
        (datetime.now(UTC) - timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    )
    shown = api.get("/queues/default").json()
    assert 90 <= shown.pop("oldest_age") < 120
    assert shown == {
        "name": "default",
        "queued": 1,
        "running": 1,
        "scheduled": 1,
        "waiting": 0,
        "finished": 1,
        "failed": 1,
        "canceled": 1,
        "workers": 0,
        "eta": None,
        "throughput": 0.0,
        "paused": False,
    }


def test_every_queue_is_listed_whether_or_not_it_has_jobs(
    api: TestClient, connection: redis.Redis
) -> None:
    rq_queue(connection, "elsewhere").enqueue(ECHO)
    listed = api.get("/queues").json()
    assert [queue["name"] for queue in listed] == ["cpu", "default", "elsewhere", "io", "mail"]
    assert [queue["oldest_age"] for queue in listed if queue["name"] != "elsewhere"] == [None] * 4


def test_workers_show_what_they_do(
    api: TestClient, connection: redis.Redis, start_worker: Start
) -> None:
    assert api.get("/workers").json() == []
    process = start_worker("--queues", "mail,default")
    (idle,) = api.get("/workers").json()
    assert (idle["pid"], idle["queues"]) == (process.pid, ["mail", "default"])
    assert idle["job"] is None
    assert idle["started_at"] <= idle["last_seen_at"]

    job_id = api.post("/tasks/sleep", json={"seconds": 60}).json()["id"]
    eventually(lambda: api.get("/workers").json()[0]["job"] == job_id)
    (busy,) = api.get("/workers").json()
    assert busy["state"] == "busy"
    assert api.get(f"/jobs/{job_id}").json()["worker"] == busy["name"]
    counts = {queue["name"]: queue["workers"] for queue in api.get("/queues").json()}
    assert counts == {"cpu": 0, "default": 1, "io": 0, "mail": 1}
    assert api.get("/queues/default").json()["running"] == 1


def test_the_service_is_live_and_ready_and_warns_of_queues_that_nobody_serves(
    api: TestClient, start_worker: Start
) -> None:
    assert api.get("/health/live").json() == {"status": "live"}
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.json()["warnings"] == [
        f"no worker listens on queue {name!r}" for name in ("cpu", "default", "io", "mail")
    ]
    start_worker("--queues", "mail,default")
    start_worker("--io")
    assert api.get("/health/ready").json()["warnings"] == ["no worker listens on queue 'cpu'"]


# Requests in general


@pytest.mark.parametrize("path", ["/tasks", "/jobs", "/jobs/none", "/nowhere", "/health/live"])
def test_every_answer_bears_a_request_id(api: TestClient, path: str) -> None:
    first, second = (api.get(path).headers["X-Request-ID"] for _ in range(2))
    assert len(first) == 32 and first != second


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a-b_c.1:2=3+4/5", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ("é", False),
    ],
)
def test_a_callers_own_request_id_is_kept_where_it_is_harmless(
    api: TestClient, given: str, kept: bool
) -> None:
    answer = api.get("/health/live", headers={"X-Request-ID": given.encode()})
    assert (answer.headers["X-Request-ID"] == given) is kept


# Below a path


def below(app: FastAPI) -> TestClient:
    outer = FastAPI()
    outer.mount("/work", app)
    return TestClient(outer, base_url="http://127.0.0.1", follow_redirects=False)


def behind_a_proxy(app: FastAPI) -> TestClient:
    """As with `uvicorn --root-path /work`, which puts the root path before each path."""
    return TestClient(
        app, base_url="http://127.0.0.1/work", root_path="/work", follow_redirects=False
    )


@pytest.mark.parametrize("mounted", [below, behind_a_proxy])
def test_below_a_path_everything_leads_back_below_it(
    settings: Settings,
    catalogue: Catalogue,
    connection: redis.Redis,
    mounted: Callable[[FastAPI], TestClient],
) -> None:
    app = create_app(settings, catalogue)
    with mounted(app) as client:
        base = "" if mounted is behind_a_proxy else "/work"
        answer = client.post(f"{base}/tasks/echo", json={"value": 1})
        assert (answer.status_code, answer.headers["Location"]) == (
            202,
            f"/work/jobs/{answer.json()['id']}",
        )
        job = answer.json()["id"]
        assert client.get(f"{base}/jobs/{job}").json()["id"] == job
        assert 'href="/work/docs"' in client.get(f"{base}/").text
        assert client.get(f"{base}/openapi.json").json()["servers"] == [{"url": "/work"}]
        assert client.put(f"{base}/jobs/{job}").headers["Allow"] == "DELETE, GET"
        assert client.get(f"{base}/dashboard/").status_code == 200
        fail(rq_job(connection, job))
        assert client.post(f"{base}/jobs/{job}/retry").headers["Location"] == f"/work/jobs/{job}"


def test_below_a_path_the_health_checks_stay_open(settings: Settings, catalogue: Catalogue) -> None:
    guarded = settings.model_copy(
        update={"api_keys": Settings(api_keys="a-key-of-sixteen-letters").api_keys}
    )
    with below(create_app(guarded, catalogue)) as client:
        assert client.get("/work/health/live").status_code == 200
        assert client.get("/work/jobs").status_code == 401


def test_the_application_can_be_started_again_after_it_was_stopped(
    settings: Settings, catalogue: Catalogue
) -> None:
    app = create_app(settings, catalogue)
    for _ in range(2):
        with TestClient(app, base_url="http://127.0.0.1") as client:
            assert client.post("/tasks/echo", json={}).status_code == 202
            assert len(client.get("/jobs").json()["jobs"]) >= 1


def test_an_application_makes_no_connection_until_it_is_asked_something(
    tmp_path: Any, catalogue: Catalogue, server: RedisServer
) -> None:
    before = server.client.info("stats")["total_connections_received"]
    with TestClient(create_app(Settings(redis_url=server.url, data_dir=tmp_path), catalogue)):
        pass
    assert server.client.info("stats")["total_connections_received"] == before
