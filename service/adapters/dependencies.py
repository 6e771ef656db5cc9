"""What FastAPI endpoints of one's own are given: `async def report(jobs: JobsDep)`."""

from typing import Annotated

from fastapi import Depends

from service.adapters.jobs import BlockingJobs, Jobs


async def _jobs() -> Jobs:
    return Jobs()


async def _blocking_jobs() -> BlockingJobs:
    return BlockingJobs()


JobsDep = Annotated[Jobs, Depends(_jobs)]  #: for `async def` endpoints
BlockingJobsDep = Annotated[BlockingJobs, Depends(_blocking_jobs)]  #: for `def` endpoints
