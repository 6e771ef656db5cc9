"""What holds while a job runs: RQ's current job, and what log records bear that are made meanwhile.

It is kept in the context of a thread or coroutine: many jobs run in one process.
"""

import contextlib
from collections.abc import Iterator

from rq.job import _current_job

from service.execution.assignment import KnownJob
from service.logs import ABOUT


def enter(job: KnownJob) -> None:
    """For a context that ends with the job."""
    _current_job.set(job)
    ABOUT.set({**ABOUT.get(), **job.about})


@contextlib.contextmanager
def within(job: KnownJob) -> Iterator[None]:
    """For as long as the block lasts."""
    current = _current_job.set(job)
    about = ABOUT.set({**ABOUT.get(), **job.about})
    try:
        yield
    finally:
        ABOUT.reset(about)
        _current_job.reset(current)
