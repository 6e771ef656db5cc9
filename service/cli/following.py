"""What becomes of jobs, seen from a shell: look by look, at once where Redis tells of a change.

Each command has one process and one subscription of its own. Redis may be away meanwhile.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import redis
from redis.exceptions import RedisError

from service.broker.broker import Broker
from service.broker.entries import LogLine
from service.broker.log_tail import LogTail
from service.broker.records import JobRecord
from service.broker.status import Status, read_status
from service.journal import JOB_CHANNEL, JOBS_CHANNEL

LOOK_INTERVAL = 0.5  # seconds between looks at what nobody told of
PAUSE = 1.0  # seconds between tries where Redis is away


@dataclass(frozen=True, slots=True)
class Sight:
    """A job as it was seen."""

    job: JobRecord
    lines: list[LogLine]  #: that came to its log since it was seen before
    fault: str = ""  #: why it can't be seen now


def sights(broker: Broker, job_id: str) -> Iterator[Sight]:
    """The job now and at each change, to its end; the whole log that is kept comes with the first.

    Raises `JobNotFound`, also where it is deleted meanwhile; and at first `redis.RedisError`.
    """
    tail = LogTail(broker.client, job_id)
    with _subscribed(broker.client, JOB_CHANNEL + job_id) as changed:
        seen = Sight(broker.job(job_id), tail.read())
        yield seen
        while not seen.job.status.is_final:
            try:
                changed(LOOK_INTERVAL)
                # In this order, so that nothing is missing of the log of one that has ended.
                seen = Sight(broker.job(job_id), tail.read())
            except RedisError as error:
                seen = replace(seen, lines=[], fault=f"Redis does not answer: {error}")
                time.sleep(PAUSE)
            yield seen


@dataclass(frozen=True, slots=True)
class Move:
    """A job that came to a status."""

    id: str
    at: datetime
    status: Status
    queue: str
    task: str | None


def moves(client: "redis.Redis") -> Iterator[list[Move] | str]:
    """The changes of all jobs, those together that came meanwhile; none where there were none.

    A text instead tells why they can't be seen; what happened then is not told afterwards.
    Raises `redis.RedisError` at first.
    """
    client.ping()
    with _subscribed(client, JOBS_CHANNEL) as changed:
        while True:
            try:
                told = [changed(LOOK_INTERVAL)]
                while told[-1] is not None and len(told) < 1_000:
                    told.append(changed(0))
                yield [move for message in told if (move := _move(message)) is not None]
            except RedisError as error:
                yield f"Redis does not answer: {error}"
                time.sleep(PAUSE)


@contextmanager
def _subscribed(client: "redis.Redis", channel: str) -> Iterator[Any]:
    """What returns the next message, or after so many seconds None."""
    with client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(channel)

        def next_message(seconds: float) -> Any:
            return subscription.get_message(timeout=seconds)

        yield next_message


def _move(message: Any) -> Move | None:
    try:
        told = json.loads(message["data"])
        status = read_status(told["status"])
        return Move(told["id"], datetime.now(UTC), status, told["queue"], told.get("task"))
    except (ValueError, TypeError, KeyError):  # none, or one that anybody may have sent
        return None
