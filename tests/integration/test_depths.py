"""How many jobs waited on each queue, minute by minute."""

import time

import redis
from rq import Queue

from service.broker.depths import MINUTES
from service.depths import MINUTES_KEPT, depths_key
from service.execution.scheduler import Scheduler
from tests.conftest import Start, eventually
from tests.integration.conftest import Jobs


def look(connection: redis.Redis, *queues: str) -> None:
    """As a scheduler does every few seconds."""
    Scheduler([Queue(name, connection) for name in queues], connection).move_once()


def test_the_most_that_waited_stands_for_the_minute(jobs: Jobs, connection: redis.Redis) -> None:
    while time.time() % 60 > 50:  # both looks are to be in one minute
        time.sleep(0.1)
    jobs.submit_many("echo", [{"value": 1}] * 3)
    look(connection, "default", "cpu")
    connection.delete("rq:queue:default")
    look(connection, "default", "cpu")
    found = jobs.broker.depths.lately(["default", "cpu", "mail"])
    assert {queue: depths[-1].jobs for queue, depths in found.items()} == {
        "default": 3,
        "cpu": 0,
        "mail": None,  # at which nobody looked
    }
    assert {len(depths) for depths in found.values()} == {MINUTES}
    assert all(depth.jobs is None for depth in found["default"][:-1])


def test_it_is_noted_of_queues_that_no_worker_serves_as_well(
    jobs: Jobs, connection: redis.Redis
) -> None:
    jobs.submit_many("echo", [{"value": 1}] * 3)
    look(connection, "cpu")
    assert 3 in [depth.jobs for depth in jobs.broker.depths.lately(["default"])["default"]]


def test_what_is_noted_is_kept_for_two_hours(jobs: Jobs, connection: redis.Redis) -> None:
    look(connection, "default")
    (key,) = connection.keys(depths_key(0, "default").replace(":0:", ":*:"))
    assert MINUTES_KEPT - 60 <= connection.ttl(key) <= MINUTES_KEPT


def test_a_worker_has_it_noted(jobs: Jobs, start_all_tasks: Start) -> None:
    start_all_tasks("--queues", "cpu")
    eventually(lambda: jobs.broker.depths.lately(["cpu"])["cpu"][-1].jobs == 0)
