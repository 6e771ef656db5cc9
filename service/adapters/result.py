"""Celery's result: a job by its id.

result = heavy_cpu_task.delay(10)
AsyncResult(result.id).get(timeout=30)
"""

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from jobs import Task
from service.adapters import operations
from service.adapters.door import Door, the_door
from service.adapters.errors import JobNotEnded
from service.adapters.outcome import cause_of, outcome_of, state_of
from service.broker.records import JobRecord
from service.broker.status import Status
from service.errors import StatusConflict

if TYPE_CHECKING:
    from service.adapters.group_result import GroupResult

R = TypeVar("R")
T = TypeVar("T")


class AsyncResult(Generic[R]):
    """A job by its id. It can be made of any id, at any time, in any process.

    All but `id` is asked of Redis, anew each time. That raises `JobNotFound` where there is no such
    job, or its result has expired; and, but for `get`, `redis.RedisError` where Redis is away.
    """

    def __init__(
        self,
        id: str,  # Celery's name for it
        *,
        task: Task[..., R] | None = None,
        parent: "AsyncResult[Any] | GroupResult | None" = None,
        door: Door | None = None,
    ) -> None:
        """With its `task` given, results are of the type that the task is declared to return."""
        self.id, self._task, self._parent = id, task, parent
        self._door = door or the_door()
        #: What this process has submitted to run after it; none for one that was found by its id
        self.children: list[AsyncResult[Any]] = []

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def task_id(self) -> str:
        """Its `id`."""
        return self.id

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED."""
        return state_of(self._record())

    status = state

    def ready(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._record().status.is_final

    def successful(self) -> bool:
        """Whether it has finished."""
        return self._record().status is Status.FINISHED

    def failed(self) -> bool:
        """Whether it has failed; a revoked one has not."""
        return self._record().status is Status.FAILED

    @property
    def result(self) -> Any:
        """What it returned, or the exception that it failed with; None until it has ended."""
        return self._outcome(self._record())

    info = result

    @property
    def traceback(self) -> str | None:
        """Of a failed one: where in the worker it was raised."""
        error = self._record().error
        return error.traceback if error else None

    @property
    def date_done(self) -> datetime | None:
        """When it ended; in UTC."""
        return self._record().ended_at

    @property
    def name(self) -> str:
        """Its task's."""
        return self._record().task

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Its parameters, which travel by name, as plain JSON data."""
        return self._record().parameters

    @property
    def queue(self) -> str:
        """The queue that it was put on."""
        return self._record().queue

    @property
    def worker(self) -> str | None:
        """The worker that runs it, or ran it last."""
        return self._record().worker

    @property
    def retries(self) -> int:
        """Executions begun after the first."""
        return max(self._record().attempts - 1, 0)

    @property
    def parent(self) -> "AsyncResult[Any] | GroupResult | None":
        """What it was to run after."""
        if self._parent is None:
            self._parent = self._found_parent()
        return self._parent

    @overload
    def get(
        self, timeout: float | None = None, propagate: Literal[True] = True, interval: float = 0.5
    ) -> R: ...

    @overload
    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> Any: ...

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> Any:
        """What the task returned, once it has; Redis and workers may be away meanwhile.

        Raises what the task raised, or the task that it ran after and that failed, where that can
        be rebuilt, else `JobFailed`; `JobCanceled`; and `JobNotEnded`, a `TimeoutError`, after so
        many seconds. With `propagate` off, what it failed with is returned instead.

        `interval` is there for those who give it; how often to look is seen to.
        """
        return self.ended(self.begin(operations.await_end, timeout), timeout, propagate)

    wait = get

    def revoke(self, *, terminate: bool = False, signal: object = None) -> None:
        """Have it not run. One that runs goes on, unless `terminate`: then it is stopped.

        That is, its task is interrupted by an exception, and killed a second later, so that there
        is no `signal` to choose: `TypeError`. One that has ended is left as it is.
        """
        refuse_signal(signal)
        with suppress(StatusConflict):
            self._wait(revocation(terminate))

    def forget(self) -> None:
        """Remove the job and its result for good. Raises `StatusConflict` until it has ended."""
        record = self._record()
        if not record.status.is_final:
            raise StatusConflict(
                f"Only a job that has ended can be forgotten; this one is {record.status}. "
                "revoke() takes it off its queue.",
                job_status=record.status,
            )
        self._wait(operations.delete)

    def begin(self, operation: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> "Future[T]":
        """Start one of `service.adapters.operations` on it; the future is what comes of it."""
        return self._door.begin(operation, self.id, *args)

    def ended(
        self, ending: "Future[JobRecord | None]", timeout: float | None, propagate: bool
    ) -> Any:
        """What `get` gives for this end of an `await_end`, once there is one."""
        try:
            record = ending.result()
        finally:
            ending.cancel()  # where this wait was interrupted
        if record is None:
            raise JobNotEnded(self.id, timeout)
        if propagate and record.status is not Status.FINISHED:
            raise cause_of(record, self._door)
        return self._outcome(record)

    def _found_parent(self) -> "AsyncResult[Any] | GroupResult | None":
        from service.adapters.group_result import GroupResult  # which is made of these

        before = [AsyncResult[Any](each, door=self._door) for each in self._record().depends_on]
        match before:
            case []:
                return None
            case [one]:
                return one
        return GroupResult(results=before, door=self._door)

    def _record(self) -> JobRecord:
        return self._wait(operations.look)

    def _wait(self, operation: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        done: T = self.begin(operation, *args).result()
        return done

    def _outcome(self, record: JobRecord) -> Any:
        return outcome_of(record, self._task or self._door.catalogue.named(record.task))


def revocation(terminate: bool) -> Callable[..., Coroutine[Any, Any, bool]]:
    """The operation that revokes a job."""
    return operations.cancel if terminate else operations.withdraw


def refuse_signal(signal: object) -> None:
    """Raises `TypeError` where one is given."""
    if signal is not None:
        raise TypeError(
            "signal= is not taken here: revoke(terminate=True) has the task interrupted by an "
            "exception, and its process killed a second later"
        )
