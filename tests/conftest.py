"""A real Redis for every test that wants one, and real workers: nothing here stands in for them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker import broker, group
from service.broker import connection as connecting
from service.broker.connection import connect
from service.broker.embedded import server_command, socket_url
from service.execution.limits import die_with_parent
from service.settings import Settings

TASKS = ("jobs", "tests.sample_tasks")
PATIENCE = 30.0  # seconds until a test that waits for something gives up; a bound, no measure
ROOT = Path(__file__).parent.parent
PATIENT = ("-m", "tests.integration.patient_worker")  # a program to start as a worker
MEMORY, ROOM = "/dev/shm", 1 << 30  # a folder that is kept there, and the bytes that must be free


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> object:
    """What `holds()` returns as soon as it is true; fails the test where it never is."""
    until = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < until, f"still not true after {seconds} s"
        time.sleep(0.02)
    return value


class RedisServer:
    """The embedded server, on a folder of its own, to be killed and started again at will."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.url = data_dir, socket_url(data_dir)
        self.client = connect(self.url)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = os.environ.get("PADDOCK_REDIS_SERVER") or None
        self.process = subprocess.Popen(server_command(self.data_dir, program))
        eventually(self._answers)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


def server_folder() -> "tempfile.TemporaryDirectory[str]":
    """Where a server's files and its socket are, whose path has to be short: not `tmp_path`.

    In memory, where there is room: whatever else a test machine writes holds up a server that syncs
    each of its writes to the disk, now and then for seconds.
    """
    with contextlib.suppress(OSError):
        memory = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK) and memory.f_bavail * memory.f_frsize > ROOM:
            return tempfile.TemporaryDirectory(prefix="paddock-", dir=MEMORY)
    return tempfile.TemporaryDirectory(prefix="paddock-")


@contextlib.contextmanager
def a_redis() -> Iterator[RedisServer]:
    """A server for as long as the block lasts."""
    with server_folder() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.client.close()
            server.kill()


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    with a_redis() as server:
        yield server


@pytest.fixture
def redis_url(server: RedisServer) -> str:
    """An empty Redis."""
    server.client.flushall()
    return server.url


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process wait for Redis: a machine that stops for seconds is no Redis that is away.

    For what is opened from now on, on the Redis that no test stops.
    """
    for options in (connecting._CLIENT, connecting._CALLERS):
        monkeypatch.setitem(options, "socket_timeout", PATIENCE)
        monkeypatch.setitem(options, "socket_connect_timeout", PATIENCE)
    for module in (connecting, broker):
        monkeypatch.setattr(module, "CALLERS_TIMEOUT", PATIENCE)
    monkeypatch.setattr(group, "ANSWER_WITHIN", PATIENCE)


@pytest.fixture
def connection(redis_url: str, patient: None) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.load(TASKS)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS, workers=1)


@pytest.fixture
def api(settings: Settings, catalogue: Catalogue, patient: None) -> Iterator[TestClient]:
    """The API in this process, on a real Redis, without workers."""
    app = create_app(settings, catalogue)
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
        yield client


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start a process that finds these settings in its environment; all are killed at the end."""
    started: list[subprocess.Popen[str]] = []
    parent = os.getpid()

    def start_process(*command: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings.environment() | environment,
            text=True,
            start_new_session=True,
            # Also where the tests themselves are killed, by a time limit say.
            preexec_fn=lambda: die_with_parent(parent),
        )
        started.append(process)
        return process

    yield start_process
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A Redis that a test may do anything to."""
    with a_redis() as server:
        yield server


def listening(connection: redis.Redis) -> set[str]:
    """The processes of the workers on RQ's list."""
    pids = (connection.hget(key, "pid") for key in connection.smembers("rq:workers"))
    return {pid.decode() for pid in pids if pid is not None}


@pytest.fixture
def start_worker(start: Start, connection: redis.Redis) -> Start:
    """Start a worker of ours, and wait until it listens."""

    def start_one(
        *arguments: str, program: Sequence[str] = ("worker.py",), **environment: str
    ) -> "subprocess.Popen[str]":
        process = start(sys.executable, *program, *arguments, **environment)
        # By its own record: as it comes it may clear away those of others that have died. One in
        # burst mode may have come and gone between two looks.
        eventually(lambda: str(process.pid) in listening(connection) or process.poll() == 0)
        return process

    return start_one
