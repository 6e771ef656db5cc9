"""A program's own way in: jobs are submitted, watched and acted on from any thread or event loop.

What speaks to Redis lives in one event loop, in a thread of its own. So all who submit at the same
moment share a sync of Redis's disk, a program's own loop is never held up, and one that has none
need not run one.
"""

import atexit
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cached_property, partial
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.settings import Settings

T = TypeVar("T")


class Door:
    """Opened when first used. A process that is forked opens one anew."""

    def __init__(
        self, settings: Settings | None = None, catalogue: Catalogue | None = None
    ) -> None:
        """Settings and tasks are those of PADDOCK_* where they are not given."""
        self._given = (settings, catalogue)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._opened: tuple[BlockingPortal, Broker] | None = None
        _doors.add(self)

    @cached_property
    def settings(self) -> Settings:
        """Raises `SettingsInvalid` where they are read now, and wrong."""
        return self._given[0] or Settings.load()

    @cached_property
    def catalogue(self) -> Catalogue:
        """Raises `jobs.errors.DeclarationError` where it is loaded now, and wrong.

        Loaded late: the program's own modules may still be importing when it makes its door.
        """
        return self._given[1] or Catalogue.load(self.settings.tasks)

    def begin(self, operation: Callable[..., Awaitable[T]], *args: Any) -> "Future[T]":
        """Start `operation(broker, *args)` in the door's loop; the future is what comes of it."""
        portal, broker = self._opened or self._open()
        return portal.start_task_soon(partial(operation, broker, *args))

    def close(self) -> None:
        """Close its connections. What was submitted is kept, and the next use opens it anew."""
        with self._lock:
            self._opened = None
            self._stack.close()

    def _open(self) -> tuple[BlockingPortal, Broker]:
        opening = _open_broker(self.settings, self.catalogue)  # loading tasks may come here again
        with self._lock:
            if self._opened is None:
                portal = self._stack.enter_context(start_blocking_portal(name="paddock"))
                broker = self._stack.enter_context(portal.wrap_async_context_manager(opening))
                self._opened = (portal, broker)
            return self._opened

    def _stand_closed(self) -> None:
        """As at first; after a fork, where the thread is the parent's, and so are connections."""
        self._lock, self._stack, self._opened = threading.Lock(), ExitStack(), None


@asynccontextmanager
async def _open_broker(settings: Settings, catalogue: Catalogue) -> AsyncIterator[Broker]:
    broker = Broker.open(settings, catalogue)
    try:
        yield broker
    finally:
        await broker.aclose()


_doors: "weakref.WeakSet[Door]" = weakref.WeakSet()
_standing: list[Door] = []  # the program's own, and any that stands in for it


def _after_fork() -> None:
    for door in _doors:
        door._stand_closed()


os.register_at_fork(after_in_child=_after_fork)


def the_door() -> Door:
    """The one that this program uses where it was given no other."""
    if not _standing:
        _standing.append(Door())
        atexit.register(_standing[0].close)
    return _standing[-1]


@contextmanager
def standing_in(door: Door) -> Iterator[Door]:
    """Have the program use this one for as long as the block lasts."""
    the_door()
    _standing.append(door)
    try:
        yield door
    finally:
        _standing.remove(door)
        door.close()
