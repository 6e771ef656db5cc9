"""Jobs submitted by a program's own code, from its loops, threads and forks."""

import asyncio
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from starlette.testclient import TestClient

from jobs import job
from jobs.catalogue import Catalogue
from service.adapters.calls import task_of
from service.adapters.dependencies import BlockingJobsDep, JobsDep
from service.adapters.door import Door, standing_in, the_door
from service.adapters.errors import JobCanceled, JobFailed, JobNotEnded, NotInCatalogue
from service.adapters.jobs import BlockingJobs, Jobs
from service.broker.intake import Options
from service.broker.status import Status
from service.errors import (
    IdempotencyKeyReused,
    JobNotFound,
    OptionsInvalid,
    QueueNotFound,
    RedisAway,
    StatusConflict,
)
from service.settings import Settings
from tests.conftest import RedisServer, eventually
from tests.integration import conftest
from tests.sample_tasks import Color, Point, describe, echo, fail_as, return_unserializable, sleep
from tests.sample_waiting_tasks import double


@job
def declared_elsewhere() -> None:
    """A task that no setting lists."""


@pytest.fixture
def door(redis_url: str, tmp_path: Path, all_tasks: Catalogue) -> Iterator[Door]:
    door = Door(Settings(redis_url=redis_url, data_dir=tmp_path), all_tasks)
    with standing_in(door):
        yield door


def test_a_result_comes_back_in_the_type_that_the_task_declares(
    door: Door, start_all_tasks: Any
) -> None:
    async def main() -> dict[str, str]:
        submitted = await Jobs().submit(describe, 3, color=Color.BLUE, point=Point(1, 2))
        assert await submitted.status() in (Status.QUEUED, Status.RUNNING, Status.FINISHED)
        return await submitted.result(timeout=30)

    start_all_tasks()
    types = asyncio.run(main())
    assert (types["count"], types["color"], types["point"]) == ("int", "Color", "Point")


def test_a_failed_job_raises_its_own_exception(door: Door, start_all_tasks: Any) -> None:
    start_all_tasks()
    jobs = BlockingJobs()
    key, leaves = jobs.submit(fail_as, "key"), jobs.submit(return_unserializable)
    with pytest.raises(KeyError, match="never retried") as raised:
        key.result(30)
    assert "in fail_as" in str(raised.value.__cause__)
    with pytest.raises(Exception, match="is not JSON"):
        leaves.result(30)


def test_a_wait_that_is_over_leaves_the_job_alone(door: Door) -> None:
    jobs = BlockingJobs()
    waits = jobs.submit(echo, 1)
    with pytest.raises(JobNotEnded) as raised:
        waits.result(timeout=0.2)
    assert isinstance(raised.value, TimeoutError) and waits.status() is Status.QUEUED


def test_a_canceled_job_has_no_result_and_can_not_be_canceled_twice(door: Door) -> None:
    waits = BlockingJobs().submit(echo, 1)
    assert waits.cancel()
    with pytest.raises(JobCanceled):
        waits.result(5)
    with pytest.raises(StatusConflict):
        waits.cancel()


def test_a_job_that_failed_can_be_retried_by_its_id_alone(
    door: Door, start_all_tasks: Any, tmp_path: Path
) -> None:
    start_all_tasks()
    failed = BlockingJobs().submit(fail_as, "permanent")
    with pytest.raises(Exception, match="no use"):
        failed.result(30)
    again = BlockingJobs().job(failed.id)
    again.retry()
    eventually(lambda: again.record().attempts == 2 and again.status() is Status.FAILED)


def test_what_has_ended_is_told_whatever_the_time_limit(door: Door) -> None:
    canceled = BlockingJobs().submit(echo, 1)
    canceled.cancel()
    for seconds in (0, 0.0001):
        with pytest.raises(JobCanceled):
            canceled.result(timeout=seconds)


def test_unknown_jobs_are_not_waited_for(door: Door) -> None:
    submitted = BlockingJobs().submit(echo, 1)
    for unknown in ("no-such-job", f"{submitted.id}:dependencies", "rq:x", ""):
        with pytest.raises(JobNotFound):
            BlockingJobs().job(unknown).result()


def test_options_are_those_of_the_api(door: Door, connection: redis.Redis) -> None:
    jobs = BlockingJobs()
    front = jobs.with_options(Options(queue="mail", timeout=7, at_front=True)).submit(echo, 1)
    record = front.record()
    assert record.queue == "mail" and connection.hget(f"rq:job:{front.id}", "timeout") == b"7"
    assert jobs.with_options(Options(delay=60)).submit(echo, 1).status() is Status.SCHEDULED
    with pytest.raises(QueueNotFound):
        jobs.with_options(Options(queue="nowhere")).submit(echo, 1)
    for wrong in ({"delay": -1}, {"timeout": 0}, {"delay": 1, "at": record.enqueued_at}):
        with pytest.raises(OptionsInvalid):
            Options(**wrong)


def test_a_result_is_handed_to_the_job_that_waits_for_it(door: Door, start_all_tasks: Any) -> None:
    start_all_tasks()
    first = BlockingJobs().submit(double, 2)
    then = BlockingJobs().with_options(Options(depends_on=[first.id], result_as="n"))
    assert then.submit(double).result(30) == 8  # type: ignore[call-arg]


def test_one_job_comes_of_all_that_bear_a_key(door: Door) -> None:
    once = BlockingJobs().with_options(Options(idempotency_key="order 17"))
    assert once.submit(echo, 1).id == once.submit(echo, 1).id
    with pytest.raises(IdempotencyKeyReused):
        once.submit(echo, 2)


def test_a_task_that_no_setting_lists_is_refused(door: Door) -> None:
    with pytest.raises(NotInCatalogue, match=f"PADDOCK_TASKS=jobs,{__name__} "):
        BlockingJobs().submit(declared_elsewhere)
    for other in (lambda: 1, print, Path("x").exists):
        with pytest.raises(NotInCatalogue, match="is no task, and can't be one"):
            task_of(other, door)


def test_a_decorator_above_job_is_not_left_out_in_silence(door: Door) -> None:
    @functools.wraps(echo)
    def audited(value: Any) -> Any:
        return echo(value)

    with pytest.raises(NotInCatalogue, match="put `@job` on top"):
        task_of(audited, door)


def test_the_plain_function_of_a_task_stands_for_it(door: Door) -> None:
    assert task_of(echo.function, door) is echo


def test_threads_and_loops_go_through_one_door(door: Door, connection: redis.Redis) -> None:
    def of_its_own_loop(number: int) -> None:
        async def three() -> None:
            await asyncio.gather(*(Jobs().submit(echo, number) for _ in range(3)))

        asyncio.run(three())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(of_its_own_loop, range(16)))
        list(pool.map(lambda number: BlockingJobs().submit(echo, number), range(16)))
    assert connection.llen("rq:queue:default") == 64


def test_waiting_holds_up_nobodys_loop(door: Door) -> None:
    async def main() -> int:
        waits = await Jobs().submit(echo, 1)
        turns = 0
        waiting = asyncio.create_task(waits.result(timeout=1.0))
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert isinstance(waiting.exception(), JobNotEnded)
        return turns

    assert asyncio.run(main()) > 5  # of a hundred; where it was held up, of one or two


def test_a_child_that_was_forked_opens_its_own_door(door: Door, connection: redis.Redis) -> None:
    BlockingJobs().submit(echo, "parent")
    pid = os.fork()
    if pid == 0:
        try:
            BlockingJobs().submit(echo, "child")
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    BlockingJobs().submit(echo, "parent again")
    assert connection.llen("rq:queue:default") == 3


def test_a_door_that_was_closed_opens_again_when_it_is_used(door: Door) -> None:
    threads = set(threading.enumerate())
    BlockingJobs().submit(echo, 1)
    assert set(threading.enumerate()) - threads
    door.close()
    eventually(lambda: not set(threading.enumerate()) - threads)
    assert BlockingJobs().submit(echo, 1).status() is Status.QUEUED


def test_a_wait_outlasts_redis(
    own: RedisServer, all_tasks: Catalogue, tmp_path: Path, start: Any
) -> None:
    settings = Settings(redis_url=own.url, data_dir=tmp_path)
    with standing_in(Door(settings, all_tasks)) as door:
        submitted = BlockingJobs().submit(echo, "kept")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(submitted.result, 60)
            time.sleep(0.3)
            own.kill()
            with pytest.raises(RedisAway):
                BlockingJobs().submit(echo, "not taken")
            own.start()
            start(
                *(sys.executable, "worker.py", "--burst"),
                PADDOCK_REDIS_URL=own.url,
                PADDOCK_TASKS=",".join(conftest.ALL_TASKS),
            )
            assert waiting.result(60) == "kept"
        assert the_door().catalogue is door.catalogue


def test_endpoints_are_given_jobs(door: Door, connection: redis.Redis) -> None:
    app = FastAPI()

    @app.post("/async")
    async def submit(jobs: JobsDep) -> str:
        return (await jobs.submit(echo, 1)).id

    @app.post("/sync")
    def submit_blocking(jobs: BlockingJobsDep) -> str:
        return jobs.submit(sleep, seconds=1).id

    with TestClient(app) as client:
        ids = [client.post(path).json() for path in ("/async", "/sync")]
    assert [BlockingJobs().job(each).record().task for each in ids] == ["echo", "sleep"]


def test_job_failed_tells_of_what_can_not_be_raised(door: Door, start_all_tasks: Any) -> None:
    start_all_tasks()
    with pytest.raises(JobFailed) as raised:
        BlockingJobs().submit(fail_as, "exit").result(30)
    assert (raised.value.type, raised.value.message) == ("SystemExit", "3")
