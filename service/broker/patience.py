"""Connection pools that spare callers a wait which another has just had in vain.

A Redis that stalls, or a host that swallows packets, costs each request its whole timeout. Where
many come, they would wait one after the other for a thread or a connection, and each then for
Redis. So once one has waited in vain, the others are refused at once, but for one at a time that
tries anew; as soon as that one is answered, all goes on.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

IN_VAIN = 0.9  # of the timeout: a failure after so long was a wait; sooner, it was a refusal


class RedisSilent(RedisConnectionError):
    """Redis has just not answered another caller; nothing was sent to it."""

    def __init__(self) -> None:
        # The enqueuer reads off the first words that nothing can have been written.
        super().__init__("No connection available: Redis does not answer at the moment.")


class Patience:
    """Whether it is worth waiting for Redis. Of one process; for threads and its event loop."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._is_silent = False
        self._tried_at: float | None = None  # when the caller began who tries anew

    def check(self) -> None:
        """Raises `RedisSilent` where Redis is silent, and another caller tries anew already."""
        if not self._is_silent or self._tried_at is None:
            return
        # One who began so long ago and never told how it went must not keep all others away.
        if time.monotonic() < self._tried_at + 2 * self._timeout:
            raise RedisSilent

    def begin(self) -> float:
        """Be the one who tries anew where one has to; the time, to be given to `note`.

        Raises `RedisSilent` as `check` does.
        """
        with self._lock:
            self.check()
            now = time.monotonic()
            if self._is_silent:
                self._tried_at = now
            return now

    def note(self, *, began: float, answered: bool) -> None:
        """Tell how it went, for one who began at this time (of `time.monotonic`)."""
        with self._lock:
            if answered:
                self._is_silent, self._tried_at = False, None
            elif time.monotonic() - began >= IN_VAIN * self._timeout:
                self._is_silent, self._tried_at = True, None
            elif self._tried_at is not None and self._tried_at <= began:
                self._tried_at = None  # refused, and quickly: the next may try

    @contextmanager
    def connecting(self) -> Iterator[float]:
        """`begin`, and `note` where no connection comes about."""
        began = self.begin()
        try:
            yield began
        except RedisError:
            self.note(began=began, answered=False)
            raise


class PatientPool(redis.ConnectionPool):
    """For threads."""

    def __init__(self, *args: Any, patience: Patience, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience
        self._began: dict[Any, float] = {}

    def get_connection(self, *args: Any, **options: Any) -> Any:
        with self._patience.connecting() as began:
            connection = super().get_connection(*args, **options)
        self._began[connection] = began
        return connection

    def release(self, connection: Any) -> None:
        began = self._began.pop(connection, None)
        if began is not None:
            self._patience.note(began=began, answered=connection.is_connected)
        super().release(connection)


class PatientAsyncPool(redis.asyncio.BlockingConnectionPool):
    """For the event loop."""

    def __init__(self, *args: Any, patience: Patience, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience
        self._began: dict[Any, float] = {}

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        self._patience.check()  # rather than wait until another gives its connection back
        return await super().get_connection(*args, **options)

    async def ensure_connection(self, connection: Any) -> None:
        with self._patience.connecting() as began:
            await super().ensure_connection(connection)
        self._began[connection] = began

    async def release(self, connection: Any) -> None:
        began = self._began.pop(connection, None)
        if began is not None:
            self._patience.note(began=began, answered=connection.is_connected)
        await super().release(connection)
