"""What is counted of jobs, over time."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from service.broker.history import SPANS, Counts, Slot, Span, Total, quantile
from service.execution.outcome import Kind
from service.history import BOUNDS, LATEST, MINUTE
from tests.conftest import Start
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

OUTCOMES = ("finished", "failed", "canceled", "retried")


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def outcomes(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in OUTCOMES if getattr(counts, name)}


def told(jobs: Jobs) -> dict[str, dict[str, int]]:
    """By task, what is counted since ever."""
    return {str(total.task): outcomes(total) for total in jobs.broker.history.totals()}


def total_of(jobs: Jobs, task: str) -> Total:
    (found,) = (total for total in jobs.broker.history.totals() if total.task == task)
    return found


def summed(slots: list[Slot]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for slot in slots:
        counted.update(outcomes(slot))
    return counted


def make_older(connection: redis.Redis, minutes: int) -> None:
    """Have the latest minute of each task have been so long ago."""
    for pair, text in connection.hgetall(LATEST).items():
        earlier = re.sub(rb"%s(\d+)" % MINUTE.encode(), lambda at: _less(at, minutes), text)
        assert earlier != text
        connection.hset(LATEST, pair, earlier)


def _less(at: re.Match[bytes], minutes: int) -> bytes:
    return b"%s%d" % (MINUTE.encode(), int(at[1]) - minutes)


# What is counted


def test_each_end_is_counted_as_what_it_was(jobs: Jobs, hand: ByHand) -> None:
    for _ in range(2):
        jobs.submit("sleep", seconds=0)
        hand.run_one()
    jobs.submit("echo", value=1)
    jobs.submit("append_line", path="x", line="y")
    hand.fail_one()
    hand.run_one(b"", Kind.PUT_BACK)
    hand.run_one(b"", Kind.CANCELED)
    assert told(jobs) == {
        "sleep": {"finished": 2},
        "echo": {"failed": 1},
        "append_line": {"canceled": 1, "retried": 1},
    }
    queues = {total.queue for total in jobs.broker.history.totals()}
    assert queues == {"default"}


def test_a_death_is_counted_as_a_retry_until_it_is_one_too_many(jobs: Jobs, hand: ByHand) -> None:
    jobs.submit("echo", value=1)
    for _ in range(3):
        assert hand.run_one(b"", Kind.DIED)
    total = total_of(jobs, "echo")
    assert outcomes(total) == {"retried": 2, "failed": 1}
    assert sum(total.runs) == sum(total.waits) == 3


def test_jobs_that_never_ran_are_counted_and_have_no_duration(jobs: Jobs, hand: ByHand) -> None:
    first = jobs.submit("echo", value=1)
    jobs.submit("sleep", seconds=0, depends_on=(first,))
    canceled = jobs.submit("append_line", path="x", line="y")
    jobs.broker.actions.cancel(canceled)
    hand.fail_one()
    assert told(jobs) == {
        "echo": {"failed": 1},
        "sleep": {"failed": 1},
        "append_line": {"canceled": 1},
    }
    for task in ("sleep", "append_line"):
        assert total_of(jobs, task).runs == total_of(jobs, task).waits == []


def test_an_end_that_is_told_twice_is_counted_once(jobs: Jobs, hand: ByHand) -> None:
    jobs.submit("echo", value=1)
    claim = hand.claim()
    assert claim is not None
    assert hand.settle(claim) and not hand.settle(claim)
    assert told(jobs) == {"echo": {"finished": 1}}


def test_durations_and_waits_of_real_workers_are_counted_for_each_execution(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    wanted = [
        jobs.submit("sleep", seconds=0.3),
        jobs.submit("succeed_at", attempt=3, path=str(tmp_path / "a")),
        jobs.submit("kill_own_process", times=1, path=str(tmp_path / "b")),
        jobs.submit("ignore_timeout"),
    ]
    start_all_tasks(PADDOCK_TIMEOUT_GRACE="0")
    for job_id in wanted:
        jobs.ended(job_id)
    running = jobs.submit("sleep", seconds=50)
    jobs.await_status(running, "running")
    jobs.broker.actions.cancel(running)
    jobs.ended(running)
    assert told(jobs) == {
        "sleep": {"finished": 1, "canceled": 1},
        "succeed_at": {"finished": 1, "retried": 2},
        "kill_own_process": {"finished": 1, "retried": 1},
        "ignore_timeout": {"failed": 1},
    }
    for task, executions in (("sleep", 2), ("succeed_at", 3), ("kill_own_process", 2)):
        total = total_of(jobs, task)
        assert sum(total.runs) == sum(total.waits) == executions
    overdue = total_of(jobs, "ignore_timeout")
    assert 1 <= overdue.run_seconds < 30 and overdue.runs[BOUNDS.index(1.0)] == 0
    # Those that came first had the others wait.
    assert overdue.wait_seconds >= 0.3


def test_io_workers_count_what_they_run(jobs: Jobs, start_io: Start) -> None:
    ids = jobs.submit_many("echo_async", [{"value": n, "queue": "io"} for n in range(5)])
    start_io()
    for job_id in ids:
        jobs.ended(job_id)
    total = total_of(jobs, "echo_async")
    assert (total.queue, outcomes(total), sum(total.waits)) == ("io", {"finished": 5}, 5)


@pytest.mark.parametrize("text", ["rubbish", "s1s2", "t", "s999999999999999999999999999999"])
def test_a_damaged_history_keeps_no_job_from_ending(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, text: str
) -> None:
    connection.hset(LATEST, "echo default", text)
    job_id = jobs.submit("echo", value=1)
    hand.run_one()
    assert jobs[job_id].status == "finished"
    assert jobs.broker.history.totals()
    connection.delete(LATEST)
    connection.set(LATEST, text)
    job_id = jobs.submit("echo", value=1)
    hand.run_one()
    assert jobs[job_id].status == "finished"


# How it is told


def test_minutes_become_hours_and_totals_and_nothing_is_counted_twice(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    history = jobs.broker.history
    for minutes in (3000, 100, 30, 2):
        jobs.submit("echo", value=1)
        hand.run_one()
        make_older(connection, minutes)
    jobs.submit("echo", value=1)
    hand.fail_one()

    wanted: dict[Span, dict[str, int]] = {
        "hour": {"finished": 2, "failed": 1},
        "day": {"finished": 3, "failed": 1},
        "month": {"finished": 4, "failed": 1},
    }
    for span, counted in wanted.items():
        for kind, name in (("task", "echo"), ("queue", "default"), (None, "")):
            slots = history.series(kind, name, span)
            assert summed(slots) == counted
            assert sum(sum(slot.runs) for slot in slots) == sum(counted.values())
        assert not summed(history.series("task", "other", span))
    assert outcomes(total_of(jobs, "echo")) == {"finished": 4, "failed": 1}


def test_slots_follow_each_other_up_to_now(jobs: Jobs, hand: ByHand) -> None:
    jobs.submit("echo", value=1)
    hand.run_one()
    for span, (seconds, count) in SPANS.items():
        slots = jobs.broker.history.series("task", "echo", span)
        assert len(slots) == count
        steps = {after.at - slot.at for slot, after in zip(slots, slots[1:], strict=False)}
        assert steps == {timedelta(seconds=seconds)}
        assert sum(slot.finished for slot in slots[-2:]) == 1


def test_what_is_kept_by_minute_and_by_hour_expires(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    for _ in range(2):
        jobs.submit("echo", value=1)
        hand.run_one()
        make_older(connection, 1)
    ttls = {
        key.split(b":")[2]: connection.ttl(key) / 3600
        for key in connection.scan_iter("paddock:history:*:*")
    }
    assert 24 < ttls[b"minutes"] <= 25 and 31 * 24 < ttls[b"hours"] <= 32 * 24


def test_throughput_is_of_the_last_minutes(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    for minutes in (10, 2):
        jobs.submit_many("echo", [{"value": n} for n in range(4)])
        for _ in range(4):
            hand.run_one()
        make_older(connection, minutes)
    assert 4 / 6 <= jobs.broker.history.throughput()["default"] <= 4 / 5


def test_a_share_of_a_histogram_is_estimated_within_its_bucket() -> None:
    histogram = [0] * (len(BOUNDS) + 1)
    assert quantile(histogram, 0.5) is quantile([], 0.5) is None
    histogram[BOUNDS.index(1.0)] = 10
    assert quantile(histogram, 0.5) == 0.75 and quantile(histogram, 1) == 1.0
    histogram[-1] = 30
    assert quantile(histogram, 0.95) == BOUNDS[-1]


def test_history_over_http(jobs: Jobs, hand: ByHand, api: TestClient) -> None:
    jobs.submit("echo", value=1)
    hand.run_one()
    told = api.get("/history?task=echo").json()
    assert (told["span"], told["seconds"], len(told["slots"])) == ("hour", 60, 60)
    assert sum(slot["finished"] for slot in told["slots"]) == 1
    (slot,) = (slot for slot in told["slots"] if slot["runs"])
    assert len(slot["runs"]) == len(slot["waits"]) == len(told["bounds"]) + 1
    assert len(api.get("/history?queue=default&span=month").json()["slots"]) == 720
    assert sum(slot["finished"] for slot in api.get("/history").json()["slots"]) == 1
    for query in ("task=echo&queue=default", "span=year"):
        refused = api.get(f"/history?{query}")
        assert refused.status_code == 422 and refused.json()["type"].endswith("invalid-options")
