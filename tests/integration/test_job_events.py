"""What happens to a job, read live: nothing is lost, nothing comes twice."""

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2 as httpx
import pytest
import redis
from rq import Queue
from rq.job import Job

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker import feed
from service.settings import Settings
from tests.conftest import RedisServer, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.streams import (
    Journalist,
    Served,
    all_of,
    channels,
    meanwhile,
    read,
    stream,
)


@pytest.fixture
def served(settings: Settings, all_tasks: Catalogue) -> Iterator[Served]:
    app = create_app(settings, all_tasks)
    with Served(app, app.state.broker) as served:
        yield served


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


@pytest.fixture
def journalist(connection: redis.Redis) -> Journalist:
    return Journalist(connection)


def events_of(served: Served, job_id: str) -> str:
    return f"{served.url}/jobs/{job_id}/events"


def watched(connection: redis.Redis, *job_ids: str) -> bool:
    return channels(connection) == sorted(f"paddock:job:{job_id}".encode() for job_id in job_ids)


def told(events: list[Any]) -> list[str]:
    return [str(event) for event in events]


def test_all_that_happens_to_a_job_is_told_as_it_happens(
    served: Served, jobs: Jobs, hand: ByHand, journalist: Journalist, connection: redis.Redis
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    claims: list[Any] = []
    events = meanwhile(
        all_of(events_of(served, job_id)),
        lambda: eventually(lambda: watched(connection, job_id)),
        lambda: claims.append(hand.claim()),
        lambda: journalist.progress(job_id, 0.5, 1),
        lambda: journalist.log(job_id, "one", "two"),
        lambda: hand.settle(claims[0], b"7"),
    )
    names = told(events)
    assert names[:2] == ["status queued", "status running"]
    assert names[-2:] == ["status finished", "result finished"]
    assert sorted(names[2:-2]) == ["log", "log", "progress"]
    assert events[0].data["attempt"] == 0
    running = events[1].data
    assert (running["attempt"], running["worker"]) == (1, "by-hand") and running["at"][-1] == "Z"
    (progress,) = [event.data for event in events if event.name == "progress"]
    assert progress == {"fraction": 0.5, "message": None, "at": "1970-01-01T00:00:01.500000Z"}
    lines = [line for event in events if event.name == "log" for line in event.data["lines"]]
    assert [line["text"] for line in lines] == ["one", "two"]
    assert set(lines[0]) == {"at", "stream", "level", "text"}
    assert (events[-1].data["id"], events[-1].data["result"]) == (job_id, 7)


def test_who_comes_late_is_told_the_same(
    served: Served, jobs: Jobs, hand: ByHand, journalist: Journalist
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    claim = hand.claim()
    journalist.log(job_id, "one")
    journalist.progress(job_id, 1, 3)
    hand.settle(claim)
    expected = ["status queued", "status running", "log", "progress"]
    expected += ["status finished", "result finished"]
    assert told(read(events_of(served, job_id))) == expected


def test_after_any_event_the_stream_goes_on_with_the_next_one(
    served: Served, jobs: Jobs, hand: ByHand, journalist: Journalist
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    claim = hand.claim()
    journalist.log(job_id, "one", "two")
    journalist.progress(job_id, 1, 3)
    hand.settle(claim)
    events = read(events_of(served, job_id))
    assert len({event.id for event in events}) == len(events)
    for index, event in enumerate(events[:-1]):
        assert read(events_of(served, job_id), event.id) == events[index + 1 :]
    # A browser that has heard the end comes back, and is told not to.
    answer = _get(served, job_id, events[-1].id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert read(events_of(served, job_id), "rubbish") == events


def test_a_job_that_is_retried_goes_on_where_its_end_was(
    served: Served, jobs: Jobs, hand: ByHand
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    hand.fail_one()
    before = read(events_of(served, job_id))
    assert told(before)[-2:] == ["status failed", "result failed"]
    jobs.broker.actions.retry(job_id)
    hand.run_one()
    after = read(events_of(served, job_id), before[-1].id)
    expected = ["status queued", "status running", "status finished", "result finished"]
    assert told(after) == expected
    assert after[1].data["attempt"] == 2
    # One who had not heard the result of the first end has no need of it.
    assert told(read(events_of(served, job_id), before[-2].id)) == expected


def test_a_job_that_was_run_again_was_first_queued_before_it_was_first_run(
    served: Served, jobs: Jobs, hand: ByHand
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    hand.fail_one()
    jobs.broker.actions.retry(job_id)
    hand.run_one()
    *events, result = read(events_of(served, job_id))
    times = [datetime.fromisoformat(event.data["at"]) for event in events]
    assert told(events)[:2] == ["status queued", "status running"] and times == sorted(times)
    assert times[0] < datetime.fromisoformat(result.data["enqueued_at"])


def test_jobs_that_other_programs_move_are_told_of_as_well(
    served: Served, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    monkeypatch.setattr(feed, "LOOK", 0.1)
    queue = Queue("elsewhere", connection=connection, serializer="json")
    job = queue.enqueue("builtins.abs", -1)
    url = events_of(served, job.id)

    def move(status: str) -> None:
        time.sleep(0.5)
        connection.hset(Job.key_for(job.id), "status", status)

    events = meanwhile(all_of(url), lambda: move("started"), lambda: move("finished"), lambda: None)
    assert told(events) == [
        *("status queued", "status running", "status finished", "result finished")
    ]
    assert told(read(url, events[1].id)) == ["status finished", "result finished"]


def test_a_job_that_is_deleted_ends_its_streams_with_a_word(
    served: Served, jobs: Jobs, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK", 0.1)
    job_id = jobs.submit("sleep", seconds=0)
    events = meanwhile(
        all_of(events_of(served, job_id)),
        lambda: eventually(lambda: watched(connection, job_id)),
        lambda: time.sleep(0.2),
        lambda: jobs.broker.actions.delete(job_id),
    )
    assert told(events) == ["status queued", "deleted"]
    answer = _get(served, job_id, events[-1].id)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:paddock:problem:unknown-job"


def test_the_headers_keep_proxies_from_holding_it_back(
    served: Served, jobs: Jobs, hand: ByHand
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    hand.run_one()
    answer = _get(served, job_id)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    assert answer.text.startswith("retry: ")
    assert httpx.head(events_of(served, job_id)).status_code == 405


def test_a_log_of_many_lines_is_read_in_parts_while_others_are_served(
    served: Served, jobs: Jobs, hand: ByHand, journalist: Journalist
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    claim = hand.claim()
    lines = [f"{number} " + "x" * 90 for number in range(9_000)]
    for start in range(0, len(lines), 1000):
        journalist.log(job_id, *lines[start : start + 1000])
    hand.settle(claim)
    events = read(events_of(served, job_id))
    texts = [
        line["text"] for event in events if event.name == "log" for line in event.data["lines"]
    ]
    assert texts[-1] == lines[-1] and len(texts) > 5_000
    assert texts == lines[-len(texts) :]  # the oldest were dropped from the journal
    assert told(events)[-1] == "result finished"


def test_one_connection_listens_for_all_streams_and_for_no_more(
    served: Served, jobs: Jobs, connection: redis.Redis, server: RedisServer
) -> None:
    ids = jobs.submit_many("sleep", [{"seconds": 0}] * 3)

    async def two_of_each() -> None:
        async with asyncio.TaskGroup() as group:
            left = asyncio.Event()
            for job_id in ids * 2:
                group.create_task(_until(left, events_of(served, job_id)))
            await asyncio.to_thread(eventually, lambda: watched(connection, *ids))
            await asyncio.to_thread(eventually, lambda: served.broker.feed.count == 6)
            listening = [each for each in server.client.client_list() if each["sub"] != "0"]
            assert [each["sub"] for each in listening] == ["3"]
            left.set()
        # They have left: nothing is left of them.
        await asyncio.to_thread(eventually, lambda: not channels(connection))
        await asyncio.to_thread(eventually, lambda: served.broker.feed.count == 0)

    asyncio.run(two_of_each())
    eventually(lambda: all(each["sub"] == "0" for each in server.client.client_list()))


async def _until(left: asyncio.Event, url: str) -> None:
    async with stream(url) as events:
        assert str(await anext(events)) == "status queued"
        await left.wait()


def _get(served: Served, job_id: str, last: str | None = None) -> Any:
    headers = {} if last is None else {"Last-Event-ID": last}
    return httpx.get(events_of(served, job_id), headers=headers, timeout=20)
