"""Watching one execution until it has ended, or until it has to."""

import math
import time
from collections.abc import Callable
from typing import Any

from rq.job import Job
from rq.timeouts import JobTimeoutException

from jobs import Task
from service.execution.harness import Harness
from service.execution.orders import Orders
from service.execution.outcome import Kind, Outcome, Usage

CANCEL_GRACE = 1.0  # seconds to clean up after a cancel; then the job is killed


class Watch:
    """One job in one horse. Times in seconds."""

    def __init__(
        self,
        job: Job,
        task: Task[..., Any] | None,  # None where the job names no task of the catalogue
        horse: Harness,
        orders: Orders,
        timeout_grace: float,  # beyond its timeout, for a job that was interrupted to clean up
    ) -> None:
        self._job, self._task, self.horse, self._orders = job, task, horse, orders
        self._deadline = latest_age(job, timeout_grace)
        self._cancel_by: float | None = None

    def until_ended(
        self, beat: Callable[[], None], heartbeat: float, write: Callable[[], None]
    ) -> Outcome:
        """How it ended, be it by itself, by its timeout, by a cancel or with its worker.

        `beat` is called every `heartbeat` seconds, to show that the job lives, and `write` when
        what it has reported is to be written down.
        """
        next_beat = time.monotonic() + heartbeat
        while True:
            due = min(self.next_look(), next_beat, self.horse.reported.due)
            until_next = due - time.monotonic()
            self.horse.wait(max(0.0, until_next), self._orders.wake)
            self._orders.heard()
            if outcome := self.look():
                return outcome
            if time.monotonic() >= next_beat:
                beat()
                next_beat = time.monotonic() + heartbeat
            if time.monotonic() >= self.horse.reported.due:
                write()

    def look(self) -> Outcome | None:
        """How it ended, if it has, or has to now. All that it has reported is known then."""
        if outcome := self._outcome():
            self.horse.listener.end(self.horse.reported.execution_id)
        return outcome

    def _outcome(self) -> Outcome | None:
        if outcome := self.horse.outcome():
            return self._as_ordered(outcome)
        moment = time.monotonic()
        if self._orders.is_canceled(self._job.id):
            if self._cancel_by is None:
                self.horse.interrupt()
                self._cancel_by = moment + CANCEL_GRACE
            elif moment >= self._cancel_by:
                return Outcome(Kind.CANCELED, self._kill(), "canceled, killed")
        if self._orders.leave_by is not None and moment >= self._orders.leave_by:
            return Outcome(Kind.PUT_BACK, self._kill(), "its worker was told to stop")
        if self.horse.age >= self._deadline:
            return overdue(self._job, self._task, self._kill())
        return None

    def next_look(self) -> float:
        """Monotonic time of the next one that is due, whatever is heard until then."""
        moments = [at for at in (self._cancel_by, self._orders.leave_by) if at is not None]
        return min([time.monotonic() + self._deadline - self.horse.age, *moments])

    def _as_ordered(self, outcome: Outcome) -> Outcome:
        """A job that was told to stop is canceled, whatever it raised or died of; unless it won."""
        if self._orders.is_canceled(self._job.id) and outcome.kind is not Kind.RETURNED:
            return Outcome(Kind.CANCELED, outcome.usage, "canceled")
        return outcome

    def _kill(self) -> Usage:
        self.horse.kill()
        return self.horse.usage()


def latest_age(job: Job, timeout_grace: float) -> float:
    """Seconds that it may run at most, until it is killed."""
    return job.timeout + timeout_grace if job.timeout and job.timeout > 0 else math.inf


def overdue(job: Job, task: Task[..., Any] | None, usage: Usage) -> Outcome:
    """The outcome of a job that was killed, since its timeout and its grace were over."""
    error = JobTimeoutException(
        f"Task exceeded its timeout of {job.timeout} s, went on after it was "
        "interrupted, and was killed"
    )
    body = f"{type(error).__module__}.{type(error).__qualname__}: {error}".encode()
    may_retry = task is not None and task.policy.retries(error)
    return Outcome(Kind.RAISED, usage, "timed out, killed", body, may_retry)
