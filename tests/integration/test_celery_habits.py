"""Tasks called as Celery's users call them: `.delay`, `.apply_async`, `AsyncResult`."""

import functools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue

from jobs.catalogue import Catalogue
from jobs.heavy_cpu_task import heavy_cpu_task
from service.adapters.door import Door, standing_in
from service.adapters.errors import JobCanceled, JobFailed
from service.adapters.group_result import GroupResult, ResultSet
from service.adapters.result import AsyncResult
from service.broker.status import Status
from service.errors import (
    BatchNotFound,
    JobNotFound,
    ParametersInvalid,
    QueueNotFound,
    RedisAway,
    StatusConflict,
)
from service.settings import Settings
from tests.conftest import PATIENCE, RedisServer, Start, eventually
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_worker import lines
from tests.sample_celery_tasks import (
    double_once,
    noon,
    run_until_told,
    submit_double,
    subtract,
    subtract_elsewhere,
    try_again_later,
)
from tests.sample_tasks import echo, echo_async, fail_and_log, fail_as, return_unserializable
from tests.sample_waiting_tasks import double

TASKS = (*ALL_TASKS, "tests.sample_celery_tasks")
FOR_EVER = {"max_retries": None, "interval_max": 0.2}


@pytest.fixture(scope="module")
def tasks() -> Catalogue:
    return Catalogue.load(TASKS)


@pytest.fixture
def door(redis_url: str, tmp_path: Path, tasks: Catalogue) -> Iterator[Door]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS)
    with standing_in(Door(settings, tasks)) as door:
        yield door


@pytest.fixture
def work(start_worker: Start) -> Start:
    return functools.partial(start_worker, PADDOCK_TASKS=",".join(TASKS))


def nothing_was_accepted(connection: redis.Redis) -> bool:
    return not connection.keys("rq:job:*")


# Called


def test_a_task_is_called_and_its_result_awaited(door: Door, work: Start) -> None:
    result = heavy_cpu_task.delay(10)
    assert (result.state, result.ready(), result.result) == ("PENDING", False, None)
    work()
    assert result.get(timeout=PATIENCE) == 285
    assert (result.state, result.result) == ("SUCCESS", 285)
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)


def test_a_job_is_found_again_by_its_id(door: Door, work: Start) -> None:
    job_id = subtract.delay(5, y=3).id
    work()
    found = AsyncResult[int](job_id)
    assert found.get(timeout=PATIENCE) == 2
    assert (str(found), found.task_id, found.name, found.queue) == (
        job_id,
        job_id,
        "subtract",
        "default",
    )
    assert (found.kwargs, found.retries, found.children) == ({"x": 5, "y": 3}, 0, [])
    assert (found.parent, found.traceback) == (None, None)
    assert found.status == found.state
    assert found.info == found.result == 2
    assert found.worker
    assert found.date_done is not None
    assert found.date_done.tzinfo is not None
    assert found == subtract.AsyncResult(job_id) and len({found, AsyncResult(job_id)}) == 1


def test_a_result_comes_in_the_type_that_the_task_declares(door: Door, work: Start) -> None:
    work()
    result = noon.delay(datetime(2026, 11, 25, tzinfo=UTC))
    expected = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert result.get(timeout=PATIENCE) == expected
    assert AsyncResult[datetime](result.id).get(timeout=PATIENCE) == expected


def test_async_tasks_are_called_alike(door: Door, work: Start) -> None:
    work()
    assert echo_async.delay(7).get(timeout=PATIENCE) == 7


def test_a_job_calls_another_task(door: Door, work: Start) -> None:
    work()
    other = submit_double.delay(4).get(timeout=PATIENCE)
    assert double.AsyncResult(other).get(timeout=PATIENCE) == 8


def test_a_call_that_does_not_fit_is_refused_where_it_is_made(
    door: Door, connection: redis.Redis
) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        subtract.delay(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="too many positional arguments"):
        subtract.apply_async((1, 2, 3))
    with pytest.raises(ParametersInvalid, match="y: Input should be a valid integer"):
        subtract.delay(1, "many")  # type: ignore[arg-type]
    assert nothing_was_accepted(connection)


def test_from_jobs_import_job_is_all_that_a_module_needs(
    redis_url: str, tmp_path: Path, connection: redis.Redis
) -> None:
    (tmp_path / "shop_tasks.py").write_text(
        "from jobs import job\n\n@job\ndef add(x: int, y: int) -> int:\n"
        '    """Add."""\n    return x + y\n'
    )
    script = (
        "import sys, shop_tasks\n"
        "loaded = [name for name in sys.modules if name.partition('.')[0] == 'service']\n"
        "assert not loaded, loaded\n"
        "print(shop_tasks.add.delay(1, y=2).id)\n"
    )
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=("shop_tasks",))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=settings.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert connection.hget(f"rq:job:{done.stdout.strip()}", "status") == b"queued"


# With options


def test_options_say_how_it_is_run(door: Door, jobs: Jobs, connection: redis.Redis) -> None:
    before = datetime.now(UTC)
    later = subtract.apply_async((5,), {"y": 3}, countdown=60, queue="cpu", time_limit=7)
    job = jobs[later.id]
    assert (job.status, job.queue, job.parameters) == (Status.SCHEDULED, "cpu", {"x": 5, "y": 3})
    assert job.scheduled_for is not None
    assert timedelta(seconds=59) < job.scheduled_for - before < timedelta(seconds=90)
    assert connection.hget(f"rq:job:{later.id}", "timeout") == b"7"
    assert later.state == "PENDING"
    assert jobs[subtract_elsewhere.delay(1, 2).id].queue == "cpu"  # its task's own

    at = datetime(2030, 1, 1, tzinfo=UTC)
    tomorrow = subtract.apply_async((1, 2), eta=at, task_id="new-year")
    assert tomorrow.id == "new-year"
    assert jobs["new-year"].scheduled_for == at
    with pytest.raises(QueueNotFound, match="no queue 'gpu'"):
        subtract.apply_async((1, 2), queue="gpu")


def test_a_delayed_one_is_run_when_its_time_has_come(door: Door, work: Start, jobs: Jobs) -> None:
    work()
    due = datetime.now(UTC) + timedelta(seconds=1)
    result = double.apply_async((2,), countdown=1)
    eta = double.apply_async((3,), eta=due)
    assert (result.get(timeout=PATIENCE), eta.get(timeout=PATIENCE)) == (4, 6)
    for each in (result, eta):
        began = jobs[each.id].started_at
        assert began is not None and began >= due


def test_one_that_has_expired_is_revoked_and_never_run(
    door: Door, work: Start, tmp_path: Path
) -> None:
    gone = run_until_told.apply_async((str(tmp_path / "gone"),), expires=0.05)
    past = run_until_told.apply_async(
        (str(tmp_path / "past"),), expires=datetime.now(UTC) + timedelta(seconds=0.05)
    )
    kept = double.apply_async((1,), expires=600)
    time.sleep(0.1)
    work()
    assert kept.get(timeout=PATIENCE) == 2
    for result in (gone, past):
        with pytest.raises(JobCanceled):
            result.get(timeout=PATIENCE)
        assert result.state == "REVOKED"
    assert not list(tmp_path.glob("gone*")) and not list(tmp_path.glob("past*"))


def test_one_of_the_same_id_is_not_a_second_job(door: Door, connection: redis.Redis) -> None:
    for _ in range(2):
        assert subtract.apply_async((5, 3), task_id="order-7").id == "order-7"
    assert Queue("default", connection=connection, serializer="json").get_job_ids() == ["order-7"]


def test_a_unique_task_answers_with_the_job_that_lives(door: Door) -> None:
    assert double_once.delay(1).id == double_once.delay(1).id


def test_a_link_is_run_after_it_with_its_result(door: Door, work: Start) -> None:
    result = double.apply_async((5,), link=[subtract.s(1), subtract.si(1, 2)])
    assert isinstance(result, AsyncResult)
    fails = fail_as.apply_async(("key",), link=double.s())
    assert isinstance(fails, AsyncResult)
    work()
    assert [each.get(timeout=PATIENCE) for each in result.children] == [9, -1]
    assert [each.parent for each in result.children] == [result, result]
    eventually(lambda: fails.children[0].state == "FAILURE")


# Waited for


def test_a_failed_one_raises_what_the_task_raised(door: Door, work: Start) -> None:
    work()
    key = fail_as.delay("key")
    with pytest.raises(KeyError, match="never retried") as raised:
        key.get(timeout=PATIENCE)
    assert "in fail_as" in str(raised.value.__cause__)
    assert (key.state, key.failed(), key.successful()) == ("FAILURE", True, False)
    assert isinstance(key.result, KeyError)
    assert isinstance(key.get(timeout=PATIENCE, propagate=False), KeyError)
    assert "in fail_as" in (AsyncResult[None](key.id).traceback or "")
    with pytest.raises((JobFailed, Exception), match="is not JSON"):
        return_unserializable.delay().get(timeout=PATIENCE)


def test_who_waits_in_vain_is_told_in_time(door: Door, jobs: Jobs) -> None:
    result = double.delay(1)
    with pytest.raises(TimeoutError, match="has not ended within 0.05 s; it goes on"):
        result.get(timeout=0.05)
    with pytest.raises(TimeoutError):
        ResultSet([AsyncResult(result.id)]).get(timeout=0.05)
    assert jobs.status(result.id) == Status.QUEUED


def test_one_that_is_to_be_retried_says_so(door: Door, work: Start, tmp_path: Path) -> None:
    work()
    result = fail_and_log.delay(str(tmp_path / "log"))
    later = try_again_later.delay()
    eventually(lambda: later.state == "RETRY")
    with pytest.raises(ValueError, match="it never works"):
        result.get(timeout=PATIENCE)
    assert AsyncResult[None](result.id).retries == 2


def test_a_job_that_there_is_not_is_told_rather_than_waited_for(door: Door) -> None:
    nobody = AsyncResult[None]("nobody")
    asked: list[Any] = [
        nobody.ready,
        nobody.get,
        nobody.revoke,
        nobody.forget,
        lambda: nobody.state,
        lambda: nobody.result,
        ResultSet([nobody]).ready,
        ResultSet([nobody]).get,
    ]
    for ask in asked:
        with pytest.raises(JobNotFound, match="no job 'nobody'"):
            ask()
    with pytest.raises(BatchNotFound):
        GroupResult.restore("0190d5a5-0000-7000-8000-000000ffffff")


def test_one_that_has_ended_can_be_forgotten(door: Door, work: Start) -> None:
    result = double.delay(1)
    with pytest.raises(StatusConflict, match=r"this one is queued\. revoke"):
        result.forget()
    work()
    assert result.get(timeout=PATIENCE) == 2
    result.forget()
    with pytest.raises(JobNotFound):
        result.ready()


# Revoked


def test_a_queued_one_that_is_revoked_is_not_run(door: Door, work: Start, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    results = [
        run_until_told.delay(str(path)),
        run_until_told.apply_async((str(path),), queue="cpu"),
    ]
    results[0].revoke()
    results[1].revoke(terminate=True)
    last = double.apply_async((1,), queue="mail")
    work()
    assert last.get(timeout=PATIENCE) == 2
    for result in results:
        assert (result.state, result.ready()) == ("REVOKED", True)
        assert isinstance(result.result, JobCanceled)
        with pytest.raises(JobCanceled):
            result.get(timeout=PATIENCE)
    assert lines(path) == []


def test_a_running_one_goes_on_unless_it_is_to_be_terminated(
    door: Door, work: Start, tmp_path: Path, connection: redis.Redis
) -> None:
    path = tmp_path / "runs"
    work()
    result = run_until_told.delay(str(path))
    eventually(lambda: lines(path))
    assert result.state == "STARTED"
    result.revoke()
    assert result.state == "STARTED"
    assert not connection.hexists(f"rq:job:{result.id}", "cancel_requested")
    (tmp_path / "runs.over").touch()
    assert result.get(timeout=PATIENCE) == "told"
    result.revoke(terminate=True)  # which has ended
    assert result.state == "SUCCESS"

    (tmp_path / "runs.over").unlink()
    stopped = run_until_told.delay(str(path))
    eventually(lambda: len(lines(path)) == 2)
    stopped.revoke(terminate=True)
    with pytest.raises(JobCanceled):
        stopped.get(timeout=PATIENCE)
    assert stopped.state == "REVOKED"


def test_no_signal_is_to_be_chosen(door: Door) -> None:
    result = AsyncResult[int](double.delay(1).id)
    for revoke in (result.revoke, ResultSet([result]).revoke):
        with pytest.raises(TypeError, match=r"revoke\(terminate=True\)"):
            revoke(terminate=True, signal="SIGKILL")
    assert result.state == "PENDING"


# Several


def test_a_set_of_results_tells_of_all(door: Door, work: Start) -> None:
    results = ResultSet([AsyncResult[Any](double.delay(n).id) for n in range(3)])
    results.add(AsyncResult(fail_as.delay("key").id))
    results.add(results[3])
    assert (len(results), results.ready(), results.waiting()) == (4, False, True)
    work()
    with pytest.raises(KeyError):
        results.join(timeout=PATIENCE)
    assert [*results.get(timeout=PATIENCE, propagate=False)[:3]] == [0, 2, 4]
    assert (results.ready(), results.successful(), results.failed()) == (True, False, True)
    assert results.completed_count() == 3
    assert [each.state for each in results] == ["SUCCESS"] * 3 + ["FAILURE"]
    results.forget()
    with pytest.raises(JobNotFound):
        results.ready()


def test_a_set_of_results_is_revoked(door: Door, jobs: Jobs) -> None:
    results = ResultSet([AsyncResult[Any](double.delay(n).id) for n in range(3)])
    results.revoke()
    assert [jobs.status(each.id) for each in results] == [Status.CANCELED] * 3


# While Redis is away


@pytest.fixture
def fragile(own: RedisServer, tmp_path: Path, tasks: Catalogue) -> Iterator[RedisServer]:
    settings = Settings(redis_url=own.url, data_dir=tmp_path, tasks=TASKS)
    with standing_in(Door(settings, tasks)):
        yield own


def queued(server: RedisServer) -> list[str]:
    return Queue("default", connection=server.client, serializer="json").get_job_ids()


def test_a_call_is_sent_again_until_redis_is_back_and_is_one_job(fragile: RedisServer) -> None:
    double.delay(0)
    fragile.kill()
    comes_back = threading.Timer(2.5, fragile.start)
    comes_back.start()
    result = double.apply_async((1,), retry_policy=FOR_EVER)  # type: ignore[arg-type]
    comes_back.join()
    assert queued(fragile)[1:] == [result.id]


def test_a_call_that_is_not_to_be_sent_again_raises_at_once(fragile: RedisServer) -> None:
    double.delay(0)
    fragile.kill()
    began = time.monotonic()
    with pytest.raises(RedisAway) as raised:
        double.apply_async((1,), retry=False, retry_policy={"interval_start": 60})
    assert time.monotonic() - began < PATIENCE
    assert raised.value.document()["in_doubt"] is False
    began = time.monotonic()
    with pytest.raises(RedisAway):
        double.apply_async((1,), retry_policy={"max_retries": 2, "interval_start": 1})
    assert time.monotonic() - began >= 2


def test_calls_that_redis_was_lost_amid_become_one_job_each(fragile: RedisServer) -> None:
    stop, called = threading.Event(), list[str]()

    def call_on() -> None:
        while not stop.is_set():
            result = double.apply_async((1,), retry_policy=FOR_EVER)  # type: ignore[arg-type]
            called.append(result.id)

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call_on) for _ in range(8)]
        for kills in range(1, 4):
            eventually(lambda so_far=8 * kills: len(called) > so_far)
            time.sleep(0.3)
            fragile.kill()
            time.sleep(0.3)
            fragile.start()
        stop.set()
        for caller in callers:
            caller.result(PATIENCE)
    assert sorted(queued(fragile)) == sorted(called)


def test_who_waits_for_a_result_does_not_mind_a_redis_that_goes_away(
    fragile: RedisServer,
) -> None:
    result = echo.delay("kept")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(result.get, 60)
        time.sleep(0.3)
        fragile.kill()
        time.sleep(0.5)
        fragile.start()
        result.revoke()
        assert isinstance(waiting.exception(PATIENCE), JobCanceled)
