"""Jobs followed from a shell: nothing missed, nothing told twice, also when Redis was away."""

import json
import threading
import time

import pytest
import redis

from jobs.catalogue import Catalogue
from service.broker.log_tail import LogTail
from service.broker.status import Status
from service.cli.following import moves, sights
from service.cli.terminal import printable
from service.errors import JobNotFound
from tests.conftest import RedisServer
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

ENTRIES = 300


def write(client: redis.Redis, job_id: str, text: str) -> None:
    """As a worker's script does."""
    key = f"rq:job:{job_id}"
    entry = {"event": "log", "lines": [[time.time(), "stdout", None, text]]}
    with client.pipeline() as pipe:
        pipe.rpush(f"{key}:journal", f"1 {json.dumps(entry)}")
        pipe.hincrby(key, "journal_end", 1)
        pipe.execute()


def test_each_line_is_read_once_however_fast_they_come(jobs: Jobs, connection: redis.Redis) -> None:
    job_id = jobs.submit("echo")
    write(connection, job_id, "0")
    tail, read = LogTail(connection, job_id), list[str]()

    def write_all() -> None:
        with redis.Redis(connection_pool=jobs.broker.client.connection_pool) as own:
            for number in range(1, ENTRIES):
                write(own, job_id, str(number))

    writer = threading.Thread(target=write_all)
    writer.start()
    while len(read) < ENTRIES and (writer.is_alive() or len(read) == 0):
        read += [line.text for line in tail.read()]
    writer.join()
    read += [line.text for line in tail.read()]
    assert read == [str(number) for number in range(ENTRIES)]


def test_lines_that_were_dropped_before_they_were_read_are_passed_over(
    jobs: Jobs, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo")
    tail = LogTail(connection, job_id)
    for number in range(4):
        write(connection, job_id, str(number))
    connection.ltrim(f"rq:job:{job_id}:journal", 2, -1)
    assert [line.text for line in tail.read()] == ["2", "3"]
    assert tail.read() == []


def test_a_job_is_followed_through_a_restart_of_redis(
    own: RedisServer, all_tasks: Catalogue
) -> None:
    jobs = Jobs(own.url, all_tasks)
    hand = ByHand(own.client, "default")
    job_id = jobs.submit("echo")
    following = sights(jobs.broker, job_id)
    assert next(following).job.status == Status.QUEUED
    claim = hand.claim()
    own.kill()
    while not (seen := next(following)).fault:
        pass
    assert "Redis does not answer" in seen.fault
    own.start()
    write(own.client, job_id, "after")
    assert hand.settle(claim)
    rest = list(following)
    assert [line.text for seen in rest for line in seen.lines] == ["after"]
    assert (rest[-1].job.status, rest[-1].fault) == (Status.FINISHED, "")
    jobs.close()


def test_changes_are_told_again_after_a_restart_of_redis(
    own: RedisServer, all_tasks: Catalogue
) -> None:
    jobs = Jobs(own.url, all_tasks)
    following = moves(jobs.broker.client)
    assert next(following) == []
    own.kill()
    while not isinstance(next(following), str):
        pass
    own.start()
    while isinstance(next(following), str):
        pass
    job_id = jobs.submit("echo")
    while not (told := next(following)):
        pass
    (move,) = told
    assert (move.id, move.status, move.queue, move.task) == (
        *(job_id, Status.QUEUED),
        *("default", "echo"),
    )
    jobs.close()


def test_what_is_no_message_of_ours_is_passed_over(jobs: Jobs, connection: redis.Redis) -> None:
    following = moves(jobs.broker.client)
    next(following)
    for nonsense in ("", "{}", "[]", '{"id": 1, "status": "new", "queue": "a"}', b"\xff"):
        connection.publish("paddock:jobs", nonsense)
    job_id = jobs.submit("echo")
    while not (told := next(following)):
        pass
    assert [move.id for move in told] == [job_id]


def test_a_job_that_is_deleted_meanwhile_is_gone(jobs: Jobs) -> None:
    job_id = jobs.submit("echo")
    following = sights(jobs.broker, job_id)
    next(following)
    jobs.broker.actions.delete(job_id)
    with pytest.raises(JobNotFound):
        list(following)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07ü\ttab", "red ü\ttab"),
        ("\x1b[2J\x1b[Hcleared\r\n\x07\x9b1A", "cleared1A"),
        ("\x1b", ""),
    ],
)
def test_what_would_do_anything_to_a_terminal_is_not_shown(written: str, shown: str) -> None:
    assert printable(written) == shown
