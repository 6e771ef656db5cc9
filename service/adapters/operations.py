"""What can be asked at the door: each runs in its loop, with the broker."""

import asyncio
from collections.abc import Collection, Sequence

from redis.exceptions import RedisError

from service.batch_store import job_id_in
from service.broker.broker import Broker
from service.broker.enqueuer import new_job_id
from service.broker.records import JOB_ID, JobRecord
from service.broker.status import FINAL, Status
from service.errors import AlreadySubmitted, JobGone, JobNotFound
from service.submission import Submission

READ_AT_ONCE = 200  # jobs in one round trip
SHOWN = 10  # ids in the note on what was accepted
PAUSE = 0.5  # seconds between looks for a Redis that is away
AT_ONCE = 500  # submissions on their way: of more, the last would wait longer than one is tried for


async def submit(broker: Broker, submission: Submission, job_id: str | None = None) -> JobRecord:
    """The job, once it is as durable as the settings ask for; the one that stands for it already.

    With a `job_id` it can be sent again, as often as need be. Raises what `Enqueuer.submit` does,
    `JobGone` where that which an idempotency key stands for has expired, and `redis.RedisError`.
    """
    while True:
        try:
            return await broker.enqueuer.submit(submission, job_id)
        except AlreadySubmitted as found:
            try:
                return await look(broker, found.job_id)
            except JobNotFound as gone:
                if found.is_replay:
                    raise JobGone(found.job_id, headers={}) from gone
                # It was the live one of a unique task a moment ago; now there is none.


async def submit_all(
    broker: Broker, submissions: Sequence[Submission], job_ids: Sequence[str] | None = None
) -> list[JobRecord]:
    """Many at once, which share syncs of the disk.

    Waits for all, then raises the first error that came of one: the others are accepted, and its
    note names them.
    """
    done = await submit_each(broker, submissions, job_ids)
    records = [record for record in done if isinstance(record, JobRecord)]
    for error in done:
        if not isinstance(error, JobRecord):
            note_accepted(error, [record.id for record in records], len(done))
            raise error
    return records


async def submit_each(
    broker: Broker, submissions: Sequence[Submission], job_ids: Sequence[str] | None = None
) -> list[JobRecord | BaseException]:
    """The same; what came of each, in their order."""
    ids = job_ids or [new_job_id() for _ in submissions]
    places = asyncio.Semaphore(AT_ONCE)

    async def in_its_turn(submission: Submission, job_id: str) -> JobRecord:
        async with places:
            return await submit(broker, submission, job_id)

    each = [in_its_turn(*pair) for pair in zip(submissions, ids, strict=True)]
    return list(await asyncio.gather(*each, return_exceptions=True))


def note_accepted(error: BaseException, accepted: Sequence[str], total: int) -> None:
    """Have the error tell which of so many jobs were accepted all the same."""
    if accepted:
        shown = ", ".join(accepted[:SHOWN]) + (", …" if len(accepted) > SHOWN else "")
        error.add_note(f"{len(accepted)} of {total} jobs were accepted, and will run: {shown}")


async def look(broker: Broker, job_id: str) -> JobRecord:
    """The job as it is now. Raises `JobNotFound`, and `redis.RedisError` where Redis is away."""
    _check(job_id)
    return await asyncio.to_thread(broker.job, job_id)


async def find_all(broker: Broker, job_ids: Sequence[str]) -> list[JobRecord | None]:
    """These jobs as they are now, None for one that there is not. Raises `redis.RedisError`."""
    found: list[JobRecord | None] = []
    for start in range(0, len(job_ids), READ_AT_ONCE):
        some = job_ids[start : start + READ_AT_ONCE]
        found += await asyncio.to_thread(broker.reader.read, some)
    return found


async def jobs_of_batch(broker: Broker, batch_id: str) -> list[str]:
    """The ids of its jobs, in its order. Raises `BatchNotFound`, and `redis.RedisError`."""
    fields = await asyncio.to_thread(broker.batches.fields, batch_id)
    return [job_id_in(batch_id, number) for number in range(int(fields["total"]))]


async def await_status(
    broker: Broker, job_id: str, wanted: Collection[Status], seconds: float | None
) -> Status | None:
    """The job's status once it is one of these; None where it is not in so many seconds.

    Redis may be away meanwhile, for however long. Raises `JobNotFound`.
    """
    _check(job_id)
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while True:
        left = None if until is None else max(until - loop.time(), 0)
        try:
            return await broker.watch.until(job_id, wanted, left)
        except RedisError:
            if left is not None and left < PAUSE:
                return None
            await asyncio.sleep(PAUSE)


async def await_end(broker: Broker, job_id: str, seconds: float | None) -> JobRecord | None:
    """The job once it has ended; None where it has not in so many seconds. Raises `JobNotFound`."""
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while True:
        left = None if until is None else max(until - loop.time(), 0)
        in_time = await await_status(broker, job_id, FINAL, left) is not None
        try:
            job = await look(broker, job_id)  # also when the time is over: there may be none at all
        except RedisError:
            if not in_time:
                return None
            await asyncio.sleep(PAUSE)
            continue
        if job.status.is_final:  # nobody has retried it meanwhile
            return job
        if not in_time:
            return None


def _check(job_id: str) -> None:
    """Another key of Redis must not be looked at as if it were a job."""
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)


async def cancel(broker: Broker, job_id: str) -> bool:
    """As `JobActions.cancel`."""
    return await asyncio.to_thread(broker.actions.cancel, job_id)


async def withdraw(broker: Broker, job_id: str) -> bool:
    """As `JobActions.withdraw`."""
    return await asyncio.to_thread(broker.actions.withdraw, job_id)


async def retry(broker: Broker, job_id: str) -> None:
    """As `JobActions.retry`."""
    await asyncio.to_thread(broker.actions.retry, job_id)


async def delete(broker: Broker, job_id: str) -> None:
    """As `JobActions.delete`."""
    await asyncio.to_thread(broker.actions.delete, job_id)
