"""Batches over HTTP: taken in all or none, counted, read, canceled, run again."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis
from rq.job import Job
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api import requests
from service.api.app import create_app
from service.broker import batch_staging, batches
from service.settings import Settings
from tests.conftest import PATIENCE, ROOT, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import ALL_TASKS

LINES = "application/x-ndjson"
ECHO = "/tasks/echo/batch"


def lines(items: list[Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def echoes(count: int) -> list[dict[str, int]]:
    return [{"value": number} for number in range(count)]


def post(api: TestClient, path: str, body: Any, kind: str = LINES) -> Any:
    return api.post(path, content=body, headers={"Content-Type": kind})


def submit(api: TestClient, items: list[Any], path: str = ECHO) -> dict[str, Any]:
    answer = post(api, path, lines(items))
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/batches/{accepted['id']}"
    assert accepted["count"] == len(items) == len(accepted["jobs"])
    return accepted


def show(api: TestClient, batch_id: str) -> dict[str, Any]:
    answer = api.get(f"/batches/{batch_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    assert sum(shown["counts"].values()) == shown["total"]
    return shown


def counts(api: TestClient, batch_id: str) -> dict[str, int]:
    """Those that are not zero."""
    return {status: n for status, n in show(api, batch_id)["counts"].items() if n}


def results(api: TestClient, batch_id: str) -> list[dict[str, Any]]:
    answer = api.get(f"/batches/{batch_id}/results")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, LINES)
    return [json.loads(line) for line in answer.text.splitlines()]


def on_queue(connection: redis.Redis, queue: str = "default") -> list[str]:
    return [job_id.decode() for job_id in connection.lrange(f"rq:queue:{queue}", 0, -1)]


def run_all(start: Start, *queues: str) -> None:
    """Run what is queued, by a real worker of ours."""
    listened = ["--queues", ",".join(queues)] if queues else []
    assert start(sys.executable, "worker.py", "--burst", *listened).wait() == 0


def run_all_by_stock(url: str, *options: str) -> None:
    command = [sys.executable, "-m", "rq.cli", "worker", "-S", "json", "--burst", "-q"]
    subprocess.run([*command, "-u", url, *options, "default"], cwd=ROOT, check=True, timeout=60)


# Accepting


@pytest.mark.parametrize("as_array", [False, True], ids=["lines", "an array"])
def test_every_set_becomes_a_job_in_order(
    api: TestClient, connection: redis.Redis, start: Start, as_array: bool
) -> None:
    items = echoes(20)
    body = json.dumps(items).encode() if as_array else lines(items)
    answer = post(api, ECHO, body, "application/json" if as_array else LINES)
    assert (answer.status_code, answer.json()["task"]) == (202, "echo")
    ids = answer.json()["jobs"]
    assert on_queue(connection) == ids == sorted(ids)
    for number, job_id in enumerate(ids):
        job = Job.fetch(job_id, connection=connection, serializer="json")
        assert job.kwargs == {"value": number}
        shown = api.get(f"/jobs/{job_id}").json()
        assert (shown["status"], shown["batch"]) == ("queued", answer.json()["id"])
    assert [job["id"] for job in api.get("/jobs").json()["jobs"]] == ids[::-1]
    run_all(start)
    told = results(api, answer.json()["id"])
    assert [(row["index"], row["id"], row["status"], row["result"]) for row in told] == [
        (number, job_id, "finished", number) for number, job_id in enumerate(ids)
    ]


def test_a_batch_larger_than_one_write_is_whole(
    api: TestClient, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_staging, "CHUNK", 7)
    accepted = submit(api, echoes(1_000))
    assert on_queue(connection) == accepted["jobs"]
    carried = [api.get(f"/jobs/{job_id}").json()["parameters"] for job_id in accepted["jobs"][::99]]
    assert carried == echoes(1_000)[::99]
    assert connection.keys("paddock:batches:*") == []


def test_large_items_are_written_a_few_at_a_time(
    api: TestClient, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_staging, "LARGEST_CHUNK", 1)
    accepted = submit(api, [{"value": "x" * 100_000}] * 5)
    assert on_queue(connection) == accepted["jobs"]


def test_options_hold_for_all_of_them(api: TestClient, connection: redis.Redis) -> None:
    accepted = submit(api, echoes(3), f"{ECHO}?queue=mail&timeout=7&result_ttl=9")
    assert on_queue(connection, "mail") == accepted["jobs"]
    job = Job.fetch(accepted["jobs"][2], connection=connection, serializer="json")
    assert (job.origin, job.timeout, job.result_ttl) == ("mail", 7, 9)
    assert connection.smembers("rq:queues") == {b"rq:queue:mail"}
    assert show(api, accepted["id"])["queue"] == "mail"


def test_at_the_front_they_stand_in_their_order(api: TestClient, connection: redis.Redis) -> None:
    behind = submit(api, echoes(2))["jobs"]
    before = submit(api, echoes(600), f"{ECHO}?at_front=true")["jobs"]
    assert on_queue(connection) == before + behind


def test_delayed_ones_wait_for_their_time(
    api: TestClient, connection: redis.Redis, start_worker: Start
) -> None:
    accepted = submit(api, echoes(300), f"{ECHO}?delay=2")
    assert counts(api, accepted["id"]) == {"scheduled": 300}
    assert connection.zcard("rq:scheduled:default") == 300
    assert on_queue(connection) == []
    start_worker("--queues", "cpu")  # its scheduler moves jobs of its own queues only
    start_worker("--queues", "default")
    eventually(lambda: counts(api, accepted["id"]).get("finished") == 300)


def test_a_media_type_with_parameters_is_known(api: TestClient) -> None:
    for kind in (
        "application/jsonl; charset=utf-8",
        "application/json;x=y",
        "Application/X-NDJSON",
    ):
        body = b'[{"value": 1}]' if "json;" in kind else b'{"value": 1}'
        assert post(api, ECHO, body, kind).status_code == 202, kind


# Refusing

HEAVY = "/tasks/heavy_cpu_task/batch"
GOOD = b'{"n": 1}\n'

BAD: dict[str, tuple[str, bytes, int, str, str, dict[str, Any]]] = {
    "a wrong type": (
        HEAVY,
        GOOD * 2 + b'{"n": "many"}\n' + GOOD,
        422,
        "invalid-parameters",
        "Line 3: n: Input should be a valid integer",
        {"line": 3},
    ),
    "a line that is no JSON": (
        HEAVY,
        GOOD * 1_500 + b"{n: 1}\n" + GOOD,
        422,
        "invalid-parameters",
        "Line 1501 is not valid JSON: key must be a string",
        {"line": 1501},
    ),
    "empty lines are counted": (
        HEAVY,
        b"\n\r\n" + GOOD + b"[]",
        422,
        "invalid-parameters",
        "Line 4: body: Input should be an object",
        {"line": 4},
    ),
    "an unknown field": (
        HEAVY,
        GOOD * 999 + b'{"n": 1, "m": 2}',
        422,
        "invalid-parameters",
        "Line 1000: m: Unexpected keyword argument",
        {"line": 1000},
    ),
    "not finite": (
        ECHO,
        b'{"value": NaN}',
        422,
        "invalid-parameters",
        "Line 1: value: Input should be a finite number",
        {"line": 1},
    ),
    "nothing": (HEAVY, b"\n", 422, "invalid-parameters", "The batch is empty", {}),
    "an unknown queue": (f"{HEAVY}?queue=x", GOOD, 404, "unknown-queue", "no queue 'x'", {}),
    "two times": (f"{HEAVY}?delay=1&at=2030-01-01T00:00:00Z", GOOD, 422, "invalid-options", "", {}),
    "waiting for it": (f"{HEAVY}?wait=1", GOOD, 422, "invalid-options", "wait: Extra inputs", {}),
    "an unknown task": ("/tasks/nothing/batch", GOOD, 404, "unknown-task", "nothing", {}),
}
BAD_ARRAYS: dict[str, tuple[bytes, int, str, str, dict[str, Any]]] = {
    "a wrong item": (
        b'[{"n": 1}, {"n": -1}, {}]',
        422,
        "invalid-parameters",
        "Item 2: n: Input should be greater than or equal to 0",
        {"item": 2},
    ),
    "an item that is no JSON": (
        b'[{"n": 1}, {"n": x}]',
        422,
        "invalid-parameters",
        "Item 2 is not valid JSON: expected value",
        {"item": 2},
    ),
    "a comma too many": (b'[{"n": 1},]', 422, "invalid-parameters", "Item 2 is not", {"item": 2}),
    "an object": (b'{"n": 1}', 400, "malformed-body", "not a JSON array", {}),
    "the first half": (b'[{"n": 1}', 400, "malformed-body", "ends before its array does", {}),
    "an empty array": (b"[]", 422, "invalid-parameters", "The batch is empty", {}),
    "nothing at all": (b"", 400, "malformed-body", "ends before", {}),
    "two arrays": (b'[{"n": 1}][]', 400, "malformed-body", "more after the array's end", {}),
}


def refused(answer: Any, status: int, slug: str, detail: str, extra: dict[str, Any]) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:paddock:problem:{slug}"), problem
    assert detail in problem["detail"]
    assert problem | extra == problem
    assert all(row | extra == row for row in problem.get("errors", []))


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_is_named_and_nothing_is_queued(
    api: TestClient, connection: redis.Redis, name: str
) -> None:
    path, body, *told = BAD[name]
    refused(post(api, path, body), *told)
    assert connection.keys("*") == []


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_one_bad_item_is_named_and_nothing_is_queued(
    api: TestClient, connection: redis.Redis, name: str
) -> None:
    body, *told = BAD_ARRAYS[name]
    refused(post(api, HEAVY, body, "application/json"), *told)
    assert connection.keys("*") == []


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(api: TestClient, kind: str) -> None:
    refused(post(api, ECHO, b"{}", kind), 415, "unsupported-media-type", "Send a JSON array as", {})


@pytest.fixture
def small(settings: Settings, catalogue: Catalogue) -> Iterator[TestClient]:
    """An API that takes batches of ten, and 1,024 bytes for each job."""
    app = create_app(settings.model_copy(update={"max_batch": 10, "max_body": 1024}), catalogue)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_a_batch_has_so_many_jobs_at_most(small: TestClient, connection: redis.Redis) -> None:
    submit(small, echoes(10))
    connection.flushall()
    told = (413, "batch-too-large", "10 jobs at most (PADDOCK_MAX_BATCH)", {})
    refused(post(small, ECHO, lines(echoes(11))), *told)
    refused(post(small, ECHO, b"\n" * 10_241), *told)
    assert connection.keys("*") == []


def test_an_item_has_so_many_bytes_at_most(small: TestClient, connection: redis.Redis) -> None:
    items = [{"value": 1}, {"value": "x" * 1024}]
    for kind, body, unit in (
        (LINES, lines(items), "line"),
        ("application/json", json.dumps(items).encode(), "item"),
    ):
        answer = post(small, ECHO, body, kind)
        refused(answer, 413, "body-too-large", f"{unit.capitalize()} 2 has more than", {unit: 2})
    assert connection.keys("*") == []
    assert len(submit(small, [{"value": "x" * 900}] * 10)["jobs"]) == 10  # the body is larger


def test_a_caller_who_stops_sending_is_told_so(
    settings: Settings,
    catalogue: Catalogue,
    connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "SLOWEST", 1024**3)  # what was sent earns no time worth waiting
    hurried = settings.model_copy(update={"request_timeout": 0.2})

    async def paused() -> AsyncIterator[bytes]:
        yield lines(echoes(20_000))
        await asyncio.sleep(PATIENCE)

    async def send() -> Any:  # Starlette's own client reads all of a body before it sends any
        app = create_app(hurried, catalogue)
        through = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=through, base_url="http://127.0.0.1") as client:
            answer = await client.post(ECHO, content=paused(), headers={"Content-Type": LINES})
        await app.state.broker.aclose()
        return answer

    refused(asyncio.run(send()), 408, "request-too-slow", "nothing was accepted", {})
    assert connection.keys("*") == []


@pytest.mark.parametrize("method", ["GET", "GET results", "POST cancel", "POST retry"])
@pytest.mark.parametrize("batch_id", ["none", "0190d5a5-0000-7000-8000-000000ffffff", "a/b", "*"])
def test_an_unknown_batch_is_not_found(api: TestClient, method: str, batch_id: str) -> None:
    verb, _, action = method.partition(" ")
    answer = api.request(verb, f"/batches/{batch_id}" + (f"/{action}" if action else ""))
    assert answer.status_code == 404
    slug = "not-found" if batch_id == "a/b" else "unknown-batch"
    assert answer.json()["type"] == f"urn:paddock:problem:{slug}"


# How it does


def test_its_counts_follow_its_jobs(api: TestClient, start: Start, tmp_path: Path) -> None:
    items = [{"kind": kind} for kind in ("value", "key", "permanent")]
    failing = submit(api, items, "/tasks/fail_as/batch")["id"]
    fine = submit(api, echoes(5))["id"]
    begun = show(api, fine)
    assert begun["counts"]["queued"] == 5
    assert (begun["progress"], begun["eta"], begun["finished_at"]) == (0, None, None)
    run_all(start)
    assert counts(api, failing) == {"failed": 3}
    ended = show(api, fine)
    assert ended["counts"]["finished"] == 5
    assert (ended["progress"], ended["eta"]) == (1, None)
    last = max(api.get(f"/jobs/{row['id']}").json()["ended_at"] for row in results(api, fine))
    assert ended["finished_at"] == last
    errors = [row["error"]["type"] for row in results(api, failing)]
    assert errors == ["ValueError", "KeyError", "jobs.policy.PermanentFailure"]


def test_a_running_job_is_counted_as_one(api: TestClient, start_worker: Start) -> None:
    batch_id = submit(api, [{"seconds": 60}] * 3, "/tasks/sleep/batch")["id"]
    start_worker()
    eventually(lambda: counts(api, batch_id) == {"running": 1, "queued": 2})
    assert [row["status"] for row in results(api, batch_id)] == ["running", "queued", "queued"]


def test_while_some_have_ended_there_is_an_estimate(api: TestClient, start_worker: Start) -> None:
    items = [{"seconds": 0.1}] * 4 + [{"seconds": 50}] * 2
    batch_id = submit(api, items, "/tasks/sleep/batch")["id"]
    start_worker()
    eventually(lambda: counts(api, batch_id).get("finished") == 4)
    asked = datetime.now(UTC)
    shown = show(api, batch_id)
    assert shown["progress"] == pytest.approx(4 / 6)
    assert datetime.fromisoformat(shown["eta"]) > asked
    assert shown["finished_at"] is None


def test_a_job_that_waits_for_its_retry_is_scheduled(
    api: TestClient, start: Start, tmp_path: Path
) -> None:
    items = [{"path": str(tmp_path / "runs")}] * 2
    batch_id = submit(api, items, "/tasks/fail_and_log/batch")["id"]
    run_all(start)
    assert counts(api, batch_id) == {"scheduled": 2}


def test_a_job_that_kills_its_worker_is_counted_as_failed(
    api: TestClient, start: Start, tmp_path: Path
) -> None:
    items = [{"times": times, "path": str(tmp_path / str(times))} for times in (1, 9)]
    batch_id = submit(api, items, "/tasks/kill_own_process/batch")["id"]
    run_all(start)
    assert counts(api, batch_id) == {"finished": 1, "failed": 1}
    assert results(api, batch_id)[1]["error"]["type"] == "WorkerLost"


def test_counts_outlive_the_jobs(api: TestClient, connection: redis.Redis, start: Start) -> None:
    accepted = submit(api, echoes(4), f"{ECHO}?result_ttl=1")
    run_all(start)
    eventually(lambda: not connection.keys("rq:job:*"))
    assert counts(api, accepted["id"]) == {"finished": 4}
    assert show(api, accepted["id"])["progress"] == 1
    assert {(row["status"], row["expired"]) for row in results(api, accepted["id"])} == {
        ("finished", True)
    }


def test_a_batch_is_kept_as_long_as_the_last_of_its_jobs(
    api: TestClient, connection: redis.Redis, start: Start
) -> None:
    finished = submit(api, echoes(2), f"{ECHO}?result_ttl=7200")["id"]
    soon_gone = submit(api, echoes(2), f"{ECHO}?result_ttl=1")["id"]
    failed = submit(api, [{"kind": "key"}], "/tasks/fail_as/batch?result_ttl=7200")["id"]
    year = 365 * 24 * 3600
    assert year - 60 < connection.ttl(f"paddock:batch:{finished}") <= year
    run_all(start)
    for batch_id, seconds in ((finished, 7200), (soon_gone, 3600), (failed, year)):
        for key in (f"paddock:batch:{batch_id}", f"paddock:batch:{batch_id}:marks"):
            assert seconds - 60 < connection.ttl(key) <= seconds


def test_a_deleted_job_is_gone_unless_its_end_was_seen(api: TestClient, start: Start) -> None:
    first = submit(api, echoes(3))
    assert api.delete(f"/jobs/{first['jobs'][1]}").status_code == 204
    assert counts(api, first["id"]) == {"queued": 2, "gone": 1}
    run_all(start)
    assert api.delete(f"/jobs/{first['jobs'][0]}").status_code == 204
    assert counts(api, first["id"]) == {"finished": 2, "gone": 1}
    assert show(api, first["id"])["progress"] == 1
    assert [row["status"] for row in results(api, first["id"])] == ["finished", "gone", "finished"]


def test_single_actions_on_its_jobs_are_counted(api: TestClient, start: Start) -> None:
    accepted = submit(api, [{"kind": "key"}] * 3, "/tasks/fail_as/batch")
    assert api.post(f"/jobs/{accepted['jobs'][0]}/cancel").status_code == 200
    assert counts(api, accepted["id"]) == {"canceled": 1, "queued": 2}
    run_all(start)
    assert counts(api, accepted["id"]) == {"canceled": 1, "failed": 2}
    assert show(api, accepted["id"])["finished_at"] is not None
    assert api.post(f"/jobs/{accepted['jobs'][1]}/retry").status_code == 202
    assert counts(api, accepted["id"]) == {"canceled": 1, "failed": 1, "queued": 1}
    assert show(api, accepted["id"])["finished_at"] is None
    run_all(start)
    assert counts(api, accepted["id"]) == {"canceled": 1, "failed": 2}


# What others do to its jobs


def test_what_a_stock_worker_ran_is_found(api: TestClient, redis_url: str) -> None:
    fine = submit(api, echoes(10))["id"]
    failing = submit(api, [{"kind": "key"}] * 2, "/tasks/fail_as/batch")["id"]
    run_all_by_stock(redis_url)
    assert counts(api, fine) == {"finished": 10}
    assert show(api, fine)["finished_at"] is not None
    assert counts(api, failing) == {"failed": 2}
    assert [row["result"] for row in results(api, fine)] == list(range(10))


def test_what_rq_requeues_is_found(api: TestClient, redis_url: str, start: Start) -> None:
    accepted = submit(api, [{"kind": "key"}] * 2, "/tasks/fail_as/batch")
    run_all(start)
    assert counts(api, accepted["id"]) == {"failed": 2}
    command = [sys.executable, "-m", "rq.cli", "requeue", "-S", "json", "--all"]
    subprocess.run([*command, "-u", redis_url, "--queue", "default"], check=True, timeout=60)
    assert counts(api, accepted["id"]) == {"queued": 2}
    assert show(api, accepted["id"])["finished_at"] is None
    run_all(start)
    assert counts(api, accepted["id"]) == {"failed": 2}


def finish_as_others_do(connection: redis.Redis, job_ids: list[str]) -> None:
    with connection.pipeline() as pipe:
        for job_id in job_ids:
            pipe.hset(f"rq:job:{job_id}", mapping={"status": "finished", "ended_at": ""})
        pipe.execute()


def test_reading_costs_what_has_happened_and_not_what_there_is(
    api: TestClient, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "AT_ONCE", 100)
    accepted = submit(api, echoes(5_000))

    def reads() -> int:
        connection.config_resetstat()
        show(api, accepted["id"])
        return int(connection.info("commandstats")["cmdstat_hmget"]["calls"])

    assert reads() <= 2 * (100 + 1)  # and the record's own
    finish_as_others_do(connection, accepted["jobs"][:2_345])
    found = reads()
    assert 2_345 <= found <= 4 * 2_345
    assert counts(api, accepted["id"]) == {"finished": 2_345, "queued": 2_655}
    assert reads() <= 2 * (100 + 1)  # and the record's own
    finish_as_others_do(connection, accepted["jobs"])
    assert counts(api, accepted["id"]) == {"finished": 5_000}
    assert reads() <= 2 * (100 + 1)  # and the record's own


# Acting on it


def test_canceling_leaves_only_others_jobs(
    api: TestClient, connection: redis.Redis, start: Start
) -> None:
    others = [api.post("/tasks/echo", json={}).json()["id"] for _ in range(2)]
    accepted = submit(api, echoes(1_234))
    others += [api.post("/tasks/echo", json={}).json()["id"] for _ in range(2)]
    answer = api.post(f"/batches/{accepted['id']}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"canceled": 1_234, "stopping": 0})
    assert on_queue(connection) == others
    assert counts(api, accepted["id"]) == {"canceled": 1_234}
    assert connection.zcard("rq:canceled:default") == 1_234
    assert connection.ttl(f"rq:job:{accepted['jobs'][0]}") > 0
    again = api.post(f"/batches/{accepted['id']}/cancel").json()
    assert again == {"canceled": 0, "stopping": 0}
    run_all(start)
    assert counts(api, accepted["id"]) == {"canceled": 1_234}


def test_canceling_reaches_jobs_in_every_place(
    api: TestClient, connection: redis.Redis, start_worker: Start
) -> None:
    ended = [{"seconds": 0}] * 2
    batch_id = submit(api, ended + [{"seconds": 60}] * 4, "/tasks/sleep/batch")["id"]
    later = submit(api, echoes(200), f"{ECHO}?delay=60")["id"]
    start_worker()
    eventually(lambda: counts(api, batch_id) == {"finished": 2, "running": 1, "queued": 3})
    answer = api.post(f"/batches/{batch_id}/cancel").json()
    assert answer == {"canceled": 3, "stopping": 1}
    eventually(lambda: counts(api, batch_id) == {"finished": 2, "canceled": 4})
    assert show(api, batch_id)["finished_at"] is not None
    answer = api.post(f"/batches/{later}/cancel").json()
    assert answer == {"canceled": 200, "stopping": 0}
    assert connection.zcard("rq:scheduled:default") == 0


def test_retrying_runs_the_failed_ones_again(
    api: TestClient, connection: redis.Redis, start: Start, tmp_path: Path
) -> None:
    items = [{"attempt": 5, "path": str(tmp_path / str(number))} for number in range(3)]
    items.append({"attempt": 1, "path": str(tmp_path / "fine")})
    accepted = submit(api, items, "/tasks/succeed_at/batch")
    run_all(start)
    assert counts(api, accepted["id"]) == {"finished": 1, "failed": 3}
    answer = api.post(f"/batches/{accepted['id']}/retry")
    assert (answer.status_code, answer.json()) == (202, {"retried": 3})
    assert on_queue(connection) == accepted["jobs"][:3]
    assert counts(api, accepted["id"]) == {"finished": 1, "queued": 3}
    assert api.get(f"/jobs/{accepted['jobs'][0]}").json()["retries_left"] == 3
    run_all(start)
    assert counts(api, accepted["id"]) == {"finished": 4}
    assert api.post(f"/batches/{accepted['id']}/retry").json() == {"retried": 0}


def test_retrying_finds_what_failed_under_a_stock_worker(
    api: TestClient, connection: redis.Redis, redis_url: str
) -> None:
    accepted = submit(api, [{"kind": "key"}] * 3, "/tasks/fail_as/batch")
    run_all_by_stock(redis_url)
    assert api.post(f"/batches/{accepted['id']}/retry").json() == {"retried": 3}
    assert on_queue(connection) == accepted["jobs"]


def test_the_webhook_is_told_of_each_of_its_jobs(
    settings: Settings, catalogue: Catalogue, connection: redis.Redis
) -> None:
    secret = Settings(webhook_secret="whsec_dGhpcnR5LXR3byBieXRlcyB0aGF0IG5vbmUgZ3Vlc3M=")
    given = settings.model_copy(update={"webhook_secret": secret.webhook_secret})
    with TestClient(create_app(given, catalogue), base_url="http://127.0.0.1") as api:
        accepted = submit(api, echoes(150), f"{ECHO}?webhook=https://example.com/hook")
        assert api.post(f"/batches/{accepted['id']}/cancel").json()["canceled"] == 150
    deliveries = on_queue(connection)  # no worker serves a queue for webhooks
    assert len(deliveries) == 150 and not set(deliveries) & set(accepted["jobs"])


def test_a_batch_that_a_full_queue_has_no_room_for_is_refused_whole(
    settings: Settings, catalogue: Catalogue, connection: redis.Redis
) -> None:
    app = create_app(settings.model_copy(update={"queue_limit": 10}), catalogue)
    with TestClient(app, base_url="http://127.0.0.1") as api:
        submit(api, echoes(6))
        answer = post(api, ECHO, lines(echoes(5)))
        assert (answer.status_code, answer.json()["type"]) == (
            429,
            "urn:paddock:problem:queue-full",
        )
        assert int(answer.headers["Retry-After"]) > 0
        submit(api, echoes(4))
    assert len(on_queue(connection)) == 10 == len(connection.keys("rq:job:*"))


# Under a limit

LIMITED = "/tasks/two_at_once/batch"


@pytest.fixture
def waiting_tasks(settings: Settings, all_tasks: Catalogue) -> Iterator[TestClient]:
    """The API, which knows tasks that have limits."""
    app = create_app(settings.model_copy(update={"tasks": ALL_TASKS}), all_tasks)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default")


def places(connection: redis.Redis) -> tuple[int, int]:
    """Held, and waited for."""
    key = "rq:rl:two_at_once"
    return connection.zcard(f"{key}:allowed"), connection.zcard(f"{key}:rate_limited")


def told(connection: redis.Redis, batch_id: str) -> dict[str, int]:
    """The marks that it has been told of, without looking at its jobs."""
    record = connection.hgetall(f"paddock:batch:{batch_id}")
    return {mark: n for mark in "qswFXCG" if (n := int(record[mark.encode()]))}


@pytest.mark.parametrize("options", ["", "?at_front=true", "?delay=1"])
def test_a_limit_holds_for_its_jobs(
    waiting_tasks: TestClient,
    connection: redis.Redis,
    start_all_tasks: Start,
    tmp_path: Path,
    options: str,
) -> None:
    for _ in range(3):
        start_all_tasks()
    items = [{"folder": str(tmp_path), "seconds": 0.1}] * 20
    batch_id = submit(waiting_tasks, items, LIMITED + options)["id"]
    eventually(lambda: counts(waiting_tasks, batch_id) == {"finished": 20})
    seen = [int(line) for line in (tmp_path / "beside").read_text().splitlines()]
    assert len(seen) == 20 and max(seen) <= 2
    assert show(waiting_tasks, batch_id)["finished_at"] is not None
    assert places(connection) == (0, 0)


def test_each_of_its_jobs_is_under_the_limit_that_its_parameters_decide(
    waiting_tasks: TestClient, hand: ByHand, tmp_path: Path
) -> None:
    items = [{"folder": str(tmp_path), "tenant": tenant} for tenant in ("a", "a", "b")]
    accepted = submit(waiting_tasks, items, "/tasks/one_a_tenant/batch")
    first, second = hand.claim(), hand.claim()
    assert [first and first.job_id, second and second.job_id] == accepted["jobs"][::2]
    assert hand.claim() is None
    assert counts(waiting_tasks, accepted["id"]) == {"running": 2, "waiting": 1}


@pytest.mark.parametrize("options", ["", "?at_front=true"])
def test_canceling_reaches_jobs_that_wait_for_a_place(
    waiting_tasks: TestClient, connection: redis.Redis, hand: ByHand, tmp_path: Path, options: str
) -> None:
    items = [{"folder": str(tmp_path)}] * 150
    accepted = submit(waiting_tasks, items, LIMITED + options)
    first, second = hand.claim(), hand.claim()
    assert first and second and hand.claim() is None
    assert told(connection, accepted["id"]) == {"q": 2, "w": 148}
    assert counts(waiting_tasks, accepted["id"]) == {"running": 2, "waiting": 148}
    assert hand.settle(first)
    assert told(connection, accepted["id"]) == {"q": 2, "w": 147, "F": 1}
    assert counts(waiting_tasks, accepted["id"]) == {
        "finished": 1,
        "running": 1,
        "queued": 1,
        "waiting": 147,
    }
    assert on_queue(connection) == [accepted["jobs"][2]]
    answer = waiting_tasks.post(f"/batches/{accepted['id']}/cancel").json()
    assert answer == {"canceled": 148, "stopping": 1}
    assert told(connection, accepted["id"]) == {"q": 1, "F": 1, "C": 148}
    assert counts(waiting_tasks, accepted["id"]) == {"finished": 1, "running": 1, "canceled": 148}
    assert (on_queue(connection), places(connection)) == ([], (1, 0))


def test_canceling_takes_nothing_from_others_under_the_limit(
    waiting_tasks: TestClient, connection: redis.Redis, tmp_path: Path
) -> None:
    item = {"folder": str(tmp_path)}

    def single() -> str:
        job_id: str = waiting_tasks.post("/tasks/two_at_once", json=item).json()["id"]
        return job_id

    first = [single() for _ in range(2)]
    accepted = submit(waiting_tasks, [item] * 150, LIMITED)
    others = [single() for _ in range(150)]
    for job_id in first:
        assert waiting_tasks.post(f"/jobs/{job_id}/cancel").status_code == 200
    answer = waiting_tasks.post(f"/batches/{accepted['id']}/cancel").json()
    assert answer == {"canceled": 150, "stopping": 0}
    assert counts(waiting_tasks, accepted["id"]) == {"canceled": 150}
    assert sorted(on_queue(connection)) == others[:2]
    assert places(connection) == (2, 148)


def test_retried_ones_wait_for_a_place(
    waiting_tasks: TestClient, connection: redis.Redis, hand: ByHand, tmp_path: Path
) -> None:
    accepted = submit(waiting_tasks, [{"folder": str(tmp_path)}] * 5, LIMITED)
    assert [hand.fail_one() for _ in range(5)] == accepted["jobs"]
    assert told(connection, accepted["id"]) == {"X": 5}
    assert counts(waiting_tasks, accepted["id"]) == {"failed": 5}
    assert waiting_tasks.post(f"/batches/{accepted['id']}/retry").json() == {"retried": 5}
    assert told(connection, accepted["id"]) == {"q": 2, "w": 3}
    assert counts(waiting_tasks, accepted["id"]) == {"queued": 2, "waiting": 3}
    assert places(connection) == (2, 3)
    assert [hand.run_one() for _ in range(6)] == [*accepted["jobs"], None]
    assert counts(waiting_tasks, accepted["id"]) == {"finished": 5}


@pytest.mark.parametrize(
    "options",
    ["depends_on=x", "on_dependency_failure=run", "result_as=value", "results_as=value", "wait=1"],
)
def test_options_that_are_for_single_jobs_are_refused(
    api: TestClient, connection: redis.Redis, options: str
) -> None:
    answer = post(api, f"{ECHO}?{options}", lines(echoes(2)))
    assert (answer.status_code, answer.json()["type"]) == (
        422,
        "urn:paddock:problem:invalid-options",
    )
    assert options.partition("=")[0] in answer.json()["detail"]
    assert connection.keys("*") == []


def test_what_depends_on_one_of_its_jobs_runs_after_it(
    api: TestClient, connection: redis.Redis, hand: ByHand
) -> None:
    accepted = submit(api, echoes(3))
    after = [
        api.post(f"/tasks/echo?depends_on={job_id}", json={}).json()["id"]
        for job_id in accepted["jobs"]
    ]
    assert hand.run_one() == accepted["jobs"][0]
    assert on_queue(connection)[-1] == after[0]
    assert api.post(f"/batches/{accepted['id']}/cancel").json() == {"canceled": 2, "stopping": 0}
    assert [api.get(f"/jobs/{job_id}").json()["status"] for job_id in after] == [
        "queued",
        "failed",
        "failed",
    ]


def test_what_its_cancel_puts_in_front_of_the_queue_confuses_nothing(
    api: TestClient, connection: redis.Redis
) -> None:
    others = [api.post("/tasks/echo", json={}).json()["id"]]
    accepted = submit(api, echoes(150))
    others += [api.post("/tasks/echo", json={}).json()["id"]]
    options = "at_front=true&on_dependency_failure=run"
    after = [
        api.post(f"/tasks/echo?depends_on={job_id}&{options}", json={}).json()["id"]
        for job_id in accepted["jobs"][::10]
    ]
    assert api.post(f"/batches/{accepted['id']}/cancel").json() == {"canceled": 150, "stopping": 0}
    assert on_queue(connection)[-2:] == others
    assert sorted(on_queue(connection)[:-2]) == sorted(after)
    assert counts(api, accepted["id"]) == {"canceled": 150}


# The same again


def post_once(api: TestClient, key: str, items: list[Any], path: str = ECHO) -> Any:
    headers = {"Content-Type": LINES, "Idempotency-Key": key}
    return api.post(path, content=lines(items), headers=headers)


def test_the_same_batch_again_under_its_key_is_the_first_one(
    api: TestClient, connection: redis.Redis
) -> None:
    first = post_once(api, "load-1", echoes(700))
    assert first.status_code == 202
    assert "Idempotency-Replayed" not in first.headers
    again = post_once(api, "load-1", echoes(700))
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert on_queue(connection) == first.json()["jobs"]
    assert len(connection.keys("rq:job:*")) == 700  # nothing is left of the second


@pytest.mark.parametrize(
    ("items", "path"),
    [
        (echoes(3)[::-1], ECHO),
        (echoes(4), ECHO),
        ([{"value": 0}, {"value": 1}, {"value": "2"}], ECHO),
        (echoes(3), f"{ECHO}?timeout=7"),
    ],
)
def test_a_key_that_comes_with_another_batch_is_refused(
    api: TestClient, connection: redis.Redis, items: list[Any], path: str
) -> None:
    first = post_once(api, "load-1", echoes(3)).json()
    refused = post_once(api, "load-1", items, path)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:paddock:problem:idempotency-key-reused"
    assert first["id"] in refused.json()["detail"]
    assert on_queue(connection) == first["jobs"]


def test_a_batch_and_a_job_may_bear_the_same_key(api: TestClient) -> None:
    assert post_once(api, "both", echoes(2)).status_code == 202
    job = api.post("/tasks/echo", json={"value": 1}, headers={"Idempotency-Key": "both"})
    assert job.status_code == 202


def test_of_the_same_batch_many_times_at_once_one_is_queued(
    api: TestClient, connection: redis.Redis
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post_once(api, "once", echoes(50)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert on_queue(connection) == answers[0].json()["jobs"]


def test_a_batch_that_was_refused_leaves_its_key_unused(api: TestClient) -> None:
    assert post_once(api, "again", [{"value": 1}, {"wrong": 2}]).status_code == 422
    assert post_once(api, "again", echoes(2)).status_code == 202
