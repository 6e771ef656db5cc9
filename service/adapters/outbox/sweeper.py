"""Sweeping one database's outbox in the background, one sweep at a time."""

import asyncio
import concurrent.futures.thread  # noqa: F401  # registers what is called at exit, before we do
import logging
import os
import threading
import weakref
from concurrent.futures import Future, wait
from typing import TypeAlias

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from service.adapters.door import Door
from service.adapters.outbox.sweep import Sweep
from service.broker.broker import Broker
from service.errors import PaddockError

FINISH_WITHIN = 10.0  # seconds; a bound for a database that hangs, Redis has one of its own

logger = logging.getLogger("paddock.outbox")

Work: TypeAlias = "Future[None] | asyncio.Task[None]"


class Sweeper:
    """Of one engine; one for all of the program's transactions and relays."""

    def __init__(self, engine: Engine, door: Door) -> None:
        self.engine, self._door = engine, door
        self._trouble = ""  # what was logged last
        self._stand_idle()

    def _stand_idle(self) -> None:
        """As at first; after a fork, where what was at work is the parent's."""
        self._lock = threading.Lock()
        self._is_wanted = self._refused_too = self._is_leaving = False
        self._work: Work | None = None

    def __str__(self) -> str:
        return f"The outbox of {self.engine.url!r}"

    def nudge(self, *, refused_too: bool = False) -> None:
        """Have what is committed sent soon. It waits for nothing and raises nothing.

        It may be called from anywhere; for an engine of an `asyncio` driver, from its loop.
        """
        if isinstance(self.engine.pool, (StaticPool, SingletonThreadPool)):
            self._tell("has one connection for everybody, which nothing in the background may use")
            return
        with self._lock:
            self._is_wanted, self._refused_too = True, self._refused_too or refused_too
            if self._is_at_work():
                return
            try:
                self._work = self._begin()
            except Exception as error:  # noqa: BLE001  # whoever has committed can mend nothing
                self._tell(f"waits: {error}", error)

    async def leave(self) -> None:
        """Wait until what was committed before is sent, as far as that is quick."""
        work = self._work
        if work is None or not self._is_at_work():
            return
        self._is_leaving = True
        try:
            await asyncio.wait([asyncio.wrap_future(work) if isinstance(work, Future) else work])
        finally:
            self._is_leaving = False

    def _is_at_work(self) -> bool:
        work = self._work
        if work is None or work.done():
            return False
        return isinstance(work, Future) or not work.get_loop().is_closed()

    def _begin(self) -> Work:
        if self.engine.dialect.is_async:
            return asyncio.get_running_loop().create_task(self._run())
        return self._door.begin(self._run)

    async def _run(self, broker: Broker | None = None) -> None:
        _at_work.add(self)
        try:
            while (sweep := self._next()) is not None:
                await self._try(sweep, broker)
        finally:
            _at_work.discard(self)

    def _next(self) -> Sweep | None:
        with self._lock:
            if not self._is_wanted:
                self._work = None  # under the lock: whoever nudges now begins anew
                return None
            refused_too, self._is_wanted, self._refused_too = self._refused_too, False, False
        return Sweep(self.engine, self._door, refused_too, self._goes_on)

    def _goes_on(self) -> bool:
        """Past this portion: a table with a million rows keeps no program from ending."""
        return not (self._is_leaving or _is_ending.is_set())

    async def _try(self, sweep: Sweep, broker: Broker | None) -> None:
        try:
            await sweep.run(broker)
        except Exception as error:  # noqa: BLE001  # whatever it is: the rows stay, for the next
            is_known = isinstance(error, SQLAlchemyError | PaddockError | OSError)
            self._tell(f"waits: {error}", None if is_known else error)
        else:
            self._trouble = ""

    def _tell(self, trouble: str, error: Exception | None = None) -> None:
        """Once, however often it is met."""
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("%s %s", self, trouble, exc_info=error)


_is_ending = threading.Event()
_at_work: set[Sweeper] = set()  # so that they are not forgotten
_sweepers: "weakref.WeakValueDictionary[tuple[Engine, Door], Sweeper]"
_sweepers = weakref.WeakValueDictionary()


def sweeper_of(engine: Engine, door: Door) -> Sweeper:
    """The one that sends what stands in this engine's database through this door."""
    # Two threads may make one each at the same moment, and use both: they would send rows twice,
    # and that is all.
    return _sweepers.setdefault((engine, door), Sweeper(engine, door))


def _after_fork() -> None:
    _at_work.clear()
    for sweeper in list(_sweepers.values()):
        sweeper._stand_idle()


os.register_at_fork(after_in_child=_after_fork)


def _finish() -> None:
    """At the program's end: have what it has just committed sent, as far as that is quick."""
    _is_ending.set()
    at_work = [sweeper._work for sweeper in list(_sweepers.values())]
    wait([work for work in at_work if isinstance(work, Future)], FINISH_WITHIN)


# `atexit` would be too late: Python has no threads for executors any more by then. What they
# register themselves with is the one place before that, and the last to register is the first to
# be called.
_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_finish)
