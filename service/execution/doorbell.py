"""How an idle worker learns that a job has come, without taking it.

Blocking pops either lose the job when the worker dies (BLPOP) or watch one queue only (BLMOVE).
Redis's key tracking (CLIENT TRACKING, since 6.0) tells a client when a key that it has read is
changed, whoever changes it: any number of queues, any enqueuer, and nothing is popped. So it learns
as well that a queue is paused, or goes on; to one that is paused it does not listen.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError, ResponseError
from rq.connections import get_connection_kwargs
from rq.queue import Queue
from rq.utils import as_text

from service.pausing import PAUSED

POLL_INTERVAL = 0.2  # seconds between looks where the server can't track keys

logger = logging.getLogger("paddock.worker")


class Doorbell:
    """Rings when something comes to one of these queues, or when queues are paused or go on."""

    def __init__(self, client: Redis, queues: Sequence[Queue]) -> None:
        self._client = client
        self._keys = {queue.name: queue.key for queue in queues}
        self._line: Any = None
        self._tracks = True

    def wait(self, seconds: float) -> None:
        """Return when something may be on a queue, at the latest after this many seconds.

        Raises `redis.ConnectionError` where Redis is away.
        """
        ready = self.arm()
        if not self._tracks:
            time.sleep(min(seconds, POLL_INTERVAL))
        elif not ready:
            with self._hung_up_on_error():
                if self._line is not None and self._line.can_read(timeout=seconds):
                    self.heard()

    def arm(self) -> bool:
        """Have it ring from now on; whether something is on a queue already.

        Raises `redis.ConnectionError` where Redis is away.
        """
        if not self._tracks:
            return False
        try:
            with self._hung_up_on_error():
                line = self._line or self._connect()
                if self._listen(line):
                    return True
                if line.can_read(timeout=0):
                    self.heard()
                    return True
                return False
        except ResponseError as error:
            logger.warning("Redis can't track keys (%s); looking at the queues instead", error)
            self._tracks = False
            return False

    def fileno(self) -> int | None:
        """What becomes readable when it rings; None where the server can't track keys."""
        return self._line._sock.fileno() if self._line is not None else None

    def heard(self) -> None:
        """It has rung; to ring again it has to be armed. Raises `redis.ConnectionError`."""
        with self._hung_up_on_error():
            if self._line is not None:
                self._line.read_response(push_request=True)

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

    def _listen(self, line: Any) -> bool:
        """Have the keys tracked from this moment on; whether there is something to take now."""
        line.send_command("SMEMBERS", PAUSED)
        paused = {as_text(name) for name in line.read_response()}
        keys = [key for name, key in self._keys.items() if name not in paused]
        if not keys:
            return False
        line.send_command("EXISTS", *keys)
        return bool(line.read_response())

    @contextlib.contextmanager
    def _hung_up_on_error(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError):
            self.close()
            raise
