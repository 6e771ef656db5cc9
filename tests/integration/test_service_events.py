"""What happens in the whole service, read live."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from jobs.catalogue import Catalogue
from service.api import create_app, paddock_router
from service.broker import service_feed
from service.journal import JOBS_CHANNEL
from service.settings import Settings
from tests.conftest import PATIENCE, RedisServer, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.own_app import users_app
from tests.integration.streams import Served, Sse, channels, read, stream


@pytest.fixture
def served(settings: Settings, all_tasks: Catalogue) -> Iterator[Served]:
    app = create_app(settings, all_tasks)
    with Served(app, app.state.broker) as served:
        yield served


async def following(events: AsyncIterator[Sse], name: str, count: int) -> list[Sse]:
    """The next so many of this name."""
    found: list[Sse] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            event = await anext(events)
            if event.name == name:
                found.append(event)
    return found


def is_heard(connection: redis.Redis) -> bool:
    return channels(connection) == [JOBS_CHANNEL.encode()]


def test_changes_of_jobs_and_queues_are_told(
    served: Served, jobs: Jobs, connection: redis.Redis
) -> None:
    async def look_on() -> None:
        async with stream(f"{served.url}/events") as events:
            (queues,) = await following(events, "queues", 1)
            before = {queue["name"]: queue for queue in queues.data}
            assert is_heard(connection)  # before anything is told
            hand = ByHand(connection, "default")
            job_id = await asyncio.to_thread(lambda: jobs.submit("sleep", seconds=0))
            (queued,) = await following(events, "job", 1)
            assert queued.data.pop("at").endswith("Z")
            each = {"id": job_id, "task": "sleep", "queue": "default"}
            assert queued.data == each | {"status": "queued"}
            (queues,) = await following(events, "queues", 1)
            depths = {queue["name"]: queue["queued"] for queue in queues.data}
            assert depths["default"] == before["default"]["queued"] + 1
            assert set(before["default"]) == set(queues.data[0])
            await asyncio.to_thread(hand.run_one)
            (last,) = await following(events, "job", 1)
            while last.data["status"] != "finished":
                (last,) = await following(events, "job", 1)

    asyncio.run(look_on())
    eventually(lambda: not channels(connection))
    assert served.broker.service_feed.onlookers == 0


def test_of_a_flood_of_changes_the_latest_of_each_job_is_told(
    served: Served, connection: redis.Redis
) -> None:
    statuses = ["queued", "started", "finished"]
    ids = [f"job-{number}" for number in range(100)]

    def flood() -> None:
        with connection.pipeline(transaction=False) as pipe:
            for status in statuses:
                for job_id in ids:
                    told = {"id": job_id, "status": status, "queue": "cpu", "task": "any"}
                    pipe.publish(JOBS_CHANNEL, json.dumps(told))
            pipe.publish(JOBS_CHANNEL, b"\xff rubbish")
            pipe.execute()

    async def look_on() -> list[Sse]:
        async with stream(f"{served.url}/events") as events:
            await following(events, "queues", 1)
            assert is_heard(connection)  # before anything is told
            began = time.monotonic()
            await asyncio.to_thread(flood)
            seen: list[Sse] = []
            while {each.data["id"] for each in seen if each.data["status"] == "finished"} < set(
                ids
            ):
                seen += await following(events, "job", 1)
            seconds = time.monotonic() - began
            most = service_feed.MOST_A_TICK * (seconds / service_feed.TICK + 1)
            assert len(seen) <= most
            return seen

    seen = asyncio.run(look_on())
    assert len(seen) < len(ids) * len(statuses)


def test_who_falls_behind_and_who_was_cut_off_hears_that_some_were_missed(
    served: Served, connection: redis.Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_feed, "MOST_WAITING", 5)

    def flood() -> None:  # all at once, before any of them is told
        with connection.pipeline(transaction=False) as pipe:
            for number in range(100):
                told = {"id": str(number), "status": "queued", "queue": "cpu"}
                pipe.publish(JOBS_CHANNEL, json.dumps(told))
            pipe.execute()

    async def look_on() -> None:
        async with stream(f"{served.url}/events") as events:
            await following(events, "queues", 1)
            assert is_heard(connection)  # before anything is told
            await asyncio.to_thread(flood)
            await following(events, "missed", 1)
            cut = server.client.client_kill_filter(_type="pubsub")
            assert cut == 1
            await following(events, "missed", 1)

    asyncio.run(look_on())


def test_both_streams_are_there_in_an_application_of_ones_own(
    settings: Settings, all_tasks: Catalogue, jobs: Jobs, connection: redis.Redis
) -> None:
    router, mounted = paddock_router(settings, all_tasks), create_app(settings, all_tasks)
    app: Any = users_app([("/work", router)])
    app.mount("/mounted", mounted)
    job_id = jobs.submit("sleep", seconds=0)
    with Served(app, mounted.state.broker) as served:

        async def look_on(below: str) -> None:
            async with (
                stream(f"{served.url}{below}/events") as of_all,
                stream(f"{served.url}{below}/jobs/{job_id}/events") as of_job,
            ):
                assert (await following(of_all, "queues", 1))[0].data
                assert str(await anext(of_job)) == "status queued"

        for below in ("/work", "/mounted"):
            asyncio.run(look_on(below))
            eventually(lambda: not channels(connection))
        ByHand(connection, "default").run_one()
        assert str(read(f"{served.url}/work/jobs/{job_id}/events")[-1]) == "result finished"
