"""A reply from Redis that is lost leaves every job where it is to be, once."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue
from rq.registry import StartedJobRegistry

from service.broker.connection import connect
from service.broker.status import Status
from service.execution.claim import Claimer
from service.execution.recovery import Recovery
from service.execution.scheduler import Scheduler
from tests.conftest import Start, eventually
from tests.integration.conftest import ALL_TASKS, Jobs

Wanted = Callable[[bytes, bytes], bool]


class Proxy:
    """Passes everything on to Redis, but for the one reply it is told to lose, line and all."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._wanted: Wanted | None = None
        self.lost: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply(self, wanted: Wanted) -> None:
        """Lose the reply of the first exchange for which this holds: (request, reply)."""
        self._wanted = wanted

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            line = socket.socket(socket.AF_UNIX)
            line.connect(self._socket_path)
            exchange = _Exchange(self, caller, line)
            threading.Thread(target=exchange.pass_requests, daemon=True).start()
            threading.Thread(target=exchange.pass_replies, daemon=True).start()

    def is_to_lose(self, request: bytes, reply: bytes) -> bool:
        if self._wanted is None or not self._wanted(request, reply):
            return False
        self._wanted = None
        self.lost.append(request)
        return True


class _Exchange:
    def __init__(self, proxy: Proxy, caller: socket.socket, line: socket.socket) -> None:
        self.proxy, self.caller, self.line = proxy, caller, line
        self.request = b""

    def pass_requests(self) -> None:
        try:
            while data := self.caller.recv(1 << 16):
                self.request = data
                self.line.sendall(data)
        except OSError:
            pass
        self._hang_up()

    def pass_replies(self) -> None:
        try:
            while data := self.line.recv(1 << 16):
                if self.proxy.is_to_lose(self.request, data):
                    break
                self.caller.sendall(data)
        except OSError:
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        for end in (self.caller, self.line):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    passing = Proxy(redis_url.removeprefix("unix://"))
    yield passing
    passing.close()


@pytest.fixture
def through(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client as workers make theirs, by way of the proxy."""
    client = connect(proxy.url)
    yield client
    client.close()


def script(request: bytes, _reply: bytes) -> bool:
    return b"EVALSHA" in request


def test_a_claim_whose_reply_was_lost_is_answered_with_the_same_job(
    jobs: Jobs, proxy: Proxy, through: redis.Redis
) -> None:
    first, second = jobs.submit("echo", value=1), jobs.submit("echo", value=2)
    queues = [Queue(name, connection=through, serializer="json") for name in ("cpu", "default")]
    claimer = Claimer(through, "some worker", lease=10)
    claimer.claim(queues[:1])  # so that Redis knows the script, and the next exchange is the claim
    proxy.lose_reply(script)
    with pytest.raises(RedisConnectionError):
        claimer.claim(queues)
    assert jobs.status(first) == Status.RUNNING
    again = claimer.claim(queues)
    assert (again.job_id, again.queue.name) == (first, "default")
    assert again.fields[b"attempts"] == b"1"
    assert StartedJobRegistry(queue=queues[1]).get_job_count(cleanup=False) == 1
    assert claimer.claim(queues).job_id == second


def test_due_jobs_are_moved_once_when_the_schedulers_reply_is_lost(
    jobs: Jobs, proxy: Proxy, through: redis.Redis, connection: redis.Redis
) -> None:
    many = [{"value": number} for number in range(50)]
    ids = jobs.submit_many("echo", many, delay=0.01)
    queue = Queue("default", connection=through, serializer="json")
    scheduler = Scheduler([queue], through)
    scheduler.move_once()
    time.sleep(1.1)  # until all are due
    proxy.lose_reply(script)
    with pytest.raises(RedisConnectionError):
        scheduler.move_once()
    scheduler.move_once()
    on_queue = [job_id.decode() for job_id in connection.lrange("rq:queue:default", 0, -1)]
    assert sorted(on_queue) == sorted(ids)
    assert connection.zcard("rq:scheduled:default") == 0


def test_an_abandoned_job_comes_back_once_when_the_recoverys_reply_is_lost(
    jobs: Jobs, proxy: Proxy, through: redis.Redis, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo", value=1)
    queue = Queue("default", connection=through, serializer="json")
    recovery = Recovery(through)
    recovery.recover([queue])
    Claimer(connection, "dead", lease=10).claim([queue])
    connection.delete("rq:worker:dead")
    proxy.lose_reply(script)
    with pytest.raises(RedisConnectionError):
        recovery.recover([queue])
    assert recovery.recover([queue]) == ([], [])
    assert connection.lrange("rq:queue:default", 0, -1) == [job_id.encode()]
    assert connection.hget(f"rq:job:{job_id}", "crashes") == b"1"


@pytest.mark.parametrize(
    ("task", "written", "runs", "result"),
    [
        ("succeed_later", "", "x", 1),  # the claim
        ("succeed_later", "rq:finished:default", "x", 1),
        ("succeed_later", "rq:scheduled:default", "xx", 2),  # the retry, with its wait
        ("succeed_at", "rq:queue:default", "xx", 2),  # the retry at once
    ],
)
def test_a_worker_that_loses_a_reply_runs_its_job_no_more_often(
    jobs: Jobs,
    proxy: Proxy,
    start: Start,
    connection: redis.Redis,
    tmp_path: Path,
    task: str,
    written: str,
    runs: str,
    result: int,
) -> None:
    worker = start(
        sys.executable,
        "worker.py",
        PADDOCK_REDIS_URL=proxy.url,
        PADDOCK_TASKS=",".join(ALL_TASKS),
    )
    eventually(lambda: connection.scard("rq:workers"))
    path = tmp_path / "runs"

    def is_the_one(request: bytes, reply: bytes) -> bool:
        if written:
            records = b"successful_job_count" in request or b"retries_left" in request
            return records and written.encode() in request
        return b"EVALSHA" in request and str(path).encode() in reply

    proxy.lose_reply(is_the_one)
    job_id = jobs.submit(task, attempt=result, path=str(path))
    job = jobs.ended(job_id)
    assert len(proxy.lost) == 1
    assert (job.status, job.result, job.attempts) == (Status.FINISHED, result, len(runs))
    assert path.read_text() == runs
    assert worker.poll() is None
    assert connection.zscore("rq:failed:default", job_id) is None
    eventually(lambda: connection.zcard("rq:wip:default") == 0)
    assert connection.llen("rq:queue:default") == 0
