"""Calls about jobs, for both clients."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, Unpack
from uuid import uuid4

from service.client.encoding import Parameters
from service.client.errors import JobNotFound, StatusConflict, WaitTimeout
from service.client.exchange import Caller
from service.client.jobs import (
    ENDED,
    Execution,
    Job,
    JobPage,
    JobsCanceled,
    JobsRetried,
    Log,
    Why,
    outcome,
)
from service.client.options import SubmitOptions, as_query
from service.client.reading import read, read_list
from service.client.requests import delete, get, given, post, submission
from service.client.waiting import ENDLESS, LONG_POLL, Deadline

PAGE = 100  # jobs asked for at a time


class JobCalls(Caller):
    """Submit jobs, look at them, wait for them, act on them.

    Every call raises `RequestFailed`: `ServiceUnreachable` or, where the service refused, a
    `PaddockHTTPError`; what is told of below are those that its own arguments can lead to.
    """

    async def submit(
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
        query = as_query(options, SubmitOptions)
        key, wait = idempotency_key or str(uuid4()), options.get("wait") or 0.0
        request = submission(task, parameters or {}, key, query, wait)
        return read(Job, await self._document(request))

    async def job(self, job: Job | str) -> Job:
        """The job as it is now. Raises `JobNotFound`."""
        return await self._look(job)

    async def jobs(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        since: datetime | None = None,
    ) -> AsyncGenerator[Job, None]:
        """All jobs of this kind, newest first, a page of them asked for at a time.

        `since` is a time with a zone. Raises `OptionsInvalid`.
        """
        asked = _filter(since, status=status, task=task, queue=queue) | given(limit=PAGE)
        cursor: str | None = None
        while True:
            request = get("jobs", query=asked | given(cursor=cursor))
            page = read(JobPage, await self._document(request))
            for job in page.jobs:
                yield job
            if (cursor := page.next) is None:
                return

    async def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """The job, once it has ended, in whichever way.

        Goes on when the service is away for no longer than `Retries.total`, as in a restart.
        Raises `WaitTimeout` after `timeout` seconds, and `JobNotFound`.
        """
        deadline = Deadline(timeout)
        while True:
            seen = await self._look(job, min(LONG_POLL, deadline.left()), deadline)
            if seen.has_ended:
                return seen
            if not deadline.left():
                raise WaitTimeout(f"{seen.task} {seen.id} is still {seen.status} after {timeout} s")

    async def result(self, job: Job | str, timeout: float | None = None) -> Any:
        """What the job's task returned, once it has.

        Raises `JobFailed`, `JobCanceled`, `WaitTimeout` after `timeout` seconds, and `JobNotFound`.
        """
        return outcome(await self.wait(job, timeout))

    async def why(self, job: Job | str) -> Why:
        """What it waits for, or how it came to its end, in words and data. Raises `JobNotFound`."""
        return read(Why, await self._document(get("jobs", _id(job), "why")))

    async def executions(self, job: Job | str) -> list[Execution]:
        """How each of its executions ended, oldest first; the last fifty. Raises `JobNotFound`."""
        return read_list(Execution, await self._document(get("jobs", _id(job), "executions")))

    async def log(self, job: Job | str) -> Log:
        """What it has printed and logged: the last 10,000 lines, or MiB. Raises `JobNotFound`."""
        return read(Log, await self._document(get("jobs", _id(job), "log")))

    async def cancel(self, job: Job | str) -> Job:
        """Take it off its queue or schedule; interrupt one that runs, which then ends soon.

        Raises `JobNotFound`, and `StatusConflict` where it has ended.
        """
        try:
            return read(Job, await self._document(post("jobs", _id(job), "cancel")))
        except StatusConflict as conflict:
            # The answer to an earlier try may have been lost.
            if conflict.tries == 1 or conflict.job_status != "canceled":
                raise
            return await self._look(job)

    async def retry(self, job: Job | str) -> Job:
        """Run a failed job again. Raises `JobNotFound`, and `StatusConflict` unless it failed."""
        try:
            return read(Job, await self._document(post("jobs", _id(job), "retry")))
        except StatusConflict as conflict:
            if conflict.tries == 1 or conflict.job_status in ENDED:
                raise
            return await self._look(job)

    async def cancel_jobs(
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
        asked = _filter(since, status=status, task=task, queue=queue)
        return read(JobsCanceled, await self._document(post("jobs", "cancel", query=asked)))

    async def retry_jobs(
        self, *, task: str | None = None, queue: str | None = None, since: datetime | None = None
    ) -> JobsRetried:
        """Run every failed job of this kind again, or of every kind.

        Where the service is asked again, it counts what was left then. Raises `OptionsInvalid`.
        """
        asked = _filter(since, status="failed", task=task, queue=queue)
        return read(JobsRetried, await self._document(post("jobs", "retry", query=asked)))

    async def delete(self, job: Job | str) -> None:
        """Remove a job that does not run, and its result, for good.

        Raises `JobNotFound`, and `StatusConflict` where it runs.
        """
        try:
            await self._exchange(delete("jobs", _id(job))).answer()
        except JobNotFound as gone:
            if gone.tries == 1:
                raise

    async def _look(self, job: Job | str, wait: float = 0.0, deadline: Deadline = ENDLESS) -> Job:
        return read(Job, await self._document(get("jobs", _id(job), wait=wait), deadline))


def _id(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job


def _filter(since: datetime | None, **names: str | None) -> dict[str, str]:
    return given(**names, since=since and since.isoformat())
