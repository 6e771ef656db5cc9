"""The API in several processes on one socket."""

import contextlib
import os
import signal
import threading
import time
import urllib.request

import pytest

from tests.acceptance.conftest import Up
from tests.conftest import eventually

SERVES = "serve --fd"


@pytest.fixture
def two(up: Up) -> Up:
    up.settings |= {"PADDOCK_WORKERS": "0", "PADDOCK_PROCESSES": "2"}
    up.start()
    eventually(lambda: len(up.pids(SERVES)) == 2)
    return up


def test_one_that_dies_is_started_again_while_the_other_answers(two: Up) -> None:
    first, second = two.pids(SERVES)
    # Each of them answers while the other is stopped.
    for stopped in (first, second):
        os.kill(stopped, signal.SIGSTOP)
        accepted = answered_by_any(two)
        os.kill(stopped, signal.SIGCONT)
        assert accepted
    os.kill(first, signal.SIGKILL)
    assert answered_by_any(two)
    eventually(lambda: len(set(two.pids(SERVES)) - {first}) == 2)


def answered_by_any(up: Up) -> bool:
    """A connection that a stopped process has taken is not answered, or cut; another may be."""
    answered = threading.Event()

    def submit() -> None:
        with contextlib.suppress(OSError):
            if up.http("POST", "/tasks/echo", {"value": 1}).get("status") == "queued":
                answered.set()

    callers = [threading.Thread(target=submit, daemon=True) for _ in range(20)]
    for caller in callers:
        caller.start()
        time.sleep(0.01)
    return answered.wait(20)


def test_all_finish_their_requests_when_told_to_stop(two: Up) -> None:
    job_id = two.submit("echo", value=1)
    answers: list[object] = []

    def wait_for_job() -> None:
        answers.append(two.http("GET", f"/jobs/{job_id}?wait=6").get("status"))

    callers = [threading.Thread(target=wait_for_job) for _ in range(8)]
    for caller in callers:
        caller.start()
    time.sleep(3)  # until they are being answered
    assert two.process is not None
    two.process.send_signal(signal.SIGTERM)
    assert two.process.wait(60) == 0
    for caller in callers:
        caller.join()
    assert answers == ["queued"] * 8
    assert not two.processes()


def test_what_each_has_counted_any_of_them_tells(two: Up) -> None:
    asked = 'method="GET",route="/queues",status="200"'
    for _ in range(20):
        two.http("GET", "/queues")  # over a connection of its own

    def is_told() -> bool:
        with urllib.request.urlopen(f"{two.url}/metrics", timeout=30) as answer:
            told = answer.read().decode()
        return f"paddock_http_request_duration_seconds_count{{{asked}}} 20.0" in told

    eventually(is_told)  # the last is counted when it has been answered
    assert all(is_told() for _ in range(6))
