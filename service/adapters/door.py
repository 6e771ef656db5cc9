"""A program's own way in: jobs are submitted, watched and acted on from any thread or event loop.

What speaks to Redis lives in one event loop, in a thread of its own. So all who submit at the same
moment share a sync of Redis's disk, a program's own loop is never held up, and one that has none
need not run one.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.settings import Settings

T = TypeVar("T")


class Door:
    """Opened when first used, which loads the tasks. A process that is forked opens one anew.

    It serves for as long as the main thread lives: Python lets no other thread begin one after.
    """

    def __init__(
        self, settings: Settings | None = None, catalogue: Catalogue | None = None
    ) -> None:
        """Settings and tasks are those of PADDOCK_* where they are not given."""
        self._given = (settings, catalogue)
        self._stand_in: Door | None = None
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        _doors.add(self)

    @property
    def settings(self) -> Settings:
        """Raises `SettingsInvalid` where they are read now, and wrong."""
        return self._stand_in.settings if self._stand_in else self._settings

    @property
    def catalogue(self) -> Catalogue:
        """Raises `jobs.errors.DeclarationError` where it is loaded now, and wrong.

        Loaded late: the program's own modules may still be importing when it makes its door.
        """
        return self._stand_in.catalogue if self._stand_in else self._catalogue

    def begin(self, operation: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> "Future[T]":
        """Start `operation(broker, *args)` in the door's loop; the future is what comes of it."""
        if self._stand_in:
            return self._stand_in.begin(operation, *args)
        opened = self._opened or self._open()
        return opened.begin(operation(opened.broker, *args))

    def close(self) -> None:
        """Close its connections. What was submitted is kept, and the next use opens it anew."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @cached_property
    def _settings(self) -> Settings:
        given = self._given[0]
        return Settings.load() if given is None else given

    @cached_property
    def _catalogue(self) -> Catalogue:
        given = self._given[1]
        return Catalogue.load(self.settings.tasks) if given is None else given

    def _open(self) -> "_Opened":
        broker = Broker.open(self.settings, self.catalogue)  # loading tasks may lead here again
        if interpreter_ends():
            raise RuntimeError("cannot submit or find jobs after interpreter shutdown")
        with self._lock:
            if self._opened is None:
                self._opened = _Opened(broker)
            return self._opened

    def _forget(self) -> None:
        """After a fork: the loop's thread is the parent's alone, and so are its connections.

        What is left of them here must not be cleaned up either: that would reach into the parent's.
        """
        _left_by_forks.append(self._opened)
        self._lock, self._opened = threading.Lock(), None


class _Opened:
    """A broker, and the loop in whose thread it lives."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="paddock-door", daemon=True)
        self._thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        self.begin(self._wind_up()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        # Somebody may have come in while it was being closed.
        self._loop.run_until_complete(self._cancel_others())
        self._loop.close()

    async def _wind_up(self) -> None:
        await self._cancel_others()
        await self.broker.aclose()
        await self._loop.shutdown_default_executor()

    async def _cancel_others(self) -> None:
        """Whoever still waits is told that it is canceled."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


_doors: "weakref.WeakSet[Door]" = weakref.WeakSet()
_left_by_forks: list[_Opened | None] = []
_own: list[Door] = []  # the program's, once it has been asked for


def interpreter_ends() -> bool:
    """Whether the main thread is done: whoever waits for a new thread then may do so for ever."""
    return not threading.main_thread().is_alive()


def _after_fork() -> None:
    for door in _doors:
        door._forget()


os.register_at_fork(after_in_child=_after_fork)


def the_door() -> Door:
    """The one that this program uses where it was given no other."""
    if not _own:
        _own.append(Door())
        atexit.register(_own[0].close)
    return _own[0]


@contextmanager
def standing_in(door: Door) -> Iterator[Door]:
    """Have the program's own lead where this one does, for as long as the block lasts.

    Also for those who hold the program's own: modules ask for it as they are imported.
    """
    own = the_door()
    before, own._stand_in = own._stand_in, door
    try:
        yield door
    finally:
        own._stand_in = before
        door.close()
