"""Telling futures what becomes of their jobs: thousands, and no thread or connection for each."""

import asyncio
import logging
import threading
import time
import weakref
from typing import Any

from redis.exceptions import RedisError

from service.adapters import operations
from service.adapters.door import Door, interpreter_ends
from service.adapters.future import JobFuture
from service.broker.broker import Broker
from service.broker.records import JobRecord
from service.broker.status import FINAL, Status
from service.errors import JobNotFound

AT_ONCE = 100  # jobs whose ends are read together; each may bring a large result

_log = logging.getLogger(__name__)

_BEGUN_OR_ENDED = FINAL | {Status.RUNNING}
_NOT_RUNNING = frozenset(Status) - {Status.RUNNING}


class Follower:
    """Follows jobs in the door's loop, and settles their futures in a thread, one after the other.

    That thread lasts while there are futures to settle. It runs their callbacks, which must not run
    in the loop: they may submit, and wait until the loop has done so.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._stand_idle()

    def _stand_idle(self) -> None:
        self._lock = threading.Lock()
        self._futures: weakref.WeakSet[JobFuture[Any]] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()  # they hold the futures of jobs that go on
        self._ended: list[JobFuture[Any]] = []
        self._is_settling = False

    def follow(self, broker: Broker, future: JobFuture[Any]) -> None:
        """Have the future settled once its job has ended. For the door's loop."""
        with self._lock:
            self._futures.add(future)
        task = asyncio.get_running_loop().create_task(self._follow(broker, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def unsettled(self) -> list[JobFuture[Any]]:
        """Those whose jobs have not ended, as far as is known."""
        with self._lock:
            return [future for future in self._futures if not future.done()]

    def detach_copies(self, why: str) -> None:
        """In a process that was forked: leave the jobs to the parent's."""
        copies = list(self._futures)
        self._stand_idle()
        for future in copies:
            future.detach_copy(why)

    async def _follow(self, broker: Broker, future: JobFuture[Any]) -> None:
        try:
            await _await_end(broker, future)
        except asyncio.CancelledError:
            # The door is closed. Where that is since the program ends, it ends no job.
            if not interpreter_ends():
                future.detach("its door was closed")
            raise
        with self._lock:
            self._ended.append(future)
            is_settling, self._is_settling = self._is_settling, True
        if not is_settling:
            settle = threading.Thread(
                target=self._settle_ended, args=(broker,), name="paddock-futures", daemon=True
            )
            try:
                settle.start()
            except RuntimeError:  # no more threads can be had: the next that ends tries again
                with self._lock:
                    self._is_settling = False
                raise

    def _settle_ended(self, broker: Broker) -> None:
        """While some are being settled, the next come together."""
        while batch := self._next_batch():
            try:
                revived = _settle(broker, batch)
            except RedisError:
                with self._lock:
                    self._ended[:0] = batch
                time.sleep(operations.PAUSE)
            else:
                for future in revived:
                    self._door.begin(self._follow, future)

    def _next_batch(self) -> list[JobFuture[Any]]:
        with self._lock:
            batch, self._ended = self._ended[:AT_ONCE], self._ended[AT_ONCE:]
            self._is_settling = bool(batch)
            return batch


async def _await_end(broker: Broker, future: JobFuture[Any]) -> None:
    """Return once the job has ended, or is gone; note meanwhile whether it runs."""
    status = None
    while status not in FINAL:
        wanted = _NOT_RUNNING if future.is_at_work else _BEGUN_OR_ENDED
        try:
            status = await operations.await_status(broker, future.job_id, wanted, None)
        except JobNotFound:
            return
        future.is_at_work = status is Status.RUNNING


def _settle(broker: Broker, futures: list[JobFuture[Any]]) -> list[JobFuture[Any]]:
    """Read how these ended, and tell; return those whose jobs have been retried meanwhile.

    Raises `RedisError`, and is then to be called again. Nothing here holds on to a future that is
    settled: who waits for a result may want to be the only one who has it.
    """
    try:
        records = broker.reader.read([future.job_id for future in futures])
    except RedisError:
        raise
    except Exception as error:  # noqa: BLE001  # one that can't be read must not fail the others
        if len(futures) > 1:
            return [each for future in futures for each in _settle(broker, [future])]
        futures[0].fail(error)
        return []
    revived = []
    for record in records:
        future = futures.pop(0)
        if record is None or record.status.is_final:
            _tell(future, record)
        else:
            revived.append(future)
    return revived


def _tell(future: JobFuture[Any], record: JobRecord | None) -> None:
    try:
        future.settle(record)
    except BaseException:  # noqa: BLE001  # a callback's SystemExit must not end the others
        _log.exception("exception calling callback for %r", future)
