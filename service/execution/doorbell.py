"""How an idle worker learns that a job has come, without taking it.

Blocking pops either lose the job when the worker dies (BLPOP) or watch one queue only (BLMOVE).
Redis's key tracking (CLIENT TRACKING, since 6.0) tells a client when a key that it has read is
changed, whoever changes it: any number of queues, any enqueuer, and nothing is popped.
"""

import logging
import time
from collections.abc import Sequence

from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError, ResponseError
from rq.connections import get_connection_kwargs

POLL_INTERVAL = 0.2  # seconds between looks where the server can't track keys

logger = logging.getLogger("paddock.worker")


class Doorbell:
    """Rings when one of the keys is written to."""

    def __init__(self, client: Redis, keys: Sequence[str]) -> None:
        self._client, self._keys = client, keys
        self._line: ConnectionInterface | None = None
        self._tracks = True

    def wait(self, seconds: float) -> None:
        """Return when something may be on a queue, at the latest after this many seconds.

        Raises `redis.ConnectionError` where Redis is away.
        """
        if not self._tracks:
            time.sleep(min(seconds, POLL_INTERVAL))
            return
        try:
            line = self._line or self._connect()
            if not self._listen(line):
                self._ring(line, seconds)
        except ResponseError as error:
            logger.warning("Redis can't track keys (%s); looking at the queues instead", error)
            self._tracks = False
        except (RedisError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Hang up; the next wait connects anew."""
        if self._line is not None:
            self._line.disconnect()
            self._line = None

    def _connect(self) -> ConnectionInterface:
        kwargs = get_connection_kwargs(self._client) | {"protocol": 3}  # pushes need RESP3
        line: ConnectionInterface = self._client.connection_pool.connection_class(**kwargs)
        line.connect()
        line.send_command("CLIENT", "TRACKING", "ON")
        line.read_response()
        self._line = line
        return line

    def _listen(self, line: ConnectionInterface) -> bool:
        """Have the keys tracked from this moment on; whether one of them holds something now."""
        line.send_command("EXISTS", *self._keys)
        return bool(line.read_response())

    def _ring(self, line: ConnectionInterface, seconds: float) -> None:
        if line.can_read(timeout=seconds):
            line.read_response(push_request=True)
