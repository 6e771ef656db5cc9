"""`paddock up`: everything on this machine with one command, and nothing lost when it is killed."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from service.broker.connection import connect
from service.broker.embedded import socket_url
from service.execution.stable import SPARES
from tests.acceptance.conftest import Up, paddock
from tests.conftest import RedisServer, eventually


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_submitted_job_finishes(up: Up) -> None:
    up.start()
    job = up.ended(up.submit("heavy_cpu_task", n=1000))
    assert (job["status"], job["result"]) == ("finished", 332833500)
    assert up.http("GET", "/health/ready")["status"] == "ready"
    assert "heavy_cpu_task" in up.text()


def test_accepted_jobs_survive_the_death_of_every_process(up: Up, tmp_path: Path) -> None:
    path, pids = tmp_path / "lines", tmp_path / "pids"
    up.start()
    running = up.submit("append_pid", path=str(pids), seconds=50)
    queued = [up.submit("append_line", path=str(path), line=line) for line in "bcd"]
    eventually(lambda: lines(pids))
    up.kill_all()
    assert lines(path) == []

    up.start()
    for job_id in (running, *queued):
        assert up.ended(job_id)["status"] == "finished"
    assert sorted(lines(path)) == ["b", "c", "d"]
    assert len(lines(pids)) == 2  # what ran then has run again


def test_a_folder_whose_path_is_too_long_for_a_socket_will_do(up: Up) -> None:
    up.data_dir = up.data_dir / ("d" * 60) / ("e" * 60)
    up.settings["PADDOCK_WORKERS"] = "0"
    up.start()
    job_id = up.submit("echo", value=1)
    up.kill_all()
    up.settings["PADDOCK_WORKERS"] = "1"
    up.start()
    assert up.ended(job_id)["result"] == 1
    socket_file = Path(socket_url(up.data_dir).removeprefix("unix://"))
    assert len(os.fsencode(socket_file)) < 100
    assert stat.S_IMODE(socket_file.parent.stat().st_mode) == 0o700


def test_a_second_one_on_the_same_folder_says_so_and_exits(up: Up) -> None:
    up.start()
    second = paddock("up", PADDOCK_DATA_DIR=str(up.data_dir))
    assert second.returncode == 2
    assert second.stderr.startswith(f"paddock: Paddock runs already on {up.data_dir}")
    assert str(up.process.pid) in second.stderr
    assert second.stderr.count("\n") == 1
    assert up.ended(up.submit("echo", value=1))["result"] == 1


def test_redis_api_and_workers_are_started_again_when_they_are_killed(
    up: Up, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    up.start()
    url = up.url
    first = up.submit("append_line", path=str(path), line="a", seconds=2)
    second = up.submit("append_line", path=str(path), line="b")
    eventually(lambda: lines(path) == ["a"])
    kill_and_await_successor(up, "-server ")
    kill_and_await_successor(up, "serve --fd")
    assert up.ended(first)["status"] == up.ended(second)["status"] == "finished"
    kill_and_await_successor(up, "-m worker")
    kill_and_await_successor(up, "-m worker --io")
    assert up.ended(up.submit("echo", value=1))["result"] == 1
    on_io = up.http("POST", "/tasks/echo?queue=io", {"value": 2})
    assert "id" in on_io, on_io
    assert up.ended(on_io["id"])["result"] == 2
    assert up.url == url
    assert up.text().count("starting it again") == 4


def kill_and_await_successor(up: Up, program: str) -> None:
    def pids() -> list[int]:
        found = up.pids(program)
        others = [] if program.endswith("--io") else up.pids("--io")
        return [pid for pid in found if pid not in others and parent_of(pid) == up.process.pid]

    (pid,) = pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: set(pids()) - {pid})


def parent_of(pid: int) -> int | None:
    """None where it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order_and_the_running_job_finishes(
    up: Up, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "lines"
    up.start()
    job_id = up.submit("append_line", path=str(path), line="a", seconds=5)
    waiting = up.submit("append_line", path=str(path), line="b")
    eventually(lambda: lines(path) == ["a"])
    up.process.send_signal(number)
    assert up.process.wait(timeout=40) == 0
    eventually(lambda: not up.processes())  # the last are horses, which leave after their worker

    with redis_of(up) as left:
        assert left.hget(f"rq:job:{job_id}", "status") == b"finished"
        assert left.hget(f"rq:job:{waiting}", "status") == b"queued"


@contextmanager
def redis_of(up: Up) -> Iterator[redis.Redis]:
    """What lies on the disk, while it is down."""
    server = RedisServer(up.data_dir)
    server.start()
    yield server.client
    server.client.close()
    server.kill()


def test_a_job_longer_than_the_grace_goes_back_on_its_queue(up: Up, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    up.settings["PADDOCK_SHUTDOWN_GRACE"] = "0"
    up.start()
    job_id = up.submit("append_pid", path=str(path), seconds=50)
    eventually(lambda: lines(path))
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=40) == 0
    eventually(lambda: not up.processes())
    with redis_of(up) as left:
        assert left.hget(f"rq:job:{job_id}", "status") == b"queued"  # no lease has to run out
        assert not left.hexists(f"rq:job:{job_id}", "crashes")
    up.start()
    assert up.ended(job_id)["result"] == 2


def test_its_children_go_when_it_is_killed_itself(up: Up) -> None:
    up.start()
    # Itself, Redis, the API, a worker, an io worker, their schedulers, and the horses that the
    # worker has ready
    eventually(lambda: len(up.processes()) == 7 + SPARES)
    up.process.kill()
    up.process.wait()
    eventually(lambda: not up.processes(), 20)


def test_the_server_of_one_that_was_killed_is_not_joined_by_a_second(up: Up) -> None:
    server = RedisServer(up.data_dir)  # as it lives on where children can't be tied to parents
    up.data_dir.mkdir()
    server.start()
    server.client.rpush("kept", "a")
    up.start()
    assert server.process.wait(timeout=30) == 0
    client = connect(socket_url(up.data_dir))
    assert client.lrange("kept", 0, -1) == [b"a"]
    client.close()
    server.client.close()


def test_only_this_user_can_get_at_the_data(up: Up) -> None:
    up.start()
    for path in (up.data_dir, up.data_dir / "redis", up.data_dir / "redis" / "redis.sock"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    client = connect(socket_url(up.data_dir))
    assert client.config_get("port") == {"port": "0"}
    assert client.config_get("appendfsync") == {"appendfsync": "always"}
    client.close()


# What can be set up wrongly


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def volatile_redis(own: RedisServer) -> str:
    own.client.config_set("appendonly", "no")
    return own.url


WRONG_DECLARATION = """\
from jobs import job


@job
def no_hints(thing):
    pass
"""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"PADDOCK_PORT": "http"}, "PADDOCK_PORT"),
        ({"PADDOCK_PORT": "70000"}, "PADDOCK_PORT"),
        ({"PADDOCK_PORT": "{taken_port}"}, "PADDOCK_PORT: can't listen on 127.0.0.1:{taken_port}"),
        ({"PADDOCK_WORKERS": "-1"}, "PADDOCK_WORKERS"),
        ({"PADDOCK_HOST": "0.0.0.0"}, "set PADDOCK_API_KEYS, or listen on 127.0.0.1"),
        ({"PADDOCK_HOST": "::"}, "set PADDOCK_API_KEYS, or listen on 127.0.0.1"),
        ({"PADDOCK_API_KEYS": "short"}, "PADDOCK_API_KEYS: each key needs at least 16"),
        ({"PADDOCK_HOST": "203.0.113.1", "PADDOCK_API_KEYS": "k" * 16}, "can't listen on"),
        ({"PADDOCK_REDIS_URL": "http://localhost"}, "PADDOCK_REDIS_URL: must begin with redis://"),
        ({"PADDOCK_REDIS_URL": "redis://127.0.0.1:1"}, "Redis can't be reached"),
        ({"PADDOCK_REDIS_URL": "{volatile}"}, "set appendonly yes. PADDOCK_ALLOW_VOLATILE=true"),
        ({"PADDOCK_TASKS": "no.such.module"}, "PADDOCK_TASKS names 'no.such.module'"),
        ({"PADDOCK_TASKS": "wrong_declaration"}, "wrong_declaration.py:4: no_hints: thing has no"),
        ({"PADDOCK_REDIS_SERVER": "no-such-server"}, "PADDOCK_REDIS_SERVER=no-such-server"),
        ({"PADDOCK_REDIS_SERVER": "false"}, "Redis did not start"),
        ({"PADDOCK_DATA_DIR": "{tmp}/file"}, "PADDOCK_DATA_DIR can't be used"),
        ({"PADDOCK_DATA_DIR": "/proc/paddock"}, "PADDOCK_DATA_DIR can't be used"),
        ({"PADDOCK_DATA_DIR": '{tmp}/a"b'}, "holds a character that Redis can't be told"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_setting_is_told_in_one_line_and_nothing_is_left_running(
    tmp_path: Path,
    data_dir: Path,
    taken_port: int,
    request: pytest.FixtureRequest,
    settings: dict[str, str],
    reason: str,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "wrong_declaration.py").write_text(WRONG_DECLARATION)
    given = {
        name: value.replace("{tmp}", str(tmp_path)).replace("{taken_port}", str(taken_port))
        for name, value in settings.items()
    }
    if "{volatile}" in given.values():
        given["PADDOCK_REDIS_URL"] = request.getfixturevalue("volatile_redis")
    ended = paddock(
        "up", **{"PADDOCK_DATA_DIR": str(data_dir), "PYTHONPATH": str(tmp_path)} | given
    )
    assert ended.returncode == 2, ended.stderr
    if settings.get("PADDOCK_REDIS_SERVER") != "false":  # there the server's own words follow
        assert ended.stderr.count("\n") == 1, ended.stderr
    (told,) = [line for line in ended.stderr.splitlines() if line.startswith("paddock: ")]
    assert reason.replace("{taken_port}", str(taken_port)) in told
    assert Up(Path(given.get("PADDOCK_DATA_DIR", str(data_dir)))).processes() == {}


def test_a_redis_of_ones_own_is_used_and_left_running(up: Up, volatile_redis: str) -> None:
    up.settings |= {"PADDOCK_REDIS_URL": volatile_redis, "PADDOCK_ALLOW_VOLATILE": "true"}
    up.start()
    assert up.ended(up.submit("echo", value=1))["result"] == 1
    up.process.terminate()
    assert up.process.wait(timeout=40) == 0
    client = redis.Redis.from_url(volatile_redis)
    assert client.ping()
    client.close()
    assert "set appendonly yes" in up.text()
