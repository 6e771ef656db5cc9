"""No handler blocks the event loop: the service answers while others work, or wait for Redis."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from service.settings import Settings
from tests.conftest import TASKS, RedisServer, Start, eventually
from tests.integration.patient_api import WAIT
from tests.integration.serving import TIMEOUT, serve

SIZE = 25_000_000  # about two seconds of work for each job, where nothing else runs
HANG = 5.0  # seconds; a bound for hangs, no measure of speed


def durations_until(over: Callable[[], bool], client: httpx.Client) -> list[float]:
    """How long each of one `GET /health/live` after the other took."""
    taken = []
    while not over():
        began = time.monotonic()
        assert client.get("/health/live").json() == {"status": "live"}
        taken.append(time.monotonic() - began)
    return taken


def test_the_service_answers_all_the_while_that_jobs_take_every_core(
    start: Start, start_worker: Start
) -> None:
    url = serve(start)
    for _ in range(2):
        start_worker("--queues", "cpu")
    with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
        jobs = [
            client.post("/tasks/heavy_cpu_task", json={"n": SIZE}).headers["Location"]
            for _ in range(4)
        ]
        eventually(lambda: client.get("/queues/cpu").json()["running"] == 2)
        taken = durations_until(lambda: client.get("/queues/cpu").json()["finished"] == 4, client)
        results = {client.get(f"{job}/result").json() for job in jobs}
    print(f"{len(taken)} answers, the slowest after {max(taken):.3f} s")
    assert results == {(SIZE - 1) * SIZE * (2 * SIZE - 1) // 6}
    assert len(taken) > 5
    assert max(taken) < HANG


@pytest.fixture
def stalled(own: RedisServer, start: Start, tmp_path: Path) -> Iterator[str]:
    """A service whose Redis takes requests and answers none."""
    settings = Settings(redis_url=own.url, data_dir=tmp_path, tasks=TASKS)
    url = serve(start, module="tests.integration.patient_api", **settings.environment())
    assert httpx.get(f"{url}/jobs", timeout=TIMEOUT).status_code == 200
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    yield url
    own.process.send_signal(signal.SIGCONT)


ROUTES = [
    "POST /tasks/echo",
    "POST /tasks/echo?wait=5",
    "GET /jobs",
    "GET /jobs/none",
    "GET /jobs/none?wait=5",
    "GET /jobs/none/result",
    "POST /jobs/none/cancel",
    "POST /jobs/none/retry",
    "DELETE /jobs/none",
    "GET /batches/0190d5a5-0000-7000-8000-000000ffffff",
    "GET /batches/0190d5a5-0000-7000-8000-000000ffffff/results",
    "POST /batches/0190d5a5-0000-7000-8000-000000ffffff/cancel",
    "POST /batches/0190d5a5-0000-7000-8000-000000ffffff/retry",
    "GET /queues",
    "GET /queues/cpu",
    "GET /workers",
    "GET /health/ready",
    "GET /dashboard/0/data/queues.json",
]


def test_the_service_answers_all_the_while_that_handlers_wait_for_redis(stalled: str) -> None:
    with (
        httpx.Client(base_url=stalled, timeout=TIMEOUT) as client,
        ThreadPoolExecutor(len(ROUTES)) as pool,
    ):
        waiting = {route: pool.submit(answered, stalled, route) for route in ROUTES}
        taken = durations_until(lambda: all(each.done() for each in waiting.values()), client)
        answers = {route: each.result() for route, each in waiting.items()}
    assert {route: status for route, (status, _) in answers.items() if status != 503} == {}
    shortest = min(waited for _, waited in answers.values())
    assert shortest > 0.75 * WAIT, "there is one that did not wait for Redis at all"
    # A handler that blocks makes others wait as long as it does itself.
    assert max(taken) < 0.75 * shortest


def answered(url: str, route: str) -> tuple[int, float]:
    method, _, path = route.partition(" ")
    began = time.monotonic()
    status = httpx.request(method, url + path, timeout=TIMEOUT).status_code
    return status, time.monotonic() - began
