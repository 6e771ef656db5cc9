"""Where a worker keeps its horses: some forked ahead of time, and one that runs shared jobs.

Forking takes longer than a short job. So horses are forked before they are needed, and wait on
their channels; a job that comes finds one ready. They are forked several at a time, because each
fork has the worker copy every page that it writes to next: about 1 ms, whether for one or for four.
"""

import gc
import time

from rq.job import Job

from service.execution.assignment import header_of
from service.execution.harness import Harness, Run
from service.execution.reporting.reported import Reported

SPARES = 4  # horses forked at a time
SHARED_JOBS = 200  # jobs that a shared horse runs before it is replaced
SHARED_SECONDS = 60.0  # and how long it is kept at most
MOST_LEAVING = 32  # horses that are listened to after their job, for what it has left running


class Stable:
    """Hands out horses. `run` is what a horse does all its life."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spares: list[Harness] = []
        self._shared: Harness | None = None
        self._shared_since = 0.0
        self._leaving: list[Harness] = []

    def give(self, job: Job, reported: Reported, *, shared: bool) -> Harness:
        """A horse that has been handed this job; what is reported of it is kept there."""
        header = {**header_of(job, reported.execution_id), "shared": shared}
        while True:
            horse = self._take(shared)
            try:
                horse.assign(header, job.data, reported)
                return horse
            except OSError:  # it died while it waited
                self._dismiss(horse)

    def prepare(self) -> None:
        """Fork the next horses, if none waits."""
        if not self._spares:
            self._spares = self._fork(SPARES)
        self.see_off()

    def see_off(self) -> None:
        """Hear what those say that leave, until they and what they have left running are gone."""
        self._leaving = [horse for horse in self._leaving if not horse.is_over()]
        for horse in self._leaving[:-MOST_LEAVING]:
            horse.listener.close()

    def take_back(self, horse: Harness, *, shared: bool) -> None:
        """Its job has ended. A shared one stays for the next, if it is well and not too old."""
        is_fresh = (
            time.monotonic() - self._shared_since < SHARED_SECONDS
            and horse.jobs_given < SHARED_JOBS
            and not horse.was_interrupted
            and horse.stays
            and not horse.listener.is_spoilt
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
        return [Harness.start(self._run) for _ in range(count)]

    def _dismiss(self, horse: Harness) -> None:
        horse.dismiss()
        self._leaving.append(horse)
        self.see_off()
