"""Withdrawing a job: before a worker has taken it, or not at all."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from rq.job import Job

from service.broker.connection import connect
from service.broker.status import Status
from service.errors import JobNotFound
from service.execution.outcome import Kind
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default")


@pytest.fixture
def withdraw(jobs: Jobs) -> Callable[[str], bool]:
    return jobs.broker.actions.withdraw


def test_one_that_is_queued_scheduled_or_waits_is_canceled(
    jobs: Jobs, hand: ByHand, withdraw: Callable[[str], bool], connection: redis.Redis
) -> None:
    queued, scheduled = jobs.submit("echo"), jobs.submit("echo", delay=60)
    waiting = jobs.submit("echo", depends_on=[queued])
    after = jobs.submit("echo", depends_on=[waiting])
    limited = jobs.submit_many("two_at_once", [{"folder": ""} for _ in range(3)])
    assert withdraw(waiting) and withdraw(queued) and withdraw(scheduled) and withdraw(limited[2])
    for job_id in (queued, scheduled, waiting, limited[2]):
        assert (jobs.status(job_id), jobs[job_id].attempts) == (Status.CANCELED, 0)
    assert jobs[after].error.type == "DependencyFailed"
    assert [hand.run_one() for _ in range(3)] == [*limited[:2], None]
    assert connection.zcard("rq:rl:two_at_once:rate_limited") == 0


def test_one_that_runs_or_has_ended_is_left_as_it_is(
    jobs: Jobs, hand: ByHand, withdraw: Callable[[str], bool], connection: redis.Redis
) -> None:
    finished, failed, canceled, running = jobs.submit_many("echo", [{} for _ in range(4)])
    assert (hand.run_one(), hand.fail_one()) == (finished, failed)
    assert hand.run_one(b"", Kind.CANCELED) == canceled
    claim = hand.claim()
    before = {key: connection.dump(key) for key in connection.scan_iter("*")}
    for job_id in (finished, failed, canceled, running):
        assert withdraw(job_id) is False
    assert {key: connection.dump(key) for key in connection.scan_iter("*")} == before
    assert hand.settle(claim)
    assert jobs.status(running) == Status.FINISHED


def test_it_is_withdrawn_once(jobs: Jobs, withdraw: Callable[[str], bool]) -> None:
    job_id = jobs.submit("echo")
    assert (withdraw(job_id), withdraw(job_id)) == (True, False)


def test_one_that_does_not_exist_is_not_found(withdraw: Callable[[str], bool]) -> None:
    with pytest.raises(JobNotFound):
        withdraw("nobody")


def test_one_that_a_stock_worker_has_just_taken_is_left_to_it(
    jobs: Jobs, withdraw: Callable[[str], bool], connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo")
    connection.lpop("rq:queue:default")  # its status still says that it is queued
    assert withdraw(job_id) is False
    assert Job.fetch(job_id, connection=connection, serializer="json").get_status() == "queued"


def test_a_worker_and_who_withdraws_never_both_get_a_job(
    jobs: Jobs, withdraw: Callable[[str], bool], redis_url: str
) -> None:
    """A thousand jobs, taken from the front while they are withdrawn from the end."""
    many = jobs.submit_many("echo", [{} for _ in range(1_000)])
    begin, ran = threading.Barrier(3), []

    def work() -> None:
        with connect(redis_url) as own:
            worker = ByHand(own, "default")
            begin.wait()
            while job_id := worker.run_one():
                ran.append(job_id)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    begin.wait()
    withdrawn = [job_id for job_id in reversed(many) if withdraw(job_id)]
    for thread in threads:
        thread.join()
    assert ran and withdrawn
    assert sorted([*ran, *withdrawn]) == sorted(many)
    for job_id in many:
        expected = Status.CANCELED if job_id in withdrawn else Status.FINISHED
        assert jobs.status(job_id) == expected


def test_one_that_really_runs_ends_by_itself(
    jobs: Jobs, start_all_tasks: Start, withdraw: Callable[[str], bool], tmp_path: Path
) -> None:
    job_id = jobs.submit("go_step_by_step", path=str(tmp_path / "step"), steps=1)
    start_all_tasks()
    jobs.await_status(job_id, Status.RUNNING)
    assert withdraw(job_id) is False
    (tmp_path / "step-0").touch()
    assert jobs.ended(job_id).status == Status.FINISHED
