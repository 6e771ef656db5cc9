"""Submitting tasks from a program of one's own, and finding their jobs again.

    jobs = Jobs()
    job = await jobs.submit(heavy_cpu_task, n=10)
    await job.result(timeout=30)

`BlockingJobs` is the same for code that has no event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from jobs import Task
from service.adapters import operations
from service.adapters.calls import call
from service.adapters.door import Door, the_door
from service.adapters.errors import JobNotEnded
from service.adapters.raised import result_of
from service.broker.intake import Options
from service.broker.records import JobRecord
from service.broker.status import Status

if TYPE_CHECKING:  # not everybody has SQLAlchemy
    from service.adapters.outbox import AnySession

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Handle(Generic[R]):
    """A job by its id. It can be made of any id, at any time, in any process."""

    def __init__(self, job_id: str, task: Task[..., R] | None = None, door: Door | None = None):
        """With its `task` given, results are of the type that the task is declared to return."""
        self.id, self._task, self._door = job_id, task, door or the_door()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def _result(self, record: JobRecord | None, timeout: float | None) -> Any:
        if record is None:
            raise JobNotEnded(self.id, timeout)
        value = result_of(record)
        task = self._task or self._door.catalogue.named(record.task)
        return task.result.load(value) if task else value


class Job(_Handle[R]):
    """For `async` code. All but `id` is asked of Redis, and may raise `JobNotFound`."""

    async def record(self) -> JobRecord:
        """All that is known of it. Raises `redis.RedisError` where Redis is away."""
        return await self._do(operations.look)

    async def status(self) -> Status:
        """Where it stands."""
        return (await self.record()).status

    async def result(self, timeout: float | None = None) -> R:
        """What the task returned, once it has; Redis and workers may be away meanwhile.

        Raises what the task raised, where that can be rebuilt, else `JobFailed`; `JobCanceled`;
        and `JobNotEnded`, a `TimeoutError`, after so many seconds.
        """
        record = await self._do(operations.await_end, timeout)
        result: R = self._result(record, timeout)
        return result

    async def cancel(self) -> bool:
        """Take it off its queue (True), or have it stopped where it runs (False, for soon).

        Raises `StatusConflict` where it has ended.
        """
        return await self._do(operations.cancel)

    async def retry(self) -> None:
        """Queue it again, once failed. Raises `StatusConflict`."""
        await self._do(operations.retry)

    async def _do(self, operation: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        return await asyncio.wrap_future(self._door.begin(operation, self.id, *args))


class BlockingJob(_Handle[R]):
    """`Job` for code without an event loop."""

    def record(self) -> JobRecord:
        """As `Job.record`."""
        return self._do(operations.look)

    def status(self) -> Status:
        """As `Job.status`."""
        return self.record().status

    def result(self, timeout: float | None = None) -> R:
        """As `Job.result`."""
        result: R = self._result(self._do(operations.await_end, timeout), timeout)
        return result

    def cancel(self) -> bool:
        """As `Job.cancel`."""
        return self._do(operations.cancel)

    def retry(self) -> None:
        """As `Job.retry`."""
        self._do(operations.retry)

    def _do(self, operation: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        return self._door.begin(operation, self.id, *args).result()


class Jobs:
    """For `async` code: never holds up the event loop that it is called from."""

    def __init__(self, door: Door | None = None, options: Options | None = None) -> None:
        """Through the program's own door, unless another is given."""
        self._door, self._options = door or the_door(), options or Options()

    def with_options(self, options: Options) -> "Jobs":
        """The same, for jobs that are to be run so: `jobs.with_options(Options(delay=60))`."""
        return Jobs(self._door, options)

    @overload
    async def submit(
        self, task: Task[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...

    @overload
    async def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...

    async def submit(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """The job, once it is kept: as durable as `202 Accepted` is over HTTP.

        Of a unique task, or with an idempotency key, it may be one that was there before. Raises
        what `service.adapters.calls.call` and `Enqueuer.submit` raise; where that is `RedisAway`,
        its document's `in_doubt` says whether the job may exist all the same.
        """
        submission = call(self._door, task, args, kwargs, self._options)
        record = await asyncio.wrap_future(self._door.begin(operations.submit, submission))
        return Job(record.id, task, self._door)

    @overload
    def submit_on_commit(
        self,
        session: "AnySession",
        task: Task[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[R]: ...

    @overload
    def submit_on_commit(
        self, session: "AnySession", task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...

    def submit_on_commit(
        self, session: "AnySession", task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[Any]:
        """The job that there will be once this session of SQLAlchemy has committed, if it does.

        It is written as `session.add` writes objects, to the table `paddock_outbox`, and sent after
        the commit: at once, or by a later sweep of `service.adapters.outbox`. Until then all but
        the `id` of what is returned raises `JobNotFound`; after a rollback, for ever.

        Raises what `service.adapters.calls.call` raises; `OptionsInvalid` for a unique task and
        with an idempotency key; and `ImportError` where there is no SQLAlchemy 2.
        """
        job_id = _add_to(session, self._door, task, args, kwargs, self._options)
        return Job(job_id, task, self._door)

    def job(self, job_id: str) -> Job[Any]:
        """One that was submitted before, here or elsewhere."""
        return Job(job_id, door=self._door)


class BlockingJobs:
    """`Jobs` for code without an event loop, such as `def` endpoints, threads and scripts."""

    def __init__(self, door: Door | None = None, options: Options | None = None) -> None:
        """As `Jobs`."""
        self._door, self._options = door or the_door(), options or Options()

    def with_options(self, options: Options) -> "BlockingJobs":
        """As `Jobs.with_options`."""
        return BlockingJobs(self._door, options)

    @overload
    def submit(
        self, task: Task[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> BlockingJob[R]: ...

    @overload
    def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> BlockingJob[R]: ...

    def submit(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> BlockingJob[Any]:
        """As `Jobs.submit`."""
        submission = call(self._door, task, args, kwargs, self._options)
        record = self._door.begin(operations.submit, submission).result()
        return BlockingJob(record.id, task, self._door)

    @overload
    def submit_on_commit(
        self,
        session: "AnySession",
        task: Task[P, Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingJob[R]: ...

    @overload
    def submit_on_commit(
        self, session: "AnySession", task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> BlockingJob[R]: ...

    def submit_on_commit(
        self, session: "AnySession", task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> BlockingJob[Any]:
        """As `Jobs.submit_on_commit`."""
        job_id = _add_to(session, self._door, task, args, kwargs, self._options)
        return BlockingJob(job_id, task, self._door)

    def job(self, job_id: str) -> BlockingJob[Any]:
        """As `Jobs.job`."""
        return BlockingJob(job_id, door=self._door)


def _add_to(
    session: "AnySession",
    door: Door,
    task: Task[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Options,
) -> str:
    try:
        from service.adapters import outbox
    except ImportError as error:
        told = f"submit_on_commit needs SQLAlchemy 2 ({error}): pip install 'paddock[sqlalchemy]'"
        raise ImportError(told) from error
    return outbox.add(session, door, call(door, task, args, kwargs, options), options)
