"""What holds while a job runs: RQ's current job, what log records bear, and whose trace it is.

It is kept in the context of a thread or coroutine: many jobs run in one process.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from rq.job import _current_job

from service.execution.assignment import KnownJob
from service.logs import ABOUT
from service.tracing.spans import active_tracer, context_of


def enter(job: KnownJob) -> None:
    """For a context that ends with the job."""
    _current_job.set(job)
    ABOUT.set({**ABOUT.get(), **job.about})
    _go_on_with(job.trace)


@contextlib.contextmanager
def within(job: KnownJob) -> Iterator[None]:
    """For as long as the block lasts."""
    current = _current_job.set(job)
    about = ABOUT.set({**ABOUT.get(), **job.about})
    traced = _go_on_with(job.trace)
    try:
        yield
    finally:
        if traced is not None:
            _leave(traced)
        ABOUT.reset(about)
        _current_job.reset(current)


def _go_on_with(trace: Mapping[str, str]) -> Any:
    """Have what the job traces become a part of this; what to `_leave`, or None."""
    if not trace or active_tracer() is None:
        return None
    from opentelemetry.context import attach

    return attach(context_of(trace))


def _leave(traced: Any) -> None:
    from opentelemetry.context import detach

    detach(traced)
