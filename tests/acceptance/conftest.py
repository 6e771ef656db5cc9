"""`paddock` as a user runs it: its command, its environment, its processes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TASKS, eventually, server_folder

PADDOCK = str(Path(sys.executable).with_name("paddock"))
ALL_TASKS = ",".join((*TASKS, "tests.sample_worker_tasks"))


def environment(**settings: str) -> dict[str, str]:
    """This process's, with these settings and no others."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PADDOCK_")}
    if server := os.environ.get("PADDOCK_REDIS_SERVER"):
        plain["PADDOCK_REDIS_SERVER"] = server  # the suite is run with each server
    return plain | {"PADDOCK_TASKS": ALL_TASKS, "PADDOCK_PORT": "0"} | settings


def paddock(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [PADDOCK, *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


class Up:
    """A `paddock up` on a data folder, to be started and killed at will."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir, self.settings = data_dir, settings
        self.output = Path(tempfile.mkstemp(prefix="paddock-up-")[1])
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        self.url = ""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [PADDOCK, "up"],
                cwd=ROOT,
                env=environment(PADDOCK_DATA_DIR=str(self.data_dir)) | self.settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._is_up, 60)

    def text(self) -> str:
        return self.output.read_text()

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        if found := re.search(r"API +(http://\S+)", self.text()):
            self.url = found[1]
        return bool(self.url)

    def http(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that it answers; an error's, too."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())

    def submit(self, task: str, **parameters: Any) -> str:
        job = self.http("POST", f"/tasks/{task}", parameters)
        assert job.get("status") == "queued", job
        return str(job["id"])

    def ended(self, job_id: str, seconds: float = 60) -> Any:
        """The job, once it has ended; waited for over times when nobody answers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                job = self.http("GET", f"/jobs/{job_id}?wait=5")
                if job.get("status") in ("finished", "failed", "canceled"):
                    return job
        raise AssertionError(f"{job_id} has not ended: {self.text()}")

    def processes(self) -> dict[int, str]:
        """Pid → command line, of everything that runs on this data folder."""
        mark = f"PADDOCK_DATA_DIR={self.data_dir}\0".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # Redis writes its title over its environment; it works in the data folder.
                works_in = (process / "cwd").readlink()
                if mark in (process / "environ").read_bytes() or works_in.is_relative_to(
                    self.data_dir
                ):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(process.name)] = command
        return found

    def pids(self, part: str) -> list[int]:
        """Those whose command line holds this."""
        return [pid for pid, command in self.processes().items() if part in command]

    def kill_all(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        eventually(lambda: not self.processes())


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with server_folder() as folder:
        yield Path(folder) / "data"


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:
    """Not started yet. Whatever is left of it is killed at the end."""
    one = Up(data_dir, PADDOCK_WORKERS="1")
    yield one
    one.kill_all()
    one.output.unlink()
