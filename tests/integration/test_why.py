"""Why a job stands where it does: each reason, told of a job that has it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.line import PAUSED
from service.execution.outcome import Kind
from service.settings import Settings
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

ENGINE = ("tests.sample_tasks", "tests.sample_waiting_tasks", "tests.sample_engine_tasks")


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def why(jobs: Jobs, job_id: str) -> dict[str, dict[str, Any]]:
    """The reasons by their kinds; the first one is also the summary."""
    told = jobs.broker.explainer.why(jobs[job_id])
    assert told.summary == told.reasons[0].detail
    assert told.status == jobs.status(job_id)
    return {reason.kind: {**reason.data, "detail": reason.detail} for reason in told.reasons}


def a_worker(connection: redis.Redis, queues: str, name: str = "w") -> None:
    """As one stands in Redis that lives, and does nothing."""
    connection.sadd("rq:workers", f"rq:worker:{name}")
    connection.hset(f"rq:worker:{name}", mapping={"pid": 1, "queues": queues, "room": 1})


# Before it runs


def test_a_queued_job_has_others_before_it_and_maybe_no_worker(
    jobs: Jobs, connection: redis.Redis
) -> None:
    ids = jobs.submit_many("echo", [{"value": n} for n in range(6)])
    alone = why(jobs, ids[5])
    assert list(alone) == ["no_worker", "position"]
    assert "none lives at all" in alone["no_worker"]["detail"]
    assert (alone["position"]["position"], alone["position"]["before"]) == (6, ids[:3])

    a_worker(connection, "cpu,mail")
    others = why(jobs, ids[0])
    assert "serve cpu, mail only" in others["no_worker"]["detail"]
    assert others["position"]["before"] == []
    a_worker(connection, "default,cpu", "x")
    assert list(why(jobs, ids[0])) == ["position"]
    assert why(jobs, ids[1])["position"]["detail"] == (
        "One job is before it on the queue 'default'; its worker runs 0 of 1 job."
    )


def test_a_job_on_a_paused_queue_or_under_suspended_workers_says_so(
    jobs: Jobs, connection: redis.Redis
) -> None:
    a_worker(connection, "default")
    job_id = jobs.submit("echo", value=1)
    connection.sadd(PAUSED, "default")
    assert list(why(jobs, job_id)) == ["paused", "position"]
    connection.set("rq:suspended", 1)
    assert list(why(jobs, job_id)) == ["suspended", "paused", "position"]


def test_a_job_that_nobody_came_to_in_time_says_that_it_will_not_be_run(
    jobs: Jobs, connection: redis.Redis
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=60)
    job_id = jobs.submit("echo", value=1, expires=soon)
    assert list(why(jobs, job_id)) == ["no_worker", "position"]
    connection.hset(f"rq:job:{job_id}", "expires_at", soon.timestamp() - 90)
    told = why(jobs, job_id)
    assert list(told) == ["expired", "no_worker", "position"]
    assert told["expired"]["expires_at"] == soon - timedelta(seconds=90)
    assert "it won't be run" in told["expired"]["detail"]
    connection.hset(f"rq:job:{job_id}", "attempts", 1)  # only its first start has to be in time
    assert list(why(jobs, job_id)) == ["no_worker", "position"]


def test_a_scheduled_job_tells_its_time_and_whether_anybody_looks_at_the_clock(
    jobs: Jobs, connection: redis.Redis, hand: ByHand
) -> None:
    job_id = jobs.submit("echo", value=1, delay=60)
    alone = why(jobs, job_id)
    assert list(alone) == ["no_scheduler", "scheduled"]
    assert alone["scheduled"]["at"] == jobs[job_id].scheduled_for
    connection.set("rq:scheduler-lock:default", "somebody")
    assert list(why(jobs, job_id)) == ["scheduled"]

    retried = jobs.submit("fail_and_log", path="x")
    claim = hand.claim()
    assert claim is not None
    ended = hand.ended(claim, b"builtins.ValueError: no", Kind.RAISED, may_retry=True)
    hand.settler.call(ended).run()
    told = why(jobs, retried)
    assert list(told) == ["retry"] and told["retry"]["retries_left"] == 1


def test_a_waiting_job_names_the_jobs_and_the_holders_that_it_waits_for(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, tmp_path: Path
) -> None:
    first = jobs.submit("echo", value=1)
    second = jobs.submit("echo", value=2, depends_on=(first,))
    told = why(jobs, second)
    assert (told["dependency"]["job"], told["dependency"]["job_status"]) == (first, "queued")

    held = [jobs.submit("two_at_once", folder=str(tmp_path)) for _ in range(4)]
    told = why(jobs, held[3])
    assert told["concurrency"]["holders"] == held[:2]
    assert (told["concurrency"]["limit"], told["concurrency"]["before"]) == (2, 1)
    assert told["concurrency"]["detail"].endswith(
        "have the places, and 1 waits longer than this one."
    )


def test_the_key_of_a_limit_is_told_as_it_was_given(jobs: Jobs, tmp_path: Path) -> None:
    held = [
        jobs.submit("one_a_tenant", folder=str(tmp_path), tenant="Müller & Söhne") for _ in range(2)
    ]
    told = why(jobs, held[1])["concurrency"]
    assert "the limit 'one_a_tenant/Müller & Söhne' 1" in told["detail"]
    assert f"{held[0]} has the place." in told["detail"]


# While it runs, and after


def test_a_running_job_tells_since_when_where_and_how_far_it_is(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo", value=1)
    hand.claim()
    report = {"fraction": 0.25, "message": "reading", "at": 1.0, "number": 1}
    connection.hset(f"rq:job:{job_id}", "progress", json.dumps(report))
    told = why(jobs, job_id)["running"]
    assert (told["worker"], told["fraction"], told["attempt"]) == ("by-hand", 0.25, 1)
    assert told["since"] == jobs[job_id].started_at and "25%" in told["detail"]
    assert f"since {told['since']:%Y-%m-%d %H:%M:%S} UTC on the worker" in told["detail"]
    jobs.broker.actions.cancel(job_id)
    assert list(why(jobs, job_id)) == ["canceling", "running"]


def test_a_canceled_job_tells_by_whom(jobs: Jobs, hand: ByHand, connection: redis.Redis) -> None:
    job_id, running = (jobs.submit("echo", value=n) for n in range(2))
    jobs.broker.actions.cancel(job_id)
    connection.hset(f"rq:job:{job_id}", "canceled_by", "ada@example")
    told = why(jobs, job_id)["canceled"]
    assert told["by"] == "ada@example" and "before it was run" in told["detail"]
    hand.run_one(b"", Kind.CANCELED)
    assert "while it ran" in why(jobs, running)["canceled"]["detail"]


def test_what_a_job_depended_on_and_a_result_that_is_gone_are_told(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    first = jobs.submit("echo", value=1)
    second = jobs.submit("echo", value=1, depends_on=(first,))
    hand.fail_one()
    assert first in why(jobs, second)["dependency_failed"]["detail"]
    assert why(jobs, first)["exception"]["type"] == "builtins.ValueError"

    finished = jobs.submit("echo", value=1)
    hand.run_one()
    assert list(why(jobs, finished)) == ["finished"]
    connection.delete(f"rq:results:{finished}")
    assert list(why(jobs, finished)) == ["finished", "result_gone"]


def test_deaths_are_told_apart(redis_url: str, start_worker: Start, tmp_path: Path) -> None:
    jobs = Jobs(redis_url, Catalogue.load(ENGINE))
    ids = {
        "expired": jobs.submit("echo", value=1, expires=_long_ago()),
        "signal": jobs.submit("crash_once", path=str(tmp_path / "a")),
        "memory": jobs.submit("fill_memory", mebibytes=500),
        "timeout": jobs.submit("ignore_timeout"),
        "exception": jobs.submit("fail_with", message="as told"),
    }
    start_worker(PADDOCK_TASKS=",".join(ENGINE), PADDOCK_TIMEOUT_GRACE="0")
    for job_id in ids.values():
        jobs.ended(job_id)
    found = {kind: why(jobs, job_id) for kind, job_id in ids.items()}
    assert {kind: list(told) for kind, told in found.items()} == {kind: [kind] for kind in ids}
    assert found["signal"]["signal"]["signal"] == "SIGSEGV"
    assert found["timeout"]["timeout"]["killed"] is True
    assert "as told" in found["exception"]["exception"]["detail"]
    jobs.close()


def _long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=1)


# Over HTTP


def test_reasons_over_http(jobs: Jobs, settings: Settings, all_tasks: Catalogue) -> None:
    job_id = jobs.submit("echo", value=1)
    with TestClient(create_app(settings, all_tasks), base_url="http://127.0.0.1") as api:
        told = api.get(f"/jobs/{job_id}/why").json()
        assert told["status"] == "queued" and told["summary"] == told["reasons"][0]["detail"]
        assert told["reasons"][1] == {
            "kind": "position",
            "detail": "Nothing is before it on the queue 'default'.",
            "position": 1,
            "before": [],
            "running": [],
        }
        assert api.get("/jobs/unknown/why").status_code == 404
