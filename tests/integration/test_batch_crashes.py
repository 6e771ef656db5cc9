"""A batch is there whole or not at all, whoever is killed, and whenever."""

import asyncio
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis
from rq import Queue

from jobs.catalogue import Catalogue
from service.batch_store import DISCARDED, STAGED, STAGING, StagingArea, new_batch_id
from service.broker import batch_scripts, batch_staging
from service.broker.connection import connect_async
from service.execution.housekeeping import Housekeeper
from service.settings import Settings
from service.submission import Submission
from tests.conftest import PATIENCE, TASKS, RedisServer, Start, eventually
from tests.integration.serving import is_live, serve
from tests.integration.test_batches import ECHO, LINES, echoes, lines, on_queue
from tests.integration.test_enqueue_once import Proxy
from tests.integration.test_event_loop import durations_until

SIZE = 5_000  # jobs: ten writes
HANG = 5.0  # seconds; a bound for hangs, no measure of speed
KILLS = 12


class Upload:
    """A batch that is sent piece by piece, over a connection of its own."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._line = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        self._line.putrequest("POST", ECHO)
        self._line.putheader("Content-Type", LINES)
        self._line.putheader("Transfer-Encoding", "chunked")
        self._line.endheaders()

    def send(self, body: bytes) -> None:
        self._line.send(b"%x\r\n%s\r\n" % (len(body), body))

    def end(self) -> Any:
        self._line.send(b"0\r\n\r\n")
        answer = self._line.getresponse()
        return answer.status, json.loads(answer.read())

    def hang_up(self) -> None:
        self._line.close()


def staged(connection: redis.Redis) -> int:
    return sum(map(int, connection.hvals(STAGED)))


def job_keys(connection: redis.Redis) -> int:
    return sum(1 for _ in connection.scan_iter("rq:job:*", count=1_000))


def nothing_is_seen(connection: redis.Redis) -> None:
    assert on_queue(connection) == []
    assert connection.keys("rq:queue*") == connection.keys("rq:scheduled*") == []
    assert connection.keys("paddock:batch:*") == []


def is_cleared_away_in_time(connection: redis.Redis) -> None:
    """As a worker does it, once nobody has added to the batch for two minutes."""
    house = Housekeeper(connection, [Queue("default", connection=connection)], 10)
    ahead = connection.zrange(STAGING, 0, -1, withscores=True)
    assert all(score > time.time() + 60 for _batch, score in ahead), "it is given up too soon"
    house.keep()
    assert connection.zcard(STAGING) == len(ahead)
    for batch, _score in ahead:
        connection.zadd(STAGING, {batch: time.time() - 1})
    Housekeeper(connection, [Queue("default", connection=connection)], 10).keep()
    assert connection.keys("rq:job:*") == connection.keys("paddock:*") == []


# The API is killed


def serve_and_die(start: Start, when: str) -> tuple[str, "subprocess.Popen[str]"]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    module = "tests.integration.killed_api"
    process = start(sys.executable, "-m", module, when, "serve", "--port", port)
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: is_live(url))
    return url, process


def test_an_api_that_is_killed_in_the_middle_leaves_nothing_queued(
    start: Start, connection: redis.Redis
) -> None:
    url, process = serve_and_die(start, "before")
    upload = Upload(url)
    upload.send(lines(echoes(SIZE)))
    eventually(lambda: staged(connection) >= SIZE / 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    upload.hang_up()
    assert job_keys(connection) >= SIZE / 2
    nothing_is_seen(connection)
    is_cleared_away_in_time(connection)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_api_that_is_killed_at_the_commit_leaves_all_or_nothing(
    start: Start, connection: redis.Redis, when: str
) -> None:
    url, process = serve_and_die(start, when)
    upload = Upload(url)
    upload.send(lines(echoes(SIZE)))
    with pytest.raises((http.client.HTTPException, OSError)):
        upload.end()
    upload.hang_up()
    assert process.wait() == -signal.SIGKILL
    if when == "before":
        assert job_keys(connection) == SIZE
        nothing_is_seen(connection)
        is_cleared_away_in_time(connection)
    else:
        ids = on_queue(connection)
        assert len(set(ids)) == SIZE == job_keys(connection)
        assert connection.exists(STAGING, STAGED, DISCARDED) == 0
        assert len(connection.keys("paddock:batch:*")) == 1


def test_a_caller_who_hangs_up_leaves_nothing(start: Start, connection: redis.Redis) -> None:
    upload = Upload(serve(start))
    upload.send(lines(echoes(SIZE)))
    eventually(lambda: staged(connection) >= SIZE / 2)
    upload.hang_up()
    eventually(lambda: not connection.keys("*"))


def test_others_are_answered_while_a_batch_is_taken_in(start: Start) -> None:
    url = serve(start)
    upload = Upload(url)
    answers: list[Any] = []

    def send() -> None:
        for _ in range(20):
            upload.send(lines(echoes(1_000)))
        answers.append(upload.end())

    sending = threading.Thread(target=send)
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        sending.start()
        taken = durations_until(lambda: not sending.is_alive(), client)
    upload.hang_up()
    ((status, accepted),) = answers
    assert (status, accepted["count"]) == (202, 20_000)
    print(f"{len(taken)} answers, the slowest after {max(taken):.3f} s")
    assert len(taken) >= 3
    assert max(taken) < HANG


# Redis is killed


@pytest.fixture
def url(own: RedisServer, start: Start, tmp_path: Path) -> str:
    return serve(start, **Settings(redis_url=own.url, data_dir=tmp_path, tasks=TASKS).environment())


def test_when_redis_is_killed_in_the_middle_the_caller_is_told_and_nothing_is_queued(
    own: RedisServer, url: str
) -> None:
    upload = Upload(url)
    upload.send(lines(echoes(SIZE)))
    eventually(lambda: staged(own.client) >= SIZE / 2)
    own.kill()
    upload.send(lines(echoes(SIZE)))
    status, problem = upload.end()
    upload.hang_up()
    assert (status, problem["in_doubt"]) == (503, False), problem
    assert "nothing was accepted" in problem["detail"]
    own.start()
    nothing_is_seen(own.client)
    is_cleared_away_in_time(own.client)


def test_when_redis_is_killed_around_the_commit_all_are_queued_or_none(
    own: RedisServer, url: str
) -> None:
    chance, found = random.Random(4), []
    for _ in range(KILLS):
        own.client.flushall()
        upload = Upload(url)
        upload.send(lines(echoes(SIZE)))
        eventually(lambda: staged(own.client) >= SIZE - batch_staging.CHUNK * 2)
        kill = threading.Timer(chance.uniform(0, 0.06), own.kill)
        kill.start()
        status, told = upload.end()
        upload.hang_up()
        kill.join()
        own.start()
        queued = on_queue(own.client)
        found.append((status, len(queued)))
        assert len(queued) in (0, SIZE), found
        assert len(own.client.keys("paddock:batch:*")) == (1 if queued else 0)
        if status == 202:
            assert queued == told["jobs"]
        else:
            assert status == 503 and (told["in_doubt"] or not queued), (told, found)
    print(found)


# A reply is lost


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    passing = Proxy(redis_url.removeprefix("unix://"))
    yield passing
    passing.close()


@pytest.mark.parametrize(
    "written", [b"description", b"first_ended_at"], ids=["of a write", "of the commit"]
)
def test_what_is_sent_again_because_its_reply_was_lost_is_done_once(
    proxy: Proxy, start: Start, connection: redis.Redis, tmp_path: Path, written: bytes
) -> None:
    settings = Settings(redis_url=proxy.url, data_dir=tmp_path, tasks=TASKS)
    through = serve(start, **settings.environment())
    first = Upload(through)  # so that Redis knows the scripts
    first.send(lines(echoes(1)))
    assert first.end()[0] == 202
    first.hang_up()
    connection.delete("rq:queue:default")
    proxy.lose_reply(lambda request, _reply: b"EVALSHA" in request and written in request)
    upload = Upload(through)
    upload.send(lines(echoes(3)))
    status, accepted = upload.end()
    upload.hang_up()
    assert len(proxy.lost) == 1
    assert status == 202
    assert on_queue(connection) == accepted["jobs"]
    assert connection.hget(f"paddock:batch:{accepted['id']}", "open") == b"3"


# Giving up


def test_what_is_given_up_can_neither_grow_nor_be_committed(connection: redis.Redis) -> None:
    stage = connection.register_script(batch_scripts.STAGE)
    commit = connection.register_script(batch_scripts.COMMIT)
    batch = new_batch_id()
    keys = [f"paddock:batch:{batch}", STAGING, STAGED]

    def write(first: int) -> Any:
        fields = [1, "data", 2, "status", "queued", b"x"]
        return stage(keys=keys, args=[batch, f"rq:job:{batch[:30]}", 120, first, *fields])

    assert write(0) == write(1) == 1
    StagingArea(connection).discard(batch)
    assert write(2) == 0
    places = ["rq:queue:default", "rq:queues", "rq:scheduled:default"]
    args = [batch, batch[:30], 2, "RPUSH", 0, 60, 0, "", "", 0, "total", 2]
    assert commit(keys=[*keys, *places], args=args) == 0
    assert connection.keys("*") == []


def test_a_write_that_was_held_up_till_after_the_commit_changes_nothing(
    connection: redis.Redis,
) -> None:
    stage = connection.register_script(batch_scripts.STAGE)
    batch = new_batch_id()
    job = f"rq:job:{batch[:30]}000000"
    connection.hset(f"paddock:batch:{batch}", "total", 1)
    connection.hset(job, "status", "finished")
    keys = [f"paddock:batch:{batch}", STAGING, STAGED]
    args = [batch, job[:-6], 120, 0, 1, "data", 2, "status", "queued", b"x"]
    assert stage(keys=keys, args=args) == 0
    assert connection.hgetall(job) == {b"status": b"finished"}
    assert connection.exists(STAGING, STAGED) == 0


def test_what_was_discarded_in_part_is_removed_by_the_next_who_looks(
    connection: redis.Redis,
) -> None:
    batch = new_batch_id()
    for number in range(2_500):
        connection.hset(f"rq:job:{batch[:30]}{number:06x}", "status", "queued")
    connection.hset(DISCARDED, batch, 2_500)
    other = f"rq:job:{new_batch_id()}"
    connection.hset(other, "status", "queued")
    StagingArea(connection).clear_abandoned()
    assert connection.keys("*") == [other.encode()]


def test_a_batch_that_arrives_slowly_is_kept(
    redis_url: str,
    catalogue: Catalogue,
    connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def trickle() -> float:
        client = connect_async(redis_url)
        enqueuer = batch_staging.BatchEnqueuer(client, connection)
        submission = Submission(task=catalogue["echo"], parameters={})
        async with enqueuer.begin(submission) as staging:
            await staging.add({"value": 1})
            await staging.keep()
            await staging._last_sent()
            kept = float(connection.zscore(STAGING, staging.id))
            await staging.commit()
        await client.aclose()
        return kept

    monkeypatch.setattr(batch_staging, "SIGN_OF_LIFE", -1.0)
    assert asyncio.run(trickle()) > time.time() + 60
