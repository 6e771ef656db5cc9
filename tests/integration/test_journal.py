"""What is written down of a job for those who watch it."""

import json
from typing import Any

import pytest
import redis

from service.execution.outcome import Kind
from service.journal import JOBS_CHANNEL, JOURNAL, JOURNAL_SUFFIX, MOST_BYTES, MOST_LINES
from tests.conftest import PATIENCE
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

LINES_EACH = 300  # of the entries that tests write


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def entries(connection: redis.Redis, job_id: str) -> list[dict[str, Any]]:
    found = connection.lrange(f"rq:job:{job_id}{JOURNAL_SUFFIX}", 0, -1)
    return [json.loads(entry.partition(b" ")[2]) for entry in found]


def statuses(connection: redis.Redis, job_id: str) -> list[str]:
    return [entry["status"] for entry in entries(connection, job_id)]


def write(connection: redis.Redis, job_id: str, text: str, lines: int, times: int) -> None:
    """Entries of a log, as a worker's script writes them."""
    script = connection.register_script(
        JOURNAL + "for _ = 1, ARGV[4] do journal(KEYS[1], ARGV[1], ARGV[2], ARGV[3] + 0) end"
    )
    script(keys=[f"rq:job:{job_id}"], args=[job_id, json.dumps(text), lines, times])


def test_each_change_of_status_is_an_entry_in_its_order(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    assert entries(connection, job_id) == []
    hand.fail_one()
    jobs.broker.actions.retry(job_id)
    hand.run_one()
    assert statuses(connection, job_id) == ["started", "failed", "queued", "started", "finished"]
    first, *_, last = entries(connection, job_id)
    assert (first["attempt"], first["worker"], last["attempt"]) == (1, "by-hand", 2)
    assert first["at"] < last["at"]
    assert connection.hget(f"rq:job:{job_id}", "journal_end") == b"5"


def test_a_job_that_waits_for_another_is_told_of_once_for_each_status(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    first = jobs.submit("sleep", seconds=0)
    second = jobs.submit("sleep", seconds=0, depends_on=(first,))
    hand.run_one()
    assert statuses(connection, second) == ["deferred", "queued"]


def test_a_job_that_is_given_a_place_at_once_never_waited_for_one(
    jobs: Jobs, hand: ByHand, connection: redis.Redis, tmp_path: Any
) -> None:
    job_id = jobs.submit("two_at_once", folder=str(tmp_path))
    assert statuses(connection, job_id) == ["queued"]


def test_a_journal_that_somebody_else_has_spoilt_keeps_no_job_from_its_end(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    connection.set(f"rq:job:{job_id}{JOURNAL_SUFFIX}", "no list")
    assert hand.run_one() == job_id
    assert jobs[job_id].result == 1 and connection.zcard("rq:wip:default") == 0


def test_a_journal_is_kept_as_long_as_its_job(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    finished, failed, canceled = (jobs.submit("sleep", seconds=0) for _ in range(3))
    hand.run_one()
    hand.run_one(b"builtins.ValueError: no", Kind.RAISED)
    jobs.broker.actions.cancel(canceled)
    for job_id in (finished, failed, canceled):
        key = f"rq:job:{job_id}"
        kept = connection.ttl(key)  # some seconds before the other is looked at, maybe
        assert connection.ttl(key + JOURNAL_SUFFIX) == pytest.approx(kept, abs=30) and kept > 3600
    jobs.broker.actions.delete(finished)
    assert not connection.exists(f"rq:job:{finished}{JOURNAL_SUFFIX}")


@pytest.mark.parametrize(
    ("text", "lines"), [("x", LINES_EACH), ("x" * 2000, 1)], ids=["lines", "bytes"]
)
def test_of_a_long_log_the_end_is_kept(
    jobs: Jobs, connection: redis.Redis, text: str, lines: int
) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    write(connection, job_id, text, lines, times=1000)
    kept = connection.lrange(f"rq:job:{job_id}{JOURNAL_SUFFIX}", 0, -1)
    size, held = sum(map(len, kept)), lines * len(kept)
    assert MOST_LINES <= held < MOST_LINES + lines or MOST_BYTES <= size < MOST_BYTES + len(kept[0])
    fields = ("journal_end", "journal_lines", "journal_bytes")
    assert connection.hmget(f"rq:job:{job_id}", fields) == [b"1000", b"%d" % held, b"%d" % size]


def test_those_who_watch_hear_of_the_job_and_of_the_service(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    with connection.pubsub(ignore_subscribe_messages=True) as heard:
        heard.psubscribe("paddock:*")
        heard.get_message(timeout=PATIENCE)
        job_id = jobs.submit("sleep", seconds=0)
        hand.run_one()
        messages = [heard.get_message(timeout=PATIENCE) for _ in range(5)]
    told = [json.loads(each["data"]) for each in messages if each["channel"] == b"paddock:jobs"]
    assert JOBS_CHANNEL == "paddock:jobs"
    each = {"id": job_id, "queue": "default", "task": "sleep"}
    assert told == [each | {"status": status} for status in ("queued", "started", "finished")]
    others = [each["channel"] for each in messages if each["channel"] != b"paddock:jobs"]
    assert others == [f"paddock:job:{job_id}".encode()] * 2
