"""Paddock in an application of the user's own: what it opens is closed, and real servers run it."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api import create_app, lifespans, paddock_router
from service.settings import Settings
from tests.conftest import PATIENCE, RedisServer, Start, eventually
from tests.integration.own_app import client_of, users_app
from tests.integration.test_request_limits import JSON, Caller

PROBLEM = "application/problem+json"


class Connections:
    """How many connections there are to the tests' Redis, beside those there were."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client
        self._before = self._ids()

    def count(self) -> int:
        return len(self._ids() - self._before)  # those of tests before this one may be closing yet

    def _ids(self) -> set[str]:
        return {client["id"] for client in self._client.client_list()}

    async def come_to_none(self) -> None:
        until = time.monotonic() + PATIENCE
        while self.count():  # Redis takes a moment to notice
            assert time.monotonic() < until, "some stay open"
            await asyncio.sleep(0.02)


@pytest.fixture
def connections(server: RedisServer, redis_url: str) -> Connections:
    return Connections(server)


def use(client: TestClient, below: str = "/work") -> None:
    """Have every kind of connection opened."""
    submitted = client.post(f"{below}/tasks/echo", json={})
    assert submitted.headers["Location"] == f"{below}/jobs/{submitted.json()['id']}"
    assert client.get(f"{submitted.headers['Location']}?wait=0.01").status_code == 200
    assert client.post(f"{below}/tasks/echo/batch", json=[{}]).status_code == 202


def test_the_routers_lifespan_is_run_within_the_users_own(
    settings: Settings, catalogue: Catalogue, connections: Connections
) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def mine(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"pool": "a pool"}
        await connections.come_to_none()
        notes.append("ended")

    app = users_app([("/work", paddock_router(settings, catalogue))], lifespan=mine)

    @app.get("/pool")
    async def pool(request: Request) -> str:
        return str(request.state.pool)

    for _ in range(2):  # it can be started again
        with client_of(app) as client:
            assert client.get("/pool").json() == "a pool"
            use(client)
            assert connections.count() > 1
    assert notes == ["ended"] * 2


def test_the_lifespan_of_a_mounted_application_can_be_run_with_the_users_own(
    settings: Settings, catalogue: Catalogue, connections: Connections
) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def first(_app: FastAPI) -> AsyncIterator[dict[str, int]]:
        notes.append("first begins")
        yield {"one": 1}
        await connections.come_to_none()
        notes.append("first ends")

    @asynccontextmanager
    async def last(_app: FastAPI) -> AsyncIterator[dict[str, int]]:
        notes.append("last begins")
        yield {"two": 2}
        assert connections.count() > 1
        notes.append("last ends")

    work = create_app(settings, catalogue)
    app = users_app(lifespan=lifespans(first, work, last))
    app.mount("/work", work)

    @app.get("/state")
    async def state(request: Request) -> list[int]:
        return [request.state.one, request.state.two]

    with client_of(app) as client:
        use(client)
        assert client.get("/state").json() == [1, 2]
    assert notes == ["first begins", "last begins", "last ends", "first ends"]


def test_one_that_can_not_begin_ends_those_that_have(
    settings: Settings, catalogue: Catalogue
) -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def breaking(_app: Any) -> AsyncIterator[None]:
        raise OSError("no such pool")
        yield

    @asynccontextmanager
    async def first(_app: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            notes.append("ended")

    app = FastAPI(lifespan=lifespans(first, create_app(settings, catalogue), breaking))
    with pytest.raises(OSError, match="no such pool"), client_of(app):
        pass
    assert notes == ["ended"]


@pytest.mark.parametrize("is_mounted", [False, True])
def test_nothing_stays_open_where_nobody_runs_a_lifespan(
    settings: Settings, catalogue: Catalogue, connections: Connections, is_mounted: bool
) -> None:
    """Who tests an application without `with` has a new event loop for each request."""
    app = FastAPI()
    if is_mounted:
        app.mount("/work", create_app(settings, catalogue))
    else:
        app.include_router(paddock_router(settings, catalogue), prefix="/work")
    client = client_of(app)
    for number in range(1, 4):
        use(client)
        assert len(client.get("/work/jobs").json()["jobs"]) == 2 * number
    asyncio.run(connections.come_to_none())


def test_what_is_mounted_needs_no_lifespan_to_be_closed_in_the_end(
    settings: Settings, catalogue: Catalogue, connections: Connections
) -> None:
    app = FastAPI()
    app.mount("/work", create_app(settings, catalogue))
    with client_of(app) as client:
        use(client)
        assert connections.count() > 1
    asyncio.run(connections.come_to_none())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "uvicorn.log"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_real_server_accepts_and_a_worker_runs(
    start: Start, start_worker: Start, log: Path, processes: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = (
        f"exec {sys.executable} -X dev -m uvicorn tests.integration.own_app:served_app --factory "
        f"--port {port} --workers {processes} --root-path /api >{log} 2>&1"
    )
    server = start("sh", "-c", command, PADDOCK_REQUEST_TIMEOUT="5")
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: answers(url))
    start_worker()
    with httpx.Client(base_url=url, timeout=60) as client:
        for path in ("/work", "/mounted"):
            for value in range(6):
                done = client.post(f"{path}/tasks/echo?wait=30", json={"value": value})
                assert (done.status_code, done.json()["result"]) == (200, value)
                assert done.headers["Location"] == f"/api{path}/jobs/{done.json()['id']}"
        slow = Caller(url, "POST /work/tasks/echo", JSON, "Content-Length: 100")
        status, headers, problem = slow.answer()
        assert (status, problem["type"]) == (408, "urn:paddock:problem:request-too-slow")
        assert headers["content-type"] == PROBLEM and headers["connection"] == "close"
        assert client.get("/orders/2").json() == {"mine": "NotLoggedIn"}
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) in (0, -signal.SIGTERM)
    told = log.read_text()
    assert told.count("mine begins") == told.count("mine ends") == processes, told
    assert "Traceback" not in told and "unclosed transport" not in told, told


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/work/health/live", timeout=60).is_success
    except httpx.TransportError:
        return False
