"""A job's trace: from who submits it to its end, across all processes that have to do with it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from tests.conftest import PATIENCE, Start, eventually
from tests.integration.collector import Collector, Span, a_collector
from tests.integration.serving import serve
from tests.integration.test_worker import children, is_gone

TRACED = {"PADDOCK_TASKS": "tests.sample_tasks,tests.sample_traced_tasks"}
CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with a_collector() as collector:
        yield collector


def is_part(span: Span, of: Span) -> bool:
    return span.trace_id == of.trace_id and span.parent == of.id


def test_a_job_is_one_trace_from_the_callers_request_through_its_retry_to_its_end(
    collector: Collector, start: Start, start_worker: Start, tmp_path: Path
) -> None:
    environment = TRACED | collector.environment
    url = serve(start, **environment)
    start_worker(**environment)
    answer = httpx.post(
        f"{url}/tasks/traced?wait=20",
        json={"path": str(tmp_path / "seen")},
        headers={"traceparent": CALLERS},
        timeout=PATIENCE,
    )
    job = answer.json()
    assert (job["status"], job["attempts"]) == ("finished", 2)

    (request,) = collector.named("POST /tasks/traced")
    (submitted,) = collector.named("submit traced")
    waits, runs = collector.named("wait traced", 2), collector.named("run traced", 2)
    inner = collector.named("look closer", 2)
    assert (request.trace_id, request.parent) == tuple(CALLERS.split("-")[1:3])
    assert is_part(submitted, request)
    assert all(is_part(span, submitted) for span in waits + runs)
    assert [(span.service, span.kind) for span in (submitted, runs[0])] == [
        ("paddock-api", "producer"),
        ("paddock-worker", "consumer"),
    ]
    assert [span.attributes["paddock.attempt"] for span in runs] == [1, 2]
    assert [span.attributes["paddock.outcome"] for span in runs] == ["raised", "returned"]
    assert {span.attributes["messaging.message.id"] for span in [submitted, *runs]} == {job["id"]}
    # What the task itself has traced, in the horses
    assert [is_part(span, run) for span, run in zip(inner, runs, strict=True)] == [True, True]
    (error,) = runs[0].events
    assert (error["name"], error["exception.type"]) == ("exception", "LookupError")
    assert "not yet" in error["exception.stacktrace"]
    assert runs[0].failed and not runs[1].failed
    # In their order, and without gaps that nobody could explain
    for wait, run in zip(waits, runs, strict=True):
        assert wait.began <= wait.ended <= run.began <= run.ended


def test_a_programs_own_span_goes_on_in_the_jobs_that_it_submits(
    collector: Collector, start: Start, start_worker: Start
) -> None:
    command = [sys.executable, "-m", "tests.integration.traced_program", str(collector.port)]
    assert start(*command).wait(PATIENCE) == 0
    start_worker(**collector.environment)
    (own,) = collector.named("my request")
    submitted, runs = collector.named("submit echo", 2), collector.named("run echo", 2)
    assert all(is_part(span, own) for span in submitted)
    assert [run.parent for run in runs] == [span.id for span in submitted]


def test_jobs_that_share_a_loop_or_came_in_a_batch_keep_to_their_own_traces(
    collector: Collector, start: Start, start_worker: Start
) -> None:
    environment = TRACED | collector.environment
    url = serve(start, **environment)
    start_worker("--io", **environment)
    for _ in range(2):
        body = [{"value": 1}, {"value": 2}]
        httpx.post(f"{url}/tasks/traced_in_loop/batch", json=body).raise_for_status()
    submitted = collector.named("submit traced_in_loop", 2)
    runs, inner = collector.named("run traced_in_loop", 4), collector.named("look around", 4)
    assert [span.attributes["messaging.batch.message_count"] for span in submitted] == [2, 2]
    assert sorted(run.parent for run in runs) == sorted(2 * [span.id for span in submitted])
    assert sorted(span.parent for span in inner) == sorted(run.id for run in runs)


def test_a_collector_that_is_away_holds_up_nothing(
    start: Start, start_worker: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | TRACED
    url = serve(start, **nobody)
    worker = start_worker(**nobody)
    body = {"path": str(tmp_path / "seen")}
    answer = httpx.post(f"{url}/tasks/traced?wait=20", json=body, timeout=PATIENCE)
    assert answer.json()["status"] == "finished"
    # The horse is gone as well, whose span nobody takes
    its_own = children(worker.pid)
    assert its_own
    worker.terminate()
    worker.wait(PATIENCE)
    eventually(lambda: all(map(is_gone, its_own)))


def test_a_job_without_a_trace_begins_one(
    collector: Collector, start: Start, start_worker: Start
) -> None:
    url = serve(start)
    start_worker(**collector.environment)
    httpx.post(f"{url}/tasks/echo", json={}).raise_for_status()
    (run,) = collector.named("run echo")
    assert run.parent == ""
    assert eventually(lambda: not collector._named("wait echo"))
