"""No more jobs at once than a task allows, wherever they run; and none of them waits for ever."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import redis
from rq import Queue, RateLimit
from rq.rate_limit import RateLimitRegistry

from service.broker.status import Status
from service.errors import StatusConflict
from service.execution.outcome import Kind
from service.execution.recovery import Recovery
from service.execution.scheduler import Scheduler
from tests.conftest import ROOT, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_chaos import descendants
from tests.integration.test_worker import lines

SEED = 20261124
LONGEST = 120.0  # seconds; a bound for hangs


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def places(connection: redis.Redis, key: str) -> tuple[int, int]:
    """Held, and waited for."""
    return connection.zcard(f"rq:rl:{key}:allowed"), connection.zcard(f"rq:rl:{key}:rate_limited")


# Real workers


@pytest.mark.timeout(LONGEST + 60)
def test_never_more_at_once_than_allowed_whatever_is_killed(
    jobs: Jobs, start: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    many = [{"folder": str(tmp_path), "seconds": chance.choice([0, 0.02, 0.1])} for _ in range(60)]
    ids = jobs.submit_many("two_at_once", many)
    ids += jobs.submit_many("two_at_once", many[:20], delay=1)
    connection.eval(
        "for _, id in ipairs(ARGV) do redis.call('HSET', 'rq:job:' .. id, 'max_crashes', 1000) end",
        0,
        *ids,
    )
    supervisor = start(
        *(sys.executable, "-m", "service.cli", "work", "--count", "4"),
        PADDOCK_TASKS=",".join(ALL_TASKS),
    )
    killed: Counter[str] = Counter()
    calm = threading.Event()

    def kill_at_random() -> None:
        while not calm.wait(chance.uniform(0.1, 0.8)):
            if victims := descendants(supervisor.pid):
                try:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    killed["process"] += 1
                except ProcessLookupError:
                    continue

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    try:
        eventually(lambda: connection.zcard("rq:finished:default") >= 60, LONGEST)
    finally:
        calm.set()
        killer.join()
    eventually(lambda: connection.zcard("rq:finished:default") == 80, LONGEST)
    seen = [int(line) for line in lines(tmp_path / "beside")]
    assert max(seen) <= 2, Counter(seen)
    assert len(seen) >= 80
    assert killed["process"]
    assert places(connection, "two_at_once") == (0, 0)


def test_a_tenant_with_many_jobs_does_not_hold_up_another(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    hundred = [{"folder": str(tmp_path), "tenant": "a"} for _ in range(100)]
    ids = jobs.submit_many("one_a_tenant", hundred)
    other = jobs.submit("one_a_tenant", folder=str(tmp_path), tenant="b")
    assert places(connection, "one_a_tenant/a") == (1, 99)
    for _ in range(2):
        start_all_tasks()
    for job_id in ids:
        assert jobs.ended(job_id, 60).result == 0
    begun = jobs.ended(other).started_at  # when it was taken, however slow its process was then
    assert jobs.status(other) == Status.FINISHED
    assert sum(jobs[job_id].started_at < begun for job_id in ids) <= 5
    assert places(connection, "one_a_tenant/a") == (0, 0)


def test_a_full_limit_does_not_hold_up_jobs_behind_it(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    slow = jobs.submit("one_a_tenant", folder=str(tmp_path), tenant="a", seconds=30)
    for _ in range(3):
        jobs.submit("one_a_tenant", folder=str(tmp_path), tenant="a")
    other = jobs.submit("echo", value=1)
    start_all_tasks()
    start_all_tasks()
    assert jobs.ended(other).result == 1
    assert jobs.status(slow) == Status.RUNNING


def test_stock_workers_honour_the_limit(
    jobs: Jobs, connection: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    many = [{"folder": str(tmp_path), "tenant": "a"} for _ in range(6)]
    ids = jobs.submit_many("one_a_tenant", many)
    rq = str(Path(sys.executable).parent / "rq")
    workers = [
        subprocess.Popen(
            [rq, "worker", "-S", "json", "-u", redis_url, "--max-jobs", "3", "default"],
            cwd=ROOT,
            env=os.environ | {"PADDOCK_TASKS": ",".join(ALL_TASKS)},
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    try:
        assert [jobs.ended(job_id, 60).result for job_id in ids] == [0] * 6
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_retry_gives_up_its_place_while_it_waits_for_its_time(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    fails = jobs.submit("one_that_fails", path=str(tmp_path / "fails"))
    (tmp_path / "fine").write_text("xx")
    fine = jobs.submit("one_that_fails", path=str(tmp_path / "fine"))
    start_all_tasks()
    assert jobs.ended(fails).result == 3
    assert jobs[fine].result == 3
    assert jobs[fine].ended_at < jobs[fails].ended_at
    assert places(connection, "one_that_fails") == (0, 0)


# Step by step


def test_one_waits_until_a_place_is_free_first_come_first_served(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    ids = jobs.submit_many("two_at_once", [{"folder": ""} for _ in range(5)])
    assert [jobs.status(one) for one in ids] == [Status.QUEUED] * 2 + [Status.WAITING] * 3
    assert jobs[ids[2]].waiting_for == "concurrency"
    first, second = hand.claim(), hand.claim()
    assert hand.claim() is None
    assert hand.settle(second)
    assert [jobs.status(one) for one in ids[2:]] == [
        Status.QUEUED,
        Status.WAITING,
        Status.WAITING,
    ]
    assert hand.settle(first, b"builtins.ValueError: x", Kind.RAISED)
    assert [hand.run_one() for _ in range(4)] == [*ids[2:], None]
    assert places(connection, "two_at_once") == (0, 0)


def test_an_end_that_is_told_again_frees_no_second_place(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    jobs.submit_many("two_at_once", [{"folder": ""} for _ in range(5)])
    claim = hand.claim()
    call = hand.settler.call(hand.ended(claim, b"1", Kind.RETURNED))
    assert (call.run(), call.run()) == (1, 0)
    assert places(connection, "two_at_once") == (2, 2)


@pytest.mark.parametrize("crashes", [1, 3])
def test_the_place_of_a_killed_worker_is_kept_for_its_job_or_freed_with_it(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, crashes: int
) -> None:
    first, second = (jobs.submit("one_a_tenant", folder="", tenant="a") for _ in range(2))
    for _ in range(crashes):
        assert hand.claim().job_id == first
        assert hand.claim() is None
        connection.delete("rq:worker:by-hand")
        Recovery(connection).recover(hand.queues)
    assert places(connection, "one_a_tenant/a") == ((1, 1) if crashes == 1 else (1, 0))
    assert hand.run_one() == (first if crashes == 1 else second)


def test_canceling_and_deleting_free_places(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    ids = jobs.submit_many("one_a_tenant", [{"folder": "", "tenant": "a"} for _ in range(6)])
    actions = jobs.broker.actions
    actions.cancel(ids[1])  # waits
    actions.cancel(ids[0])  # is queued
    assert jobs.status(ids[2]) == Status.QUEUED
    actions.delete(ids[3])  # waits
    actions.delete(ids[2])  # is queued
    assert (hand.claim().job_id, hand.claim()) == (ids[4], None)
    assert not actions.cancel(ids[4])  # runs
    with pytest.raises(StatusConflict):
        actions.delete(ids[4])
    assert places(connection, "one_a_tenant/a") == (1, 1)
    connection.delete("rq:worker:by-hand")
    Recovery(connection).recover(hand.queues)
    assert jobs.status(ids[4]) == Status.CANCELED
    assert (hand.run_one(), hand.run_one()) == (ids[5], None)
    assert places(connection, "one_a_tenant/a") == (0, 0)


def test_a_limit_that_nobody_uses_is_not_kept(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    jobs.submit_many("one_a_tenant", [{"folder": "", "tenant": "a"} for _ in range(2)])
    assert hand.run_one()
    assert connection.keys("rq:rl*")
    assert hand.run_one()
    assert connection.keys("rq:rl*") == []
    jobs.submit("one_a_tenant", folder="", tenant="a")
    assert places(connection, "one_a_tenant/a") == (1, 0)


def test_delayed_jobs_and_retries_wait_for_a_place(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    ids = jobs.submit_many("one_a_tenant", [{"folder": "", "tenant": "a"}] * 2, delay=0.01)
    scheduler = Scheduler(hand.queues, connection)
    eventually(lambda: scheduler.move_once() or places(connection, "one_a_tenant/a") == (1, 1))
    assert hand.fail_one() in ids
    assert hand.fail_one() in ids
    for job_id in ids:
        jobs.broker.actions.retry(job_id)
    assert places(connection, "one_a_tenant/a") == (1, 1)
    assert [hand.run_one(), hand.run_one(), hand.run_one()] == [*ids, None]


def test_dependents_wait_for_a_place_too(jobs: Jobs, hand: ByHand, connection: redis.Redis) -> None:
    root = jobs.submit("echo")
    many = [{"folder": "", "tenant": "a", "depends_on": (root,)} for _ in range(3)]
    ids = jobs.submit_many("one_a_tenant", many)
    assert places(connection, "one_a_tenant/a") == (0, 0)
    assert hand.run_one() == root
    assert places(connection, "one_a_tenant/a") == (1, 2)
    assert sorted(str(hand.run_one()) for _ in range(3)) == sorted(ids)


def test_one_that_another_program_put_on_the_queue_waits_for_its_place(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    first, second = (jobs.submit("one_a_tenant", folder="", tenant="a") for _ in range(2))
    assert hand.claim().job_id == first
    hand.queues[0].push_job_id(second)
    assert hand.claim() is None
    assert jobs.status(second) == Status.WAITING


def test_many_that_were_put_on_the_queue_without_places_run_in_order(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    ids = jobs.submit_many("two_at_once", [{"folder": ""} for _ in range(8)])
    connection.delete("rq:queue:default", *connection.keys("rq:rl*"))
    for job_id in ids:
        connection.hset(f"rq:job:{job_id}", "status", "queued")
        hand.queues[0].push_job_id(job_id)
    first, second = hand.claim(), hand.claim()
    assert ([first.job_id, second.job_id], hand.claim()) == (ids[:2], None)
    assert places(connection, "two_at_once") == (2, 6)
    assert hand.settle(first)
    assert hand.settle(second)
    assert [hand.run_one() for _ in range(7)] == [*sorted(ids[2:]), None]


def test_rqs_own_limited_jobs_and_ours_share_their_limit(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    ours = jobs.submit("one_a_tenant", folder="", tenant="a")
    queue = Queue("default", connection=connection, serializer="json")
    limit = RateLimit("one_a_tenant/a", 1)
    theirs = queue.enqueue("tests.sample_tasks.echo", rate_limit=limit)
    assert theirs.get_status() == "rate_limited"
    assert [hand.run_one() for _ in range(3)] == [ours, theirs.id, None]
    RateLimitRegistry("one_a_tenant/a", connection).cleanup()
    assert not [*connection.scan_iter("rq:rl*")]


def test_waiting_jobs_are_listed(jobs: Jobs) -> None:
    from service.broker.listing import JobFilter

    ids = jobs.submit_many("one_a_tenant", [{"folder": "", "tenant": "a"}] * 3)
    page = jobs.broker.listing.page(JobFilter(status=Status.WAITING), None, 10)
    assert [job.id for job in page.jobs] == sorted(ids[1:], reverse=True)
