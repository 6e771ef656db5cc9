"""Schedules on real workers and a real Redis: each tick is enqueued, and only once."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.job import Job
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from jobs.schedule import Missed, Schedule
from service.broker.connection import connect, connect_async
from service.broker.enqueuer import Enqueuer, Submission
from service.execution.cron import LEADER, LEADER_TTL, TERMS, Ticker, enter_declared, tick_job_id
from service.schedule_store import DEFINITIONS, NEXT, Definition, ScheduleStore
from service.settings import Settings
from tests.conftest import TASKS, RedisServer, Start, eventually
from tests.sample_schedules import UNSERVED

SCHEDULED_TASKS = (*TASKS, "tests.sample_schedules")
DECLARED = "tests.sample_declared_schedule"
EVERY_SECOND = "* * * * * *"
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
TAKEOVER = LEADER_TTL + 50.0  # seconds; bounds hangs only
TICKS = f"rq:queue:{UNSERVED}"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load([*SCHEDULED_TASKS, DECLARED])


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, data_dir=tmp_path, tasks=SCHEDULED_TASKS, workers=1)


@pytest.fixture
def store(connection: redis.Redis) -> ScheduleStore:
    return ScheduleStore(connection)


def post(api: TestClient, **body: Any) -> dict[str, Any]:
    """A schedule that enqueues every second, unless told otherwise."""
    given = {"name": "s", "task": "stay_queued", "cron": EVERY_SECOND, "missed": "all"} | body
    answer = api.post("/schedules", json=given)
    assert answer.status_code in (200, 201), answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ticks(connection: redis.Redis, name: str = "s") -> list[datetime]:
    """Those that were enqueued, in the order of the queue: doubled ones twice."""
    jobs = [
        Job.fetch(job_id.decode(), connection=connection, serializer="json")
        for job_id in connection.lrange(TICKS, 0, -1)
    ]
    named = [job for job in jobs if job.meta["schedule"] == name]
    found = [datetime.fromisoformat(job.meta["tick"]) for job in named]
    assert [job.id for job in named] == [tick_job_id(name, tick) for tick in found]
    return found


def await_ticks(connection: redis.Redis, count: int) -> None:
    before = connection.llen(TICKS)
    eventually(lambda: connection.llen(TICKS) >= before + count, TAKEOVER)


def assert_each_second_once(found: list[datetime]) -> None:
    assert found == [found[0] + n * SECOND for n in range(len(found))]


def leader(connection: redis.Redis) -> str:
    """The lock's value: who leads, and in which term."""
    return (connection.get(LEADER) or b"").decode()


def leader_pid(connection: redis.Redis) -> int:
    """The scheduler process that leads."""
    name = str(eventually(lambda: leader(connection))).partition(" ")[0]
    return int(connection.hget(f"rq:scheduler:{name}", "pid"))


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def await_new_leader(connection: redis.Redis, old: str) -> None:
    eventually(lambda: leader(connection) not in ("", old), TAKEOVER)


# Over HTTP


def test_a_schedule_is_made_shown_replaced_and_deleted(api: TestClient) -> None:
    body = {
        "name": "nightly",
        "task": "stay_queued",
        "parameters": {"note": "x"},
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
    }
    made = api.post("/schedules", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/schedules/nightly")
    shown = made.json()
    next_at = datetime.fromisoformat(shown.pop("next_at"))
    assert next_at > datetime.now(UTC) and next_at.minute in (0, 30)
    assert shown == body | {"missed": "once", "source": "api", "last_at": None, "last_job": None}
    assert api.get("/schedules/nightly").json() == made.json()

    replaced = api.post("/schedules", json=body | {"parameters": {}, "missed": "skip"})
    assert (replaced.status_code, replaced.headers["location"]) == (200, "/schedules/nightly")
    assert replaced.json()["parameters"] == {"note": ""}
    assert [one["name"] for one in api.get("/schedules").json()] == ["nightly"]
    assert api.get("/schedules").json()[0]["missed"] == "skip"

    assert api.delete("/schedules/nightly").status_code == 204
    assert api.get("/schedules/nightly").status_code == 404
    assert api.get("/schedules").json() == []
    gone = api.delete("/schedules/nightly")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:paddock:problem:unknown-schedule")
    assert gone.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "slug", "field"),
    [
        ({"name": "a b"}, "invalid-schedule", "name"),
        ({"name": "x" * 101}, "invalid-schedule", "name"),
        ({"name": ""}, "invalid-schedule", "name"),
        ({"name": "a\n"}, "invalid-schedule", "name"),
        ({"task": "nothing"}, "invalid-schedule", "task"),
        ({"task": None}, "invalid-schedule", "task"),
        ({"cron": "never"}, "invalid-schedule", "cron"),
        ({"cron": "61 * * * *"}, "invalid-schedule", "cron"),
        ({"cron": "0 0 30 2 *"}, "invalid-schedule", "cron"),
        ({"cron": "r * * * *"}, "invalid-schedule", "cron"),
        ({"cron": "1," * 9999 + "1 * * * *"}, "invalid-schedule", "cron"),
        ({"cron": "\u0000 * * * *"}, "invalid-schedule", "cron"),
        ({"cron": 5}, "invalid-schedule", "cron"),
        ({"timezone": "Mars/Olympus"}, "invalid-schedule", "timezone"),
        ({"timezone": "../../etc/passwd"}, "invalid-schedule", "timezone"),
        ({"timezone": ""}, "invalid-schedule", "timezone"),
        ({"missed": "some"}, "invalid-schedule", "missed"),
        ({"extra": 1}, "invalid-schedule", "extra"),
        ({"parameters": []}, "invalid-schedule", "parameters"),
        ({"parameters": {"note": 5}}, "invalid-parameters", "parameters.note"),
        ({"parameters": {"other": 5}}, "invalid-parameters", "parameters.other"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_field(
    api: TestClient, connection: redis.Redis, change: dict[str, Any], slug: str, field: str
) -> None:
    body = {"name": "s", "task": "stay_queued", "cron": "0 3 * * *"} | change
    answer = api.post("/schedules", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, f"urn:paddock:problem:{slug}")
    assert [row["field"] for row in problem["errors"]] == [field]
    assert problem["errors"][0]["message"] in problem["detail"] + "."
    assert not connection.exists(DEFINITIONS, NEXT)


@pytest.mark.parametrize(
    ("content", "kind", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-body"),
        (b"", "application/json", 400, "malformed-body"),
        (b"\xff", "application/json", 400, "malformed-body"),
        (b"[]", "application/json", 422, "invalid-schedule"),
        (b"name=s", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"{}", None, 415, "unsupported-media-type"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    api: TestClient, content: bytes, kind: str | None, status: int, slug: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = api.post("/schedules", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:paddock:problem:{slug}")


def test_a_declared_schedule_is_shown_but_changed_in_the_code_only(
    api: TestClient, store: ScheduleStore, catalogue: Catalogue
) -> None:
    enter_declared(store, catalogue)
    shown = api.get("/schedules/tell_tick").json()
    assert (shown["source"], shown["timezone"]) == ("task", "Europe/Berlin")
    assert shown["parameters"] == {"note": "x"}
    body = {"name": "tell_tick", "task": "stay_queued", "cron": "0 3 * * *"}
    for answer in (api.delete("/schedules/tell_tick"), api.post("/schedules", json=body)):
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:paddock:problem:declared-schedule"
        assert "restart the workers" in answer.json()["detail"]
    assert api.get("/schedules/tell_tick").json() == shown


def test_a_schedule_that_its_task_no_longer_declares_goes_with_the_next_start(
    api: TestClient, store: ScheduleStore, catalogue: Catalogue
) -> None:
    post(api, name="mine")
    enter_declared(store, catalogue)
    enter_declared(store, Catalogue.load(TASKS))  # another host's, which has no such task: stays
    assert [one["name"] for one in api.get("/schedules").json()] == ["mine", "tell_tick"]
    task = catalogue["tell_tick"]
    declared, task.schedule = task.schedule, None
    try:
        enter_declared(store, catalogue)
    finally:
        task.schedule = declared
    assert [one["name"] for one in api.get("/schedules").json()] == ["mine"]


def test_a_restart_neither_forgets_nor_repeats_what_a_declared_schedule_missed(
    store: ScheduleStore, connection: redis.Redis, catalogue: Catalogue
) -> None:
    enter_declared(store, catalogue)
    connection.zadd(NEXT, {"tell_tick": 1_000})
    enter_declared(store, catalogue)
    assert connection.zscore(NEXT, "tell_tick") == 1_000


def test_a_new_rhythm_begins_now_and_the_same_one_goes_on(
    api: TestClient, connection: redis.Redis
) -> None:
    before = datetime.now(UTC)
    assert datetime.fromisoformat(post(api, cron="0 * * * *")["next_at"]) > before
    connection.zadd(NEXT, {"s": 3600})  # as if nobody had run for years
    assert post(api, cron="0 * * * *", missed="skip")["next_at"] == "1970-01-01T01:00:00Z"
    assert datetime.fromisoformat(post(api, cron="1 * * * *")["next_at"]) > before
    connection.zadd(NEXT, {"s": 3600})
    changed = post(api, cron="1 * * * *", timezone="Asia/Kolkata")
    assert datetime.fromisoformat(changed["next_at"]) > before


def test_a_change_decided_on_what_has_changed_meanwhile_is_refused(store: ScheduleStore) -> None:
    first = Definition("s", "echo", Schedule(cron="0 3 * * *"), "api")
    second = Definition("s", "echo", Schedule(cron="0 4 * * *"), "api")
    assert store.put(first, over="")
    assert not store.put(second, over="")
    assert not store.remove("s", over=second.text())
    assert store.text("s") == first.text()
    assert store.put(second, over=first.text())
    assert store.remove("s", over=second.text())
    assert store.text("s") == ""


def test_without_redis_nothing_is_accepted(api: TestClient, server: RedisServer) -> None:
    server.kill()
    try:
        body = {"name": "s", "task": "stay_queued", "cron": "0 3 * * *"}
        for answer in (
            api.post("/schedules", json=body),
            api.get("/schedules"),
            api.get("/schedules/s"),
            api.delete("/schedules/s"),
        ):
            assert answer.status_code == 503 and "retry-after" in answer.headers
    finally:
        server.start()


# One scheduler's steps


class StaleTicker(Ticker):
    """One that can be stopped between finding what is due and writing it."""

    stops = False

    def _catch_up(self, name: str, pending: datetime, now: datetime, room: int) -> int:
        if self.stops:
            return 0
        return super()._catch_up(name, pending, now, room)


@pytest.fixture
def tickers(
    redis_url: str, connection: redis.Redis, catalogue: Catalogue
) -> Iterator[list[StaleTicker]]:
    """Two schedulers, of which the first leads, and a schedule with one tick to be enqueued."""
    clients = [connect(redis_url), connect(redis_url)]
    quiet = Catalogue(task for task in catalogue if task.schedule is None)
    made = [StaleTicker(client, f"host-{n}", quiet) for n, client in enumerate(clients, 1)]
    schedule = Schedule(cron="0 * * * *", missed="all", parameters={"note": "x"})
    ScheduleStore(connection).put(Definition("s", "stay_queued", schedule, "api"), over="")
    connection.zincrby(NEXT, -3600, "s")
    yield made
    for client in clients:
        client.close()


def test_a_leader_enqueues_each_tick_once_and_others_none(
    tickers: list[StaleTicker], connection: redis.Redis
) -> None:
    first, second = tickers
    first.stops = True
    first.tick()
    second.tick()
    assert (leader(connection), ticks(connection)) == ("host-1 1", [])
    first.stops = False
    for _ in range(3):
        first.tick()
        second.tick()
    assert len(ticks(connection)) == 1


def test_a_leader_that_wakes_up_late_is_refused_by_its_term(
    tickers: list[StaleTicker], connection: redis.Redis
) -> None:
    first, second = tickers
    second.stops = True
    now, due = first._lead()
    connection.delete(LEADER)  # expired while it slept
    second.tick()
    assert (leader(connection), connection.get(TERMS)) == ("host-2 2", b"2")
    for name, pending in due:  # the tick is still to be enqueued, as the first had found it
        assert first._catch_up(name, pending, now, 1) == 0
    connection.delete(LEADER)  # nor while nobody leads
    for name, pending in due:
        assert first._catch_up(name, pending, now, 1) == 0
    assert ticks(connection) == []
    first.tick()
    assert (leader(connection), len(ticks(connection))) == ("host-1 3", 1)


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_what_was_found_due_before_a_change_is_refused_after_it(
    tickers: list[StaleTicker], store: ScheduleStore, connection: redis.Redis, change: str
) -> None:
    first = tickers[0]
    first._lead()
    text, pending = store.text("s"), datetime.fromtimestamp(connection.zscore(NEXT, "s"), UTC)
    if change == "deleted":
        store.remove("s", over=text)
    else:
        other = Definition("s", "stay_queued", Schedule(cron="0 * * * *", missed="once"), "api")
        store.put(other, over=text)
    submission = Submission(task=first._catalogue["stay_queued"], parameters={})
    job = (pending, submission)
    assert not first._write("s", text, pending, pending + HOUR, job)
    assert connection.llen(TICKS) == 0


def test_a_tick_that_was_enqueued_is_refused_even_when_its_job_is_forgotten(
    tickers: list[StaleTicker], connection: redis.Redis
) -> None:
    first = tickers[0]
    now, ((name, pending),) = first._lead()
    assert first._catch_up(name, pending, now, 1) == 1
    connection.delete(TICKS, f"rq:job:{tick_job_id(name, pending)}")  # it ran, long ago
    assert first._catch_up(name, pending, now, 1) == 0
    assert connection.llen(TICKS) == 0


def test_a_tick_whose_job_exists_is_not_enqueued_again_and_the_schedule_goes_on(
    tickers: list[StaleTicker], connection: redis.Redis
) -> None:
    first = tickers[0]
    now, ((name, pending),) = first._lead()
    first._catch_up(name, pending, now, 1)
    connection.zadd(NEXT, {name: pending.timestamp()})  # as if that alone had been lost
    first.tick()
    assert len(ticks(connection)) == 1
    assert connection.zscore(NEXT, name) > now.timestamp()


def test_a_scheduled_job_is_written_as_a_submitted_one(
    tickers: list[StaleTicker], connection: redis.Redis, redis_url: str
) -> None:
    tickers[0].tick()
    task = tickers[0]._catalogue["stay_queued"]

    async def submit() -> None:
        client = connect_async(redis_url)
        await Enqueuer(client).submit(Submission(task=task, parameters={"note": "x"}))
        await client.aclose()

    asyncio.run(submit())
    scheduled, submitted = (
        connection.hgetall(f"rq:job:{job_id.decode()}")
        for job_id in connection.lrange(TICKS, 0, -1)
    )
    assert b"schedule" in scheduled.pop(b"meta")
    assert scheduled[b"max_crashes"] == b"5" and scheduled[b"retry_intervals"] == b"[1, 2]"
    for moment in (b"created_at", b"enqueued_at"):
        assert scheduled.pop(moment) and submitted.pop(moment)
    assert scheduled == submitted
    assert connection.smembers("rq:queues") == {TICKS.encode()}


def test_a_tick_of_a_task_that_only_another_host_has_waits_for_that_one(
    tickers: list[StaleTicker], connection: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tickers
    first._catalogue = Catalogue.load(TASKS)
    first.tick()
    first.tick()
    (told,) = [record.getMessage() for record in caplog.records]
    assert "There is no task 'stay_queued'" in told
    first.stop()
    second.tick()
    assert len(ticks(connection)) == 1


def test_a_definition_that_cannot_be_read_stops_no_other(
    tickers: list[StaleTicker], connection: redis.Redis, api: TestClient
) -> None:
    connection.hset(DEFINITIONS, mapping={"a": "{}", "b": "no json", "c": "[]"})
    connection.zadd(NEXT, {"a": 1, "b": 2, "c": 3})
    tickers[0].tick()
    assert len(ticks(connection)) == 1
    assert [one["name"] for one in api.get("/schedules").json()] == ["s"]
    assert api.get("/schedules/a").status_code == 404
    assert post(api, name="a")["name"] == "a"


def test_more_than_can_be_made_up_for_at_once_is_made_up_for_in_several_steps(
    tickers: list[StaleTicker], connection: redis.Redis, store: ScheduleStore
) -> None:
    schedule = Schedule(cron="* * * * *", missed="all")
    store.put(Definition("s", "stay_queued", schedule, "api"), over=store.text("s"))
    connection.zincrby(NEXT, -3600 * 24 * 7, "s")
    counts = []
    for _ in range(3):
        tickers[0].tick()
        counts.append(connection.llen(TICKS))
    assert counts[0] == 500 and 1_000 <= counts[1] <= counts[2] <= 1_002
    found = ticks(connection)
    assert found == [found[0] + n * 60 * SECOND for n in range(len(found))]


# Whole workers


def test_a_declared_schedule_runs_its_task_each_second(
    api: TestClient, start_worker: Start
) -> None:
    start_worker(PADDOCK_TASKS=DECLARED)
    eventually(lambda: api.get("/schedules/tell_tick").json().get("last_job"))
    shown = api.get("/schedules/tell_tick").json()
    job = api.get(f"/jobs/{shown['last_job']}", params={"wait": 20}).json()
    assert (job["task"], job["status"]) == ("tell_tick", "finished")
    assert datetime.fromisoformat(job["result"]) == datetime.fromisoformat(shown["last_at"])
    assert job["id"] in [one["id"] for one in api.get("/jobs").json()["jobs"]]


def test_three_workers_enqueue_each_tick_once(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    for _ in range(3):
        start_worker()
    eventually(lambda: len(connection.keys("rq:scheduler:*")) == 3)
    post(api)
    await_ticks(connection, 10)
    assert_each_second_once(ticks(connection))


def test_a_killed_leader_is_replaced_and_no_tick_lost(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    for _ in range(3):
        start_worker()
    post(api)
    await_ticks(connection, 2)
    old, pid = leader(connection), leader_pid(connection)
    os.killpg(parent_pid(pid), signal.SIGKILL)  # with its worker, which would start it again
    await_new_leader(connection, old)
    await_ticks(connection, LEADER_TTL + 2)
    assert_each_second_once(ticks(connection))


def test_a_scheduler_that_is_killed_alone_is_started_again(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    start_worker()
    post(api)
    await_ticks(connection, 2)
    old = leader_pid(connection)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: leader_pid(connection) != old)
    await_ticks(connection, 3)
    assert_each_second_once(ticks(connection))


def test_a_leader_that_was_stopped_past_its_lock_enqueues_nothing_when_it_goes_on(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    for _ in range(2):
        start_worker()
    post(api)
    await_ticks(connection, 2)
    old, pid = leader(connection), leader_pid(connection)
    os.kill(pid, signal.SIGSTOP)
    try:
        await_new_leader(connection, old)
        await_ticks(connection, LEADER_TTL)
    finally:
        os.kill(pid, signal.SIGCONT)
    await_ticks(connection, 4)
    assert_each_second_once(ticks(connection))
    assert leader(connection).split()[0] != old.split()[0]


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    first = start_worker()
    post(api)
    await_ticks(connection, 1)
    first.terminate()
    assert first.wait(30) == 0
    assert leader(connection) == ""


def test_redis_killed_and_restarted_loses_and_doubles_no_tick(
    api: TestClient, start_worker: Start, connection: redis.Redis, server: RedisServer
) -> None:
    for _ in range(3):
        start_worker()
    post(api)
    for _ in range(3):
        await_ticks(connection, 3)
        server.kill()
        server.start()
    await_ticks(connection, 5)
    assert_each_second_once(ticks(connection))


def test_after_a_restart_of_everything_missed_ticks_are_dealt_with_as_was_wished(
    api: TestClient,
    start: Start,
    start_worker: Start,
    connection: redis.Redis,
    server: RedisServer,
) -> None:
    half_past = (datetime.now(UTC) + timedelta(minutes=30)).minute  # far from any tick
    expected: dict[Missed, int] = {"skip": 0, "once": 1, "all": 3}
    for missed in expected:
        post(api, name=missed, cron=f"{half_past} * * * *", missed=missed)
    begun = datetime.fromisoformat(api.get("/schedules/all").json()["next_at"])
    worker = start_worker()
    eventually(lambda: connection.keys("rq:scheduler:*"))
    worker.terminate()
    worker.wait(30)
    for missed in expected:
        connection.zadd(NEXT, {missed: (begun - 3 * HOUR).timestamp()})  # three hours pass
    server.kill()
    server.start()
    start(sys.executable, "worker.py")
    eventually(lambda: connection.zcount(NEXT, "-inf", begun.timestamp() - 1) == 0)
    found = {missed: ticks(connection, missed) for missed in expected}
    assert found == {
        "skip": [],
        "once": [begun - HOUR],
        "all": [begun - 3 * HOUR, begun - 2 * HOUR, begun - HOUR],
    }
    for missed in expected:
        shown = api.get(f"/schedules/{missed}").json()
        assert datetime.fromisoformat(shown["next_at"]) == begun


def test_every_tick_of_several_schedules_is_enqueued_once(
    api: TestClient, start_worker: Start, connection: redis.Redis
) -> None:
    for number in range(5):
        post(api, name=f"s{number}", cron="* * * * * */2")
    for _ in range(2):
        start_worker()
    await_ticks(connection, 20)
    for number in range(5):
        found = ticks(connection, f"s{number}")
        assert found == [found[0] + n * 2 * SECOND for n in range(len(found))]
    assert set(Counter(connection.lrange(TICKS, 0, -1)).values()) == {1}
