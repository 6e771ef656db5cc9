"""Logs of real processes: one request's id leads from the API to the horse that runs its job."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import redis

from tests.conftest import PATIENCE, Start, eventually
from tests.integration.serving import free_port, is_live

TASKS = "tests.sample_tasks,tests.sample_traced_tasks"


class Log:
    """What a process writes to stderr."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, **about: Any) -> list[dict[str, Any]]:
        """The lines with these fields."""
        lines = map(json.loads, self._path.read_text().splitlines())
        return [line for line in lines if about.items() <= line.items()]


def start_logged(start: Start, path: Path, *arguments: str, **environment: str) -> Log:
    command = shlex.join([sys.executable, *arguments])
    start("sh", "-c", f"exec {command} 2>{path}", PADDOCK_TASKS=TASKS, **environment)
    return Log(path)


def test_the_requests_id_is_in_all_that_is_logged_about_its_jobs(
    start: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = start_logged(
        start, tmp_path / "api", "-m", "service.cli", "serve", "--port", str(port),
        PADDOCK_LOG_LEVEL="debug",
    )  # fmt: skip
    worker = start_logged(start, tmp_path / "worker", "worker.py")
    eventually(lambda: is_live(url) and connection.scard("rq:workers"))
    mine = {"X-Request-ID": "mine-1"}
    body = {"path": str(tmp_path / "seen")}
    job = httpx.post(f"{url}/tasks/traced?wait=20", json=body, headers=mine, timeout=PATIENCE)
    job_id = job.json()["id"]
    together = httpx.post(f"{url}/tasks/echo/batch", json=[{}, {}])
    eventually(lambda: len(worker.lines(task="echo")) == 2)

    about = {"job": job_id, "queue": "default", "task": "traced", "request_id": "mine-1"}
    ends = worker.lines(logger="rq.worker", **about)
    assert [line["outcome"] for line in ends] == ["raised", "returned"]
    in_horses = worker.lines(logger="acme", **about)
    assert [line["message"] for line in in_horses] == 2 * [f"looking at {body['path']}"]
    assert {line["worker"] for line in ends + in_horses} == {job.json()["worker"]}
    assert ends[0]["pid"] not in {line["pid"] for line in in_horses}
    batch = together.headers["X-Request-ID"]
    assert [line["request_id"] for line in worker.lines(task="echo")] == [batch, batch]

    (seen,) = api.lines(request_id="mine-1", logger="paddock.http")
    assert (seen["method"], seen["route"], seen["status"]) == ("POST", "/tasks/traced", 200)
    (started,) = {line["worker"] for line in worker.lines()}  # each line bears its worker's name
    assert started == job.json()["worker"]


def test_a_program_of_ones_own_leaves_no_request_in_its_jobs(
    start: Start, connection: redis.Redis
) -> None:
    script = "from tests.sample_tasks import echo; print(echo.delay(value=1).id)"
    assert start(sys.executable, "-c", script).wait(PATIENCE) == 0
    (key,) = connection.keys("rq:job:*")
    assert connection.hget(key, "request_id") is None
    assert connection.hget(key, "traceparent") is None
