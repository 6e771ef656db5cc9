"""Connection pools that spare callers a wait which another has just had in vain.

A Redis that stalls, or a host that swallows packets, costs each request its whole timeout. Where
many come, they would wait one after the other for a thread or a connection, and each then for
Redis. So once one has waited in vain, those who come within the next half second are refused at
once, and after that all but one at a time, who tries anew. When that one is answered, all goes on.
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

REST = 0.5  # seconds in which nobody tries anew: those who waited for their turn can't wait twice
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
        self._next_try = 0.0  # not before this time, of `time.monotonic`

    def check(self) -> None:
        """Raises `RedisSilent` where Redis is silent, and it is not the time to try anew."""
        if self._is_silent and time.monotonic() < self._next_try:
            raise RedisSilent

    def begin(self) -> float:
        """Be the one who tries anew where one has to; the time, to be given to `note`.

        Raises `RedisSilent` as `check` does.
        """
        with self._lock:
            self.check()
            now = time.monotonic()
            # The next is to wait for this one to be done; not for ever, should it never tell.
            self._next_try = now + 2 * self._timeout
            return now

    def note(self, *, began: float, answered: bool) -> None:
        """Tell how it went, for one who began at this time (of `time.monotonic`)."""
        with self._lock:
            now = time.monotonic()
            if answered:
                self._is_silent = False
            elif now - began >= IN_VAIN * self._timeout:
                self._is_silent, self._next_try = True, now + REST
            elif self._is_silent:
                self._next_try = now  # refused, and quickly: the next may try

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
