"""How executions end: told to stop, over a limit, with their worker, twice."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings
from tests.conftest import PATIENCE, PATIENT, TASKS, RedisServer, Start, eventually

ENGINE_TASKS = (*TASKS, "tests.sample_engine_tasks")
PROMPT = 30.0  # seconds; bounds hangs only


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load(ENGINE_TASKS)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url, data_dir=tmp_path, tasks=ENGINE_TASKS, workers=1, timeout_grace=1
    )


def submit(api: TestClient, task: str, options: str = "", **parameters: Any) -> str:
    answer = api.post(f"/tasks/{task}{options}", json=parameters)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def show(api: TestClient, job_id: str, wait: float = 0) -> dict[str, Any]:
    job: dict[str, Any] = api.get(f"/jobs/{job_id}", params={"wait": wait}).json()
    return job


def running(api: TestClient, job_id: str) -> None:
    eventually(lambda: show(api, job_id)["status"] == "running")


def executions(api: TestClient, job_id: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = api.get(f"/jobs/{job_id}/executions").json()
    return listed


def test_an_execution_is_on_record_with_what_it_used(api: TestClient, start_worker: Start) -> None:
    worker = start_worker()
    job_id = submit(api, "heavy_cpu_task", n=1_000_000)
    assert show(api, job_id, wait=20)["status"] == "finished"
    (execution,) = executions(api, job_id)
    assert (execution["outcome"], execution["reason"]) == ("returned", "returned")
    assert 0 < execution["cpu_seconds"] <= execution["wall_seconds"] * 2 + 0.1
    assert 10 * 2**20 < execution["peak_rss"] < 2**30
    assert execution["host"] and execution["worker"] == show(api, job_id)["worker"]
    assert worker.poll() is None


# Stop means stop


@pytest.mark.parametrize("task", ["clean_up_when_interrupted", "wait_async"])
def test_a_running_job_is_canceled_and_may_clean_up(
    api: TestClient, start_worker: Start, tmp_path: Path, task: str
) -> None:
    start_worker(program=PATIENT)
    trace = tmp_path / "trace"
    job_id = submit(api, task, path=str(trace))
    eventually(lambda: trace.exists() and trace.read_text() == "begun")
    assert api.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert show(api, job_id, wait=30)["status"] == "canceled"
    assert trace.read_text() == "cleaned up"
    assert [row["outcome"] for row in executions(api, job_id)] == ["canceled"]
    assert api.post(f"/jobs/{job_id}/cancel").status_code == 409


def test_a_job_that_refuses_to_stop_is_killed_and_never_retried(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    job_id = submit(api, "never_stop", path=str(tmp_path / "runs"))
    running(api, job_id)
    eventually((tmp_path / "runs").exists)
    assert api.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert show(api, job_id, wait=PROMPT)["status"] == "canceled"
    assert submit_and_finish(api) == "finished"
    assert (tmp_path / "runs").read_text() == "x"


def submit_and_finish(api: TestClient) -> str:
    return str(show(api, submit(api, "echo", value=1), wait=20)["status"])


def test_a_cancel_that_the_worker_did_not_hear_is_seen_at_its_next_heartbeat(
    api: TestClient, start_worker: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    start_worker()
    job_id = submit(api, "clean_up_when_interrupted", path=str(tmp_path / "trace"))
    running(api, job_id)
    connection.hset(f"rq:job:{job_id}", "cancel_requested", 1)
    assert show(api, job_id, wait=PROMPT)["status"] == "canceled"


def test_rqs_own_command_to_stop_a_job_cancels_it(
    api: TestClient, start_worker: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    from rq.command import send_stop_job_command

    start_worker()
    job_id = submit(api, "clean_up_when_interrupted", path=str(tmp_path / "trace"))
    running(api, job_id)
    send_stop_job_command(connection, job_id, serializer="json")
    assert show(api, job_id, wait=PROMPT)["status"] == "canceled"


def test_c_code_past_its_timeout_is_killed_with_its_children_and_retried(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    job_id = submit(api, "hash_in_c", path=str(tmp_path / "children"))
    job = show(api, job_id, wait=30)
    assert (job["status"], job["attempts"]) == ("failed", 2)
    assert job["error"]["type"].endswith("JobTimeoutException")
    assert "was killed" in job["error"]["message"]
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert len(children) == 2
    for child in children:
        eventually(lambda child=child: not _lives(child))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Limits


def test_a_job_over_its_memory_limit_fails_and_says_the_limit(
    api: TestClient, start_worker: Start
) -> None:
    start_worker()
    job = show(api, submit(api, "fill_memory", mebibytes=500), wait=20)
    assert (job["status"], job["error"]["type"]) == ("failed", "MemoryError")
    assert "64 MiB" in job["error"]["message"]
    job = show(api, submit(api, "fill_memory", mebibytes=20), wait=20)
    assert (job["status"], job["result"]) == ("finished", 20 * 2**20)


def test_a_job_over_its_cpu_limit_fails(api: TestClient, start_worker: Start) -> None:
    start_worker()
    job = show(api, submit(api, "burn_cpu"), wait=30)
    assert job["status"] == "failed" and job["error"]["type"].endswith("CpuTimeExceeded")


# Crashes


def test_a_task_that_says_so_is_failed_at_its_first_crash(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    job_id = submit(api, "crash_once", path=str(tmp_path / "runs"))
    job = show(api, job_id, wait=20)
    assert (job["status"], job["error"]["type"]) == ("failed", "WorkerLost")
    assert (tmp_path / "runs").read_text() == "x"
    (execution,) = executions(api, job_id)
    assert (execution["outcome"], execution["reason"]) == ("died", "killed by SIGSEGV")


def test_a_job_that_keeps_dying_is_failed_as_poison_with_its_history(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    job_id = submit(api, "kill_own_process", times=99, path=str(tmp_path / "runs"))
    job = show(api, job_id, wait=20)
    assert (job["status"], job["error"]["type"]) == ("failed", "WorkerLost")
    assert [row["reason"] for row in executions(api, job_id)] == ["killed by SIGKILL"] * 3


# Isolation


def test_shared_jobs_share_a_process_and_one_that_crashes_harms_no_other(
    api: TestClient, start_worker: Start
) -> None:
    start_worker()
    ids = [submit(api, "in_shared_process", do=do) for do in ("return", "raise", "return")]
    first, raised, second = [show(api, job_id, wait=20) for job_id in ids]
    assert first["result"] == second["result"]
    assert raised["error"]["type"] == "ValueError"

    hung = show(api, submit(api, "in_shared_process", "?timeout=1", do="hang"), wait=20)
    assert hung["error"]["type"].endswith("JobTimeoutException")
    crashed = show(api, submit(api, "in_shared_process", do="crash"), wait=20)
    assert (crashed["status"], crashed["error"]["type"]) == ("failed", "WorkerLost")
    assert show(api, submit(api, "in_shared_process", do="return"), wait=20)["status"] == "finished"


# Slow workers and late ends


def test_a_worker_that_was_only_slow_does_not_write_over_the_new_execution(
    api: TestClient, start_worker: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    slow = start_worker()
    runs = tmp_path / "runs"
    job_id = submit(api, "linger_at_first", path=str(runs), seconds=12)
    eventually(lambda: runs.exists() and runs.read_text())
    os.killpg(slow.pid, signal.SIGSTOP)
    horses = _children(slow.pid)
    for horse in horses:
        os.kill(horse, signal.SIGSTOP)
    try:
        start_worker()
        job = show(api, job_id, wait=40)
        assert job["status"] == "finished"
        other = job["worker"]
        ended_at = job["ended_at"]
    finally:
        for pid in [*horses, slow.pid]:  # the worker last: it sees to its horses, and may end them
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        os.killpg(slow.pid, signal.SIGCONT)
    eventually(lambda: len(executions(api, job_id)) == 3)  # lost, returned, and the late one
    job = show(api, job_id)
    assert (job["worker"], job["ended_at"], job["status"]) == (other, ended_at, "finished")
    assert connection.xlen(f"rq:results:{job_id}") == 1
    assert connection.zcard("rq:wip:default") == 0


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in listed.stdout.split()]


# Deploys


def test_a_worker_told_to_stop_puts_back_what_it_cannot_finish_without_spending_a_retry(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    leaving = start_worker(PADDOCK_SHUTDOWN_GRACE="1")
    job_id = submit(api, "never_stop", path=str(tmp_path / "runs"))
    running(api, job_id)
    eventually((tmp_path / "runs").exists)
    leaving.terminate()
    assert leaving.wait(PATIENCE) == 0
    job = show(api, job_id)
    assert (job["status"], job["retries_left"]) == ("queued", 3)
    assert [row["outcome"] for row in executions(api, job_id)] == ["put back"]


def test_a_second_signal_puts_it_back_at_once(
    api: TestClient, start_worker: Start, tmp_path: Path
) -> None:
    leaving = start_worker(PADDOCK_SHUTDOWN_GRACE="600")
    job_id = submit(api, "never_stop", path=str(tmp_path / "runs"))
    running(api, job_id)
    leaving.terminate()
    leaving.send_signal(signal.SIGINT)  # of one kind, two that come together would be one
    assert leaving.wait(PATIENCE) == 0
    assert show(api, job_id)["status"] == "queued"


# Redis away


# Longer than the job runs, and than a worker's lease
AWAY = float(os.environ.get("PADDOCK_AWAY_SECONDS", "15"))


def test_a_job_that_ends_while_redis_is_away_is_recorded_when_it_is_back(
    start: Start, own: RedisServer, tmp_path: Path
) -> None:
    settings = Settings(redis_url=own.url, data_dir=tmp_path, tasks=ENGINE_TASKS, workers=1)
    environment = settings.environment()
    worker = start(sys.executable, "worker.py", **environment)
    idle = start(sys.executable, "worker.py", **environment)
    app = create_app(settings, Catalogue.load(ENGINE_TASKS))
    with TestClient(app, base_url="http://127.0.0.1") as api:
        eventually(lambda: len(api.get("/workers").json()) == 2)
        runs = tmp_path / "runs"
        job_id = submit(api, "append_line", path=str(runs), line="run", seconds=3)
        eventually(runs.exists)
        own.kill()
        time.sleep(AWAY)
        own.start()
        job = show(api, job_id, wait=30)
        assert (job["status"], job["attempts"]) == ("finished", 1)
        assert runs.read_text() == "run\n"
        assert submit_and_finish(api) == "finished"
        assert worker.poll() is None and idle.poll() is None


# Recycling


@pytest.mark.parametrize(
    "setting", [{"PADDOCK_WORKER_MAX_JOBS": "2"}, {"PADDOCK_WORKER_MAX_MEMORY": "8MiB"}]
)
def test_a_worker_that_is_spent_makes_room_and_a_fresh_one_goes_on(
    api: TestClient, start: Start, redis_url: str, tmp_path: Path, setting: dict[str, str]
) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=ENGINE_TASKS, workers=1)
    paddock = str(Path(sys.executable).with_name("paddock"))
    start(paddock, "work", **settings.environment() | setting)
    seen = set[str]()
    for _ in range(4):
        job = show(api, submit(api, "echo", value=1), wait=20)
        assert job["status"] == "finished"
        seen.add(job["worker"])
    assert len(seen) == (2 if "PADDOCK_WORKER_MAX_JOBS" in setting else 4)


def test_a_worker_that_leaves_by_itself_leaves_well(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    worker = start_worker(PADDOCK_WORKER_MAX_JOBS="1")
    assert show(api, submit(api, "echo", value=1), wait=20)["status"] == "finished"
    assert worker.wait(20) == 0
    assert connection.smembers("rq:workers") == set()
