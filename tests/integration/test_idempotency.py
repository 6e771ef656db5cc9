"""An Idempotency-Key names one job, however often and wherever it is sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis
from rq import Queue
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings
from tests.conftest import TASKS, Start
from tests.integration.serving import serve

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HANG = 60.0  # seconds; a bound for hangs


def submit(api: TestClient, key: str, body: Any = None, path: str = "echo", **headers: str) -> Any:
    sent = {"Idempotency-Key": key, **{name.replace("_", "-"): it for name, it in headers.items()}}
    return api.post(f"/tasks/{path}", json={} if body is None else body, headers=sent)


def queued(client: redis.Redis, name: str = "default") -> list[str]:
    return Queue(name, connection=client, serializer="json").get_job_ids()


def refused(answer: Any, status: int, slug: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:paddock:problem:{slug}")
    problem: dict[str, Any] = answer.json()
    return problem


def is_replay(answer: Any) -> bool:
    return (
        answer.status_code == 200
        and answer.headers.get("Idempotency-Replayed") == "true"
        and answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
    )


# The same again


def test_the_same_request_again_is_answered_with_the_first_job(
    api: TestClient, connection: redis.Redis
) -> None:
    first = submit(api, "order-1", {"value": [1, {"a": 2}]})
    assert first.status_code == 202
    assert "Idempotency-Replayed" not in first.headers
    again = submit(api, "order-1", {"value": [1, {"a": 2}]})
    assert is_replay(again)
    assert again.json() == first.json()
    assert queued(connection) == [first.json()["id"]]


def test_what_counts_is_what_the_task_gets_and_not_how_it_is_written(api: TestClient) -> None:
    first = submit(api, "k", {"count": 1, "sizes": {"a": 1, "b": 2}}, "describe")
    reordered = '{ "sizes": {"b": 2, "a": 1}, "ratio": 0.5, "count": "1" }'
    for body, headers in (
        (reordered, {"Content-Type": "application/json"}),
        ("sizes=%7B%22b%22:2,%22a%22:1%7D&count=1", FORM),
    ):
        again = api.post(
            "/tasks/describe", content=body, headers={**headers, "Idempotency-Key": "k"}
        )
        assert is_replay(again), again.text
        assert again.json()["id"] == first.json()["id"]


def test_a_key_in_quotes_as_the_draft_has_it_is_the_same_key(api: TestClient) -> None:
    first = submit(api, '"8e03978e-40d5-43dd"')
    assert first.status_code == 202
    assert is_replay(submit(api, "8e03978e-40d5-43dd"))
    assert submit(api, r'"a\"b\\c"').status_code == 202
    assert is_replay(submit(api, 'a"b\\c'))


def test_a_replay_shows_the_job_as_it_is_now_and_can_wait_for_its_end(
    api: TestClient, start_worker: Start
) -> None:
    submit(api, "k", {"value": 7})
    start_worker("--queues", "default")
    again = submit(api, "k", {"value": 7}, "echo?wait=30")
    assert is_replay(again)
    assert (again.json()["status"], again.json()["result"]) == ("finished", 7)


@pytest.mark.parametrize("options", ["delay=60", "queue=cpu", "timeout=5", "at_front=true"])
def test_the_same_options_are_part_of_the_same_request(
    api: TestClient, connection: redis.Redis, options: str
) -> None:
    first = submit(api, "k", {}, f"echo?{options}")
    assert first.status_code == 202
    again = submit(api, "k", {}, f"echo?{options}")
    assert is_replay(again)
    assert again.json()["id"] == first.json()["id"]
    refused(submit(api, "k", {}), 422, "idempotency-key-reused")


# Something else


def test_a_key_that_named_another_request_is_refused(
    api: TestClient, connection: redis.Redis
) -> None:
    first = submit(api, "k", {"value": 1}).json()["id"]
    problem = refused(submit(api, "k", {"value": 2}), 422, "idempotency-key-reused")
    assert problem["job"] == first
    assert "with other parameters or options" in problem["detail"]
    assert queued(connection) == [first]


def test_a_refused_request_uses_up_no_key(api: TestClient) -> None:
    assert submit(api, "k", {"n": -1}, "heavy_cpu_task").status_code == 422
    assert submit(api, "k", {"n": 1}, "heavy_cpu_task").status_code == 202


def test_tasks_have_keys_of_their_own(api: TestClient) -> None:
    answers = [
        submit(api, "order-1", {}, "echo"),
        submit(api, "order-1", {"n": 1}, "heavy_cpu_task"),
    ]
    assert [answer.status_code for answer in answers] == [202, 202]


def test_callers_have_keys_of_their_own(
    redis_url: str, catalogue: Catalogue, tmp_path: Path, connection: redis.Redis
) -> None:
    ours, theirs = "key-of-one-tenant", "key-of-the-other-one"
    settings = Settings(
        redis_url=redis_url, data_dir=tmp_path, tasks=TASKS, api_keys=(ours, theirs)
    )
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        first = submit(client, "k", {"value": 1}, X_API_Key=ours)
        second = submit(client, "k", {"value": 2}, X_API_Key=theirs)
        assert (first.status_code, second.status_code) == (202, 202)
        by_bearer = submit(client, "k", {"value": 1}, Authorization=f"Bearer {ours}")
        assert is_replay(by_bearer)
        assert by_bearer.json()["id"] == first.json()["id"]
    # Neither what callers chose nor their API keys can be read out of Redis.
    kept = b" ".join(
        [*connection.scan_iter(), *map(connection.get, connection.scan_iter("paddock:idem*"))]
    )
    assert ours.encode() not in kept


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", "takes 1 to 255 characters"),
        ("  ", "takes 1 to 255 characters"),
        ('""', "takes 1 to 255 characters"),
        ("x" * 256, "takes 1 to 255 characters"),
        ("a\tb", "printable ASCII"),
        ("schlüssel", "printable ASCII"),
        ('"half', "begins with a quote"),
        ('"a" b', "begins with a quote"),
    ],
)
def test_a_key_that_is_none_is_refused(
    api: TestClient, connection: redis.Redis, key: str, told: str
) -> None:
    answer = api.post("/tasks/echo", json={}, headers={b"Idempotency-Key": key.encode("latin-1")})
    assert told in refused(answer, 400, "malformed-idempotency-key")["detail"]
    assert queued(connection) == []


def test_two_keys_are_refused(api: TestClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = api.post("/tasks/echo", json={}, headers=headers)
    assert "2 times" in refused(answer, 400, "malformed-idempotency-key")["detail"]


def test_the_longest_key_is_taken(api: TestClient) -> None:
    assert submit(api, "x" * 255).status_code == 202
    assert is_replay(submit(api, "x" * 255))


# In time


def test_a_key_is_kept_as_long_as_set_and_then_free(
    redis_url: str, catalogue: Catalogue, tmp_path: Path, connection: redis.Redis
) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS, idempotency_ttl=100)
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        first = submit(client, "k").json()["id"]
        (record,) = connection.scan_iter("paddock:idempotency:*")
        assert 90 < connection.ttl(record) <= 100
        submit(client, "k")
        assert 90 < connection.ttl(record) <= 100
        connection.delete(record)  # as its expiry does
        later = submit(client, "k")
    assert later.status_code == 202
    assert queued(connection) == [first, later.json()["id"]]


def test_keys_are_kept_for_a_day(api: TestClient, connection: redis.Redis) -> None:
    submit(api, "k")
    (record,) = connection.scan_iter("paddock:idempotency:*")
    assert 86_300 < connection.ttl(record) <= 86_400


def test_a_job_that_is_gone_is_told_of_and_not_submitted_again(
    api: TestClient, connection: redis.Redis
) -> None:
    first = submit(api, "k").json()["id"]
    assert api.delete(f"/jobs/{first}").status_code == 204
    for path in ("echo", "echo?wait=1"):
        answer = submit(api, "k", {}, path)
        assert refused(answer, 410, "job-gone")["job"] == first
        assert answer.headers["Idempotency-Replayed"] == "true"
    assert queued(connection) == []


def test_a_canceled_job_is_what_its_key_shows(api: TestClient) -> None:
    first = submit(api, "k").json()["id"]
    api.post(f"/jobs/{first}/cancel")
    again = submit(api, "k")
    assert is_replay(again)
    assert again.json()["status"] == "canceled"


# At the same instant


@pytest.fixture
def services(start: Start) -> Iterator[list[httpx.Client]]:
    """Three processes that serve the API on one Redis."""
    clients = [httpx.Client(base_url=serve(start), timeout=HANG) for _ in range(3)]
    yield clients
    for client in clients:
        client.close()


def test_of_fifty_at_the_same_instant_on_three_processes_one_becomes_a_job(
    services: list[httpx.Client], connection: redis.Redis
) -> None:
    with ThreadPoolExecutor(50) as pool:
        for round_ in range(5):
            made = connection.llen("rq:queue:default")
            answers = list(
                pool.map(
                    lambda number: services[number % 3].post(
                        "/tasks/echo",
                        json={"value": round_},
                        headers={"Idempotency-Key": f"round-{round_}"},
                    ),
                    range(50),
                )
            )
            assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
            assert len({answer.json()["id"] for answer in answers}) == 1
            assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 49
            assert connection.llen("rq:queue:default") == made + 1


def test_of_fifty_that_differ_one_becomes_a_job_and_the_others_are_refused(
    services: list[httpx.Client], connection: redis.Redis
) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(
                lambda number: services[number % 3].post(
                    "/tasks/echo", json={"value": number}, headers={"Idempotency-Key": "k"}
                ),
                range(50),
            )
        )
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 49
    assert connection.llen("rq:queue:default") == 1
