"""A job as a future of the standard library's."""

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from jobs import Task
from service.adapters import operations
from service.adapters.door import Door
from service.adapters.errors import FutureDetached
from service.adapters.jobs import BlockingJob
from service.adapters.raised import result_of
from service.broker.records import JobRecord
from service.broker.status import Status
from service.errors import JobNotFound

T = TypeVar("T")


class JobFuture(Future[T]):
    """Made by a `JobExecutor`. It tells what this process last saw of the job, but for `cancel`.

    `result` and `exception` tell what the task raised: its own exception where that can be rebuilt,
    else `JobFailed`; both have as their cause where in the worker it was. A job that is canceled is
    `cancelled()`, whoever did it; one that is deleted meanwhile ends with `JobNotFound`. Redis may
    be away for however long. Callbacks run one after the other, in a thread of the executor's: none
    may wait for another future.
    """

    def __init__(self, job_id: str, task: Task[..., Any] | None, door: Door) -> None:
        super().__init__()
        self.job_id = job_id  #: `JobExecutor.future` finds it by this, in any process
        self.is_at_work = False  #: a worker had it when it was last looked at
        self._task, self._door = task, door
        self._told = threading.Lock()  # taken for good by the first who knows how it ended

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<{type(self).__name__} {self.job_id} {'running' if self.running() else state}>"

    @property
    def job(self) -> BlockingJob[T]:
        """The job itself: its record, and to have it stopped where it runs."""
        return BlockingJob(self.job_id, self._task, self._door)

    def running(self) -> bool:
        """Whether a worker has it. One that waits for its next attempt does not run."""
        return self.is_at_work and not self.done()

    def cancel(self) -> bool:
        """Cancel the job if no worker has it, which Redis decides; say whether it is canceled.

        In an event loop, where asyncio calls it for whoever gives up waiting, nothing is waited
        for: it is False then, and the future is told when the job is canceled.

        `job.cancel()` stops one that runs as well. Raises `redis.RedisError` where Redis is away,
        but in an event loop.
        """
        withdraw([self], wait=not _is_in_a_loop())
        return self.cancelled()

    def settle(self, record: JobRecord | None) -> None:
        """Tell all who wait what became of the job; None says that it is gone.

        Only the first who settles it tells anything.
        """
        if not self._told.acquire(blocking=False):
            return
        if record is None:
            self.set_exception(JobNotFound(self.job_id))
        elif record.status is Status.CANCELED:
            self._end_canceled()
        else:
            self._take_outcome(record)

    def fail(self, error: Exception) -> None:
        """Tell all who wait that they do so in vain, whatever becomes of the job."""
        if self._told.acquire(blocking=False):
            self.set_exception(error)

    def detach(self, why: str) -> None:
        """Tell them that the job goes on, but this future does not."""
        self.fail(FutureDetached(self.job_id, why))

    def detach_copy(self, why: str) -> None:
        """The same for the copy that a forked process has; its callbacks are the parent's."""
        if not self._told.locked():
            super().__init__()  # what waits for it is not here, and may hold its lock for ever
            self._told = threading.Lock()
            self.detach(why)

    def _take_outcome(self, record: JobRecord) -> None:
        try:
            value = result_of(record)
            value = self._task.result.load(value) if self._task else value
        except Exception as error:  # noqa: BLE001  # whatever the task raised
            self.set_exception(error.with_traceback(None))
        else:
            self.set_result(value)

    def _end_canceled(self) -> None:
        super().cancel()
        self.set_running_or_notify_cancel()

    def _ask_to_withdraw(self) -> "Future[bool]":
        return self._door.begin(operations.withdraw, self.job_id)

    def _take_answer(self, answer: "Future[bool]") -> None:
        try:
            is_canceled = answer.result() or self.job.status() is Status.CANCELED
        except JobNotFound:
            return  # whoever follows it will find out as well, and settle it
        if is_canceled and self._told.acquire(blocking=False):
            self._end_canceled()


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def withdraw(futures: Iterable[JobFuture[Any]], *, wait: bool = True) -> None:
    """Cancel those whose jobs no worker has, all at the same time.

    Raises `redis.RedisError`; without `wait` nothing, and they are told when that is seen.
    """
    asked = [(each, each._ask_to_withdraw()) for each in futures if not each.done()]
    for future, answer in asked if wait else ():
        future._take_answer(answer)
