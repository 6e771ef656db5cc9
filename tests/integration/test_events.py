"""Live events: read by real clients, over a real server, through what may happen to it."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest
import redis

from service.journal import JOURNAL
from tests.conftest import PATIENCE, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.serving import free_port, is_live, serve

TASKS = ",".join((*ALL_TASKS, "tests.sample_reporting_tasks"))
BY_HAND = JOURNAL + "now = 1 journal(KEYS[1], ARGV[1], ARGV[2], 1)"


@dataclass
class Told:
    """One event."""

    id: str
    name: str
    data: Any


def read(response: httpx.Response) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line and not line.startswith(":"):
            fields[name] = value
        elif not line and "event" in fields:
            yield Told(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
            fields = {}


def watch(url: str, job_id: str, after: str = "") -> list[Told]:
    """Everything to the end."""
    headers = {"Last-Event-ID": after} if after else {}
    path = f"{url}/jobs/{job_id}/events"
    with httpx.stream("GET", path, headers=headers, timeout=PATIENCE) as response:
        assert response.status_code == 200
        return list(read(response))


def note(connection: redis.Redis, job_id: str, number: int) -> None:
    entry = json.dumps({"event": "log", "lines": [[1.0, "stdout", None, str(number)]]})
    connection.eval(BY_HAND, 1, f"rq:job:{job_id}", job_id, entry)


def texts(told: list[Told]) -> list[str]:
    return [line["text"] for each in told if each.name == "log" for line in each.data["lines"]]


def unlike_progress(told: list[Told]) -> list[Told]:
    """Less what only the latest of counts."""
    return [each for each in told if each.name != "progress"]


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


@pytest.fixture
def url(start: Start) -> str:
    return serve(start, PADDOCK_TASKS=TASKS)


def channels(connection: redis.Redis) -> list[bytes]:
    return [name for name in connection.pubsub_channels() if name.startswith(b"paddock:")]


def test_a_job_is_told_of_from_its_beginning_to_its_result(
    jobs: Jobs, start: Start, start_worker: Start, url: str
) -> None:
    start_worker(PADDOCK_TASKS=TASKS)
    n = 3_000_000
    job_id = httpx.post(f"{url}/tasks/heavy_cpu_task", json={"n": n}).json()["id"]
    told = watch(url, job_id)
    statuses = [each.data["status"] for each in told if each.name == "status"]
    assert statuses == ["queued", "running", "finished"]
    fractions = [each.data["fraction"] for each in told if each.name == "progress"]
    assert fractions[-1] == 1.0 and fractions == sorted(set(fractions))
    assert told[-1].name == "result"
    assert told[-1].data == httpx.get(f"{url}/jobs/{job_id}").json()
    # From any place on, what follows is told again, and nothing else.
    for number, each in enumerate(told[:-1]):
        assert unlike_progress(watch(url, job_id, each.id)) == unlike_progress(told[number + 1 :])
    again = httpx.get(f"{url}/jobs/{job_id}/events", headers={"Last-Event-ID": told[-1].id})
    assert again.status_code == 204


def test_nothing_is_lost_or_doubled_while_the_api_is_killed_and_started_again(
    jobs: Jobs, start: Start, hand: ByHand, connection: redis.Redis
) -> None:
    port, stop = free_port(), threading.Event()
    url = f"http://127.0.0.1:{port}"

    def start_api() -> "subprocess.Popen[str]":
        command = (sys.executable, "-m", "service.cli", "serve", "--port", str(port))
        api = start(*command, PADDOCK_TASKS=TASKS)
        eventually(lambda: is_live(url))
        return api

    api = start_api()
    job_id = jobs.submit("sleep", seconds=0)
    claim = hand.claim()
    assert claim is not None
    written = 0

    def write() -> None:
        nonlocal written
        client = redis.Redis.from_url(jobs.url)
        while not stop.is_set():
            note(client, job_id, written)
            written += 1
            time.sleep(0.005)
        client.close()

    told: list[Told] = []

    def follow() -> None:
        while not told or told[-1].name != "result":
            headers = {"Last-Event-ID": told[-1].id} if told else {}
            try:
                path = f"{url}/jobs/{job_id}/events"
                with httpx.stream("GET", path, headers=headers, timeout=PATIENCE) as response:
                    for each in read(response):
                        told.append(each)
            except httpx.TransportError:
                time.sleep(0.05)

    threads = [threading.Thread(target=target, daemon=True) for target in (write, follow)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = len(told)
        eventually(lambda before=before: len(told) > before + 50)
        api.kill()
        api.wait()
        time.sleep(0.3)
        api = start_api()
    before = len(told)
    eventually(lambda: len(told) > before + 50)
    stop.set()
    threads[0].join(PATIENCE)
    assert hand.settle(claim)
    threads[1].join(PATIENCE)
    assert texts(told) == [str(number) for number in range(written)]
    statuses = [each.data["status"] for each in told if each.name == "status"]
    assert statuses == ["queued", "running", "finished"]


def test_who_was_told_of_an_end_is_told_when_the_job_has_failed_once_more(
    jobs: Jobs, url: str, hand: ByHand
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    hand.fail_one()
    (*_, end) = watch(url, job_id)
    jobs.broker.actions.retry(job_id)
    hand.fail_one()
    again = watch(url, job_id, end.id)
    statuses = [each.data["status"] for each in again if each.name == "status"]
    assert statuses == ["queued", "running", "failed"] and again[-1].name == "result"


def test_there_is_one_subscription_however_many_watch_and_none_when_they_have_left(
    jobs: Jobs, url: str, connection: redis.Redis
) -> None:
    ids = [jobs.submit("sleep", seconds=0) for _ in range(3)]
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=PATIENCE))
        readers = []
        for number in range(12):
            path = f"{url}/jobs/{ids[number % 3]}/events"
            response = stack.enter_context(client.stream("GET", path))
            readers.append(read(response))
            assert next(readers[-1]).data["status"] == "queued"
        eventually(lambda: len(channels(connection)) == 3)
        subscribers = [each for each in connection.client_list() if int(each["sub"]) > 0]
        assert len(subscribers) == 1
    eventually(lambda: not channels(connection))


def test_a_status_that_nobody_published_is_told_of_as_well(
    jobs: Jobs, url: str, connection: redis.Redis
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    with httpx.stream("GET", f"{url}/jobs/{job_id}/events", timeout=PATIENCE) as response:
        told = read(response)
        assert next(told).data["status"] == "queued"
        connection.hset(f"rq:job:{job_id}", "status", "canceled")  # as RQ's own tools do
        assert [each.name for each in told] == ["status", "result"]


def test_a_stream_ends_where_its_job_is_deleted_or_was_never_there(jobs: Jobs, url: str) -> None:
    assert httpx.get(f"{url}/jobs/none/events").status_code == 404
    job_id = jobs.submit("sleep", seconds=0)
    with httpx.stream("GET", f"{url}/jobs/{job_id}/events", timeout=PATIENCE) as response:
        told = read(response)
        next(told)
        jobs.broker.actions.delete(job_id)
        assert list(told) == []


def test_a_stream_goes_on_when_redis_is_back(jobs: Jobs, url: str, connection: redis.Redis) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    with httpx.stream("GET", f"{url}/jobs/{job_id}/events", timeout=PATIENCE) as response:
        told = read(response)
        next(told)
        connection.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        connection.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        note(connection, job_id, 7)
        assert texts([next(told)]) == ["7"]


def test_a_server_that_leaves_does_not_wait_for_its_streams(jobs: Jobs, start: Start) -> None:
    port = free_port()
    api = start(sys.executable, "-m", "service.cli", "serve", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: is_live(url))
    job_id = jobs.submit("sleep", seconds=0)
    with (
        httpx.stream("GET", f"{url}/jobs/{job_id}/events", timeout=PATIENCE) as one,
        httpx.stream("GET", f"{url}/events", timeout=PATIENCE) as all_jobs,
    ):
        first = read(all_jobs)
        assert next(first).name == "queues"
        told = read(one)
        next(told)
        api.send_signal(signal.SIGTERM)
        assert api.wait(15) in (0, -signal.SIGTERM)  # its grace is 30
        assert list(told) == []


def test_the_service_tells_of_its_jobs_and_queues(jobs: Jobs, url: str, hand: ByHand) -> None:
    with httpx.stream("GET", f"{url}/events", timeout=PATIENCE) as response:
        told = read(response)
        first = next(told)
        assert first.name == "queues" and {queue["name"] for queue in first.data} >= {"default"}
        job_id = jobs.submit("sleep", seconds=0)
        hand.run_one()
        seen = next(
            each for each in told if each.name == "job" and each.data["status"] == "finished"
        )
    assert seen.data == {"id": job_id, "task": "sleep", "queue": "default", "status": "finished"}
