"""The disk under the embedded Redis fills up, or becomes read-only: nothing accepted is lost."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Up
from tests.conftest import eventually

SIZE = 4 * 1024 * 1024  # bytes


def ran(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def mount(*arguments: str) -> bool:
    return ran("mount", *arguments)


@pytest.fixture
def disk(up: Up) -> Iterator[Path]:
    """A small disk for Redis's files alone; `up` runs on it."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = up.data_dir / "redis"
    folder.mkdir(parents=True, mode=0o700)
    if not mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)):
        pytest.skip("nothing can be mounted here")
    up.settings["PADDOCK_WORKERS"] = "0"
    up.start()
    yield folder
    up.kill_all()
    eventually(lambda: ran("umount", str(folder)))  # those killed may not have let go of it yet


def submit_until_refused(up: Up) -> tuple[list[str], dict[str, Any]]:
    """The ids of what was accepted, and the problem."""
    accepted = []
    while True:
        answer = up.http("POST", "/tasks/echo", {"value": "x" * 5000})
        if "id" not in answer:
            return accepted, answer
        accepted.append(answer["id"])


def told_why(up: Up, reason: str) -> bool:
    """Whether submitting is refused for this reason, and the service says so of itself, too."""
    answer, health = up.http("POST", "/tasks/echo", {}), up.http("GET", "/health/ready")
    assert answer.get("status") in ("queued", 503)
    return reason in answer.get("detail", "") and reason in health.get("detail", "")


def all_kept(up: Up, accepted: list[str]) -> bool:
    return all(up.http("GET", f"/jobs/{job_id}").get("status") == "queued" for job_id in accepted)


def test_a_full_disk_is_told_of_and_nothing_accepted_is_lost(up: Up, disk: Path) -> None:
    accepted = [up.submit("echo", value=number) for number in range(20)]
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    more, problem = submit_until_refused(up)
    accepted += more
    assert problem["status"] == 503
    assert problem["type"] == "urn:paddock:problem:redis-away"
    eventually(lambda: told_why(up, "on a disk that is full"))

    filler.unlink()
    eventually(lambda: up.http("POST", "/tasks/echo", {}).get("status") == "queued")
    assert all_kept(up, accepted)
    assert up.http("GET", "/health/ready")["status"] == "ready"


def test_a_disk_that_became_read_only_is_told_of_and_nothing_accepted_is_lost(
    up: Up, disk: Path
) -> None:
    accepted = [up.submit("echo", value=number) for number in range(20)]
    assert up.process is not None
    with stopped(up.process.pid):  # so that nobody holds a file open for writing
        os.kill(*up.pids("-server "), signal.SIGKILL)
        eventually(lambda: mount("-o", "remount,ro", str(disk)))
    eventually(lambda: told_why(up, "mounted read-only"))

    assert mount("-o", "remount,rw", str(disk))
    eventually(lambda: up.http("POST", "/tasks/echo", {}).get("status") == "queued")
    assert all_kept(up, accepted)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)
