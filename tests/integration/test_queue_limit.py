"""PADDOCK_QUEUE_LIMIT: a full queue takes no more, and says when it will."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from jobs.schedule import Schedule
from service.api.app import create_app
from service.execution.cron import Ticker
from service.schedule_store import NEXT, Definition, ScheduleStore
from service.settings import Settings
from tests.conftest import TASKS, Start, eventually
from tests.integration.serving import TIMEOUT, serve

Limited = Callable[[int], TestClient]


@pytest.fixture
def limited(redis_url: str, catalogue: Catalogue, tmp_path: Path) -> Iterator[Limited]:
    """The API with this limit."""
    with contextlib.ExitStack() as stack:

        def start_api(limit: int) -> TestClient:
            settings = Settings(
                redis_url=redis_url, data_dir=tmp_path, tasks=TASKS, queue_limit=limit
            )
            app = create_app(settings, catalogue)
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1"))

        yield start_api


def submit(api: Any, query: str = "", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.post(f"/tasks/echo{query}", json={}, headers=sent)


def fill(api: TestClient, number: int, query: str = "") -> None:
    assert {submit(api, query).status_code for _ in range(number)} == {202}


def retry_after(answer: Any) -> int:
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:paddock:problem:queue-full")
    return int(answer.headers["Retry-After"])


def test_a_full_queue_takes_no_more_until_there_is_room(
    limited: Limited, connection: redis.Redis
) -> None:
    api = limited(3)
    fill(api, 3)
    before = set(connection.scan_iter())
    answer = submit(api, Idempotency_Key="k")
    assert retry_after(answer) > 0
    problem = answer.json()
    assert (problem["queue"], problem["limit"]) == ("default", 3)
    assert "nothing was accepted" in problem["detail"]
    assert retry_after(submit(api, "?at_front=true")) > 0
    assert set(connection.scan_iter()) == before

    fill(api, 1, "?queue=cpu")  # each queue has room of its own
    connection.lpop("rq:queue:default")
    assert submit(api, Idempotency_Key="k").status_code == 202
    assert retry_after(submit(api)) > 0


def test_as_many_again_may_be_scheduled(limited: Limited, connection: redis.Redis) -> None:
    api = limited(2)
    fill(api, 2)
    fill(api, 2, "?delay=600")
    assert retry_after(submit(api, "?delay=600")) > 0
    assert connection.zcard("rq:scheduled:default") == 2


def test_jobs_that_wait_for_others_take_up_room(limited: Limited, connection: redis.Redis) -> None:
    api = limited(3)
    first = submit(api).json()["id"]
    fill(api, 2, f"?depends_on={first}")
    assert retry_after(submit(api, f"?depends_on={first}")) > 0
    assert connection.zcard("rq:deferred:default") == 2


def test_a_batch_that_could_never_fit_is_told_so(limited: Limited, connection: redis.Redis) -> None:
    api = limited(3)
    answer = api.post("/tasks/echo/batch", json=[{}] * 4)
    assert (answer.status_code, answer.json()["type"]) == (
        413,
        "urn:paddock:problem:batch-too-large",
    )
    assert "PADDOCK_QUEUE_LIMIT" in answer.json()["detail"]
    assert api.post("/tasks/echo/batch", json=[{}] * 3).status_code == 202
    assert connection.llen("rq:queue:default") == 3


def test_no_limit_is_set_by_default(api: TestClient) -> None:
    fill(api, 50)


def test_what_was_accepted_is_shown_also_when_the_queue_is_full(limited: Limited) -> None:
    api = limited(1)
    first = submit(api, Idempotency_Key="k")
    again = submit(api, Idempotency_Key="k")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_the_clock_is_not_refused(
    limited: Limited, connection: redis.Redis, catalogue: Catalogue
) -> None:
    api = limited(1)
    fill(api, 1)
    schedule = Schedule(cron="* * * * *", parameters={"value": None})
    ScheduleStore(connection).put(Definition("often", "echo", schedule, "api"), over="")
    ticker = Ticker(connection, "one", catalogue)
    ticker.tick()
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    connection.zadd(NEXT, {"often": due.timestamp()})
    ticker.tick()
    assert connection.llen("rq:queue:default") > 1


# At the same instant


def test_many_processes_together_do_not_overshoot(start: Start, connection: redis.Redis) -> None:
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(
                httpx.Client(base_url=serve(start, PADDOCK_QUEUE_LIMIT="10"), timeout=TIMEOUT)
            )
            for _ in range(2)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(50))
        answers = list(pool.map(lambda number: submit(services[number % 2]), range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [429] * 40
    assert connection.llen("rq:queue:default") == 10


# When to come back


def drained(connection: redis.Redis, number: int) -> None:
    """Have so many jobs taken off the queue within this minute and the last."""
    minute = int(time.time()) // 60
    for each in (minute, minute + 1):  # the one that is, or will have been, the last
        connection.delete(f"paddock:drained:rq:queue:default:{each}")
    connection.set(f"paddock:drained:rq:queue:default:{minute}", number)


@pytest.mark.parametrize(
    ("limit", "taken", "least", "most"),
    [
        (20, 0, 60, 60),  # nothing is known
        (20, 6, 1, 60),  # three have to go, and six went within a minute or two
        (20, 100_000, 1, 1),
        (700, 1, 72, 600),  # seventy have to go, and one went: no later than in ten minutes
    ],
)
def test_callers_are_told_to_come_back_when_a_tenth_has_been_taken(
    limited: Limited, connection: redis.Redis, limit: int, taken: int, least: int, most: int
) -> None:
    api = limited(limit)
    fill(api, 1)
    (first,) = connection.lrange("rq:queue:default", 0, -1)
    connection.rpush("rq:queue:default", *[first] * (limit - 1))
    drained(connection, taken)
    assert least <= retry_after(submit(api)) <= most


def test_the_rate_is_that_of_the_workers(
    limited: Limited, connection: redis.Redis, start_worker: Start
) -> None:
    api = limited(30)
    fill(api, 30)
    assert retry_after(submit(api)) == 60
    start_worker("--queues", "default")
    eventually(lambda: submit(api).status_code == 202)
    eventually(lambda: connection.llen("rq:queue:default") == 0)
    keys = list(connection.scan_iter("paddock:drained:rq:queue:default:*"))
    assert sum(int(connection.get(key)) for key in keys) == 31
    assert all(0 < connection.ttl(key) <= 180 for key in keys)
