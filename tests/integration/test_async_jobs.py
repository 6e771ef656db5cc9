"""Jobs that wait, hundreds at once in one process: each has an end and a context of its own."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.command import send_stop_job_command

from service.broker.status import Status
from tests.conftest import PATIENCE, PATIENT, Start, eventually
from tests.integration.conftest import Jobs, reasons
from tests.integration.test_worker import lines

PROMPT = 30.0  # seconds; bounds hangs only


def test_hundreds_of_jobs_wait_at_once_in_one_process(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    many = jobs.submit_many(
        "wait_until_told", [{"path": str(path), "value": number} for number in range(300)]
    )
    worker = start_io(PADDOCK_ASYNC_CONCURRENCY="300")
    eventually(lambda: len(lines(path)) == 300)
    Path(f"{path}.over").touch()
    for number, job_id in enumerate(many):
        job = jobs.ended(job_id)
        assert (job.status, job.result, job.attempts) == (Status.FINISHED, number, 1)
    pids = jobs.submit_many("own_process", [{}] * 5)
    (pid,) = {jobs.ended(job_id).result for job_id in pids}
    assert pid != worker.pid
    (execution,) = jobs.broker.executions(pids[0])
    assert execution["outcome"] == "returned" and execution["wall_seconds"] >= 0.15
    assert execution["cpu_seconds"] is None  # whose they are, nobody knows
    assert execution["peak_rss"] > 10 * 2**20


def test_no_more_run_at_once_than_the_setting_says(
    jobs: Jobs, start_io: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    start_io(PADDOCK_ASYNC_CONCURRENCY="3")
    # So that the server knows all scripts: what it does not is run again, after the claims.
    jobs.ended(jobs.submit("wait", seconds=0))
    many = jobs.submit_many("wait_until_told", [{"path": str(path)} for _ in range(9)])
    eventually(lambda: len(lines(path)) == 3)
    time.sleep(0.3)  # in which another one would have come
    assert connection.zcard("rq:wip:io") == len(lines(path)) == 3
    Path(f"{path}.over").touch()
    most = 0
    while not jobs.status(many[-1]).is_final:
        most = max(most, connection.zcard("rq:wip:io"))
    assert most <= 3
    assert {jobs.ended(job_id).status for job_id in many} == {Status.FINISHED}


@pytest.mark.parametrize(
    ("how", "error", "attempts"),
    [
        ("raise", "ValueError", 2),
        ("exit", "SystemExit", 1),
        ("interrupt", "KeyboardInterrupt", 1),
        ("cancel", "service.execution.assignment.AwaitedCanceled", 2),
        ("cancel itself", "service.execution.assignment.AwaitedCanceled", 2),
        ("child exits", "SystemExit", 1),
    ],
)
def test_what_one_job_raises_harms_no_other(
    jobs: Jobs, start_io: Start, how: str, error: str, attempts: int
) -> None:
    beside = jobs.submit_many("wait", [{"seconds": 1.5, "value": n} for n in range(20)])
    bad = jobs.submit("misbehave", how=how)
    start_io()
    job = jobs.ended(bad)
    assert (job.status, job.error.type, job.attempts) == (Status.FAILED, error, attempts)
    assert "sample_io_tasks.py" in job.error.traceback
    for number, job_id in enumerate(beside):
        job = jobs.ended(job_id)
        assert (job.result, job.attempts) == (number, 1)


def test_each_job_finds_itself_and_its_own_context(jobs: Jobs, start_io: Start) -> None:
    ids = jobs.submit_many("tell_own_job", [{"name": f"job {n}"} for n in range(20)])
    start_io()
    for number, job_id in enumerate(ids):
        assert jobs.ended(job_id).result == sorted([job_id, f"job {number}"])


def test_the_tasks_that_a_job_leaves_behind_end_with_it(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    job_id = jobs.submit("leave_tasks_behind", path=str(path))
    start_io()
    assert jobs.ended(job_id).status == Status.FINISHED
    assert lines(path) == ["ended"]


# Stop means stop


def test_a_task_that_a_job_leaves_and_that_will_not_end_is_killed_at_its_timeout(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    path = tmp_path / "ticks"
    start_io(PADDOCK_TIMEOUT_GRACE="0.5")
    job = jobs.ended(jobs.submit("leave_what_will_not_end", path=str(path), timeout=3))
    assert job.error is not None and "Timeout" in job.error.type
    ticks = len(lines(path))
    time.sleep(0.5)
    assert ticks and len(lines(path)) == ticks


def test_a_timeout_is_a_jobs_own_and_lets_it_clean_up(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    beside = jobs.submit("wait", seconds=2, value=1)
    job_id = jobs.submit("clean_up", path=str(tmp_path / "trace"))
    start_io()
    job = jobs.ended(job_id)
    assert (job.status, job.error.type) == (Status.FAILED, "rq.timeouts.JobTimeoutException")
    assert job.error.message == "Task exceeded its timeout of 1 s"
    assert lines(tmp_path / "trace") == ["begun", "cleaned up"]
    assert jobs.ended(beside).attempts == 1


@pytest.mark.parametrize("by", ["api", "rq", "mark"])
def test_a_cancel_is_a_jobs_own_and_lets_it_clean_up(
    jobs: Jobs, start_io: Start, connection: redis.Redis, tmp_path: Path, by: str
) -> None:
    others, path = tmp_path / "others", tmp_path / "trace"
    beside = jobs.submit_many(
        "wait_until_told", [{"path": str(others), "value": n} for n in range(5)]
    )
    job_id = jobs.submit("clean_up_when_canceled", path=str(path))
    start_io(program=PATIENT)
    eventually(lambda: lines(path) and len(lines(others)) == 5)
    match by:
        case "api":
            jobs.broker.actions.cancel(job_id)
        case "rq":
            send_stop_job_command(connection, job_id, serializer="json")
        case "mark":  # the worker has not heard it
            connection.hset(f"rq:job:{job_id}", "cancel_requested", 1)
    assert jobs.ended(job_id).status == Status.CANCELED
    assert lines(path) == ["begun", "cleaned up"]
    Path(f"{others}.over").touch()
    assert [jobs.ended(other).attempts for other in beside] == [1] * 5


@pytest.mark.parametrize("task", ["never_stop", "never_stop_at_timeout"])
def test_a_job_that_refuses_to_stop_is_killed_and_the_others_run_again(
    jobs: Jobs, start_io: Start, tmp_path: Path, task: str
) -> None:
    path, others = tmp_path / "trace", tmp_path / "others"
    timeout = 60 if task == "never_stop" else 4  # by when all have begun
    stubborn = jobs.submit(task, path=str(path), timeout=timeout)
    beside = jobs.submit_many(
        "wait_until_told", [{"value": n, "path": str(others)} for n in range(5)]
    )
    start_io(PADDOCK_TIMEOUT_GRACE="0.5")
    eventually(lambda: lines(path) and len(lines(others)) >= 5)
    if task == "never_stop":
        jobs.broker.actions.cancel(stubborn)
    job = jobs.ended(stubborn)
    Path(f"{others}.over").touch()
    assert job.status == (Status.CANCELED if task == "never_stop" else Status.FAILED)
    if job.error is not None:
        assert job.error.type == "rq.timeouts.JobTimeoutException"
        assert "was killed" in job.error.message
    for number, job_id in enumerate(beside):
        job = jobs.ended(job_id)
        assert (job.status, job.result, job.attempts) == (Status.FINISHED, number, 2)
        first, second = reasons(jobs, job_id)
        assert first == ("put back", f"its process had to be killed for {stubborn}")
        assert second == ("returned", "returned")
    assert lines(path) == ["begun"]
    # They ran again in the order in which they had come.
    assert lines(others)[5:] == [str(n) for n in range(5)]


# Side by side with others


def test_jobs_that_wait_keep_no_cpu_job_waiting_nor_they_them(
    jobs: Jobs, start_io: Start, start_worker: Start
) -> None:
    waiting = jobs.submit_many("wait", [{"seconds": 60} for _ in range(50)])
    start_io(PADDOCK_SHUTDOWN_GRACE="0")
    start_worker("--queues", "cpu")
    jobs.await_status(waiting[-1], "running")
    assert jobs.ended(jobs.submit("heavy_cpu_task", n=1000), PROMPT).status == Status.FINISHED
    long = jobs.submit_many("heavy_cpu_task", [{"n": 3_000_000} for _ in range(10)])
    assert jobs.ended(jobs.submit("wait", value=7), PROMPT).result == 7
    assert jobs.status(long[-1]) in (Status.QUEUED, Status.RUNNING, Status.FINISHED)


def test_what_else_is_put_on_its_queue_runs_in_processes_of_their_own(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    waiting = jobs.submit("own_process")
    apart = jobs.submit_many("in_process", [{"value": n} for n in range(6)])
    slow = jobs.submit("append_line", path=str(tmp_path / "l"), line="x", seconds=2, queue="io")
    unknown = jobs.submit("echo", value=1, queue="io")
    worker = start_io()
    results = [jobs.ended(job_id).result for job_id in apart]
    assert [value for value, _ in results] == list(range(6))
    pids = {pid for _, pid in results}
    assert len(pids) == 6 and not {jobs.ended(waiting).result, worker.pid} & pids
    assert jobs.ended(slow).status == jobs.ended(unknown).status == Status.FINISHED


def test_a_worker_of_processes_runs_such_jobs_too(jobs: Jobs, start_worker: Start) -> None:
    one, two = jobs.submit("wait", value=1), jobs.submit("wait_in_thread", value=2)
    start_worker("--queues", "io", PADDOCK_TASKS="tests.sample_io_tasks")
    assert jobs.ended(one).result == 1
    assert jobs.ended(two).result[0] == 2


def test_a_limit_on_how_many_run_at_once_holds(jobs: Jobs, start_io: Start, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    ids = jobs.submit_many("at_most_two", [{"path": str(path)} for _ in range(8)])
    start_io()
    assert {jobs.ended(job_id).status for job_id in ids} == {Status.FINISHED}
    running = most = 0
    for line in lines(path):
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


# Threads


def test_plain_functions_wait_together_in_threads(jobs: Jobs, start_io: Start) -> None:
    ids = jobs.submit_many("wait_in_thread", [{"seconds": 1.5, "value": n} for n in range(50)])
    beside = jobs.submit("own_process")
    began = time.monotonic()
    start_io()
    results = [jobs.ended(job_id).result for job_id in ids]
    assert time.monotonic() - began < PATIENCE  # and not 75 s
    assert [value for value, _, _ in results] == list(range(50))
    assert {pid for _, pid, _ in results} == {jobs.ended(beside).result}
    assert len({thread for _, _, thread in results}) > 1
    (execution,) = jobs.broker.executions(ids[0])
    assert 0 <= execution["cpu_seconds"] < 1 < execution["wall_seconds"]


@pytest.mark.parametrize(("how", "error"), [("raise", "ValueError"), ("exit", "SystemExit")])
def test_what_a_thread_raises_is_its_jobs_alone(
    jobs: Jobs, start_io: Start, how: str, error: str
) -> None:
    beside = jobs.submit("wait_in_thread", seconds=1, value=1)
    bad = jobs.submit("raise_in_thread", how=how)
    start_io()
    assert jobs.ended(bad).error.type == error
    assert jobs.ended(beside).attempts == 1


def test_python_code_in_a_thread_is_interrupted_at_its_timeout_and_may_clean_up(
    jobs: Jobs, start_io: Start, tmp_path: Path
) -> None:
    beside = jobs.submit("wait", seconds=3, value=1)
    job_id = jobs.submit("spin_in_thread", path=str(tmp_path / "trace"))
    start_io()
    job = jobs.ended(job_id)
    assert job.error.type == "rq.timeouts.JobTimeoutException"
    assert job.error.message == "Task exceeded its timeout of 1 s"
    assert lines(tmp_path / "trace") == ["begun", "cleaned up"]
    assert jobs.ended(beside).attempts == 1


@pytest.mark.parametrize("task", ["hang_in_thread", "hang_in_thread_for_long"])
def test_a_thread_that_hangs_is_killed_with_its_process_and_the_others_run_again(
    jobs: Jobs, start_io: Start, tmp_path: Path, task: str
) -> None:
    others, path = tmp_path / "others", tmp_path / "trace"
    timeout = 60 if task == "hang_in_thread_for_long" else 4  # by when all have begun
    hung = jobs.submit(task, path=str(path), timeout=timeout)
    beside = [
        *jobs.submit_many("wait_until_told", [{"path": str(others), "value": n} for n in range(3)]),
        jobs.submit("wait_in_thread_until_told", path=str(others), value=9),
    ]
    start_io(PADDOCK_TIMEOUT_GRACE="0.5")
    eventually(lambda: lines(path) and len(lines(others)) >= 4)
    if task == "hang_in_thread_for_long":
        jobs.broker.actions.cancel(hung)
    assert jobs.ended(hung).status in (Status.FAILED, Status.CANCELED)
    Path(f"{others}.over").touch()
    assert [jobs.ended(job_id).attempts for job_id in beside] == [2] * 4
    assert {jobs.status(job_id) for job_id in beside} == {Status.FINISHED}


def test_burst_mode_runs_what_there_is_and_leaves(jobs: Jobs, start: Start) -> None:
    ids: list[Any] = jobs.submit_many("wait", [{"value": n} for n in range(150)])
    ids += jobs.submit_many("in_process", [{"value": 0}])
    worker = start(
        *(sys.executable, "worker.py", "--io", "--burst"),
        PADDOCK_TASKS="tests.sample_io_tasks",
    )
    assert worker.wait(PATIENCE) == 0
    assert {jobs.status(job_id) for job_id in ids} == {Status.FINISHED}
