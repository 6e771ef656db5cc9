"""Reading how many jobs waited on each queue lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis

from service.depths import depths_key

MINUTES = 60  # that are told, the last one of which is still going on


@dataclass(frozen=True, slots=True)
class Depth:
    """Of one minute."""

    at: datetime  #: its beginning, UTC
    jobs: int | None  #: the most that were seen waiting; None where nobody looked


class Depths:
    """Reads what the scheduler has noted (`service.depths`)."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def lately(self, queues: Sequence[str]) -> dict[str, list[Depth]]:
        """The last hour's minutes of each of these queues, oldest first."""
        seconds, _ = self._client.time()
        minutes = range(seconds // 60 - MINUTES + 1, seconds // 60 + 1)
        hours = sorted({minute // 60 for minute in minutes})
        with self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                for hour in hours:
                    pipe.hgetall(depths_key(hour, queue))
            answers = iter(pipe.execute())
        found: dict[str, list[Depth]] = {}
        for queue in queues:
            noted = {
                hour * 60 + int(field): int(jobs)
                for hour in hours
                for field, jobs in next(answers).items()
            }
            found[queue] = [
                Depth(datetime.fromtimestamp(minute * 60, UTC), noted.get(minute))
                for minute in minutes
            ]
        return found
