"""Jobs that run together: killed horses and workers, deploys, Redis away, blocked loops."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.catalogue import Catalogue
from service.broker.status import Status
from tests.conftest import PATIENCE, RedisServer, Start, eventually
from tests.integration.conftest import ALL_TASKS, RQ, Jobs, reasons
from tests.integration.test_worker import children, is_gone, lines

PROMPT = 30.0  # seconds; bounds hangs only
LEASE_BOUND = 40.0  # seconds; a lease of 10, a heartbeat of 3, and a slow machine
MANY = 500


def horses(worker: "subprocess.Popen[str]", connection: redis.Redis) -> list[int]:
    """Its children without the scheduler, which may be slower than they to say who it is."""

    def schedulers() -> set[int]:
        keys = connection.keys("rq:scheduler:*")
        pids = {int(connection.hget(key, "pid") or 0) for key in keys}
        return pids & {*children(worker.pid)}

    eventually(schedulers)
    return [child for child in children(worker.pid) if child not in schedulers()]


# Killed


@pytest.mark.parametrize("victims", ["horse", "worker", "both"])
def test_of_five_hundred_jobs_in_flight_none_is_lost(
    jobs: Jobs, start_io: Start, connection: redis.Redis, tmp_path: Path, victims: str
) -> None:
    path = tmp_path / "runs"
    ids = jobs.submit_many(
        "wait_until_told", [{"value": number, "path": str(path)} for number in range(MANY)]
    )
    many = {"PADDOCK_ASYNC_CONCURRENCY": str(MANY)}
    worker = start_io(**many)
    eventually(lambda: len(lines(path)) == MANY)
    (horse,) = horses(worker, connection)
    if victims != "horse":
        start_io(PADDOCK_ASYNC_CONCURRENCY="1")
    if victims == "both":
        worker.send_signal(signal.SIGSTOP)  # or it might see to the horse's jobs before it dies
    if victims != "worker":
        os.kill(horse, signal.SIGKILL)
    if victims != "horse":
        worker.kill()
        worker.wait()
        start_io(**many)  # as a supervisor does
    eventually(lambda: is_gone(horse))
    Path(f"{path}.over").touch()
    eventually(lambda: connection.zcard("rq:finished:io") == MANY, LEASE_BOUND)
    for number, job_id in enumerate(ids):
        job = jobs[job_id]
        assert (job.status, job.result) == (Status.FINISHED, number)
    assert {connection.hget(f"rq:job:{job_id}", "crashes") for job_id in ids} == {b"1"}
    assert Counter(lines(path)) == {str(number): 2 for number in range(MANY)}
    assert connection.zcard("rq:wip:io") == connection.llen("rq:queue:io") == 0
    if victims == "horse":
        assert reasons(jobs, ids[0])[0] == ("died", "killed by SIGKILL")
        assert worker.poll() is None


def test_a_job_that_kills_its_process_is_poison_and_those_beside_it_are_not(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    killer = jobs.submit("kill_process", path=str(runs), times=99)
    beside = jobs.submit_many("wait", [{"seconds": 2, "value": n} for n in range(6)])
    start_io()
    job = jobs.ended(killer)
    assert (job.status, job.error.type, job.attempts) == (Status.FAILED, "WorkerLost", 3)
    assert len(lines(runs)) == 3
    for number, job_id in enumerate(beside):
        job = jobs.ended(job_id)
        assert (job.status, job.result) == (Status.FINISHED, number)


# Deploys


def test_a_worker_told_to_stop_lets_jobs_finish_and_puts_the_rest_back(
    jobs: Jobs, start_io: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    short = jobs.submit_many("wait_until_told", [{"path": str(path)} for _ in range(5)])
    long = jobs.submit_many("wait", [{"seconds": 60, "path": str(path)} for _ in range(5)])
    worker = start_io(PADDOCK_SHUTDOWN_GRACE="6")
    eventually(lambda: len(lines(path)) == 10)
    worker.terminate()
    Path(f"{path}.over").touch()
    late = jobs.submit("wait", value=1)
    assert worker.wait(PATIENCE) == 0
    assert {jobs.status(job_id) for job_id in short} == {Status.FINISHED}
    assert {jobs.status(job_id) for job_id in (*long, late)} == {Status.QUEUED}
    assert reasons(jobs, long[0]) == [("put back", "its worker was told to stop")]
    waiting = [key.decode() for key in connection.lrange("rq:queue:io", 0, -1)]
    assert waiting == [*long, late]  # in their order, and before those that came later
    assert not any(connection.hexists(f"rq:job:{job_id}", "crashes") for job_id in long)
    assert connection.scard("rq:workers") == connection.zcard("rq:wip:io") == 0


def test_a_second_signal_puts_all_back_at_once(jobs: Jobs, start_io: Start, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    ids = jobs.submit_many("wait", [{"seconds": 60, "path": str(path)} for _ in range(3)])
    ids += jobs.submit_many("wait_in_thread", [{"seconds": 60, "path": str(path)}])
    worker = start_io(PADDOCK_SHUTDOWN_GRACE="600")
    eventually(lambda: len(lines(path)) == 4)
    worker.terminate()
    worker.send_signal(signal.SIGINT)  # of one kind, two that come together would be one
    assert worker.wait(PATIENCE) == 0
    assert {jobs.status(job_id) for job_id in ids} == {Status.QUEUED}


def test_an_idle_worker_leaves_at_once(start_io: Start, connection: redis.Redis) -> None:
    worker = start_io(PADDOCK_SHUTDOWN_GRACE="600")
    worker.terminate()
    assert worker.wait(PROMPT) == 0
    assert connection.scard("rq:workers") == 0


def test_a_spent_worker_takes_no_more_and_leaves_when_all_have_ended(
    jobs: Jobs, start_io: Start
) -> None:
    ids = jobs.submit_many("wait", [{"seconds": 1 if n else 0, "value": n} for n in range(30)])
    worker = start_io(PADDOCK_WORKER_MAX_JOBS="1", PADDOCK_ASYNC_CONCURRENCY="20")
    assert worker.wait(PATIENCE) == 0
    done = {Status.FINISHED: 0, Status.QUEUED: 0}
    for job_id in ids:
        done[jobs.status(job_id)] += 1
    assert 1 <= done[Status.FINISHED] <= 25 and done[Status.QUEUED] >= 5


# Redis away


def test_jobs_that_end_while_redis_is_away_are_recorded_when_it_is_back(
    own: RedisServer, all_tasks: Catalogue, start: Start, tmp_path: Path
) -> None:
    jobs = Jobs(own.url, all_tasks)
    path = tmp_path / "runs"
    environment = {"PADDOCK_REDIS_URL": own.url, "PADDOCK_TASKS": ",".join(ALL_TASKS)}
    workers = [start(sys.executable, "worker.py", "--io", **environment) for _ in range(2)]
    eventually(lambda: own.client.scard("rq:workers") == 2)
    ids = jobs.submit_many(
        "wait", [{"seconds": 3 + n % 3, "value": n, "path": str(path)} for n in range(60)]
    )
    stubborn = jobs.submit("never_stop_at_timeout", path=str(tmp_path / "stubborn"))
    eventually(lambda: len(lines(path)) == 60)
    own.kill()
    time.sleep(12.4)  # longer than a lease, so that no worker seems to live when Redis is back
    own.start()
    again = set[str]()
    for number, job_id in enumerate(ids):
        job = jobs.ended(job_id)
        assert (job.status, job.result) == (Status.FINISHED, number)
        if job.attempts > 1:
            again.add(job_id)
            assert "had to be killed" in reasons(jobs, job_id)[0][1]  # beside the stubborn one
    assert len(again) < 60
    assert jobs.ended(stubborn).error.type == "rq.timeouts.JobTimeoutException"
    assert [worker.poll() for worker in workers] == [None, None]
    jobs.close()


# A blocked loop


def test_a_job_that_blocks_the_loop_is_named_and_the_others_go_on_without_it(
    jobs: Jobs, start: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path, others, log = tmp_path / "trace", tmp_path / "others", tmp_path / "log"
    beside = jobs.submit_many(
        "wait_until_told", [{"value": n, "path": str(others)} for n in range(10)]
    )
    with log.open("w") as file:
        worker = subprocess.Popen(
            [sys.executable, "worker.py", "--io"],
            env=os.environ
            | {
                "PADDOCK_REDIS_URL": jobs.url,
                "PADDOCK_TASKS": ",".join(ALL_TASKS),
                "PADDOCK_ASYNC_BLOCK_LIMIT": "2",
            },
            stdout=file,
            stderr=file,
        )
    try:
        eventually(lambda: len(lines(others)) == 10)
        blocker = jobs.submit("block", seconds=8, path=str(path))
        eventually(lambda: lines(path))
        Path(f"{others}.over").touch()  # which nobody in the loop sees
        for number, job_id in enumerate(beside):
            job = jobs.ended(job_id)
            assert (job.status, job.result, job.attempts) == (Status.FINISHED, number, 2)
        eventually(lambda: len(lines(path)) == 2)  # again, in a process of its own
        first, second = (int(line.split()[1]) for line in lines(path))
        assert first != second and is_gone(first)
        outcome, reason = reasons(jobs, blocker)[0]
        source = Path(__file__).parents[1] / "sample_io_tasks.py"
        line = next(
            number
            for number, text in enumerate(source.read_text().splitlines(), 1)
            if "that is to be found out" in text
        )
        assert outcome == "put back"
        assert f"job {blocker}" in reason and f"{source}:{line}" in reason
        assert reasons(jobs, beside[0])[0] == (outcome, reason)
        assert f"The event loop waits for job {blocker}" in log.read_text()
        job = jobs.ended(blocker)
        assert (job.status, job.result, job.attempts) == (Status.FINISHED, second, 2)
        assert max(jobs[job_id].ended_at for job_id in beside) < job.ended_at
        assert not connection.hexists(f"rq:job:{blocker}", "crashes")
        # From now on the worker keeps this task out of the loop.
        other = jobs.submit("block", seconds=3, path=str(path))
        after = jobs.submit("wait", seconds=3.5)
        assert jobs.ended(after).attempts == jobs.ended(other).attempts == 1
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


def test_a_job_that_blocks_the_loop_ends_by_its_timeout(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    job_id = jobs.submit("block", seconds=30, path=str(tmp_path / "trace"), timeout=3)
    beside = jobs.submit("wait", seconds=1, value=1)
    start_io(PADDOCK_ASYNC_BLOCK_LIMIT="1", PADDOCK_TIMEOUT_GRACE="1")
    assert jobs.ended(beside).result == 1
    job = jobs.ended(job_id)
    assert (job.status, job.error.type) == (Status.FAILED, "rq.timeouts.JobTimeoutException")


def test_a_job_that_another_keeps_from_beginning_is_not_timed_out_for_it(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    blocker = jobs.submit("block", seconds=6, path=str(path))
    start_io(PADDOCK_ASYNC_BLOCK_LIMIT="30", PADDOCK_TIMEOUT_GRACE="0.1")
    eventually(lambda: lines(path))
    kept = jobs.submit("wait", seconds=0, value=1, timeout=4)
    assert jobs.ended(kept).result == 1
    assert jobs.ended(blocker).attempts == jobs.ended(kept).attempts == 1


def test_a_loop_that_is_blocked_for_a_moment_is_left_alone(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    beside = jobs.submit("wait", seconds=3, value=1)
    job_id = jobs.submit("block", seconds=1.5, path=str(tmp_path / "trace"))
    start_io()
    assert jobs.ended(job_id).attempts == jobs.ended(beside).attempts == 1


@pytest.mark.parametrize("task", ["block_in_callback", "hold_the_lock"])
def test_where_nobody_can_tell_who_blocks_it_counts_as_a_crash_of_each(
    jobs: Jobs, start_io: Start, tmp_path: Path, task: str
) -> None:
    path = tmp_path / "trace"
    blocker = jobs.submit(task, seconds=60, path=str(path), timeout=8)
    beside = jobs.submit("wait", seconds=0.5, value=1)
    start_io(PADDOCK_ASYNC_BLOCK_LIMIT="0.5", PADDOCK_TIMEOUT_GRACE="0.5")
    # Twice with others, then alone, where it runs into its timeout
    assert jobs.ended(blocker).error.type == "rq.timeouts.JobTimeoutException"
    assert [outcome for outcome, _ in reasons(jobs, blocker)] == ["died", "died", "raised"]
    assert len(lines(path)) == 3
    job = jobs.ended(beside)
    assert (job.status, job.result) == (Status.FINISHED, 1)


# RQ's own tools


def test_suspend_is_heard_and_running_jobs_go_on(
    jobs: Jobs, start_io: Start, connection: redis.Redis, rq: Any
) -> None:
    running = jobs.submit("wait", seconds=3, value=1)
    start_io()
    jobs.await_status(running, "running")
    assert rq("suspend").returncode == 0
    held = jobs.submit("wait", value=2)
    assert jobs.ended(running).result == 1
    (name,) = connection.smembers("rq:workers")
    eventually(lambda: connection.hget(name, "state") == b"suspended")
    assert jobs.status(held) == Status.QUEUED
    assert rq("resume").returncode == 0
    assert jobs.ended(held).result == 2


def test_rqs_tools_see_the_jobs_that_run_together(
    jobs: Jobs, start_io: Start, connection: redis.Redis, rq: Any, tmp_path: Path
) -> None:
    from rq import Queue, Worker
    from rq.registry import StartedJobRegistry

    path = str(tmp_path / "runs")
    ids = jobs.submit_many("wait_until_told", [{"path": path} for _ in range(20)])
    start_io()
    jobs.await_status(ids[-1], "running")
    shown = rq("info", "io")
    assert shown.returncode == 0, shown.stderr
    assert "1 workers" in shown.stdout and "busy" in shown.stdout
    registry = StartedJobRegistry(queue=Queue("io", connection=connection))
    assert sorted(registry.get_job_ids()) == sorted(ids)  # with RQ's clean-up
    (worker,) = Worker.all(connection=connection)
    assert worker.queue_names() == ["io"]
    assert len(worker.get_current_executions()) == 20
    Path(f"{path}.over").touch()
    assert {jobs.ended(job_id).attempts for job_id in ids} == {1}


def test_a_stock_worker_on_the_same_queue_runs_its_share(
    jobs: Jobs, start_io: Start, start: Start, redis_url: str
) -> None:
    ids = jobs.submit_many("wait", [{"seconds": 0.2, "value": n} for n in range(80)])
    stock = start(RQ, "worker", "-S", "json", "-u", redis_url, "io")
    eventually(lambda: jobs.status(ids[0]) == Status.FINISHED)
    start_io(PADDOCK_ASYNC_CONCURRENCY="4")
    workers = set()
    for number, job_id in enumerate(ids):
        job = jobs.ended(job_id)
        assert job.result == number
        workers.add(job.worker)
    assert len(workers) == 2
    assert stock.poll() is None
