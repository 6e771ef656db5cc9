"""The dashboard: rq-dashboard 0.9.0 as Paddock mends it, against a real server."""

import asyncio
import base64
import json
import pickle
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from redis import Redis
from rq import Queue, Retry, Worker
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq_dashboard import web
from starlette.applications import Starlette
from starlette.routing import Mount

from service.api.dashboard import dashboard
from service.broker.connection import connect
from tests.conftest import RedisServer

ROOT = Path(__file__).parents[2]
TASK = "jobs.heavy_cpu_task.heavy_cpu_task.run"
MARKUP = "<img src=x onerror=alert(1)>"
LONG = 3600  # seconds


class Browser:
    """Requests to an ASGI app."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._send("GET", path))

    def head(self, path: str) -> httpx.Response:
        return asyncio.run(self._send("HEAD", path))

    def post(self, path: str) -> httpx.Response:
        return asyncio.run(self._send("POST", path))

    async def _send(self, method: str, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", follow_redirects=True
        ) as client:
            return await client.request(method, path)


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def http(redis_url: str) -> Browser:
    return browser(redis_url)


def browser(url: str) -> Browser:
    return Browser(Starlette(routes=[Mount("/dashboard", app=dashboard(url))]))


@pytest.fixture
def queue(client: Redis) -> Queue:
    return Queue("cpu", connection=client, serializer="json")


# --- jobs in every state -----------------------------------------------------------------------


def enqueue(queue: Queue, n: int = 10, **options: Any) -> Job:
    options = {"description": f"heavy_cpu_task(n={n})"} | options
    return queue.enqueue_call(TASK, kwargs={"n": n}, **options)


def finish(queue: Queue, result: Any = 285) -> Job:
    job = enqueue(queue)
    queue.remove(job)
    job.set_status(JobStatus.FINISHED)
    FinishedJobRegistry(queue=queue).add(job, LONG)
    Result.create(job, Result.Type.SUCCESSFUL, LONG, return_value=result)
    return job


def fail(
    queue: Queue,
    error: str = "ValueError: no",
    status: JobStatus = JobStatus.FAILED,
    **options: Any,
) -> Job:
    job = enqueue(queue, **options)
    queue.remove(job)
    job.set_status(status)
    FailedJobRegistry(queue=queue).add(job, exc_string=error)
    Result.create_failure(job, LONG, error)
    return job


def start(queue: Queue, worker: str = "w1") -> Job:
    job = enqueue(queue)
    queue.remove(job)
    with queue.connection.pipeline() as pipe:
        Execution.create(job, LONG, pipe, worker_name=worker)
        job.set_status(JobStatus.STARTED, pipeline=pipe)
        pipe.execute()
    return job


def create(queue: Queue) -> Job:
    job = queue.create_job(TASK, kwargs={"n": 10}, description="heavy_cpu_task(n=10)")
    job.save()
    job.set_status(JobStatus.CREATED)
    return job


def schedule(queue: Queue) -> Job:
    job = create(queue)
    queue.schedule_job(job, job.created_at.replace(year=2100))
    return job


def cancel(queue: Queue) -> Job:
    job = enqueue(queue)
    job.cancel()
    return job


def make_ready(queue: Queue) -> Job:
    job = create(queue)
    job.set_status(JobStatus.READY_TO_ENQUEUE)
    ReadyJobRegistry(queue=queue).add(job)
    queue.connection.sadd(Queue.redis_queues_keys, queue.key)
    return job


def limit(queue: Queue) -> Job:
    enqueue(queue, rate_limit=RateLimit("licence", 1))
    return enqueue(queue, n=11, rate_limit=RateLimit("licence", 1))


MAKERS: dict[JobStatus, tuple[Callable[[Queue], Job], str | None]] = {
    JobStatus.CREATED: (create, None),
    JobStatus.QUEUED: (enqueue, "queued"),
    JobStatus.FINISHED: (finish, "finished"),
    JobStatus.FAILED: (fail, "failed"),
    JobStatus.STARTED: (start, "started"),
    JobStatus.DEFERRED: (lambda queue: enqueue(queue, depends_on=enqueue(queue)), "deferred"),
    JobStatus.SCHEDULED: (schedule, "scheduled"),
    JobStatus.STOPPED: (lambda queue: fail(queue, "", JobStatus.STOPPED), "failed"),
    JobStatus.CANCELED: (cancel, "canceled"),
    JobStatus.RATE_LIMITED: (limit, "rate_limited"),
    JobStatus.READY_TO_ENQUEUE: (make_ready, "ready"),
}
REGISTRIES = sorted({registry for _maker, registry in MAKERS.values() if registry})


class Exploit:
    """Unpickling it touches a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def poison(job: Job, target: Path) -> None:
    """Replace all that a job holds by pickles."""
    pickled = pickle.dumps(Exploit(target))
    fields = {"data": zlib.compress(pickled), "meta": pickled, "result": pickled}
    job.connection.hset(job.key, mapping=fields)
    entry = {"type": 1, "return_value": base64.b64encode(pickled)}
    job.connection.xadd(Result.get_key(job.id), entry)


def register_worker(client: Redis, name: str = "w1", queues: str = "cpu") -> None:
    key = f"{Worker.redis_worker_namespace_prefix}{name}"
    client.sadd(Worker.redis_workers_keys, key)
    client.hset(key, mapping={"state": "busy", "queues": queues, "version": "3.0.0"})


# --- what the browser asks for -----------------------------------------------------------------


def data(http: Browser, path: str) -> Any:
    answer = http.get(f"/dashboard/0/data/{path}.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown_job(http: Browser, job: Job) -> Any:
    return data(http, f"job/{job.id}")


def listed(http: Browser, registry: str, *, per_page: int = 8, order: str = "asc", page: int = 1):
    return data(http, f"jobs/cpu/{registry}/{per_page}/{order}/{page}")


def listed_ids(http: Browser, registry: str, **page: Any) -> list[str]:
    return [row["id"] for row in listed(http, registry, **page)["jobs"]]


def paths(job: Job) -> list[str]:
    """Every GET of the dashboard."""
    pages = ["", "0/", "0/view", "0/view/queues", "0/view/workers", "0/view/jobs"]
    pages += [f"0/view/jobs/cpu/{registry}/8/asc/1" for registry in REGISTRIES]
    jsons = ["queues", "workers", f"job/{job.id}"]
    jsons += [
        f"jobs/cpu/{registry}/8/{order}/1" for registry in REGISTRIES for order in ("asc", "dsc")
    ]
    pages += [f"0/view/job/{job.id}", *(f"0/data/{name}.json" for name in jsons)]
    return [f"/dashboard/{page}" for page in pages]


def everything_stored(client: Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter()}


# --- the mount ---------------------------------------------------------------------------------


def test_links_and_static_files_work_under_the_mount(http: Browser) -> None:
    page = http.get("/dashboard")
    links = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
    assert len(links) >= 8
    assert all(link.startswith("/dashboard/") for link in links)
    assert {http.get(link).status_code for link in links} == {200}
    assert 'var url = "/dashboard/";' in page.text


def test_all_but_static_files_are_our_views(http: Browser) -> None:
    app = http.app.routes[0].app.app
    upstreams = {
        endpoint
        for endpoint, view in app.view_functions.items()
        if getattr(view, "__module__", "").startswith(("rq_dashboard", "flask"))
        and endpoint.startswith("rq_dashboard.")
    }
    upstreams |= {name for name, view in app.view_functions.items() if view in vars(web).values()}
    assert upstreams <= {"rq_dashboard.favicon", "rq_dashboard.static"}


def test_no_connection_is_made_before_the_first_request(tmp_path: Path) -> None:
    http = browser(f"unix://{tmp_path}/nobody-listens.sock")
    answer = http.get("/dashboard/0/data/queues.json")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert http.get("/dashboard/").status_code == 200


def test_requests_share_their_connections(http: Browser, client: Redis, queue: Queue) -> None:
    job = finish(queue)
    for path in paths(job):
        http.get(path)
    before = client.info("stats")["total_connections_received"]
    for path in paths(job):
        http.get(path)
    assert client.info("stats")["total_connections_received"] - before <= 10  # threads


def test_two_dashboards_work_side_by_side(http: Browser, queue: Queue, own: RedisServer) -> None:
    here = enqueue(queue)
    with connect(own.url) as elsewhere:
        other = browser(own.url)
        there = enqueue(Queue("cpu", connection=elsewhere, serializer="json"))
        for _ in range(3):
            assert listed_ids(http, "queued") == [here.id]
            assert listed_ids(other, "queued") == [there.id]
        other.post(f"/dashboard/job/{there.id}/delete")
        assert listed_ids(http, "queued") == [here.id]
        assert listed_ids(other, "queued") == []


def test_upstreams_module_is_left_as_it_was(redis_url: str) -> None:
    before = dict(vars(web)), dict(vars(web.config)), web.config.serializer
    browser(redis_url).get("/dashboard/0/data/queues.json")
    assert (dict(vars(web)), dict(vars(web.config)), web.config.serializer) == before


def test_another_instance_is_not_found(http: Browser) -> None:
    assert http.get("/dashboard/1/view/queues").status_code == 404
    assert http.get("/dashboard/1/data/queues.json").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@127.0.0.1:6390/2",
        "redis://:s3@cret@127.0.0.1:6390/2",
        "rediss://127.0.0.1:6390/2?password=s3cret",
        "unix:///tmp/paddock.sock?password=s3cret",
        "unix://user:s3cret@/tmp/paddock.sock",
    ],
)
def test_the_redis_is_named_without_its_password(url: str) -> None:
    page = browser(url).get("/dashboard/").text
    assert ("127.0.0.1:6390/2" if url.startswith("redis") else "/tmp/paddock.sock") in page
    assert "cret" not in page


# --- what is shown -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_of_every_status_is_shown(http: Browser, queue: Queue, status: JobStatus) -> None:
    make, registry = MAKERS[status]
    job = make(queue)
    assert job.get_status() == status
    shown = shown_job(http, job)
    assert shown["status"] == status.value
    assert shown["origin"] == "cpu"
    assert http.get(f"/dashboard/0/view/job/{job.id}").status_code == 200
    if registry:
        assert job.id in listed_ids(http, registry)
        assert http.get(f"/dashboard/0/view/jobs/cpu/{registry}/8/asc/1").status_code == 200


def test_the_queues_page_counts_the_jobs_of_every_registry(http: Browser, queue: Queue) -> None:
    for make, _registry in MAKERS.values():
        make(queue)
    [shown] = data(http, "queues")["queues"]
    for registry in REGISTRIES:
        counted = shown["count" if registry == "queued" else f"{registry}_job_registry_count"]
        assert counted == len(listed_ids(http, registry, per_page=100)) > 0, registry
        assert http.get(shown[f"{registry}_url"]).status_code == 200


def test_an_unknown_registry_is_not_found(http: Browser, queue: Queue) -> None:
    enqueue(queue)
    assert http.get("/dashboard/0/view/jobs/cpu/nonsense/8/asc/1").status_code == 404
    assert http.get("/dashboard/0/data/jobs/cpu/nonsense/8/asc/1.json").status_code == 404
    assert http.post("/dashboard/queue/cpu/nonsense/empty").status_code == 404


@pytest.mark.parametrize("page", ["0/asc/1", "8/asc/0", "x/asc/1", "8/asc/x", f"8/asc/{10**40}"])
def test_an_impossible_page_is_not_found(http: Browser, page: str) -> None:
    assert http.get(f"/dashboard/0/data/jobs/cpu/queued/{page}.json").status_code == 404


def test_description_and_full_arguments_are_shown(http: Browser, queue: Queue) -> None:
    text = "word " * 200
    job = queue.enqueue_call(TASK, args=[text], kwargs={"n": 10}, description="heavy_cpu_task(…)")
    shown = shown_job(http, job)
    assert shown["description"] == "heavy_cpu_task(…)"
    assert shown["call"] == f"{TASK}({text!r}, n=10)"
    assert listed(http, "queued")["jobs"][0]["description"] == "heavy_cpu_task(…)"
    assert "<strong>Call</strong>" in http.get(f"/dashboard/0/view/job/{job.id}").text


def test_dependencies_are_shown(http: Browser, queue: Queue, client: Redis) -> None:
    first, second = enqueue(queue), enqueue(queue)
    job = enqueue(queue, depends_on=[first, second])
    client.delete(second.key)
    shown = shown_job(http, job)
    states = dict(zip(shown["depends_on"], shown["depends_on_status"]))
    assert states == {first.id: "active", second.id: "expired"}


def test_a_result_is_shown_exactly(http: Browser, queue: Queue) -> None:
    huge = 333_332_833_333_500_003  # a JavaScript number would round it
    assert shown_job(http, finish(queue, {"sum": huge}))["result"] == f'{{\n  "sum": {huge}\n}}'
    assert shown_job(http, finish(queue, float("nan")))["result"] == "NaN"
    assert shown_job(http, finish(queue, None))["result"] == "null"
    assert shown_job(http, enqueue(queue))["result"] == ""


def test_a_result_that_is_no_json_is_shown_as_text(http: Browser, queue: Queue) -> None:
    assert shown_job(http, finish(queue, b"\x00\xff"))["result"] == '"Unserializable return value"'
    job = finish(queue)
    entry = {"type": 1, "return_value": base64.b64encode(pickle.dumps(b"\x00\xff"))}
    queue.connection.xadd(Result.get_key(job.id), entry)
    assert "can't be read as JSON" in shown_job(http, job)["result"]
    assert job.id in listed_ids(http, "finished")


def test_an_error_is_shown_with_its_traceback(http: Browser, queue: Queue) -> None:
    job = fail(queue, "Traceback (most recent call last):\n  …\nValueError: no")
    assert shown_job(http, job)["exc_info"].endswith("ValueError: no")
    assert listed(http, "failed")["jobs"][0]["exc_info"].endswith("ValueError: no")


def test_metadata_is_shown(http: Browser, queue: Queue) -> None:
    job = enqueue(queue, meta={"progress": 0.5})
    assert json.loads(shown_job(http, job)["metadata"]) == {"progress": 0.5}


def test_pickles_are_never_loaded(
    http: Browser, queue: Queue, client: Redis, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    register_worker(client)
    jobs = [start(queue), finish(queue), fail(queue), limit(queue), cancel(queue), enqueue(queue)]
    for job in jobs:
        poison(job, touched)
        client.hdel(job.key, "description")
        assert {http.get(path).status_code for path in paths(job)} == {200}
        assert "can't be read as JSON" in shown_job(http, job)["description"]
        assert "can't be read as JSON" in shown_job(http, job)["call"]
    assert data(http, "workers")["workers"][0]["current_job"]["job_id"] == jobs[0].id
    http.post("/dashboard/requeue/cpu")
    for registry in REGISTRIES:
        http.post(f"/dashboard/queue/cpu/{registry}/empty")
    assert not touched.exists()
    pickle.loads(pickle.dumps(Exploit(touched)))
    assert touched.exists()  # so the exploit works where it is let


def test_a_missing_job_is_not_found(http: Browser) -> None:
    for missing in ("no-such-job", "not.an.id"):
        assert http.get(f"/dashboard/0/view/job/{missing}").status_code == 404
        assert http.get(f"/dashboard/0/data/job/{missing}.json").status_code == 404
        assert http.post(f"/dashboard/job/{missing}/delete").status_code == 404
        assert http.post(f"/dashboard/job/{missing}/requeue").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "dreaming"),
        ("created_at", "yesterday"),
        ("description", b"\xff"),
        ("timeout", "x"),
    ],
)
def test_a_job_that_cannot_be_read_is_shown_with_the_reason(
    http: Browser, queue: Queue, client: Redis, field: str, value: Any
) -> None:
    sound, broken = enqueue(queue), enqueue(queue)
    client.hset(broken.key, field, value)
    assert "can't be read" in shown_job(http, broken)["description"]
    rows = {row["id"]: row for row in listed(http, "queued")["jobs"]}
    assert rows[sound.id]["description"] == "heavy_cpu_task(n=10)"
    assert "can't be read" in rows[broken.id]["description"]
    assert http.post(f"/dashboard/job/{broken.id}/delete").status_code == 409


def test_a_hash_without_its_data_does_not_hide_the_others(
    http: Browser, queue: Queue, client: Redis
) -> None:
    sound, broken = enqueue(queue), enqueue(queue)
    client.hdel(broken.key, "data")
    assert listed_ids(http, "queued") == [sound.id, broken.id]


def test_workers_are_shown_with_their_jobs(http: Browser, queue: Queue, client: Redis) -> None:
    register_worker(client, "w1", "cpu,mail")
    register_worker(client, "w2")
    client.sadd(Worker.redis_workers_keys, f"{Worker.redis_worker_namespace_prefix}dead")
    job = start(queue, "w1")
    shown = {worker["name"]: worker for worker in data(http, "workers")["workers"]}
    assert shown.keys() == {"w1", "w2"}
    busy, idle = shown["w1"], shown["w2"]
    assert idle["current_job"] == "idle"
    assert busy["queues"] == ["cpu", "mail"]
    assert busy["current_job"]["job_id"] == job.id
    assert busy["current_job"]["call_string"] == "heavy_cpu_task(n=10)"


# --- pages of jobs -----------------------------------------------------------------------------


@pytest.mark.parametrize("registry", ["queued", "failed", "rate_limited"])
@pytest.mark.parametrize("order", ["asc", "dsc"])
def test_pages_hold_the_right_slices(
    http: Browser, queue: Queue, client: Redis, registry: str, order: str
) -> None:
    enqueue(queue, rate_limit=RateLimit("k", 1))  # takes the only place
    ids: list[str] = []
    for moment in range(19):
        match registry:
            case "queued":
                ids.append(enqueue(queue).id)
            case "failed":
                job = fail(queue)
                client.zadd(
                    FailedJobRegistry(queue=queue).key, {job.id: time.time() + LONG + moment}
                )
                ids.append(job.id)
            case "rate_limited":
                job = enqueue(queue, rate_limit=RateLimit("k", 1))
                # RQ's own times are whole seconds, and jobs of one second are in no order.
                client.zadd(RateLimitRegistry("k", client).rate_limited_key, {job.id: moment})
                ids.append(job.id)
    if registry == "queued":
        ids = queue.get_job_ids()
    expected = ids[::-1] if order == "dsc" else ids
    for page in (1, 2, 3, 4):
        slice_ = expected[(page - 1) * 8 : page * 8]
        assert listed_ids(http, registry, order=order, page=page) == slice_
    pagination = listed(http, registry, order=order, page=2)["pagination"]
    assert pagination["num_pages"] == 3
    assert [page["number"] for page in pagination["pages_in_window"]] == [1, 2, 3]
    assert pagination["next_page"]["url"].endswith(f"/cpu/{registry}/8/{order}/3")
    assert pagination["prev_page"]["url"].endswith(f"/cpu/{registry}/8/{order}/1")


# --- scripts in what is shown ------------------------------------------------------------------


def test_no_page_inserts_values_unescaped(http: Browser, queue: Queue) -> None:
    job = enqueue(queue, description=MARKUP)
    for path in paths(job):
        if "/data/" not in path:
            page = http.get(path).text
            assert "<%=" not in page
            assert MARKUP not in page
    page = http.get(f"/dashboard/0/view/job/{job.id}").text
    for value in ("description", "result", "metadata", "exc_info", "call", "origin"):
        assert f"<%- d.{value} %>" in page
    jobs = http.get("/dashboard/0/view/jobs").text
    assert "<%- d.description %>" in jobs  # escaped once, not twice
    assert "<%- d.exc_info %>" in jobs
    assert ".html() %>" not in jobs


def test_a_queue_name_from_the_url_cannot_become_a_script(http: Browser) -> None:
    page = http.get("/dashboard/0/view/jobs/');alert(1);('<i>/queued/8/asc/1").text
    assert "');alert(1);(" not in page
    assert "<i>" not in page
    assert r"\u0027);alert(1);(\u0027\u003ci\u003e" in page


# --- what changes state ------------------------------------------------------------------------


def test_no_get_changes_anything(http: Browser, queue: Queue, client: Redis) -> None:
    register_worker(client)
    client.sadd(Worker.redis_workers_keys, f"{Worker.redis_worker_namespace_prefix}dead")
    jobs = [make(queue) for make, _registry in MAKERS.values()]
    for gone in (enqueue(queue), fail(queue), start(queue)):
        client.delete(gone.key)
    client.zadd(FailedJobRegistry(queue=queue).key, {fail(queue).id: 1})  # to be cleaned up
    before = everything_stored(client)
    for job in jobs:
        for path in paths(job):
            assert http.get(path).status_code == 200, path
    for path in state_changes(jobs[0]):
        assert http.get(path).status_code == 405, path
        assert http.head(path).status_code == 405, path
    assert everything_stored(client) == before


def state_changes(job: Job) -> list[str]:
    changes = [f"job/{job.id}/delete", f"job/{job.id}/requeue", "requeue/cpu", "queue/cpu/compact"]
    changes += [f"queue/cpu/{registry}/empty" for registry in REGISTRIES]
    return [f"/dashboard/{change}" for change in changes]


def test_a_requeued_job_runs_again(
    http: Browser, queue: Queue, client: Redis, redis_url: str
) -> None:
    job = fail(queue)
    assert http.post(f"/dashboard/job/{job.id}/requeue").json() == {"status": "OK"}
    assert listed_ids(http, "failed") == []
    assert shown_job(http, job)["status"] == "queued"
    command = ["-m", "rq.cli", "worker", "--burst", "-S", "json", "-u", redis_url, "cpu"]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    assert shown_job(http, job)["status"] == "finished"
    assert shown_job(http, job)["result"] == "285"
    assert Job.fetch(job.id, client, serializer=JSONSerializer).kwargs == {"n": 10}


def test_a_requeued_job_gets_all_its_retries_again(
    http: Browser, queue: Queue, client: Redis
) -> None:
    job = fail(queue, retry=Retry(max=3, interval=[1, 2, 3]))
    client.hset(job.key, "retries_left", 0)
    http.post(f"/dashboard/job/{job.id}/requeue")
    assert client.hget(job.key, "retries_left") == b"3"


def test_a_job_that_did_not_fail_is_not_requeued(http: Browser, queue: Queue) -> None:
    job = enqueue(queue)
    answer = http.post(f"/dashboard/job/{job.id}/requeue")
    assert answer.status_code == 409
    assert "failed job" in answer.text
    assert queue.get_job_ids() == [job.id]


def test_requeue_all_requeues_what_it_can(http: Browser, queue: Queue, client: Redis) -> None:
    gone, broken, *failed = [fail(queue) for _ in range(5)]
    client.delete(gone.key)
    client.hset(broken.key, "status", "dreaming")
    answer = http.post("/dashboard/requeue/cpu")
    assert answer.json() == {"status": "OK", "count": 3}
    assert sorted(queue.get_job_ids()) == sorted(job.id for job in failed)


@pytest.mark.parametrize("status", [s for s in JobStatus if s is not JobStatus.STARTED])
def test_a_job_that_does_not_run_can_be_deleted(
    http: Browser, queue: Queue, client: Redis, status: JobStatus
) -> None:
    make, registry = MAKERS[status]
    job = make(queue)
    assert http.post(f"/dashboard/job/{job.id}/delete").json() == {"status": "OK"}
    assert not client.exists(job.key)
    if registry:
        assert job.id not in listed_ids(http, registry)


def test_a_running_job_is_not_deleted(http: Browser, queue: Queue, client: Redis) -> None:
    job = start(queue)
    assert http.post(f"/dashboard/job/{job.id}/delete").status_code == 409
    assert http.post("/dashboard/queue/cpu/started/empty").status_code == 200
    assert listed_ids(http, "started") == [job.id]
    assert client.exists(job.key)


@pytest.mark.parametrize("registry", sorted(set(REGISTRIES) - {"started"}))
def test_a_registry_can_be_emptied(
    http: Browser, queue: Queue, client: Redis, registry: str
) -> None:
    jobs = [make(queue) for make, kept in MAKERS.values() if kept == registry]
    gone = jobs[0]
    client.delete(gone.key)
    other = enqueue(Queue("mail", connection=client, serializer="json"))
    assert http.post(f"/dashboard/queue/cpu/{registry}/empty").json() == {"status": "OK"}
    assert listed_ids(http, registry) == []
    assert not any(client.exists(job.key) for job in jobs)
    assert client.exists(other.key)


def test_compacting_takes_out_only_jobs_that_are_gone(
    http: Browser, queue: Queue, client: Redis
) -> None:
    assert http.post("/dashboard/queue/cpu/compact").json() == {"status": "OK"}  # empty: no error
    jobs = [enqueue(queue) for _ in range(4)]
    client.delete(jobs[1].key)
    assert http.post("/dashboard/queue/cpu/compact").json() == {"status": "OK"}
    assert queue.get_job_ids() == [jobs[0].id, jobs[2].id, jobs[3].id]
