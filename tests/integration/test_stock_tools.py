"""RQ's own commands and classes on Paddock's jobs, as somebody has them who uses RQ already."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.job import Job

from service.broker.status import Status
from service.execution.claim import Claimer
from tests.conftest import Start, eventually
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_worker import RQ

QUEUES = ("default", "cpu", "mail")


@pytest.mark.parametrize("worker_class", ["rq.Worker", "worker.Worker"])
def test_rq_worker_runs_every_kind_of_job(
    jobs: Jobs, rq: Any, tmp_path: Path, worker_class: str
) -> None:
    expected = {
        jobs.submit("heavy_cpu_task", n=10): (Status.FINISHED, 285, 1),
        jobs.submit("echo_async", value=7): (Status.FINISHED, 7, 1),
        jobs.submit("echo", value=[None, "ü"]): (Status.FINISHED, [None, "ü"], 1),
        jobs.submit("succeed_at", attempt=3, path=str(tmp_path / "runs")): (Status.FINISHED, 3, 3),
        jobs.submit("fail_as", kind="value"): (Status.FAILED, None, 4),
        jobs.submit("fail_as", kind="key"): (Status.FAILED, None, 1),
        jobs.submit("fail_as", kind="permanent"): (Status.FAILED, None, 1),
        jobs.submit("fail_as", kind="exit"): (Status.FAILED, None, 1),
        jobs.submit("return_unserializable"): (Status.FAILED, None, 1),
        jobs.submit("sleep", seconds=10, timeout=1): (Status.FAILED, None, 1),
    }
    typed = jobs.submit("describe", count=1, when="2026-11-23T12:00:00Z", tags=["a"], blob="aGk=")
    mail = jobs.submit("send_email", to="a@example.org", subject="s", message="m")
    ended = rq(
        *("worker", "-b", "-S", "json", "-w", worker_class, *QUEUES),
        PADDOCK_DATA_DIR=str(tmp_path),
        PADDOCK_SMTP_URL="",
    )
    assert ended.returncode == 0, ended.stderr
    for job_id, (status, result, attempts) in expected.items():
        job = jobs[job_id]
        assert (job.status, job.result) == (status, result), job
        if worker_class == "worker.Worker":  # RQ's own counts no attempts
            assert job.attempts == attempts, job
        assert job.retries_left == (1 if result == 3 else 0), job
    assert jobs[typed].result | {"count": "int", "when": "datetime", "blob": "bytes"} == (
        jobs[typed].result
    )
    assert jobs.status(mail) == Status.FINISHED
    assert len(list((tmp_path / "outbox").glob("*.eml"))) == 1


def test_paddocks_worker_under_rqs_command_heeds_its_signals_and_options(
    jobs: Jobs, connection: redis.Redis, start: Start, redis_url: str, tmp_path: Path
) -> None:
    step = tmp_path / "step"
    job_id = jobs.submit("go_step_by_step", path=str(step), steps=1)
    worker = start(
        *(RQ, "worker", "-u", redis_url, "-w", "worker.Worker", "-S", "json"),
        *("--name", "stable", "--max-jobs", "5", *QUEUES),
        PADDOCK_TASKS=",".join(ALL_TASKS),
    )
    jobs.await_status(job_id, Status.RUNNING)
    assert connection.hget("rq:worker:stable", "state") == b"busy"
    assert 0 < connection.ttl("rq:worker:stable") <= 10
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # in which it would cut the job short, if it did
    Path(f"{step}-0").touch()
    assert worker.wait(timeout=30) == 0
    assert jobs.status(job_id) == Status.FINISHED


def test_rq_info_shows_queues_and_workers_and_harms_no_running_or_abandoned_job(
    jobs: Jobs, connection: redis.Redis, rq: Any, start_all_tasks: Start, tmp_path: Path
) -> None:
    step = tmp_path / "step"
    running = jobs.submit("go_step_by_step", path=str(step), steps=1)
    start_all_tasks("--queues", "default")
    jobs.await_status(running, Status.RUNNING)
    abandoned = jobs.submit("echo", queue="cpu")
    cpu = jobs.broker.actions._queue(Job.fetch(abandoned, connection=connection, serializer="json"))
    Claimer(connection, "dead", lease=10).claim([cpu])
    connection.delete("rq:worker:dead")
    jobs.submit("echo", queue="mail")

    shown = rq("info", *QUEUES)
    assert shown.returncode == 0, shown.stderr
    assert "3 queues" in shown.stdout
    assert "1 workers" in shown.stdout
    assert jobs.status(running) == jobs.status(abandoned) == Status.RUNNING
    Path(f"{step}-0").touch()
    assert jobs.ended(running).status == Status.FINISHED

    start_all_tasks("--queues", "cpu")
    assert jobs.ended(abandoned).status == Status.FINISHED


def test_rq_requeue_runs_failed_jobs_again(
    jobs: Jobs, rq: Any, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    poison = jobs.submit("kill_own_process", times=3, path=str(tmp_path / "runs"))
    failed = [jobs.submit("fail_as", kind="key") for _ in range(2)]
    elsewhere = jobs.submit("fail_as", kind="key", queue="cpu")
    for job_id in (poison, *failed, elsewhere):
        jobs.ended(job_id)
    before = {job_id: jobs[job_id].attempts for job_id in (*failed, elsewhere)}

    done = rq("requeue", "-S", "json", "--all", "--queue", "default")
    assert done.returncode == 0, done.stderr
    assert jobs.ended(poison).result == "run 4"
    for job_id in failed:
        eventually(lambda job_id=job_id: jobs[job_id].attempts == before[job_id] + 1)
        assert jobs.ended(job_id).status == Status.FAILED
    assert jobs[elsewhere].attempts == before[elsewhere]


def test_rqs_own_classes_read_a_job_that_was_submitted(jobs: Jobs, connection: redis.Redis) -> None:
    submitted = time.time()
    job_id = jobs.submit("fail_and_log", path="/tmp/somewhere", timeout=77)
    job = Job.fetch(job_id, connection=connection, serializer="json")
    assert job.func_name == "tests.sample_tasks.fail_and_log.run"
    assert (list(job.args), job.kwargs) == ([], {"path": "/tmp/somewhere"})
    assert job.description == "fail_and_log(path='/tmp/somewhere')"
    assert (job.timeout, job.result_ttl, job.origin) == (77, 24 * 3600, "default")
    assert (job.retries_left, job.retry_intervals) == (2, [1, 2])
    assert job.get_status() == "queued"
    assert submitted - 1 < job.enqueued_at.timestamp() < submitted + 10
    assert job.get_position() == 0


def test_a_job_that_rqs_own_queue_enqueued_runs_where_its_function_is_a_task(
    jobs: Jobs, connection: redis.Redis, start: Start
) -> None:
    from rq import Queue  # as a program would that knows nothing of Paddock

    queue = Queue("default", connection=connection, serializer="json")
    by_task = queue.enqueue("tests.sample_tasks.echo", args=("a",))
    by_path = queue.enqueue("tests.sample_tasks.echo.run", kwargs={"value": "b"}, job_id="own_id")
    assert start(sys.executable, "worker.py", "--burst").wait(timeout=30) == 0
    assert jobs[by_task.id].result == "a"
    assert jobs[by_path.id].result == "b"


def test_the_io_worker_under_rqs_command_runs_and_leaves(jobs: Jobs, rq: Any) -> None:
    ids = jobs.submit_many("wait", [{"seconds": 0.2, "value": n} for n in range(30)])
    ended = rq(
        *("worker", "-b", "-S", "json", "-w", "service.execution.io_worker.IOWorker", "io"),
        PADDOCK_TASKS="tests.sample_io_tasks",
    )
    assert ended.returncode == 0, ended.stderr
    assert [jobs[job_id].result for job_id in ids] == list(range(30))
