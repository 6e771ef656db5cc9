"""What a worker does with jobs, shown on real processes with real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image
from rq import Callback, Queue
from rq import Retry as RQRetry
from rq.command import send_stop_job_command
from rq.job import Job

from service.broker.status import Status
from service.execution.scheduler import Scheduler
from service.settings import Settings
from tests.conftest import ROOT, RedisServer, Start, eventually
from tests.integration.conftest import Jobs

RQ = str(Path(sys.executable).with_name("rq"))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def wait_for_exit(process: "subprocess.Popen[str]", seconds: float = 30) -> int:
    return process.wait(timeout=seconds)


def is_gone(pid: int) -> bool:
    """Whether it runs no more; what nobody has waited for yet is gone, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# To its result


@pytest.mark.parametrize(
    ("task", "given", "result"),
    [
        ("heavy_cpu_task", {"n": 10}, 285),
        ("echo_async", {"value": 7}, 7),
        ("echo", {"value": {"a": [1, None, "ü"]}}, {"a": [1, None, "ü"]}),
        ("succeed_at", {"attempt": 3, "path": "{tmp}/runs"}, 3),
    ],
)
def test_each_kind_of_task_runs_to_its_result(
    jobs: Jobs, start: Start, tmp_path: Path, task: str, given: dict[str, Any], result: Any
) -> None:
    given = {
        name: value.format(tmp=tmp_path) if name == "path" else value
        for name, value in given.items()
    }
    job_id = jobs.submit(task, **given)
    assert wait_for_exit(start(sys.executable, "worker.py", "--burst")) == 0
    job = jobs[job_id]
    assert (job.status, job.result, job.error) == (Status.FINISHED, result, None)


def test_parameters_are_rebuilt_to_their_declared_types(jobs: Jobs, start: Start) -> None:
    job_id = jobs.submit(
        "describe",
        count=1,
        ratio=2,
        when="2026-11-23T12:00:00Z",
        key="6a1f0d3e-30f5-4b3e-9a53-3f6a1f0d3e30",
        color="blue",
        tags=["a"],
        sizes={"a": 1},
        address={"street": "Rue"},
        point={"x": 1},
        blob="aGk=",
    )
    wait_for_exit(start(sys.executable, "worker.py", "--burst"))
    assert jobs[job_id].result == {
        "count": "int",
        "ratio": "float",
        "name": "str",
        "flag": "bool",
        "when": "datetime",
        "key": "UUID",
        "color": "Color",
        "mode": "str",
        "tags": "list",
        "sizes": "dict",
        "address": "Address",
        "point": "Point",
        "blob": "bytes",
    }


def test_a_real_picture_is_resized(
    jobs: Jobs, start: Start, settings: Settings, tmp_path: Path
) -> None:
    folder = settings.data_dir / "files"
    folder.mkdir()
    Image.effect_noise((400, 200), 50).save(folder / "photo.png")
    job_id = jobs.submit("resize_image", path="photo.png", width=100, height=100)
    outside = jobs.submit("resize_image", path="../paddock.lock")

    wait_for_exit(start(sys.executable, "worker.py", "--burst"))
    assert jobs[job_id].result == {"path": "photo-100x100.png", "width": 100, "height": 50}
    with Image.open(folder / "photo-100x100.png") as picture:
        assert picture.size == (100, 50)
    assert jobs[outside].error.type == "jobs.errors.PermanentFailure" or (
        "leads out of the folder" in jobs[outside].error.message
    )


# The fence


@pytest.mark.parametrize(
    ("function", "args", "serializer", "reason"),
    [
        ("os.system", ["touch {proof}"], "json", "os.system is not a task"),
        ("subprocess.getoutput", ["touch {proof}"], "json", "is not a task of this worker's"),
        ("tests.sample_tasks.os.system", ["touch {proof}"], "json", "is not a task"),
        ("tests.sample_tasks.Path.touch", ["{proof}"], "json", "is not a task"),
        ("tests.sample_tasks.append_line.function", ["{proof}", "x"], "json", "is not a task"),
        ("tests.sample_tasks.echo.run", ["{proof}"], "pickle", "not a job in JSON"),
    ],
)
def test_what_is_not_in_the_catalogue_is_failed_and_never_run(
    connection: redis.Redis,
    jobs: Jobs,
    start: Start,
    tmp_path: Path,
    function: str,
    args: list[str],
    serializer: str,
    reason: str,
) -> None:
    proof = tmp_path / "proof"
    queue = Queue("default", connection=connection, serializer=serializer)
    job = queue.enqueue(
        function,
        args=tuple(arg.format(proof=proof) for arg in args),
        retry=RQRetry(max=3),
        result_ttl=-1,
    )
    wait_for_exit(start(sys.executable, "worker.py", "--burst"))

    record = jobs[job.id]
    assert record.status == Status.FAILED
    assert reason in record.error.message
    assert record.attempts == 1
    assert not proof.exists()


@pytest.mark.parametrize("outcome", ["finished", "failed"])
def test_callbacks_by_dotted_path_never_run(
    connection: redis.Redis, jobs: Jobs, start: Start, tmp_path: Path, outcome: str
) -> None:
    queue = Queue("default", connection=connection, serializer="json")
    callback = Callback("tests.sample_tasks.kill_own_process.function")
    job = queue.enqueue(
        f"tests.sample_tasks.{'echo' if outcome == 'finished' else 'fail_as'}.run",
        kwargs={"value": 1} if outcome == "finished" else {"kind": "key"},
        on_success=callback,
        on_failure=callback,
        on_stopped=callback,
    )
    wait_for_exit(start(sys.executable, "worker.py", "--burst"))
    record = jobs[job.id]
    assert record.status == outcome
    assert record.error is None or record.error.type == "KeyError"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "queued"},
        {"status": "queued", "data": "no JSON"},
        {"status": "queued", "data": '["tests.sample_tasks.echo.run"]'},
        {
            "status": "queued",
            "data": '["tests.sample_tasks.echo.run", null, [], {}]',
            "timeout": "x",
        },
        {"status": "queued", "data": '["tests.sample_tasks.echo.run", null, [], {"nope": 1}]'},
    ],
)
def test_a_record_that_is_no_job_fails_by_itself_and_harms_no_worker(
    connection: redis.Redis, jobs: Jobs, start: Start, fields: dict[str, str]
) -> None:
    connection.hset("rq:job:broken", mapping=fields)
    connection.rpush("rq:queue:default", "broken")
    good = jobs.submit("echo", value=1)
    worker = start(sys.executable, "worker.py", "--burst")
    assert wait_for_exit(worker) == 0
    assert connection.hget("rq:job:broken", "status") == b"failed"
    assert connection.zscore("rq:failed:default", "broken") is not None
    assert jobs.status(good) == Status.FINISHED


# Retries


def test_retries_come_at_the_times_of_their_policy(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    listed, jittered = tmp_path / "listed", tmp_path / "jittered"
    first = jobs.submit("fail_and_log", path=str(listed))
    second = jobs.submit("fail_with_jitter", path=str(jittered))
    start_all_tasks()
    for job_id, path, least in [(first, listed, [1, 2]), (second, jittered, [1, 1, 1])]:
        job = jobs.ended(job_id, 60)
        times = [float(line) for line in lines(path)]
        waits = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        assert (job.status, job.attempts, job.retries_left) == (Status.FAILED, len(least) + 1, 0)
        assert len(waits) == len(least)
        assert all(wait >= bound for wait, bound in zip(waits, least, strict=True)), waits
        assert all(wait < bound + 30 for wait, bound in zip(waits, least, strict=True)), waits


@pytest.mark.parametrize(
    ("kind", "attempts"), [("value", 4), ("key", 1), ("permanent", 1), ("exit", 1)]
)
def test_only_what_the_policy_names_is_retried(
    jobs: Jobs, start: Start, kind: str, attempts: int
) -> None:
    job_id = jobs.submit("fail_as", kind=kind)
    wait_for_exit(start(sys.executable, "worker.py", "--burst"))
    job = jobs[job_id]
    assert (job.status, job.attempts, job.retries_left) == (Status.FAILED, attempts, 0)


def test_a_result_that_json_cannot_carry_fails_with_the_reason_and_is_not_retried(
    jobs: Jobs, start: Start
) -> None:
    job_id = jobs.submit("return_unserializable")
    wait_for_exit(start(sys.executable, "worker.py", "--burst"))
    job = jobs[job_id]
    assert (job.status, job.attempts) == (Status.FAILED, 1)
    assert job.error.message.startswith("The task ran, but its result (object) is not JSON")


# Timeouts


def test_a_timeout_interrupts_the_task_so_that_it_can_clean_up(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    job_id = jobs.submit("clean_up_when_interrupted", path=str(proof), timeout=3)
    start_all_tasks()
    job = jobs.ended(job_id)
    assert job.error.type == "rq.timeouts.JobTimeoutException"
    assert proof.read_text() == "tidied up"  # which nobody does who is killed


def test_a_task_that_ignores_its_timeout_is_killed_with_its_children(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    job_id = jobs.submit("ignore_timeout_with_child", path=str(pid), timeout=3)
    after = jobs.submit("echo", value=1)
    start_all_tasks()
    job = jobs.ended(job_id, 40)
    assert (job.status, job.attempts) == (Status.FAILED, 1)
    assert job.error.type == "rq.timeouts.JobTimeoutException"
    assert "timeout of 3 s, went on after it was interrupted, and was killed" in job.error.message
    eventually(lambda: is_gone(int(pid.read_text())))
    assert jobs.ended(after).result == 1


# Order


def test_all_jobs_of_the_first_queue_run_before_any_of_the_next(
    jobs: Jobs, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    for queue in ("mail", "cpu", "default"):
        names = [{"path": str(path), "line": queue, "queue": queue} for _ in range(3)]
        jobs.submit_many("append_line", names)
    jobs.submit("append_line", path=str(path), line="front", queue="cpu", at_front=True)
    wait_for_exit(start(sys.executable, "worker.py", "--burst", "--queues", "cpu,default,mail"))
    assert lines(path) == ["front", *["cpu"] * 3, *["default"] * 3, *["mail"] * 3]


# Signals


def test_after_sigterm_the_running_job_finishes_and_no_other_is_taken(
    jobs: Jobs, start_worker: Start, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    first, second = (
        jobs.submit("append_line", path=str(path), line=line, seconds=5) for line in "ab"
    )
    worker = start_worker()
    eventually(lambda: lines(path) == ["a"])
    worker.send_signal(signal.SIGTERM)
    assert wait_for_exit(worker) == 0
    assert jobs.status(first) == Status.FINISHED
    assert jobs.status(second) == Status.QUEUED
    assert lines(path) == ["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_at_once_and_says_so(
    connection: redis.Redis, start_worker: Start, number: signal.Signals
) -> None:
    took = []
    while len(took) < 3 and not any(seconds < 2 for seconds in took):  # the machine may be busy
        worker = start_worker()
        name = connection.smembers("rq:workers").pop().decode()
        eventually(lambda name=name: connection.hget(name, "state") == b"idle")
        told = time.monotonic()
        worker.send_signal(number)
        assert wait_for_exit(worker) == 0
        took.append(time.monotonic() - told)
        assert connection.scard("rq:workers") == 0
        assert connection.keys("rq:scheduler-lock:*") == []
    assert min(took) < 2


def test_sigterm_while_a_worker_starts_is_not_lost(connection: redis.Redis, start: Start) -> None:
    workers = [start(sys.executable, "worker.py") for _ in range(3)]
    for worker in workers:
        # The moment of its birth: the scheduler is being forked.
        eventually(lambda: connection.scard("rq:workers") > 0)
        worker.send_signal(signal.SIGTERM)
    assert all(wait_for_exit(worker) in (0, -signal.SIGTERM) for worker in workers)


def test_ctrl_c_twice_cuts_the_job_short_and_puts_it_back(
    jobs: Jobs, connection: redis.Redis, start_all_tasks: Start, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    job_id = jobs.submit("append_pid", path=str(path), seconds=50)
    worker = start_all_tasks()
    eventually(lambda: lines(path))

    def interrupted() -> bool:  # RQ takes two within a second for one
        worker.send_signal(signal.SIGINT)
        time.sleep(0.2)
        return worker.poll() is not None

    eventually(interrupted)
    assert is_gone(int(lines(path)[0]))
    assert jobs.status(job_id) == Status.QUEUED  # at once: no other worker had to find it
    assert not connection.hexists(f"rq:job:{job_id}", "crashes")
    start_all_tasks()
    assert jobs.ended(job_id).result == 2


def test_a_job_stopped_by_rqs_own_command_ends_as_canceled(
    jobs: Jobs, connection: redis.Redis, start_all_tasks: Start, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    job_id = jobs.submit("append_pid", path=str(path), seconds=50)
    after = jobs.submit("echo", value=1)
    start_all_tasks()
    eventually(lambda: lines(path))
    send_stop_job_command(connection, job_id, serializer="json")
    assert jobs.ended(job_id).status == Status.CANCELED
    # The job has ended; the process that ran it is used for no other, and leaves after that.
    eventually(lambda: is_gone(int(lines(path)[0])))
    assert jobs.ended(after).result == 1


def test_suspend_and_resume_are_heard_by_an_idle_worker(
    jobs: Jobs, connection: redis.Redis, start: Start, start_worker: Start, redis_url: str
) -> None:
    start_worker()
    name = connection.smembers("rq:workers").pop().decode()
    assert wait_for_exit(start(RQ, "suspend", "-u", redis_url)) == 0
    eventually(lambda: connection.hget(name, "state") == b"suspended")
    job_id = jobs.submit("echo", value=1)
    # It has looked for suspension again, and let the job lie.
    beat = connection.hget(name, "last_heartbeat")
    eventually(lambda: connection.hget(name, "last_heartbeat") != beat)
    assert jobs.status(job_id) == Status.QUEUED
    assert wait_for_exit(start(RQ, "resume", "-u", redis_url)) == 0
    assert jobs.ended(job_id).result == 1


# Delays and the scheduler


def test_a_delayed_job_runs_not_before_its_time(
    jobs: Jobs, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    submitted = time.time()
    job_id = jobs.submit("succeed_at", attempt=1, path=str(tmp_path / "runs"), delay=1.2)
    later = jobs.submit("echo", delay=3600)
    job = jobs.ended(job_id)
    assert job.status == Status.FINISHED
    assert jobs.status(later) == Status.SCHEDULED
    assert 1.2 <= job.started_at.timestamp() - submitted < 30


def scheduler_pids(connection: redis.Redis) -> list[int]:
    """Those that have registered, as RQ's own do."""
    keys = connection.keys("rq:scheduler:*")
    return [int(pid) for key in keys if (pid := connection.hget(key, "pid"))]


def test_a_scheduler_that_was_killed_is_started_again(
    jobs: Jobs, connection: redis.Redis, start_worker: Start
) -> None:
    worker = start_worker()
    (scheduler,) = eventually(lambda: scheduler_pids(connection))
    assert scheduler in children(worker.pid)
    os.kill(scheduler, signal.SIGKILL)
    job_id = jobs.submit("echo", value=1, delay=1)
    assert jobs.ended(job_id).result == 1
    assert scheduler_pids(connection) != [scheduler]


def test_a_scheduler_that_was_stopped_for_a_while_goes_on(
    jobs: Jobs, connection: redis.Redis, start_worker: Start
) -> None:
    start_worker()
    (scheduler,) = eventually(lambda: scheduler_pids(connection))
    os.kill(scheduler, signal.SIGSTOP)
    time.sleep(1.5)  # longer than it waits between two looks
    os.kill(scheduler, signal.SIGCONT)
    job_id = jobs.submit("echo", value=1, delay=1)
    assert jobs.ended(job_id).result == 1
    assert scheduler_pids(connection) == [scheduler]


def test_a_scheduler_leaves_with_its_worker_however_that_dies(
    connection: redis.Redis, start_worker: Start
) -> None:
    worker = start_worker()
    (scheduler,) = eventually(lambda: scheduler_pids(connection))
    eventually(lambda: connection.keys("rq:scheduler-lock:*"))
    worker.kill()
    worker.wait()
    eventually(lambda: is_gone(scheduler))
    assert connection.keys("rq:scheduler-lock:*") == []


def test_two_hundred_due_jobs_run_once_each_on_two_workers(
    jobs: Jobs, start_worker: Start, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    many = [{"path": str(path), "line": str(number)} for number in range(200)]
    ids = jobs.submit_many("append_line", many, delay=1)
    start_worker()
    start_worker()
    eventually(lambda: len(lines(path)) >= 200, 60)
    for job_id in ids:
        jobs.await_status(job_id, "finished")
    assert sorted(lines(path)) == sorted(str(number) for number in range(200))


def test_a_canceled_scheduled_job_does_not_come_back(
    jobs: Jobs, connection: redis.Redis, start_worker: Start, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    canceled, by_rq, kept = (
        jobs.submit("append_line", path=str(path), line=line, delay=1) for line in "abc"
    )
    jobs.broker.actions.cancel(canceled)
    Job.fetch(by_rq, connection=connection, serializer="json").cancel()
    start_worker()
    assert jobs.ended(kept).status == Status.FINISHED
    assert jobs.status(canceled) == jobs.status(by_rq) == Status.CANCELED
    assert lines(path) == ["c"]


def test_a_scheduler_leaves_queues_alone_that_another_holds(
    jobs: Jobs, connection: redis.Redis, tmp_path: Path
) -> None:
    job_id = jobs.submit("echo", delay=0.01)
    connection.set(Scheduler.get_locking_key("default"), "another's name", ex=60)
    queue = Queue("default", connection=connection, serializer="json")
    time.sleep(1.1)  # until it is due; nothing else would change that could be waited for
    Scheduler([queue], connection).move_once()
    assert jobs.status(job_id) == Status.SCHEDULED
    connection.delete(Scheduler.get_locking_key("default"))
    Scheduler([queue], connection).move_once()
    assert jobs.status(job_id) == Status.QUEUED


# Redis away


def test_a_worker_that_finds_no_redis_says_so_in_one_line(tmp_path: Path) -> None:
    nowhere = {"PADDOCK_REDIS_URL": f"unix://{tmp_path}/nowhere.sock"}
    ended = subprocess.run(
        [sys.executable, "worker.py"],
        env=os.environ | nowhere,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("worker.py: Redis can't be reached")
    assert ended.stderr.count("\n") == 1


def test_a_redis_that_refuses_writes_for_a_while_stops_no_worker(
    server: RedisServer, jobs: Jobs, connection: redis.Redis, start_worker: Start
) -> None:
    worker = start_worker()
    name = connection.smembers("rq:workers").pop().decode()
    eventually(lambda: connection.hget(name, "state") == b"idle")
    connection.config_set("min-replicas-to-write", 1)  # NOREPLICAS, as in a failover
    try:
        eventually(lambda: connection.pttl(name) < 5_000, 20)  # it has missed a heartbeat
    finally:
        connection.config_set("min-replicas-to-write", 0)
    job_id = jobs.submit("echo", value=1)
    assert jobs.ended(job_id).result == 1
    assert worker.poll() is None
