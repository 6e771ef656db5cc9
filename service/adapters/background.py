"""FastAPI's BackgroundTasks, kept: what an endpoint adds is a job before its answer is sent.

    from service.adapters.background import BackgroundTasks  # was: from fastapi import …

FastAPI runs what was added after the answer, in this process, and forgets it when that dies. Here
the answer says that it is kept: it runs whatever happens to this process, in one of a worker's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

from fastapi import Depends, HTTPException

from service.adapters import operations
from service.adapters.calls import call
from service.adapters.door import Door, the_door
from service.adapters.jobs import Job
from service.broker.enqueuer import new_job_id
from service.broker.intake import Options
from service.errors import QueueFull, RedisAway
from service.submission import Submission

P = ParamSpec("P")

# Starlette's classes for type checkers only: FastAPI takes parameters of those for its own.
if TYPE_CHECKING:
    from starlette.background import BackgroundTask as _Task
    from starlette.background import BackgroundTasks as _Tasks
else:
    _Task = _Tasks = object


class DurableTasks(_Tasks):
    """What an endpoint has added. Made by hand, for `Response(background=…)`, it sends at once."""

    def __init__(self, *, door: Door | None = None, collects: bool = False) -> None:
        """With `collects`, all that is added waits for `send`."""
        self._door, self._collects = door or the_door(), collects
        self._added: list[tuple[Submission, str]] = []

    def add_task(  # type: ignore[override]  # FastAPI's returns nothing
        self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs
    ) -> Job[Any]:
        """Have a task run with these arguments. The job's `id` may be told to the caller.

        As a parameter of an endpoint it sends what was added when the endpoint has returned; where
        an endpoint raises, nothing is sent. A unique task is sent at once, since the job that
        stands for it may be there already.

        Raises what `service.adapters.calls.call` raises; a function that is in no catalogue is
        refused with the line to add.
        """
        submission = call(self._door, func, args, kwargs, Options())
        job_id = new_job_id()
        if self._collects and not submission.task.policy.unique:
            self._added.append((submission, job_id))
        else:
            job_id = _sent_at_once(self._door, submission, job_id)
        return Job(job_id, submission.task, self._door)

    async def send(self) -> None:
        """Submit what was added and not sent. Where one is refused, others may be accepted."""
        if not self._added:
            return
        submissions, job_ids = zip(*self._added, strict=True)
        self._added = []
        sent = self._door.begin(operations.submit_all, submissions, job_ids)
        await asyncio.wrap_future(sent)

    async def __call__(self) -> None:
        """Starlette calls this once the answer has been sent. All is with the workers by then."""


class BackgroundTask(_Task):
    """Starlette's, for `Response(background=BackgroundTask(task, …))`: sent as it is made."""

    def __init__(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        self.job = DurableTasks().add_task(func, *args, **kwargs)

    async def __call__(self) -> None:
        """As `DurableTasks`."""


async def _collected() -> AsyncIterator[DurableTasks]:
    tasks = DurableTasks(collects=True)
    try:
        yield tasks
        await tasks.send()
    except (RedisAway, QueueFull) as refusal:  # which an application of one's own need not know
        raise HTTPException(refusal.status, refusal.detail, refusal.headers) from refusal


if TYPE_CHECKING:
    BackgroundTasks = DurableTasks
else:
    # "function": sent when the endpoint has returned, before its answer is.
    BackgroundTasks = Annotated[DurableTasks, Depends(_collected, scope="function")]


def _sent_at_once(door: Door, submission: Submission, job_id: str) -> str:
    """The id of the job, or of the one that stands for it already."""
    return door.begin(operations.submit, submission, job_id).result().id
