"""Redis goes away, comes back, stalls, refuses or loses a reply: nothing is lost or doubled."""

import contextlib
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError
from rq import Queue
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.connection import connect
from service.broker.durability import check_suitable
from service.broker.embedded import server_command
from service.errors import RedisUnsuitable
from service.settings import Settings
from tests.conftest import TASKS, RedisServer, eventually

SOON = 10.0  # seconds; three tries of two seconds each, on a busy machine

READS = [
    "/jobs",
    "/jobs/none",
    "/jobs/none?wait=1",
    "/jobs/none/result",
    "/batches/0190d5a5-0000-7000-8000-000000ffffff",
    "/queues",
    "/queues/cpu",
    "/workers",
    "/health/ready",
]


@contextlib.contextmanager
def service(url: str, catalogue: Catalogue, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(redis_url=url, data_dir=tmp_path, tasks=TASKS)
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def api(own: RedisServer, catalogue: Catalogue, tmp_path: Path) -> Iterator[TestClient]:
    with service(own.url, catalogue, tmp_path) as client:
        yield client


def queued(server: RedisServer) -> list[str]:
    return Queue("default", connection=server.client, serializer="json").get_job_ids()


def submit(api: TestClient) -> Any:
    return api.post("/tasks/echo", json={})


def told_to_come_back(answer: Any) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (503, "urn:paddock:problem:redis-away")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    return problem


# Killed


def test_while_redis_is_away_callers_are_told_so_and_when_it_is_back_all_goes_on(
    own: RedisServer, api: TestClient
) -> None:
    kept = submit(api).json()["id"]
    own.kill()

    began = time.monotonic()
    problem = told_to_come_back(submit(api))
    assert time.monotonic() - began < SOON
    assert problem["in_doubt"] is False, problem
    assert "nothing was accepted" in problem["detail"]
    for path in READS:
        began = time.monotonic()
        told_to_come_back(api.get(path))
        assert time.monotonic() - began < SOON
    for action in ("cancel", "retry"):
        told_to_come_back(api.post(f"/jobs/{kept}/{action}"))
    told_to_come_back(api.delete(f"/jobs/{kept}"))
    assert api.get("/health/live").status_code == 200
    assert api.get("/tasks").status_code == 200

    own.start()
    added = submit(api)
    assert added.status_code == 202
    assert [job["id"] for job in api.get("/jobs").json()["jobs"]] == [added.json()["id"], kept]
    assert api.get("/health/ready").status_code == 200


def test_a_restart_between_two_requests_is_not_noticed(own: RedisServer, api: TestClient) -> None:
    for _ in range(3):
        assert submit(api).status_code == 202
        assert api.get("/jobs").status_code == 200
        own.kill()
        own.start()
    assert len(queued(own)) == 3


def test_a_service_that_starts_before_its_redis_works_once_that_is_there(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    own.kill()
    with service(own.url, catalogue, tmp_path) as client:
        told_to_come_back(submit(client))
        own.start()
        assert submit(client).status_code == 202


def test_a_job_that_was_accepted_stays_so_when_redis_goes_while_it_is_waited_for(
    own: RedisServer, api: TestClient
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.post, "/tasks/echo?wait=60", json={})
        (job_id,) = eventually(lambda: queued(own))  # type: ignore[misc]
        own.kill()
        answer = waiting.result(SOON)
    assert (answer.status_code, answer.json()["id"]) == (202, job_id)


# Stalled


def test_a_redis_that_stalls_leaves_the_job_in_doubt_and_never_doubles_it(
    own: RedisServer, api: TestClient
) -> None:
    submit(api)
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        problem = told_to_come_back(submit(api))
        assert time.monotonic() - began < SOON
        assert api.get("/health/live").status_code == 200
    finally:
        own.process.send_signal(signal.SIGCONT)
    assert problem["in_doubt"] is True
    # Every try lay in the socket, and the first of them was the only one that did anything.
    eventually(lambda: problem["job"] in queued(own))
    assert len(queued(own)) == 2
    # For half a second after the last wait in vain nobody tries anew.
    eventually(lambda: api.get(f"/jobs/{problem['job']}").status_code == 200)


# A lost reply


class Proxy:
    """Stands between the service and Redis, and cuts connections that carry a submission."""

    def __init__(self, path: Path, server: RedisServer) -> None:
        self.url = f"unix://{path}"
        self.cuts_before = 0  #: connections to cut before the script reaches Redis
        self.cuts_after = 0  #: connections to cut when it has run, and the reply is on its way
        self.then: Callable[[], object] = lambda: None  #: what else happens at that moment
        self._target = server.url.removeprefix("unix://")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with ThreadPoolExecutor(20) as pool, contextlib.suppress(OSError):
            while True:
                pool.submit(self._carry, self._listener.accept()[0])

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client and b"EVALSHA" in data and self._cuts(data, server):
                        return
                    (server if ready is client else client).sendall(data)

    def _cuts(self, data: bytes, server: socket.socket) -> bool:
        if self.cuts_before:
            self.cuts_before -= 1
            self.then()
            return True
        if self.cuts_after:
            self.cuts_after -= 1
            server.sendall(data)
            assert server.recv(65536).startswith((b":1", b":0"))  # it ran
            self.then()
            return True
        return False


@pytest.fixture
def proxy(own: RedisServer) -> Iterator[Proxy]:
    between = Proxy(own.data_dir / "proxy.sock", own)
    yield between
    between.close()


@pytest.fixture
def proxied(proxy: Proxy, catalogue: Catalogue, tmp_path: Path) -> Iterator[TestClient]:
    with service(proxy.url, catalogue, tmp_path) as client:
        # Redis has to know the script: else the first EVALSHA is refused, and does not run it.
        assert submit(client).status_code == 202
        yield client


@pytest.mark.parametrize("cuts", [1, 2])
@pytest.mark.parametrize("when", ["cuts_before", "cuts_after"])
def test_a_job_whose_reply_is_lost_is_accepted_once(
    own: RedisServer, proxy: Proxy, proxied: TestClient, when: str, cuts: int
) -> None:
    before = queued(own)
    setattr(proxy, when, cuts)
    answer = submit(proxied)
    assert answer.status_code == 202
    assert getattr(proxy, when) == 0
    assert queued(own) == [*before, answer.json()["id"]]


@pytest.mark.parametrize("when", ["cuts_before", "cuts_after"])
def test_a_job_with_a_key_whose_reply_is_lost_is_no_replay_to_who_sent_it(
    own: RedisServer, proxy: Proxy, proxied: TestClient, when: str
) -> None:
    keyed = {"Idempotency-Key": "k"}
    before = queued(own)
    setattr(proxy, when, 2)
    answer = proxied.post("/tasks/echo", json={}, headers=keyed)
    assert (answer.status_code, "Idempotency-Replayed" in answer.headers) == (202, False)
    again = proxied.post("/tasks/echo", json={}, headers=keyed)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert queued(own) == [*before, answer.json()["id"]]


def test_a_job_in_doubt_that_has_a_key_can_simply_be_sent_again(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    keyed = {"Idempotency-Key": "k"}
    before = queued(own)
    proxy.cuts_after = 3
    problem = told_to_come_back(proxied.post("/tasks/echo", json={}, headers=keyed))
    again = proxied.post("/tasks/echo", json={}, headers=keyed)
    assert (again.status_code, again.json()["id"]) == (200, problem["job"])
    assert queued(own) == [*before, problem["job"]]


def test_a_job_whose_every_reply_is_lost_is_in_doubt_and_there_once(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    before = queued(own)
    proxy.cuts_after = 3
    problem = told_to_come_back(submit(proxied))
    assert (problem["in_doubt"], proxy.cuts_after) == (True, 0)
    assert f"/jobs/{problem['job']}" in problem["detail"]
    assert queued(own) == [*before, problem["job"]]
    assert proxied.get(f"/jobs/{problem['job']}").json()["status"] == "queued"


def test_a_job_that_may_have_arrived_but_did_not_is_in_doubt_and_not_there(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    before = queued(own)
    proxy.cuts_before = 3
    problem = told_to_come_back(submit(proxied))
    assert problem["in_doubt"] is True
    assert queued(own) == before
    assert proxied.get(f"/jobs/{problem['job']}").status_code == 404


def test_a_job_whose_reply_is_lost_is_found_by_a_redis_that_then_refuses_to_write(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    before = queued(own)
    proxy.cuts_after, proxy.then = 1, lambda: become_a_replica(own.client)
    answer = submit(proxied)
    assert answer.status_code == 202
    assert queued(own) == [*before, answer.json()["id"]]


def test_a_job_that_may_have_arrived_stays_in_doubt_when_redis_then_refuses_to_write(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    proxy.cuts_before, proxy.then = 1, lambda: become_a_replica(own.client)
    problem = told_to_come_back(submit(proxied))
    assert problem["in_doubt"] is True
    assert proxied.get(f"/jobs/{problem['job']}").status_code == 404


def test_a_scheduled_job_whose_reply_is_lost_is_scheduled_once(
    own: RedisServer, proxy: Proxy, proxied: TestClient
) -> None:
    proxy.cuts_after = 1
    answer = proxied.post("/tasks/echo?delay=600", json={})
    assert answer.status_code == 202
    registry = Queue("default", connection=own.client).scheduled_job_registry
    assert registry.get_job_ids(cleanup=False) == [answer.json()["id"]]


# Refusing to write


def become_a_replica(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", 1)


def be_a_primary_again(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")


def fill_up(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1mb")


def have_room_again(client: redis.Redis) -> None:
    client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("refuse", "take", "reason"),
    [
        (become_a_replica, be_a_primary_again, "read only replica"),
        (fill_up, have_room_again, "maxmemory"),
    ],
)
def test_a_redis_that_refuses_to_write_has_accepted_nothing(
    own: RedisServer, api: TestClient, refuse: Any, take: Any, reason: str
) -> None:
    kept = submit(api).json()["id"]
    before = set(own.client.scan_iter())
    refuse(own.client)
    problem = told_to_come_back(submit(api))
    assert problem["in_doubt"] is False, problem
    assert reason in problem["detail"]
    assert reason in told_to_come_back(api.get("/health/ready"))["detail"]
    assert api.get(f"/jobs/{kept}").json()["status"] == "queued"
    assert (queued(own), set(own.client.scan_iter())) == ([kept], before)

    take(own.client)
    assert submit(api).status_code == 202
    assert api.get("/health/ready").status_code == 200


def test_a_redis_that_still_loads_its_data_has_accepted_nothing(
    own: RedisServer, api: TestClient
) -> None:
    own.client.mset({f"key:{number}": "x" * 4096 for number in range(1000)})
    own.client.bgrewriteaof()
    eventually(lambda: not own.client.info("persistence")["aof_rewrite_in_progress"])
    own.kill()
    slowly = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]
    own.process = subprocess.Popen(server_command(own.data_dir, None) + slowly)
    eventually(lambda: is_loading(own.client))

    problem = told_to_come_back(submit(api))
    assert problem["in_doubt"] is False, problem
    for path in READS:
        told_to_come_back(api.get(path))
    assert api.get("/health/live").status_code == 200
    assert is_loading(own.client)  # all the while
    own.client.config_set("key-load-delay", 0)

    eventually(lambda: submit(api).status_code == 202)
    assert len(queued(own)) == 1


def is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except BusyLoadingError:
        return True
    except redis.RedisError:
        return False  # not even started
    return False


# Suitable or not


UNSUITABLE = {
    "no append-only file": ({"appendonly": "no"}, "it keeps no append-only file"),
    "eviction": (
        {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
        "it may evict jobs when its memory is full (maxmemory-policy allkeys-lru)",
    ),
}


@pytest.mark.parametrize("case", UNSUITABLE)
def test_a_redis_that_may_lose_jobs_is_refused_unless_that_is_accepted(
    own: RedisServer, api: TestClient, case: str
) -> None:
    configuration, reason = UNSUITABLE[case]
    assert check_suitable(own.client, allow_volatile=False) == []
    for name, value in configuration.items():
        own.client.config_set(name, value)

    with pytest.raises(
        RedisUnsuitable, match="PADDOCK_ALLOW_VOLATILE=true accepts that"
    ) as refusal:
        check_suitable(own.client, allow_volatile=False)
    assert reason in str(refusal.value)
    assert any(reason in remark for remark in check_suitable(own.client, allow_volatile=True))

    assert reason in told_to_come_back(api.get("/health/ready"))["detail"]


def test_a_redis_that_may_lose_jobs_is_ready_with_a_warning_where_that_is_accepted(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    own.client.config_set("appendonly", "no")
    settings = Settings(redis_url=own.url, data_dir=tmp_path, tasks=TASKS, allow_volatile=True)
    with TestClient(create_app(settings, catalogue), base_url="http://127.0.0.1") as client:
        answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert "it keeps no append-only file" in answer.json()["warnings"][0]


def test_a_policy_that_evicts_does_no_harm_while_memory_has_no_limit(own: RedisServer) -> None:
    own.client.config_set("maxmemory-policy", "allkeys-lru")
    assert check_suitable(own.client, allow_volatile=False) == []


def test_an_append_only_file_that_lags_a_second_behind_is_remarked_upon(own: RedisServer) -> None:
    own.client.config_set("appendfsync", "everysec")
    (remark,) = check_suitable(own.client, allow_volatile=False, wanted="memory")
    assert "appendfsync is 'everysec': a power cut may lose the last second" in remark


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [("5.0.14", False), ("6.0.16", False), ("6.2.0", True), ("10.0.1", True)],
)
def test_a_redis_that_is_too_old_is_refused(
    own: RedisServer, monkeypatch: pytest.MonkeyPatch, version: str, is_taken: bool
) -> None:
    told = own.client.info
    monkeypatch.setattr(own.client, "info", lambda part: told(part) | {"redis_version": version})
    if is_taken:
        assert check_suitable(own.client, allow_volatile=False) == []
        return
    with pytest.raises(RedisUnsuitable, match=f"Redis {version} is too old: Paddock needs 6.2"):
        check_suitable(own.client, allow_volatile=True)


def test_a_redis_that_forbids_config_is_judged_without(own: RedisServer) -> None:
    limited = connect_as(own, "-config")
    assert check_suitable(limited, allow_volatile=False) == []
    own.client.config_set("appendonly", "no")
    with pytest.raises(RedisUnsuitable, match="it keeps no append-only file"):
        check_suitable(limited, allow_volatile=False)
    limited.close()


def test_a_redis_that_tells_nothing_about_itself_is_refused(own: RedisServer) -> None:
    limited = connect_as(own, "-info")
    with pytest.raises(RedisUnsuitable, match="can't be reached or asked"):
        check_suitable(limited, allow_volatile=True)
    limited.close()


def connect_as(server: RedisServer, without: str) -> redis.Redis:
    server.client.execute_command(
        "ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", without
    )
    return connect(server.url.replace("unix://", "unix://limited:secret@"))


def test_a_redis_that_is_not_there_is_refused(own: RedisServer) -> None:
    own.kill()
    with pytest.raises(RedisUnsuitable, match="can't be reached"):
        check_suitable(own.client, allow_volatile=True)
    own.start()


def test_a_wrong_password_means_that_nothing_was_accepted(
    own: RedisServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    url = own.url.replace("unix://", "unix://default:wrong@")
    own.client.config_set("requirepass", "secret")
    with service(url, catalogue, tmp_path) as client:
        problem = told_to_come_back(submit(client))
    assert problem["in_doubt"] is False, problem
