"""The client for code without an event loop."""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from service.client.batch_calls import BatchCalls
from service.client.batches import Batch, BatchCanceled, BatchRow, BatchStatus
from service.client.encoding import Parameters
from service.client.event_calls import EventCalls
from service.client.job_calls import JobCalls
from service.client.jobs import Event, Execution, Job, JobsCanceled, JobsRetried, Log, Why
from service.client.lines import Sets
from service.client.options import BatchOptions, SubmitOptions
from service.client.overview import Queue, Task, Worker
from service.client.overview_calls import OverviewCalls
from service.client.ports import TIMEOUT, SyncPort, connecting, iterate, run
from service.client.retries import DEFAULT_RETRIES, Retries


class Client:
    """Paddock's API at `base_url`. Threads may share one; a fork makes its own.

    `with` it, or `close` it at the end. `api_key` is one of the service's `PADDOCK_API_KEYS`.
    `timeout` is for how many seconds it waits for a connection, and for each sign of life on one,
    before that counts as a failure; `retries` what is done then. `transport` is httpx's: another
    certificate authority, a proxy, or a Unix socket is named there.

    Every method raises `RequestFailed` where it comes to nothing: `ServiceUnreachable`, or a
    `PaddockHTTPError` where the service refused, such as `KeyMissing` and `RedisAway`. Each tells
    of those that its own arguments may lead to. `ValueError` where `base_url` is no URL.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        arguments = connecting(base_url, api_key, timeout)
        self._http = httpx.Client(transport=transport, **arguments)
        self._calls = _Calls(SyncPort(self._http), retries)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def submit(
        self,
        task: str,
        parameters: Parameters | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Have the service accept a job: it is kept from then on, and is accepted once.

        Every submission bears a key, by which the service tells tries of the same one; give one of
        your own to make sure of it beyond this call. The options are those of `SubmitOptions`.

        Raises `TaskNotFound`, `ParametersInvalid`, `OptionsInvalid`, `QueueNotFound`, `QueueFull`,
        `RedisAway`, `IdempotencyKeyReused`, `JobGone`; and `TypeError` or `ValueError` for what
        JSON can't carry.
        """
        return run(self._calls.submit(task, parameters, idempotency_key=idempotency_key, **options))

    def job(self, job: Job | str) -> Job:
        """The job as it is now. Raises `JobNotFound`."""
        return run(self._calls.job(job))

    def jobs(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[Job]:
        """All jobs of this kind, newest first, a page of them asked for at a time.

        `since` is a time with a zone. Raises `OptionsInvalid`.
        """
        return iterate(self._calls.jobs(status=status, task=task, queue=queue, since=since))

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """The job, once it has ended, in whichever way.

        Goes on when the service is away for no longer than `Retries.total`, as in a restart.
        Raises `WaitTimeout` after `timeout` seconds, and `JobNotFound`.
        """
        return run(self._calls.wait(job, timeout))

    def result(self, job: Job | str, timeout: float | None = None) -> Any:
        """What the job's task returned, once it has.

        Raises `JobFailed`, `JobCanceled`, `WaitTimeout` after `timeout` seconds, and `JobNotFound`.
        """
        return run(self._calls.result(job, timeout))

    def events(self, job: Job | str) -> Iterator[Event]:
        """All that happens to the job, from its beginning to its end, as it happens.

        The service is not asked, it tells. Where the connection breaks, it goes on from the event
        that was heard last: none is lost, and none comes twice. Of what a job reports of its
        progress, the latest is told. Raises `JobNotFound`, also once the job is deleted.
        """
        return iterate(self._calls.events(job))

    def why(self, job: Job | str) -> Why:
        """What it waits for, or how it came to its end, in words and data. Raises `JobNotFound`."""
        return run(self._calls.why(job))

    def executions(self, job: Job | str) -> list[Execution]:
        """How each of its executions ended, oldest first; the last fifty. Raises `JobNotFound`."""
        return run(self._calls.executions(job))

    def log(self, job: Job | str) -> Log:
        """What it has printed and logged: the last 10,000 lines, or MiB. Raises `JobNotFound`."""
        return run(self._calls.log(job))

    def cancel(self, job: Job | str) -> Job:
        """Take it off its queue or schedule; interrupt one that runs, which then ends soon.

        Raises `JobNotFound`, and `StatusConflict` where it has ended.
        """
        return run(self._calls.cancel(job))

    def retry(self, job: Job | str) -> Job:
        """Run a failed job again. Raises `JobNotFound`, and `StatusConflict` unless it failed."""
        return run(self._calls.retry(job))

    def cancel_jobs(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        since: datetime | None = None,
    ) -> JobsCanceled:
        """Cancel every job of this kind that has not ended; those that run are interrupted.

        Where the service is asked again, it counts what was left then. At least one filter has to
        be given. Raises `OptionsInvalid`.
        """
        return run(self._calls.cancel_jobs(status=status, task=task, queue=queue, since=since))

    def retry_jobs(
        self, *, task: str | None = None, queue: str | None = None, since: datetime | None = None
    ) -> JobsRetried:
        """Run every failed job of this kind again, or of every kind.

        Where the service is asked again, it counts what was left then. Raises `OptionsInvalid`.
        """
        return run(self._calls.retry_jobs(task=task, queue=queue, since=since))

    def delete(self, job: Job | str) -> None:
        """Remove a job that does not run, and its result, for good.

        Raises `JobNotFound`, and `StatusConflict` where it runs.
        """
        run(self._calls.delete(job))

    def batch(
        self,
        task: str,
        parameters: Sets,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> Batch:
        """Have the service accept a job for each set of parameters: all of them or none, once.

        They are sent as a stream, so that it takes no memory how many they are. A list, or a
        function that returns the sets anew each time, is sent again like any request. An iterator
        can be read only once: a failure after that was begun is raised, and the same sets under its
        `idempotency_key` are accepted once at most. An `AsyncClient` takes async ones, too.

        Raises what `submit` does, and `BatchTooLarge`.
        """
        return run(self._calls.batch(task, parameters, idempotency_key=idempotency_key, **options))

    def batch_status(self, batch: Batch | BatchStatus | str) -> BatchStatus:
        """How many of its jobs stand where. Raises `BatchNotFound`."""
        return run(self._calls.batch_status(batch))

    def batch_results(self, batch: Batch | BatchStatus | str) -> Iterator[BatchRow]:
        """A row for each of its jobs, in their order, as they are now.

        They are read as they come; where the connection breaks, it goes on from there. Raises
        `BatchNotFound`.
        """
        return iterate(self._calls.batch_results(batch))

    def wait_batch(
        self, batch: Batch | BatchStatus | str, timeout: float | None = None
    ) -> BatchStatus:
        """The batch, once each of its jobs has ended, in whichever way.

        The service is asked every two seconds at least. Raises `WaitTimeout` after `timeout`
        seconds, and `BatchNotFound`.
        """
        return run(self._calls.wait_batch(batch, timeout))

    def cancel_batch(self, batch: Batch | BatchStatus | str) -> BatchCanceled:
        """Cancel every job of it that has not ended; those that run are interrupted.

        Where the service is asked again, it counts what was left then. Raises `BatchNotFound`.
        """
        return run(self._calls.cancel_batch(batch))

    def retry_batch(self, batch: Batch | BatchStatus | str) -> int:
        """Run every failed job of it again; how many those are. Raises `BatchNotFound`."""
        return run(self._calls.retry_batch(batch))

    def tasks(self) -> list[Task]:
        """The catalogue: what can be submitted."""
        return run(self._calls.tasks())

    def queues(self) -> list[Queue]:
        """The queues, and how many jobs stand where on each."""
        return run(self._calls.queues())

    def pause_queue(self, queue: Queue | str) -> Queue:
        """Have its jobs wait, also those still to come; those that run go on.

        Raises `QueueNotFound`.
        """
        return run(self._calls.pause_queue(queue))

    def resume_queue(self, queue: Queue | str) -> Queue:
        """Have the jobs of a paused queue run again. Raises `QueueNotFound`."""
        return run(self._calls.resume_queue(queue))

    def workers(self) -> list[Worker]:
        """The living workers, and what each runs."""
        return run(self._calls.workers())


class _Calls(JobCalls, EventCalls, BatchCalls, OverviewCalls):
    """All calls there are."""
