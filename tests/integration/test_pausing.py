"""Paused queues: workers leave what stands on them, and serve the others as ever."""

import time
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from service.broker.queue_actions import QueueActions
from service.broker.status import Status
from tests.conftest import RedisServer, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.test_worker import lines

PROMPT = 1.0  # seconds


class Kind:
    """One kind of worker, and a task whose jobs it takes while they take a while."""

    def __init__(self, start: Start, task: str, queue: str, setting: str) -> None:
        self._start, self.task, self.queue, self._setting = start, task, queue, setting

    def start(self, *arguments: str, queues: str = "") -> Any:
        return self._start(*arguments, **({self._setting: queues} if queues else {}))


@pytest.fixture(params=["worker", "io worker"])
def kind(request: pytest.FixtureRequest, start_all_tasks: Start, start_io: Start) -> Kind:
    if request.param == "worker":
        return Kind(start_all_tasks, "append_line", "default", "PADDOCK_QUEUES")
    return Kind(start_io, "wait", "io", "PADDOCK_IO_QUEUES")


@pytest.fixture
def queues(jobs: Jobs) -> QueueActions:
    return jobs.broker.queue_actions


def test_what_runs_goes_on_what_waits_stays_and_other_queues_are_served(
    jobs: Jobs, kind: Kind, queues: QueueActions, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    first = jobs.submit(kind.task, path=str(path), line="first", seconds=1)
    kind.start(queues=f"{kind.queue},other")
    eventually(lambda: lines(path) == ["first"])
    assert queues.pause(kind.queue).paused
    second = jobs.submit(kind.task, path=str(path), line="second")
    other = jobs.submit(kind.task, path=str(path), line="other", queue="other")
    assert jobs.ended(first).status == Status.FINISHED
    assert jobs.ended(other).status == Status.FINISHED
    assert (jobs.status(second), lines(path)) == (Status.QUEUED, ["first", "other"])
    assert not queues.resume(kind.queue).paused
    assert jobs.ended(second).status == Status.FINISHED


def test_an_idle_worker_waits_beside_a_paused_queue_and_goes_on_at_once(
    jobs: Jobs, kind: Kind, queues: QueueActions, connection: redis.Redis, tmp_path: Path
) -> None:
    kind.start()
    waited: list[float] = []
    while len(waited) < 3 or (min(waited) >= PROMPT and len(waited) < 8):  # on a busy machine
        queues.pause(kind.queue, [kind.queue])
        job_id = jobs.submit(kind.task, path=str(tmp_path / "lines"), line="x")
        looks = _looks(connection)
        for _ in range(10):  # and what comes meanwhile disturbs nobody
            jobs.submit("echo", queue=kind.queue)
        time.sleep(0.5)
        assert _looks(connection) - looks < 100  # a worker that spins looks a thousand times
        assert jobs.status(job_id) == Status.QUEUED
        resumed = time.monotonic()
        queues.resume(kind.queue)
        jobs.await_status(job_id, Status.FINISHED)
        waited.append(time.monotonic() - resumed)
        eventually(lambda: not connection.exists(f"rq:queue:{kind.queue}"))
    assert min(waited) < PROMPT  # its upkeep, which would find the job as well, is rarer than that


def _looks(connection: redis.Redis) -> int:
    """How often it was asked which queues are paused: with each claim, and before each wait."""
    stats: dict[str, dict[str, int]] = connection.info("commandstats")
    return stats["cmdstat_smembers"]["calls"]


def test_in_burst_mode_a_worker_leaves_what_is_paused(
    jobs: Jobs, kind: Kind, queues: QueueActions, tmp_path: Path
) -> None:
    queues.pause(kind.queue, [kind.queue])
    paused, other = (
        jobs.submit(kind.task, path=str(tmp_path / "lines"), line="x", queue=queue)
        for queue in (kind.queue, "other")
    )
    worker = kind.start("--burst", queues=f"{kind.queue},other")
    assert worker.wait(timeout=30) == 0
    assert (jobs.status(paused), jobs.status(other)) == (Status.QUEUED, Status.FINISHED)


def test_a_claim_that_took_a_job_before_the_pause_is_answered_again(
    jobs: Jobs, queues: QueueActions, connection: redis.Redis
) -> None:
    hand = ByHand(connection, "default", "cpu")
    first, _second = jobs.submit("echo"), jobs.submit("echo")
    hand.claimer.call(hand.queues).run()  # and nobody hears the answer
    queues.pause("default", ["default"])
    again = hand.claim()
    assert again is not None and again.job_id == first
    assert hand.claim() is None
    assert not hand.claimer.left_some


def test_an_expired_job_of_a_paused_queue_is_canceled_when_its_turn_comes(
    jobs: Jobs, queues: QueueActions, connection: redis.Redis
) -> None:
    hand = ByHand(connection, "default")
    job_id = jobs.submit("echo")
    connection.hset(f"rq:job:{job_id}", "expires_at", time.time() - 1)
    queues.pause("default")
    assert (hand.claim(), jobs.status(job_id)) == (None, Status.QUEUED)
    queues.resume("default")
    assert (hand.claim(), jobs.status(job_id)) == (None, Status.CANCELED)
    assert jobs[job_id].canceled_by == "expiry"


def test_a_queue_is_paused_also_after_a_restart_of_redis(own: RedisServer, all_tasks: Any) -> None:
    jobs = Jobs(own.url, all_tasks)
    jobs.submit("echo")
    jobs.broker.queue_actions.pause("default")
    own.kill()
    own.start()
    assert jobs.broker.overview.queue("default").paused
    assert ByHand(own.client, "default").claim() is None
    jobs.close()


def test_over_http_a_queue_is_paused_and_resumed_by_its_name(api: TestClient) -> None:
    api.post("/tasks/echo", json={})
    paused = api.post("/queues/default/pause")
    assert (paused.status_code, paused.json()["paused"], paused.json()["queued"]) == (200, True, 1)
    assert api.post("/queues/default/pause").json()["paused"]  # as it is
    assert [q["name"] for q in api.get("/queues").json() if q["paused"]] == ["default"]
    warnings = api.get("/health/ready").json()["warnings"]
    assert "queue 'default' is paused; jobs that wait on it: 1" in warnings
    resumed = api.post("/queues/default/resume")
    assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
    assert not any("paused" in each for each in api.get("/health/ready").json()["warnings"])
    assert api.post("/queues/mail/pause").json()["queued"] == 0  # no job came to it yet


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_queue_that_is_not_there_can_not_be_paused(api: TestClient, action: str) -> None:
    refused = api.post(f"/queues/none/{action}")
    assert refused.status_code == 404
    assert refused.json()["type"] == "urn:paddock:problem:unknown-queue"
    assert "none" not in [queue["name"] for queue in api.get("/queues").json()]
