"""Watching one execution until it has ended, or until it has to."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rq.job import Job
from rq.timeouts import JobTimeoutException

from jobs import Task
from service.execution.harness import Harness
from service.execution.orders import Orders
from service.execution.outcome import Kind, Outcome

CANCEL_GRACE = 1.0  # seconds to clean up after a cancel; then the job is killed


@dataclass(frozen=True, slots=True)
class Watch:
    """One job in one horse. Times in seconds."""

    job: Job
    task: Task[..., Any] | None  #: None where the job names no task of the catalogue
    horse: Harness
    orders: Orders
    timeout_grace: float  #: beyond its timeout, for a job that was interrupted to clean up
    beat: Callable[[], None]  #: shows that the job lives
    heartbeat: float  #: how often

    def until_ended(self) -> Outcome:
        """How it ended, be it by itself, by its timeout, by a cancel or with its worker."""
        next_beat = time.monotonic() + self.heartbeat
        cancel_by: float | None = None
        while True:
            self.horse.wait(self._next_look(next_beat, cancel_by), self.orders.wake)
            self.orders.heard()
            if outcome := self.horse.outcome():
                return self._as_ordered(outcome)
            moment = time.monotonic()
            if self.orders.is_canceled(self.job.id):
                if cancel_by is None:
                    self.horse.interrupt()
                    cancel_by = moment + CANCEL_GRACE
                elif moment >= cancel_by:
                    return self._killed(Kind.CANCELED, "canceled, killed")
            if self.orders.leave_by is not None and moment >= self.orders.leave_by:
                return self._killed(Kind.PUT_BACK, "its worker was told to stop")
            if self.horse.age >= self._deadline():
                return self._overdue()
            if moment >= next_beat:
                self.beat()
                next_beat = time.monotonic() + self.heartbeat

    def _deadline(self) -> float:
        """The age at which the horse is killed."""
        timeout = self.job.timeout
        return timeout + self.timeout_grace if timeout and timeout > 0 else math.inf

    def _next_look(self, next_beat: float, cancel_by: float | None) -> float:
        moment = time.monotonic()
        moments = [at for at in (next_beat, cancel_by, self.orders.leave_by) if at is not None]
        until_next = min(moments) - moment
        return max(0.0, min(until_next, self._deadline() - self.horse.age))

    def _as_ordered(self, outcome: Outcome) -> Outcome:
        """A job that was told to stop is canceled, whatever it raised or died of; unless it won."""
        if self.orders.is_canceled(self.job.id) and outcome.kind is not Kind.RETURNED:
            return Outcome(Kind.CANCELED, outcome.usage, "canceled")
        return outcome

    def _overdue(self) -> Outcome:
        error = JobTimeoutException(
            f"Task exceeded its timeout of {self.job.timeout} s, went on after it was "
            "interrupted, and was killed"
        )
        body = f"{type(error).__module__}.{type(error).__qualname__}: {error}".encode()
        may_retry = self.task is not None and self.task.policy.retries(error)
        return self._killed(Kind.RAISED, "timed out, killed", body, may_retry)

    def _killed(
        self, kind: Kind, reason: str, body: bytes = b"", may_retry: bool = False
    ) -> Outcome:
        self.horse.kill()
        return Outcome(kind, self.horse.usage(), reason, body, may_retry)
