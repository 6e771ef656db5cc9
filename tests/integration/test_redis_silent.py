"""Redis refuses, stalls or is unreachable while many callers ask: all are told so, and soon."""

import asyncio
import contextlib
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from jobs.catalogue import Catalogue
from service.settings import Settings
from tests.conftest import TASKS, RedisServer, Start, eventually
from tests.integration.serving import TIMEOUT, serve

SOON = 6.0  # seconds; a bound for hangs. It is less than two on a machine that is not busy
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


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A Redis that a test may do anything to."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.client.close()
        server.kill()


async def _ask_at_once(url: str, routes: list[str]) -> list[tuple[str, Any, float]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as client:

        async def ask(route: str) -> tuple[str, Any, float]:
            method, _, path = route.partition(" ")
            began = time.monotonic()
            answer = await client.request(method, path)
            return route, answer, time.monotonic() - began

        return await asyncio.gather(*map(ask, routes))


def all_told_to_come_back(url: str, routes: list[str]) -> None:
    answers = asyncio.run(_ask_at_once(url, routes))
    slowest = max(answers, key=lambda each: each[2])
    print(f"{len(answers)} answers, the slowest {slowest[0]} after {slowest[2]:.2f} s")
    for route, answer, took in answers:
        assert answer.status_code == 503, (route, answer.text)
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
            all_told_to_come_back(url, (routes * CALLERS)[:CALLERS])
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
    all_told_to_come_back(url, (ROUTES * CALLERS)[:CALLERS])
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


@pytest.fixture
def reachable(own: RedisServer) -> str:
    """A server that is at `own`, and can be reached by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    own.client.config_set("port", port)
    return f"redis://127.0.0.1:{port}"


def test_where_packets_are_swallowed_hundreds_are_answered_soon(
    catalogue: Catalogue, tmp_path: Path, start: Start, own: RedisServer
) -> None:
    environment = settings_for(own.url, tmp_path) | {"PADDOCK_ALLOW_VOLATILE": "true"}
    url = serve(start, "tests.integration.serving", **environment)
    all_is_well_again(url)


REFUSALS = {
    "a replica": (
        lambda client: client.replicaof("127.0.0.1", 1),
        lambda client: client.replicaof("NO", "ONE"),
        "read only replica",
    ),
    "a full one": (
        lambda client: client.config_set("maxmemory", "1mb"),
        lambda client: client.config_set("maxmemory", "0"),
        "maxmemory",
    ),
}
