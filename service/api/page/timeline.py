"""A job's executions on one line of time: what it waited, and how each ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from service.api.schemas import ExecutionView
from service.broker.records import JobRecord
from service.broker.status import Status

Kind = Literal["waited", "ran", "runs", "failed", "canceled"]

_FINE, _STOPPED = ("returned", "put back"), ("canceled",)
THINNEST = 0.4  # percent of the line, so that what was short is seen as well


@dataclass(frozen=True, slots=True)
class Stretch:
    """From then to then."""

    kind: Kind
    begins: datetime
    ends: datetime
    words: str

    @property
    def seconds(self) -> float:
        return max((self.ends - self.begins).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True)
class Timeline:
    stretches: list[Stretch]

    @property
    def seconds(self) -> float:
        """From its first moment to its last."""
        return sum(stretch.seconds for stretch in self.stretches)

    def placed(self) -> Iterator[tuple[float, float, Stretch]]:
        """Each with where it begins and how long it is, in percent of the whole."""
        at, whole = 0.0, self.seconds or 1.0
        for stretch in self.stretches:
            width = 100 * stretch.seconds / whole
            yield round(min(at, 100 - THINNEST), 2), round(max(width, THINNEST), 2), stretch
            at += width


def timeline(job: JobRecord, executions: Sequence[ExecutionView]) -> Timeline:
    """Up to now, where the job has not ended."""
    now = datetime.now(UTC)
    runs = [(each.started_at, each) for each in executions if each.started_at]
    known = [moment for moment in (job.enqueued_at, *(begins for begins, _ in runs)) if moment]
    if not known:
        return Timeline([])
    at, stretches = min(known), []
    for begins, run in runs:
        if begins > at:
            stretches.append(Stretch("waited", at, begins, "waited"))
        stretches.append(Stretch(_kind(run.outcome), max(begins, at), run.ended_at, run.reason))
        at = max(run.ended_at, at)
    if job.status is Status.RUNNING and job.started_at:
        begins = max(job.started_at, at)
        stretches.append(Stretch("waited", at, begins, "waited"))
        stretches.append(Stretch("runs", begins, max(now, begins), "runs"))
    elif not job.status.is_final:
        stretches.append(Stretch("waited", at, max(now, at), f"is {job.status}"))
    return Timeline(stretches)


def _kind(outcome: str) -> Kind:
    if outcome in _FINE:
        return "ran"
    return "canceled" if outcome in _STOPPED else "failed"
