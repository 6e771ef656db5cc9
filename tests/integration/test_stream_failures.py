"""Streams while something breaks: the API, Redis, the reader."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from jobs.catalogue import Catalogue
from service.api import create_app, event_stream
from service.broker import feed
from service.cli import listener
from service.settings import Settings
from tests.conftest import PATIENCE, RedisServer, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.serving import free_port, is_live
from tests.integration.streams import Journalist, Served, Sse, all_of, channels, read, stream

LINES = 300
SLOWLY = 0.01  # seconds between lines


def start_api(start: Start, port: int, *more: str) -> "subprocess.Popen[str]":
    command = (sys.executable, "-m", "service.cli", "serve", "--port", str(port), *more)
    process = start(*command, PADDOCK_TASKS="jobs,tests.sample_tasks,tests.sample_worker_tasks")
    eventually(lambda: is_live(f"http://127.0.0.1:{port}"))
    return process


async def read_on(url: str, seen: list[Sse]) -> None:
    """As a browser does: whatever breaks, come back, and say what was seen last."""
    while not seen or seen[-1].name != "result":
        with contextlib.suppress(httpx.TransportError, AssertionError):
            async with stream(url, seen[-1].id if seen else None) as events:
                async for event in events:
                    seen.append(event)
        await asyncio.sleep(0.02)


def test_nothing_is_lost_or_doubled_through_kills_of_the_api(
    start: Start, jobs: Jobs, connection: redis.Redis
) -> None:
    port, hand, journalist = free_port(), ByHand(connection, "default"), Journalist(connection)
    job_id = jobs.submit("sleep", seconds=0)
    url = f"http://127.0.0.1:{port}/jobs/{job_id}/events"
    api = start_api(start, port)

    def run_job() -> None:
        claim = hand.claim()
        for number in range(LINES):
            journalist.log(job_id, f"line {number}")
            journalist.progress(job_id, number / LINES, number + 1)
            time.sleep(SLOWLY)
        hand.settle(claim, b"7")

    async def run() -> tuple[list[Sse], list[Sse]]:
        nonlocal api
        seen: list[Sse] = []
        reading = asyncio.ensure_future(read_on(url, seen))
        await asyncio.to_thread(eventually, lambda: seen)
        running = asyncio.ensure_future(asyncio.to_thread(run_job))
        for after in (LINES // 4, LINES // 2):
            await asyncio.to_thread(eventually, lambda after=after: len(texts(seen)) > after)
            os.killpg(api.pid, signal.SIGKILL)
            api.wait()
            api = await asyncio.to_thread(start_api, start, port)
        await running
        await asyncio.wait_for(reading, PATIENCE)
        return seen, await all_of(url)

    seen, replayed = asyncio.run(run())
    assert texts(seen) == [f"line {number}" for number in range(LINES)]
    statuses = [str(event) for event in seen if event.name in ("status", "result")]
    assert statuses == ["status queued", "status running", "status finished", "result finished"]
    fractions = [event.data["fraction"] for event in seen if event.name == "progress"]
    assert fractions == sorted(set(fractions)) and fractions[-1] == (LINES - 1) / LINES
    assert len({event.id for event in seen}) == len(seen)
    assert texts(replayed) == texts(seen)


def texts(events: list[Sse]) -> list[str]:
    return [line["text"] for each in events if each.name == "log" for line in each.data["lines"]]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_api_stops_at_once_though_streams_are_open(
    start: Start, jobs: Jobs, processes: str
) -> None:
    port = free_port()
    job_id = jobs.submit("sleep", seconds=0)
    api = start_api(start, port, "--processes", processes)

    async def run() -> float:
        async with contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(stream(f"http://127.0.0.1:{port}{path}"))
                for path in ("/events", f"/jobs/{job_id}/events") * 4
            ]
            for events in streams:
                await anext(events)
            began = time.monotonic()
            api.terminate()
            async with asyncio.timeout(PATIENCE):
                for events in streams:  # each is ended, not cut off
                    assert [event.name async for event in events if event.name != "job"] == []
            await asyncio.to_thread(api.wait, PATIENCE)
            return time.monotonic() - began

    assert asyncio.run(run()) < 10  # of the 30 seconds that answers are waited for


@pytest.fixture
def on_own(own: RedisServer, tmp_path: Path, all_tasks: Catalogue) -> Iterator[Served]:
    app = create_app(Settings(redis_url=own.url, data_dir=tmp_path), all_tasks)
    with Served(app, app.state.broker) as served:
        yield served


def test_streams_outlive_a_redis_that_is_killed(
    on_own: Served,
    own: RedisServer,
    all_tasks: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.2)
    monkeypatch.setattr("service.api.events.HEARTBEAT", 0.2)
    monkeypatch.setattr(feed, "LOOK", PATIENCE)  # not by looking: the connection is made anew
    jobs = Jobs(own.url, all_tasks)
    job_id = jobs.submit("sleep", seconds=0)
    url = f"{on_own.url}/jobs/{job_id}/events"

    async def run() -> list[str]:
        async with stream(url) as events, stream(f"{on_own.url}/events") as of_all:
            seen = [str(await anext(events))]
            await anext(of_all)
            await asyncio.to_thread(own.kill)
            answer = await asyncio.to_thread(httpx.get, url, timeout=PATIENCE)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            answer = await asyncio.to_thread(httpx.get, f"{on_own.url}/events", timeout=PATIENCE)
            assert answer.json()["type"] == "urn:paddock:problem:redis-away"
            await asyncio.to_thread(own.start)
            await asyncio.to_thread(ByHand(own.client, "default").run_one)
            async with asyncio.timeout(PATIENCE):
                seen += [str(event) async for event in events]
                while (await anext(of_all)).name != "missed":
                    pass
            return seen

    seen = asyncio.run(run())
    assert seen == ["status queued", "status running", "status finished", "result finished"]
    jobs.close()


def test_a_reader_that_takes_nothing_is_dropped_and_the_others_are_served(
    settings: Settings,
    all_tasks: Catalogue,
    jobs: Jobs,
    connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "STUCK", 1000)
    monkeypatch.setattr(event_stream, "LONGEST_SEND", 0.5)
    monkeypatch.setattr(event_stream, "FAREWELL", 0.1)
    job_id = jobs.submit("sleep", seconds=0)
    hand, journalist = ByHand(connection, "default"), Journalist(connection)
    claim = hand.claim()
    app = create_app(settings, all_tasks)
    with Served(app, app.state.broker) as served, socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
        stuck.sendall(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: served.broker.feed.count == 1)

        def write_until_dropped() -> bool:
            journalist.log(job_id, *["x" * 8000] * 30)
            return served.broker.feed.count == 0

        eventually(write_until_dropped)
        eventually(lambda: not channels(connection))
        eventually(lambda: not served.server.server_state.connections)  # nor is what was not sent
        hand.settle(claim)
        assert str(read(f"{served.url}/jobs/{job_id}/events")[-1]) == "result finished"


def test_heartbeats_show_that_a_stream_lives(
    settings: Settings, all_tasks: Catalogue, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.events.HEARTBEAT", 0.1)
    job_id = jobs.submit("sleep", seconds=0)
    app = create_app(settings, all_tasks)
    with Served(app, app.state.broker) as served:
        for path in ("/events", f"/jobs/{job_id}/events"):
            with httpx.stream("GET", served.url + path, timeout=PATIENCE) as response:
                pieces = response.iter_raw()
                while next(pieces) != b":\n\n":
                    pass
