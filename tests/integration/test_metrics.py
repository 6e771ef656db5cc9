"""GET /metrics: what Prometheus is told is what has happened, whichever process it asks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from fastapi import FastAPI
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api import paddock_router
from service.api.app import create_app
from service.broker.broker import Broker
from service.settings import Settings
from tests.conftest import ROOT, Start, eventually
from tests.integration.conftest import Jobs

DOCS = ROOT / "docs"
#: What PromQL has beside metrics' names
WORDS = {
    *("sum", "rate", "max", "by", "le", "or", "vector", "increase", "histogram_quantile", "topk"),
    *("avg", "and", "on", "group_left", "clamp_min", "max_over_time", "without", "min", "unless"),
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Metrics:
    """A scrape."""

    def __init__(self, text: str) -> None:
        self.families = {each.name: each for each in text_string_to_metric_families(text)}
        self._values: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }
        self.names = {name for name, _ in self._values}

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._values.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """Of all samples that have these labels, among others."""
        wanted = set(labels.items())
        return sum(v for (n, of), v in self._values.items() if n == name and wanted <= of)


def scrape(client: TestClient, path: str = "/metrics") -> Metrics:
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    return Metrics(answer.text)


def test_queues_and_workers_are_told_as_they_are(
    api: TestClient, jobs: Jobs, start_all_tasks: Start, connection: redis.Redis
) -> None:
    empty = scrape(api)
    assert empty("paddock_queue_jobs", queue="cpu", status="queued") == 0
    assert (
        empty("paddock_workers", state="busy") == empty("paddock_queue_workers", queue="cpu") == 0
    )
    jobs.submit("sleep", seconds=30)
    jobs.submit("echo", delay=1000)
    jobs.submit_many("echo", [{}, {}], delay=0)
    connection.sadd("paddock:paused", "mail")
    before = scrape(api)
    assert before("paddock_queue_jobs", queue="default", status="queued") == 3
    assert before("paddock_queue_jobs", queue="default", status="scheduled") == 1
    assert 0 < before("paddock_queue_oldest_age_seconds", queue="default") < 60
    assert before("paddock_queue_paused", queue="mail") == 1
    assert before("paddock_queue_paused", queue="cpu") == 0
    start_all_tasks()
    eventually(lambda: scrape(api).total("paddock_horse_memory_bytes") > 0)
    running = scrape(api)
    assert running("paddock_queue_jobs", queue="default", status="running") == 1
    assert running("paddock_workers", state="busy") == 1
    assert running("paddock_queue_workers", queue="cpu") == 1
    assert running.total("paddock_worker_memory_bytes") > 10 * 2**20
    assert running("paddock_redis_up") == 1
    assert 0 < running("paddock_redis_round_trip_seconds") < 60


def test_jobs_are_counted_by_how_they_ended_and_survive_the_process_that_counted(
    api: TestClient, settings: Settings, catalogue: Catalogue, start_worker: Start
) -> None:
    ids = [api.post("/tasks/echo", json={}).json()["id"] for _ in range(3)]
    assert api.post("/tasks/echo/batch", json=[{}, {}]).status_code == 202
    failed = api.post("/tasks/fail_as", json={"kind": "key"}).json()["id"]
    canceled = api.post("/tasks/echo?delay=100", json={}).json()["id"]
    api.post(f"/jobs/{canceled}/cancel")
    start_worker()
    for job_id in (*ids, failed):
        assert api.get(f"/jobs/{job_id}?wait=30").json()["ended_at"]
    eventually(lambda: scrape(api).total("paddock_jobs_total", outcome="finished") == 5)
    eventually(lambda: scrape(api).total("paddock_jobs_total", outcome="failed") == 1)
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as another:
        told = scrape(another)
    echo = {"task": "echo", "queue": "default"}
    assert told("paddock_jobs_submitted_total", task="echo") == 6
    assert told("paddock_jobs_submitted_total", task="sleep") == 0
    assert told("paddock_jobs_total", **echo, outcome="finished") == 5
    assert told.total("paddock_jobs_total", task="fail_as", outcome="failed") == 1
    for name in ("paddock_job_run_seconds", "paddock_job_wait_seconds"):
        assert told(f"{name}_count", **echo) == told(f"{name}_bucket", **echo, le="+Inf") == 5
        assert told(f"{name}_sum", **echo) > 0
    assert told("paddock_job_cpu_seconds_total", task="echo") > 0
    assert told("paddock_job_peak_memory_bytes", task="echo") > 10 * 2**20


@pytest.mark.parametrize("prefix", ["", "/work"])
def test_requests_are_counted_by_the_route_that_they_came_to(
    settings: Settings, catalogue: Catalogue, prefix: str
) -> None:
    if prefix:
        app = FastAPI()
        app.include_router(paddock_router(settings, catalogue), prefix=prefix)
    else:
        app = create_app(settings, catalogue)
    name = "paddock_http_request_duration_seconds"
    with TestClient(app, base_url="http://127.0.0.1") as client:
        before = scrape(client, f"{prefix}/metrics")
        for number in range(3):
            client.get(f"{prefix}/jobs/{number}")
        client.post(f"{prefix}/tasks/echo", json={"no": 1})
        client.request("BREW", f"{prefix}/queues")
        after = scrape(client, f"{prefix}/metrics")

    def more(which: str, **labels: str) -> float:
        return after.total(which, **labels) - before.total(which, **labels)

    route = {"method": "GET", "route": "/jobs/{job_id}", "status": "404"}
    assert more(f"{name}_count", **route) == more(f"{name}_bucket", **route, le="+Inf") == 3
    assert more(f"{name}_count", method="GET", route="/metrics") == 1
    assert more(f"{name}_count", method="other") == 1
    assert more("paddock_submissions_refused_total", task="echo", status="422") == 1
    assert not [sample for sample in after.names if sample.endswith("_created")]


def test_it_answers_while_redis_is_away(catalogue: Catalogue, tmp_path: Path) -> None:
    settings = Settings(redis_url=f"unix://{tmp_path}/none.sock", data_dir=tmp_path)
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        told = scrape(client)
    assert told("paddock_redis_up") == 0
    assert "paddock_build_info" in told.names and "paddock_queue_jobs" not in told.names


def test_it_is_openmetrics_for_who_takes_that(api: TestClient) -> None:
    api.post("/tasks/echo", json={})
    answer = api.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {each.name for each in openmetrics.text_string_to_metric_families(answer.text)}
    assert {"paddock_jobs", "paddock_job_run_seconds", "paddock_queue_jobs"} <= families


def test_it_asks_for_a_key_where_there_are_some(settings: Settings, catalogue: Catalogue) -> None:
    key = "a-key-of-24-characters!!"
    locked = settings.model_copy(update={"api_keys": Settings(api_keys=(key,)).api_keys})
    with TestClient(create_app(locked, catalogue), base_url="http://127.0.0.1") as client:
        assert client.get("/metrics").status_code == 401
        bearer = {"Authorization": f"Bearer {key}"}
        assert client.get("/metrics", headers=bearer).status_code == 200


def test_a_scrape_takes_few_commands_however_many_jobs_there_are(
    api: TestClient, jobs: Jobs, connection: redis.Redis
) -> None:
    def commands() -> int:
        before = int(connection.info("stats")["total_commands_processed"])
        scrape(api)
        return int(connection.info("stats")["total_commands_processed"]) - before

    scrape(api)
    few = commands()
    jobs.submit_many("echo", [{} for _ in range(300)])
    assert commands() <= few + 5  # the age of the first one is looked up


# What is documented


@pytest.fixture(scope="module")
def exported(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    """All there is, with something in each."""
    from tests.conftest import a_redis

    with a_redis() as server:
        data = tmp_path_factory.mktemp("data")
        settings = Settings(redis_url=server.url, data_dir=data, tasks=("tests.sample_tasks",))
        with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
            client.post("/tasks/echo", json={"no": 1})
            client.post("/tasks/echo", json={})
            by_hand = Broker.open(settings, catalogue)
            pair = "echo default"
            by_hand.client.hset("paddock:history:latest", pair, "s1u100f1w100F1")
            by_hand.client.hset("paddock:cpu", "echo", 1)
            by_hand.client.hset("paddock:memory", "echo", 1)
            by_hand.client.sadd("rq:workers", "rq:worker:one")
            record = {"pid": 1, "hostname": "h", "rss": 1, "horses_rss": 1, "state": "busy"}
            by_hand.client.hset("rq:worker:one", mapping=record)
            by_hand.client.close()
            yield scrape(client)


def test_the_table_of_metrics_lists_each_and_no_other(exported: Metrics) -> None:
    table = (DOCS / "observability.md").read_text()
    listed = re.findall(r"^\| `(paddock_\w+)` \| (\w+) \| (.*?) \|", table, re.MULTILINE)
    told = {
        (name + "_total" if family.type == "counter" else name, family.type)
        for name, family in exported.families.items()
    }
    assert {(name, kind) for name, kind, _ in listed} == {
        (name.removesuffix("_total_total") or name, kind) for name, kind in told
    }
    for name, _, labels in listed:
        family = exported.families[name.removesuffix("_total")]
        known = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert set(re.findall(r"`(\w+)`", labels)) == known, name


def queries() -> Iterator[tuple[str, str]]:
    """The dashboard's, and those of the page's alerts."""
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    panels = [each for panel in dashboard["panels"] for each in (panel, *panel.get("panels", ()))]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    page = (DOCS / "observability.md").read_text()
    for line in re.findall(r"^ +expr: (.*)$", page, re.MULTILINE):
        yield "alert", line


@pytest.mark.parametrize(("title", "expression"), list(queries()))
def test_each_query_asks_for_metrics_and_labels_that_there_are(
    exported: Metrics, title: str, expression: str
) -> None:
    bare = re.sub(r'"[^"]*"|\$\w+|\[[^\]]*\]', "", expression)
    named = set(re.findall(r"\bpaddock_\w+", bare))
    assert named and named <= exported.names, expression
    labels = {
        label
        for family in exported.families.values()
        for sample in family.samples
        for label in sample.labels
    }
    others = set(re.findall(r"\b[a-z_]+\b", re.sub(r"\bpaddock_\w+", "", bare))) - WORDS
    assert others <= labels | {"up"}, expression
    assert bare.count("(") == bare.count(")") and bare.count("{") == bare.count("}")
