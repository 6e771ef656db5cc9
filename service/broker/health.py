"""Whether jobs can be accepted, and what an operator should look at."""

from collections.abc import Sequence

import redis
from redis.exceptions import RedisError

from service.broker.durability import durability
from service.broker.embedded import why_away
from service.broker.overview import Overview
from service.errors import RedisAway
from service.settings import Settings

_PROBE_KEY = "paddock:probe"
_PROBE_TTL = 60  # seconds


def check_ready(client: "redis.Redis", queues: Sequence[str], settings: Settings) -> list[str]:
    """Write to Redis as a submission would; return warnings about what does not stop one.

    Raises `RedisAway`, with the reason, where jobs can't be accepted.
    """
    try:
        client.set(_PROBE_KEY, 1, ex=_PROBE_TTL)
        kept = durability(client, settings.durability)
        overview = Overview(client)
        served = {queue for worker in overview.workers() for queue in worker.queues}
        held_up = overview.held_up()
    except RedisError as error:
        raise RedisAway(f"Redis does not take jobs: {why_away(error, settings)}.") from error
    if kept.faults and not settings.allow_volatile:
        raise RedisAway(f"Redis would not keep jobs: {'; '.join(kept.faults)}.")
    unserved = [name for name in queues if name not in served]
    return [
        *(f"Redis: {risk}" for risk in kept.faults + kept.remarks),
        *(f"no worker listens on queue {name!r}" for name in unserved),
        *(f"queue {name!r} is paused; jobs that wait on it: {count}" for name, count in held_up),
    ]
