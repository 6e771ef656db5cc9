"""Noticing that the server is told to stop, which waits for every answer that it has begun.

A stream has no end of its own: it has to be told. ASGI has no word for it, its lifespan ends after
all answers; so it is read off the server that has taken over the signal, as uvicorn's does. Where
another server runs the application, what it does to answers that take too long is done to streams.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import anyio

LOOK = 0.2  # seconds between looks


def is_stopping() -> bool:
    """Whether the server in this process was told to stop."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


class _Streams:
    """Those that are open in an event loop."""

    def __init__(self) -> None:
        self._open: set[anyio.CancelScope] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def stopped(self, scope: anyio.CancelScope) -> Iterator[None]:
        self._open.add(scope)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_on())
        try:
            yield
        finally:
            self._open.discard(scope)

    async def _look_on(self) -> None:
        try:
            while self._open:
                if is_stopping():
                    for scope in self._open:
                        scope.cancel()
                await asyncio.sleep(LOOK)
        finally:
            self._looking = None


_streams: WeakKeyDictionary[asyncio.AbstractEventLoop, _Streams] = WeakKeyDictionary()


def canceled_when_stopping(scope: anyio.CancelScope) -> contextlib.AbstractContextManager[None]:
    """Have the scope canceled once the server is told to stop, while the block lasts."""
    streams = _streams.setdefault(asyncio.get_running_loop(), _Streams())
    return streams.stopped(scope)
