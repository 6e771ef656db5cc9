"""What is told of when jobs start and end, and how long a queue is."""

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker import line as line_module
from service.broker.eta import Eta
from service.broker.overview import QueueOverview
from service.history import LATEST
from service.settings import Settings
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.test_why import a_worker

AWHILE = 5  # seconds that may pass between what is told and the look at a clock


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def took(connection: redis.Redis, task: str, seconds: float, queue: str = "default") -> None:
    """Have jobs of this task have taken so long lately."""
    connection.hset(LATEST, f"{task} {queue}", f"t1v{seconds * 1e6:.0f}y30")


def eta(jobs: Jobs, job_id: str) -> Eta | None:
    return jobs.broker.forecaster.eta(jobs[job_id])


def seconds_to(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


def about(*seconds: float) -> object:
    """These, as seen from now by a machine that was busy since they were told."""
    return pytest.approx(list(seconds), abs=AWHILE)


def queue(jobs: Jobs, name: str) -> QueueOverview:
    (found,) = (each for each in jobs.broker.overview.queues([name]) if each.name == name)
    return found


def test_a_job_starts_when_what_is_before_it_has_been_run(
    jobs: Jobs, connection: redis.Redis
) -> None:
    took(connection, "sleep", 100)
    took(connection, "echo", 20)
    a_worker(connection, "default,cpu")
    ids = [jobs.submit("sleep", seconds=9), jobs.submit("echo"), jobs.submit("sleep", seconds=9)]
    places = [eta(jobs, job_id) for job_id in ids]
    assert [each and each.position for each in places] == [1, 2, 3]
    assert [seconds_to(each and each.start_at) for each in places] == about(0, 100, 120)
    assert [seconds_to(each and each.end_at) for each in places] == about(100, 120, 220)
    assert queue(jobs, "default").eta == pytest.approx(220)
    assert queue(jobs, "cpu").eta == pytest.approx(220)  # which is served after it
    assert queue(jobs, "other").eta is None


def test_nobody_can_tell_without_a_worker_or_where_nothing_is_known_of_the_tasks(
    jobs: Jobs, connection: redis.Redis
) -> None:
    first, second = jobs.submit("echo"), jobs.submit("echo")
    assert eta(jobs, second) == Eta(2, None, None)
    a_worker(connection, "default")
    assert eta(jobs, second) == Eta(2, None, None)
    told = eta(jobs, first)
    assert told and seconds_to(told.start_at) < AWHILE and told.end_at is None
    connection.sadd(line_module.PAUSED, "default")
    assert eta(jobs, first) == Eta(1, None, None)


def test_what_is_taken_later_or_by_nobody_makes_no_estimate_unknown(
    jobs: Jobs, connection: redis.Redis
) -> None:
    a_worker(connection, "default,cpu")
    jobs.submit("echo", queue="cpu")
    jobs.submit("echo", queue="nobody's")
    assert queue(jobs, "default").eta == 0
    assert queue(jobs, "cpu").eta is None  # nothing is known of what waits there
    took(connection, "echo", 20, "cpu")
    assert queue(jobs, "cpu").eta == pytest.approx(20)


def test_what_runs_is_expected_to_end_by_its_progress_or_its_tasks_durations(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    took(connection, "sleep", 100)
    running = jobs.submit("sleep", seconds=9)
    hand.claim()
    connection.hset("rq:worker:by-hand", mapping={"pid": 1, "queues": "default", "room": 1})
    connection.sadd("rq:workers", "rq:worker:by-hand")
    queued = jobs.submit("sleep", seconds=9)

    def ends_in() -> list[float]:
        first, second = eta(jobs, running), eta(jobs, queued)
        assert first and second and first.position is first.start_at is None
        assert second.start_at and first.end_at
        assert abs((second.start_at - first.end_at).total_seconds()) < AWHILE
        return [seconds_to(first.end_at), seconds_to(second.end_at)]

    assert ends_in() == about(100, 200)
    began = datetime.now(UTC) - timedelta(seconds=30)
    connection.hset(f"rq:job:{running}", "started_at", f"{began:%Y-%m-%dT%H:%M:%S.%fZ}")
    assert ends_in() == about(70, 170)
    report = {"fraction": 0.6, "message": None, "at": began.timestamp() + 30, "number": 1}
    connection.hset(f"rq:job:{running}", "progress", json.dumps(report))
    assert ends_in() == about(20, 120)


def test_a_scheduled_job_starts_at_its_time_or_when_its_queue_is_empty(
    jobs: Jobs, connection: redis.Redis
) -> None:
    took(connection, "sleep", 60)
    a_worker(connection, "default")
    soon, late = (jobs.submit("sleep", seconds=1, delay=delay) for delay in (5, 900))
    jobs.submit("sleep", seconds=9)
    first, second = eta(jobs, soon), eta(jobs, late)
    assert first and second and first.position is None
    assert 60 - AWHILE < seconds_to(first.start_at) <= 60
    assert second.start_at == jobs[late].scheduled_for


def test_waiting_and_ended_jobs_have_none(jobs: Jobs, hand: ByHand) -> None:
    first = jobs.submit("echo")
    second = jobs.submit("echo", depends_on=(first,))
    assert eta(jobs, second) is None
    hand.run_one()
    assert eta(jobs, first) is None


def test_a_place_deep_inside_a_long_queue_is_found(
    jobs: Jobs, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = line_module._LOOK.replace(str(line_module.SEARCHED), "10")
    monkeypatch.setattr(line_module, "_LOOK", short)
    took(connection, "echo", 2)
    a_worker(connection, "default")
    ids = jobs.submit_many("echo", [{"value": n} for n in range(300)])
    lines = line_module.LineReader(connection)
    for place in (0, 9, 10, 150, 289, 290, 299):
        line = lines.of_job(ids[place], "default")
        assert line.place == place
        assert len(line.queues["default"].tasks) == min(place, line_module.SAMPLED)


def test_real_jobs_start_and_end_about_then(jobs: Jobs, start_worker: Start) -> None:
    known = jobs.submit_many("sleep", [{"seconds": 0.4}] * 4)
    workers = [start_worker(), start_worker()]
    for job_id in known:
        jobs.ended(job_id)
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)  # so that the last has not begun when its time is told
    ids = jobs.submit_many("sleep", [{"seconds": 0.4}] * 8)
    told = eta(jobs, ids[-1])
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    ended = jobs.ended(ids[-1]).ended_at
    assert told and told.start_at and told.end_at and ended and told.start_at < told.end_at
    assert abs((told.end_at - ended).total_seconds()) < AWHILE
    assert queue(jobs, "default").throughput > 0


def test_estimates_over_http_are_for_one_job_and_queues(
    jobs: Jobs, settings: Settings, all_tasks: Catalogue, connection: redis.Redis
) -> None:
    took(connection, "echo", 7)
    a_worker(connection, "default")
    jobs.submit("echo")
    job_id = jobs.submit("echo")
    with TestClient(create_app(settings, all_tasks), base_url="http://127.0.0.1") as api:
        told = api.get(f"/jobs/{job_id}").json()["eta"]
        assert told["position"] == 2 and told["start_at"] < told["end_at"]
        assert [job["eta"] for job in api.get("/jobs").json()["jobs"]] == [None, None]
        shown = api.get("/queues/default").json()
        assert (round(shown["eta"]), shown["throughput"]) == (14, 0.0)


def test_a_full_queue_tells_to_come_back_when_estimates_say_that_there_is_room(
    settings: Settings, all_tasks: Catalogue, connection: redis.Redis
) -> None:
    took(connection, "echo", 30)
    for name in ("a", "b"):
        a_worker(connection, "default", name)
        connection.sadd("rq:workers:default", f"rq:worker:{name}")
    full = settings.model_copy(update={"queue_limit": 4})
    with TestClient(create_app(full, all_tasks), base_url="http://127.0.0.1") as api:
        for _ in range(4):
            assert api.post("/tasks/echo", json={}).status_code == 202
        wait = api.get("/queues/default").json()["eta"]
        refused = api.post("/tasks/echo", json={})
        assert refused.status_code == 429
        # Of four that take 60 s with two workers, one and a tenth of all have to go.
        assert (wait, refused.headers["Retry-After"]) == (pytest.approx(60), "21")
