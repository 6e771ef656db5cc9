"""Read by type checkers, never run: what a transaction submits is as typed as any other job."""

from typing import assert_type

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from service.adapters.jobs import BlockingJob, BlockingJobs, Job, Jobs
from service.adapters.outbox import outbox_relay
from tests.sample_tasks import echo_async, sleep


def submitted(jobs: Jobs, blocking: BlockingJobs, session: AsyncSession, plain: Session) -> None:
    assert_type(jobs.submit_on_commit(session, echo_async, 1), Job[int])
    assert_type(jobs.submit_on_commit(session, sleep, seconds=1), Job[float])
    assert_type(blocking.submit_on_commit(plain, echo_async, value=1), BlockingJob[int])
    assert_type(blocking.submit_on_commit(plain, sleep, 1), BlockingJob[float])

    jobs.submit_on_commit(session, sleep)  # wrong
    jobs.submit_on_commit(session, sleep, "a")  # wrong
    jobs.submit_on_commit(sleep, 1)  # wrong
    blocking.submit_on_commit(plain, echo_async, url=1)  # wrong
    blocking.submit_on_commit(plain, len, "a")  # wrong


def scoped(
    jobs: Jobs, session: scoped_session[Session], other: async_scoped_session[AsyncSession]
) -> None:
    jobs.submit_on_commit(session, sleep, 1)
    jobs.submit_on_commit(other, sleep, 1)


async def relayed(engine: AsyncEngine, plain: Engine) -> None:
    assert_type(await outbox_relay(engine).sweep(), int)
    assert_type(outbox_relay(plain).sweep(), int)
    async with outbox_relay(engine), outbox_relay(plain, interval=1):
        pass
    outbox_relay("sqlite://")  # wrong
