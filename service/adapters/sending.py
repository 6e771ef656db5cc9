"""Submitting what is planned: together what can be, and again while Redis is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from redis.exceptions import RedisError

from service.adapters import operations
from service.adapters.call_options import SendingAgain, sending_again
from service.adapters.plan import Batch, Plan, Step
from service.batch_store import job_id_in
from service.broker.broker import Broker
from service.errors import AlreadySubmitted, RedisAway
from service.submission import Submission

T = TypeVar("T")


async def send(broker: Broker, plan: Plan) -> None:
    """Submit all of it, each job after those that it waits for.

    So where an error is raised, or this process dies, no job has been accepted that waits for one
    which was not. Those that have been are run; the error's note names them.

    Raises what `Enqueuer.submit` does, and `redis.RedisError`.
    """
    accepted: list[str] = []
    places = asyncio.Semaphore(operations.AT_ONCE)
    for together in plan.rounds():
        sent = await asyncio.gather(
            *(_send(broker, each, places) for each in together), return_exceptions=True
        )
        accepted += [job_id for ids in sent if not isinstance(ids, BaseException) for job_id in ids]
        for error in sent:
            if isinstance(error, BaseException):
                operations.note_accepted(error, accepted, len(plan.steps))
                raise error


async def _send(broker: Broker, each: Step | Batch, places: asyncio.Semaphore) -> Sequence[str]:
    """The ids of the jobs that it has become."""
    async with places:
        if isinstance(each, Batch):
            return await _send_batch(broker, each)
        return await _send_step(broker, each)


async def _send_step(broker: Broker, step: Step) -> Sequence[str]:
    again, submission = sending_again(step.options), _waiting(step)
    job = await _insist(again, lambda: operations.submit(broker, submission, step.job_id))
    step.job_id = job.id  # another's, where that stands for it
    return [job.id]


def _waiting(step: Step) -> Submission:
    """For the jobs that stand for the steps before it."""
    before = [each.job_id for each in step.after.awaited()] if step.after else []
    return replace(step.submission, depends_on=tuple(dict.fromkeys(before)))


async def _send_batch(broker: Broker, batch: Batch) -> Sequence[str]:
    again = sending_again(batch.steps[0].options)
    batch.id = await _insist(again, lambda: _stage(broker, batch))
    for number, step in enumerate(batch.steps):
        step.job_id = job_id_in(batch.id, number)
    return [step.job_id for step in batch.steps]


async def _stage(broker: Broker, batch: Batch) -> str:
    try:
        async with broker.batch_enqueuer.begin(batch.submission) as staging:
            for step in batch.steps:
                await staging.add(step.submission.parameters)
            await staging.commit()
            return staging.id
    except AlreadySubmitted as found:  # by this process, which did not hear of it
        return found.job_id


async def _insist(again: SendingAgain, send: Callable[[], Awaitable[T]]) -> T:
    """Do what can be done twice, until it is done, or has been tried often enough."""
    pauses = again.pauses()
    while True:
        try:
            return await send()
        except (RedisAway, RedisError):
            pause = next(pauses, None)
            if pause is None:
                raise
            await asyncio.sleep(pause)
