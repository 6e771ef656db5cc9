"""Requests are bounded in time, depth and the work that they make."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
import redis
from starlette.testclient import TestClient

from tests.conftest import Start, eventually
from tests.integration.serving import TIMEOUT, serve

HANG = 20.0  # seconds; a bound for hangs, where the limit is one
LONGEST_HOLD = 5.0  # seconds; the same, where it takes less than half a one alone
JSON = "Content-Type: application/json"


@pytest.fixture
def url(start: Start) -> str:
    return serve(start, PADDOCK_REQUEST_TIMEOUT="1")


class Caller:
    """One who sends a request as slowly as they like."""

    def __init__(self, url: str, request: str, *headers: str) -> None:
        place = urlsplit(url)
        self.line = socket.create_connection((place.hostname, place.port), timeout=HANG)
        head = [f"{request} HTTP/1.1", f"Host: {place.netloc}", *headers, "", ""]
        self.line.sendall("\r\n".join(head).encode())

    def trickle(self, pieces: Iterator[bytes], pause: float) -> None:
        """Send on until told to stop."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.line.sendall(piece)
                time.sleep(pause)

    def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """What is answered until the connection is closed."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self.line.recv(65536):
                received += data
        self.line.close()
        head, _, body = received.decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ") for line in lines)}
        return int(status.split()[1]), headers, json.loads(body)


def cut_off(caller: Caller) -> None:
    status, headers, problem = caller.answer()
    assert (status, problem["type"]) == (408, "urn:paddock:problem:request-too-slow")
    assert "PADDOCK_REQUEST_TIMEOUT" in problem["detail"]
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"]


SLOW: dict[str, tuple[list[str], Callable[[], Iterator[bytes]]]] = {
    "nothing at all": (["Content-Length: 100"], lambda: iter(())),
    "a byte at a time": (["Content-Length: 100"], lambda: iter([b" "] * 99)),
    "a chunk at a time": (["Transfer-Encoding: chunked"], lambda: iter([b"1\r\n \r\n"] * 99)),
}


@pytest.mark.parametrize("route", ["/tasks/echo", "/tasks/echo/batch", "/schedules"])
@pytest.mark.parametrize("how", SLOW)
def test_who_sends_a_body_too_slowly_is_cut_off(
    url: str, connection: redis.Redis, how: str, route: str
) -> None:
    headers, pieces = SLOW[how]
    caller = Caller(url, f"POST {route}", JSON, *headers)
    caller.trickle(pieces(), 0.05)
    cut_off(caller)
    assert connection.llen("rq:queue:default") == 0


def test_a_hundred_slow_callers_keep_nobody_else_waiting(url: str) -> None:
    slow = [Caller(url, "POST /tasks/echo", JSON, "Content-Length: 100") for _ in range(100)]
    for _ in range(5):
        assert httpx.post(f"{url}/tasks/echo", json={}, timeout=HANG).status_code == 202
    for caller in slow:
        cut_off(caller)


def test_a_large_body_has_the_time_that_it_needs(url: str) -> None:
    body = json.dumps({"value": "x" * 100_000}).encode()
    caller = Caller(
        url, "POST /tasks/echo", JSON, f"Content-Length: {len(body)}", "Connection: close"
    )
    pieces = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    caller.trickle(pieces, 0.2)  # two seconds in all
    status, _, job = caller.answer()
    assert (status, len(job["parameters"]["value"])) == (202, 100_000)


def test_the_limit_is_for_the_body_and_not_for_the_answer(url: str) -> None:
    job = httpx.post(f"{url}/tasks/echo?wait=2", json={}, timeout=HANG)
    assert job.status_code == 202
    assert httpx.get(f"{url}{job.headers['Location']}?wait=2", timeout=HANG).status_code == 200


def test_a_dashboard_form_that_never_ends_holds_nobody(url: str) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    slow = [
        Caller(url, "POST /dashboard/0/data/job/none/delete", form, "Content-Length: 100")
        for _ in range(30)
    ]
    with httpx.Client(base_url=url, timeout=HANG) as client:
        eventually(lambda: client.get("/dashboard/0/data/queues.json").status_code == 200)
    for caller in slow:
        caller.line.close()


# Depth


@pytest.mark.parametrize("depth", [50, 150, 190, 199, 200, 201, 250, 500, 1000, 5_000, 100_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_json_of_any_depth_is_taken_and_given_back_or_refused(
    api: TestClient, opened: str, closed: str, depth: int
) -> None:
    value = opened * depth + "1" + closed * depth
    headers = {"Content-Type": "application/json"}
    answer = api.post("/tasks/echo", content=f'{{"value": {value}}}', headers=headers)
    if answer.status_code == 202:
        job = api.get(answer.headers["Location"])
        assert job.status_code == 200
        assert json.dumps(job.json()["parameters"]["value"]).replace(" ", "") == value
        assert api.get("/jobs").status_code == 200
        keyed = headers | {"Idempotency-Key": "k"}
        again = api.post("/tasks/echo", content=f'{{"value": {value}}}', headers=keyed)
        assert again.status_code == 202
    else:
        assert answer.status_code == 400, answer.text
        assert "recursion limit" in answer.json()["detail"]
        assert depth > 150


@pytest.mark.parametrize("depth", [150, 1000, 100_000])
def test_a_schedule_of_any_depth_is_taken_or_refused(api: TestClient, depth: int) -> None:
    parameters = '{"value": ' + "[" * depth + "]" * depth + "}"
    body = f'{{"name": "deep", "task": "echo", "cron": "0 0 * * *", "parameters": {parameters}}}'
    answer = api.post("/schedules", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (201, 400, 422), answer.text
    assert api.get("/schedules").status_code == 200


# Work

MOST = 1024 * 1024 - 60  # bytes
KEYS = ",".join(f'"{number:x}":1' for number in range(100_000))
LARGE = {
    "half a million wrong items": ("describe", '"tags":[' + "1," * (MOST // 2) + "1]", 422),
    "as many unknown names": ("describe", KEYS, 422),
    "as many wrong values": ("describe", f'"sizes":{{{KEYS.replace(":1", ":[]")}}}', 422),
    "as many good ones": ("describe", f'"sizes":{{{KEYS}}}', 202),
    "lists in a list": ("echo", '"value":[' + "[]," * (MOST // 3) + "[]]", 202),
}


@pytest.mark.parametrize("what", LARGE)
def test_the_largest_bodies_keep_nobody_waiting_long(start: Start, what: str) -> None:
    task, members, status = LARGE[what]
    count = '"count":1,' if task == "describe" else ""
    content = f"{{{count}{members}}}"
    headers = {"Content-Type": "application/json"}
    url = serve(start, PADDOCK_MAX_BODY=str(2 * 1024 * 1024))
    with httpx.Client(base_url=url, timeout=TIMEOUT) as client, ThreadPoolExecutor(1) as pool:
        large = pool.submit(
            httpx.post, f"{url}/tasks/{task}", content=content, headers=headers, timeout=TIMEOUT
        )
        waited = []
        while not large.done():
            began = time.monotonic()
            assert client.get("/health/live").status_code == 200
            waited.append(time.monotonic() - began)
        answer = large.result()
    print(f"{what}: others waited {max(waited):.2f} s at most")
    assert answer.status_code == status
    assert max(waited) < LONGEST_HOLD
    if status == 422:
        assert len(answer.json()["errors"]) == 20
        assert len(answer.content) < 10_000
