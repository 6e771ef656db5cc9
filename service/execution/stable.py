"""Where a worker keeps its horses: some forked ahead of time, and one that runs shared jobs.

Forking takes longer than a short job. So horses are forked before they are needed, and wait on
their channels; a job that comes finds one ready. They are forked several at a time, because each
fork has the worker copy every page that it writes to next: about 1 ms, whether for one or for four.
"""

import gc
import time
from collections.abc import Callable
from typing import NoReturn

from rq.job import Job

from service.execution.assignment import header_of
from service.execution.channel import Channel
from service.execution.harness import Harness

SPARES = 4  # horses forked at a time
SHARED_JOBS = 200  # jobs that a shared horse runs before it is replaced
SHARED_SECONDS = 60.0  # and how long it is kept at most


class Stable:
    """Hands out horses. `run` is what a horse does all its life."""

    def __init__(self, run: Callable[[Channel], NoReturn]) -> None:
        self._run = run
        self._spares: list[Harness] = []
        self._shared: Harness | None = None
        self._shared_since = 0.0
        self._leaving: list[Harness] = []

    def give(self, job: Job, execution_id: str, *, shared: bool) -> Harness:
        """A horse that has been handed this job."""
        while True:
            horse = self._take(shared)
            try:
                horse.assign({**header_of(job, execution_id), "shared": shared}, job.data)
                return horse
            except OSError:  # it died while it waited
                self._dismiss(horse)

    def prepare(self) -> None:
        """Fork the next horses, if none waits."""
        if not self._spares:
            self._spares = self._fork(SPARES)

    def take_back(self, horse: Harness, *, shared: bool) -> None:
        """Its job has ended. A shared one stays for the next, if it is well and not too old."""
        is_fresh = (
            time.monotonic() - self._shared_since < SHARED_SECONDS
            and horse.jobs_given < SHARED_JOBS
            and not horse.was_interrupted
        )
        if shared and is_fresh and not horse.is_gone():
            self._shared = horse
        else:
            self._dismiss(horse)

    def close(self) -> None:
        """Have all horses leave."""
        for horse in (*self._spares, self._shared):
            if horse is not None:
                self._dismiss(horse)
        self._spares, self._shared = [], None

    def _take(self, shared: bool) -> Harness:
        if shared:
            if self._shared is not None:
                horse, self._shared = self._shared, None
                return horse
            self._shared_since = time.monotonic()
        return self._spares.pop() if self._spares else self._fork(1)[0]

    def _fork(self, count: int) -> list[Harness]:
        # What exists now is never collected: a collection in the child would touch, and so copy,
        # every page that it shares with the worker.
        gc.freeze()
        return [Harness.fork(self._run) for _ in range(count)]

    def _dismiss(self, horse: Harness) -> None:
        horse.dismiss()
        self._leaving.append(horse)
        self._leaving = [leaving for leaving in self._leaving if not leaving.is_gone()]
