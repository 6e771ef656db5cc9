"""Where a job is when it is accepted: what PADDOCK_DURABILITY asks for, or a refusal."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.durability import check_suitable
from service.errors import RedisUnsuitable
from service.settings import Settings
from tests.conftest import TASKS, RedisServer, a_redis, eventually


@pytest.fixture
def replica(own: RedisServer) -> Iterator[RedisServer]:
    """Follows it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    own.client.config_set("port", port)
    with a_redis() as server:
        server.client.replicaof("127.0.0.1", port)
        eventually(lambda: server.client.info("replication")["master_link_status"] == "up")
        yield server


@contextlib.contextmanager
def service(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path, durability: str, **more: Any
) -> Iterator[TestClient]:
    settings = Settings.load(
        redis_url=own.url, data_dir=tmp_path, tasks=TASKS, durability=durability, **more
    )
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        yield client


def submit(client: TestClient) -> Any:
    return client.post("/tasks/echo", json={})


def calls(server: RedisServer, command: str) -> int:
    return int(server.client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def knows_waitaof(server: RedisServer) -> bool:
    return server.client.execute_command("COMMAND INFO", "WAITAOF")[0] is not None


@pytest.fixture
def needs_waitaof(own: RedisServer) -> None:
    if not knows_waitaof(own):
        pytest.skip("this server has no WAITAOF")


def test_a_server_that_syncs_always_is_not_waited_for(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    with service(own, catalogue, tmp_path, "fsync") as client:
        assert submit(client).status_code == 202
    assert calls(own, "waitaof") == 0


def test_the_sync_of_a_server_that_syncs_by_the_clock_is_waited_for(
    own: RedisServer, needs_waitaof: None, catalogue: Catalogue, tmp_path: Path
) -> None:
    own.client.config_set("appendfsync", "everysec")
    (remark,) = check_suitable(own.client, allow_volatile=False)
    assert "each submission waits for it, up to a second" in remark
    with service(own, catalogue, tmp_path, "fsync") as client:
        assert submit(client).status_code == 202
    assert calls(own, "waitaof") >= 1


def test_where_memory_is_enough_nothing_is_waited_for(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    own.client.config_set("appendfsync", "everysec")
    with service(own, catalogue, tmp_path, "memory") as client:
        assert submit(client).status_code == 202
        (risk, *_) = client.get("/health/ready").json()["warnings"]
    assert "a power cut may lose the last second" in risk
    assert calls(own, "waitaof") == 0


def test_a_server_that_never_says_when_it_syncs_is_refused(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    # Of the bundled server `appendfsync no` is one; of those without WAITAOF everysec is another.
    policy = "no" if knows_waitaof(own) else "everysec"
    own.client.config_set("appendfsync", policy)
    with pytest.raises(RedisUnsuitable, match="nobody can tell when a job is on the disk"):
        check_suitable(own.client, allow_volatile=False)
    with service(own, catalogue, tmp_path, "fsync") as client:
        problem = submit(client)
        health = client.get("/health/ready")
    assert (problem.status_code, health.status_code) == (503, 503)
    assert "nobody can tell when" in problem.json()["detail"]
    assert "PADDOCK_DURABILITY=memory" in health.json()["detail"]
    assert problem.json()["in_doubt"] is False
    assert own.client.keys("rq:*") == []
    with service(own, catalogue, tmp_path, "fsync", allow_volatile=True) as client:
        assert submit(client).status_code == 202


def test_a_server_that_is_told_to_keep_nothing_accepts_nothing_from_then_on(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.broker.group.ASSURED_FOR", 0.0)
    with service(own, catalogue, tmp_path, "fsync") as client:
        assert submit(client).status_code == 202
        own.client.config_set("appendonly", "no")
        assert "it keeps no append-only file" in submit(client).json()["detail"]
        own.client.config_set("appendonly", "yes")
        assert submit(client).status_code == 202


def test_a_replica_has_the_job_when_it_is_accepted(
    own: RedisServer, replica: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    with service(own, catalogue, tmp_path, "replica") as client:
        answers = [submit(client) for _ in range(10)]
        # A replica tells each second what it has synced; on a busy machine at times too late.
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert accepted
        for job_id in accepted:
            assert replica.client.exists(f"rq:job:{job_id}")
    assert {answer.status_code for answer in answers} <= {202, 503}
    assert calls(own, "waitaof" if knows_waitaof(own) else "wait") >= 10


def test_a_replica_that_falls_behind_leaves_the_job_in_doubt(
    own: RedisServer, replica: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    with service(own, catalogue, tmp_path, "replica") as client:
        eventually(lambda: submit(client).status_code == 202)  # as above, at times too late
        assert replica.process is not None
        replica.process.send_signal(signal.SIGSTOP)
        try:
            answer = submit(client)
        finally:
            replica.process.send_signal(signal.SIGCONT)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["in_doubt"] is True
    assert own.client.exists(f"rq:job:{answer.json()['job']}")


def test_without_a_replica_nothing_is_accepted_where_one_is_asked_for(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    with pytest.raises(RedisUnsuitable, match="no replica is connected"):
        check_suitable(own.client, allow_volatile=False, wanted="replica")
    with service(own, catalogue, tmp_path, "replica") as client:
        assert "no replica is connected" in submit(client).json()["detail"]
    assert own.client.keys("rq:*") == []


@pytest.fixture
def fenced(own: RedisServer, needs_waitaof: None) -> Iterator[RedisServer]:
    """One that syncs by the clock, and whose users may not wait for it."""
    own.client.config_set("appendfsync", "everysec")
    own.client.execute_command("ACL SETUSER default -waitaof")
    yield own
    own.client.execute_command("ACL SETUSER default +waitaof")


def test_a_server_that_may_not_be_waited_for_is_refused(fenced: RedisServer) -> None:
    with pytest.raises(RedisUnsuitable, match="nobody can tell when a job is on the disk"):
        check_suitable(fenced.client, allow_volatile=False)


def test_a_wait_that_is_refused_leaves_the_job_in_doubt(
    own: RedisServer,
    needs_waitaof: None,
    catalogue: Catalogue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.broker.group.ASSURED_FOR", 600.0)
    own.client.config_set("appendfsync", "everysec")
    with service(own, catalogue, tmp_path, "fsync") as client:
        assert submit(client).status_code == 202
        own.client.execute_command("ACL SETUSER default -waitaof")  # as it was known before
        answer = submit(client)
        assert (answer.status_code, answer.json()["in_doubt"]) == (503, True)
        job = answer.json()["job"]
        assert own.client.lrange("rq:queue:default", -1, -1) == [job.encode()]
    own.client.execute_command("ACL SETUSER default +waitaof")
