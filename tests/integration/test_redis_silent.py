"""Redis refuses, stalls or is unreachable while many callers ask: all are told so, and soon."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings
from tests.conftest import TASKS, RedisServer, Start, eventually
from tests.integration.serving import TIMEOUT, serve

SOON = 15.0  # seconds; a bound for hangs. It is less than two on a machine that is not busy
CALLERS = 200
READS = [
    "GET /jobs",
    "GET /jobs/none",
    "GET /jobs/none?wait=60",
    "GET /jobs/none/result",
    "GET /queues",
    "GET /workers",
    "GET /schedules",
    "GET /health/ready",
]
ACTIONS = ["POST /jobs/none/cancel", "POST /jobs/none/retry", "DELETE /jobs/none"]
ROUTES = ["POST /tasks/echo", "POST /tasks/echo?wait=60", *READS, *ACTIONS]


async def ask_at_once(
    routes: list[str], url: str = "http://127.0.0.1", app: Any = None
) -> list[tuple[str, Any, float]]:
    """Each route's answer, and the seconds it took; of a process, or of an app in this one."""
    transport = httpx.ASGITransport(app) if app else None
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, timeout=TIMEOUT, limits=limits, transport=transport
    ) as client:

        async def ask(route: str) -> tuple[str, Any, float]:
            method, _, path = route.partition(" ")
            began = time.monotonic()
            answer = await client.request(method, path)
            return route, answer, time.monotonic() - began

        return await asyncio.gather(*map(ask, routes))


def all_told_to_come_back(routes: list[str], **of: Any) -> None:
    answers = asyncio.run(ask_at_once(routes, **of))
    slowest = max(answers, key=lambda each: each[2])
    print(f"{len(answers)} answers, the slowest {slowest[0]} after {slowest[2]:.2f} s")
    for route, answer, took in answers:
        assert answer.status_code == 503, (route, answer.text)
        assert answer.json()["type"] == "urn:paddock:problem:redis-away"
        assert int(answer.headers["Retry-After"]) > 0
        assert took < SOON, route


def all_is_well_again(url: str) -> None:
    def works() -> bool:
        return httpx.post(f"{url}/tasks/echo", json={}, timeout=TIMEOUT).status_code == 202

    eventually(works)
    for _ in range(3):
        assert works()
        assert httpx.get(f"{url}/jobs", timeout=TIMEOUT).status_code == 200


def settings_for(url: str, tmp_path: Path) -> dict[str, str]:
    return Settings(redis_url=url, data_dir=tmp_path, tasks=TASKS).environment()


@pytest.mark.parametrize("mixed", [True, False])
def test_while_redis_stalls_hundreds_are_answered_soon(
    own: RedisServer, start: Start, tmp_path: Path, mixed: bool
) -> None:
    url = serve(start, **settings_for(own.url, tmp_path))
    all_is_well_again(url)
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    try:
        kinds = [ROUTES] if mixed else [[route] for route in ("POST /tasks/echo", *READS)]
        for routes in kinds:
            all_told_to_come_back((routes * CALLERS)[:CALLERS], url=url)
            assert httpx.get(f"{url}/health/live", timeout=TIMEOUT).status_code == 200
    finally:
        own.process.send_signal(signal.SIGCONT)
    all_is_well_again(url)


def test_while_redis_is_killed_hundreds_are_answered_soon(
    own: RedisServer, start: Start, tmp_path: Path
) -> None:
    url = serve(start, **settings_for(own.url, tmp_path))
    all_is_well_again(url)
    own.kill()
    all_told_to_come_back((ROUTES * CALLERS)[:CALLERS], url=url)
    own.start()
    all_is_well_again(url)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address at which no connection comes about: packets to it are swallowed."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # until none fits in its backlog
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.5)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


def test_where_packets_are_swallowed_hundreds_are_answered_soon(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    with black_hole() as nowhere:
        settings = Settings(redis_url=nowhere, data_dir=tmp_path, tasks=TASKS)
        app = create_app(settings, catalogue)
        all_told_to_come_back((ROUTES * CALLERS)[:CALLERS], app=app)


# Refusing to write


def snapshot(server: RedisServer) -> Path:
    place = server.client.config_get("dir", "dbfilename")
    return Path(place["dir"], place["dbfilename"])


def fail_to_save(server: RedisServer) -> None:
    """Have it find that it can't write to its disk: then it takes no more writes (MISCONF)."""
    (snapshot(server) / "in the way").mkdir(parents=True)
    server.client.config_set("save", "1 1")
    server.client.bgsave()
    eventually(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")


def save_again(server: RedisServer) -> None:
    (snapshot(server) / "in the way").rmdir()
    snapshot(server).rmdir()
    server.client.bgsave()
    eventually(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "ok")


REFUSALS: dict[str, tuple[Any, Any, str]] = {
    "a replica": (
        lambda server: server.client.replicaof("127.0.0.1", 1),
        lambda server: server.client.replicaof("NO", "ONE"),
        "read only replica",
    ),
    "full": (
        lambda server: server.client.config_set("maxmemory", "1mb"),
        lambda server: server.client.config_set("maxmemory", "0"),
        "maxmemory",
    ),
    "unable to save": (fail_to_save, save_again, "unable to persist to disk"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_redis_that_takes_no_writes_has_accepted_nothing_from_hundreds(
    own: RedisServer, start: Start, tmp_path: Path, how: str
) -> None:
    refuse, take, reason = REFUSALS[how]
    url = serve(start, **settings_for(own.url, tmp_path))
    all_is_well_again(url)
    before = set(own.client.scan_iter())
    refuse(own)
    routes = ["POST /tasks/echo", "POST /tasks/echo?delay=60", "GET /health/ready"]
    all_told_to_come_back((routes * CALLERS)[:CALLERS], url=url)
    told = httpx.post(f"{url}/tasks/echo", json={}, timeout=TIMEOUT).json()
    assert (told["in_doubt"], reason in told["detail"]) == (False, True), told
    # What is there can still be looked at.
    (job, *_) = httpx.get(f"{url}/jobs", timeout=TIMEOUT).json()["jobs"]
    assert httpx.get(f"{url}/jobs/{job['id']}", timeout=TIMEOUT).status_code == 200
    assert set(own.client.scan_iter()) - {b"paddock:probe"} == before - {b"paddock:probe"}
    take(own)
    all_is_well_again(url)
