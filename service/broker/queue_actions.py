"""What can be done to a queue: have workers take no jobs from it, for as long as it is paused."""

from collections.abc import Iterable

import redis

from service.broker.overview import Overview, QueueOverview
from service.pausing import PAUSED


class QueueActions:
    """Acts on queues by name; `also` names those known that have had no job yet.

    Each answers with the queue as it is then, and raises `QueueNotFound`. Asked for what is so
    already, it changes nothing.
    """

    def __init__(self, client: "redis.Redis", overview: Overview) -> None:
        self._client, self._overview = client, overview

    def pause(self, name: str, also: Iterable[str] = ()) -> QueueOverview:
        """Have its jobs wait, however many come; those that run go on."""
        also = [*also]
        self._overview.queue(name, also)
        self._client.sadd(PAUSED, name)
        return self._overview.queue(name, also)

    def resume(self, name: str, also: Iterable[str] = ()) -> QueueOverview:
        """Have its jobs taken again, at once where a worker is idle."""
        also = [*also]
        self._overview.queue(name, also)
        self._client.srem(PAUSED, name)
        return self._overview.queue(name, also)
