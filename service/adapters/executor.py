"""The standard library's Executor, kept: what is submitted is a job, and its future can be found.

    from service.adapters.executor import JobExecutor  # was: ProcessPoolExecutor

A pool forgets its work when the process dies. Here it is kept before `submit` returns, runs
whatever happens to this process, and `executor.future(job_id)` finds it again from any other.
"""

import functools
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from typing import Any, ParamSpec, TypeVar, overload
from weakref import WeakSet, WeakValueDictionary

from pydantic_core import to_json

from jobs import Task
from service.adapters import operations
from service.adapters.calls import call
from service.adapters.door import Door, interpreter_ends, the_door
from service.adapters.following import Follower
from service.adapters.future import JobFuture, withdraw
from service.adapters.gate import Gate
from service.broker.broker import Broker
from service.broker.intake import Options
from service.broker.records import JobRecord
from service.broker.status import Status
from service.submission import Submission

P = ParamSpec("P")
T = TypeVar("T")

Call = tuple[Sequence[Any], Mapping[str, Any]]  # what a task is called with

AT_ONCE, BYTES_AT_ONCE = 250, 4 * 1024**2  # sent together: each has to be kept within two seconds


class JobExecutor(Executor):
    """An Executor whose work is jobs, for any thread. How many run at once is up to the workers."""

    def __init__(
        self,
        door: Door | None = None,
        options: Options | None = None,
        *,
        max_workers: None = None,
    ) -> None:
        """Through the program's own door, unless another is given; all jobs with these options."""
        if not isinstance(door, Door | None) or max_workers is not None:
            told = door if max_workers is None else f"max_workers={max_workers!r}"
            raise TypeError(
                f"JobExecutor({told}): it has no workers of its own, so don't tell how many; "
                "PADDOCK_WORKERS does, where `paddock up` or `paddock work` runs them."
            )
        self._door, self._options = door or the_door(), options or Options()
        self._gate = Gate()
        self._submitted, self._found = Follower(self._door), Follower(self._door)
        self._by_id: WeakValueDictionary[str, JobFuture[Any]] = WeakValueDictionary()
        _executors.add(self)

    @overload
    def submit(
        self, task: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobFuture[T]: ...

    @overload
    def submit(
        self, task: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobFuture[T]: ...

    def submit(
        self, task: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobFuture[Any]:
        """The future of `task(*args, **kwargs)`, once the job is kept.

        Takes the plain function of a task as well, and a `functools.partial` of either. Of a unique
        task the job may be one that was there before, which others wait for too.

        Raises what `service.adapters.calls.call` and `Enqueuer.submit` raise, and `RuntimeError`
        after `shutdown`.
        """
        (future,) = self._submit_all(task, [(args, kwargs)])
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of `fn` for each set of arguments, in their order.

        All are submitted at once, or no more than `buffersize` ahead of the result that is taken.
        Each is a job of its own, whatever `chunksize` is. Where a result is an exception, or
        `timeout` seconds from now are over, that is raised, and what no worker has yet is canceled.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        until = None if timeout is None else time.monotonic() + timeout
        calls: Iterator[Call] = ((args, {}) for args in zip(*iterables, strict=False))
        futures = deque(self._submit_all(fn, itertools.islice(calls, buffersize)))
        return self._results(fn, calls, futures, until)

    def future(self, job_id: str) -> JobFuture[Any]:
        """That of a job which was submitted before, here or elsewhere; it may have ended.

        The same one for as long as it is waited for, so that asking often costs little. Of jobs
        that were submitted elsewhere, `shutdown` neither waits for any nor cancels it. Raises
        `JobNotFound`, and `redis.RedisError` where Redis is away.
        """
        known = self._by_id.get(job_id)
        if known is not None and not known.done():
            return known
        future, record = self._door.begin(self._find, job_id).result()
        if record.status.is_final:
            future.settle(record)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; wait for all that was submitted here, however long that takes.

        With `cancel_futures` what no worker has yet is canceled. Without `wait` the program may
        end: its jobs run all the same, and so they do where it ends without `shutdown`.
        """
        self._gate.shut()
        if cancel_futures:
            self._gate.await_empty()
            withdraw(self._submitted.unsettled())
        if wait:
            self._gate.await_empty()
            _await_all(self._submitted.unsettled())

    def _submit_all(self, fn: Callable[..., Any], calls: Iterable[Call]) -> list[JobFuture[Any]]:
        with self._gate.passed():
            submissions = [self._call(fn, args, kwargs) for args, kwargs in calls]
            sent = (self._door.begin(self._send, part).result() for part in _parts(submissions))
            return list(itertools.chain.from_iterable(sent))

    def _call(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Submission:
        while isinstance(fn, functools.partial):
            args, kwargs = (*fn.args, *args), {**fn.keywords, **kwargs}
            fn = fn.func
        return call(self._door, fn, args, kwargs, self._options)

    async def _send(
        self, broker: Broker, submissions: Sequence[Submission]
    ) -> list[JobFuture[Any]]:
        done = await operations.submit_each(broker, submissions)
        futures, errors = [], []
        for record, submission in zip(done, submissions, strict=True):
            if isinstance(record, BaseException):
                errors.append(record)
                continue
            future = self._future_of(record, submission.task)
            self._submitted.follow(broker, future)  # also beside others that were refused
            futures.append(future)
        for error in errors:
            operations.note_accepted(error, [future.job_id for future in futures], len(done))
            raise error
        return futures

    async def _find(self, broker: Broker, job_id: str) -> tuple[JobFuture[Any], JobRecord]:
        record = await operations.look(broker, job_id)
        future = self._future_of(record, broker.catalogue.named(record.task))
        if not record.status.is_final:
            self._found.follow(broker, future)
        return future, record

    def _future_of(self, record: JobRecord, task: Task[..., Any] | None) -> JobFuture[Any]:
        future = JobFuture[Any](record.id, task, self._door)
        future.is_at_work = record.status is Status.RUNNING
        self._by_id[record.id] = future
        return future

    def _results(
        self,
        fn: Callable[..., T],
        calls: Iterator[Call],
        futures: "deque[JobFuture[T]]",
        until: float | None,
    ) -> Iterator[T]:
        try:
            while futures:
                if more := list(itertools.islice(calls, 1)):
                    futures.extend(self._submit_all(fn, more))
                yield _result(futures, until)
        finally:
            # Also where an iterator is dropped, in whichever thread: so this must not wait.
            withdraw([] if interpreter_ends() else futures, wait=False)

    def _stand_forked(self) -> None:
        self._gate.stand_forked()
        self._by_id = WeakValueDictionary()
        for follower in (self._submitted, self._found):
            follower.detach_copies("it is of the process that this one was forked from")


def _parts(submissions: Iterable[Submission]) -> Iterator[list[Submission]]:
    part: list[Submission] = []
    size = 0
    for submission in submissions:
        bytes_more = len(to_json(submission.parameters))
        if part and (len(part) == AT_ONCE or size + bytes_more > BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(submission)
        size += bytes_more
    if part:
        yield part


def _result(futures: "deque[JobFuture[T]]", until: float | None) -> T:
    """That of the first, which leaves them once it is there: nothing here holds on to it then."""
    result = futures[0].result(None if until is None else until - time.monotonic())
    futures.popleft()
    return result


_await_all = wait  # within `shutdown` that is the name of a parameter, as in the standard library

_executors: WeakSet["JobExecutor"] = WeakSet()


def _after_fork() -> None:
    for executor in _executors:
        executor._stand_forked()


os.register_at_fork(after_in_child=_after_fork)
