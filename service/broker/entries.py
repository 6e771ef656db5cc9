"""The entries of a job's journal, as they are read."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rq.job import JobStatus

from service.broker.status import Status, status_of


@dataclass(frozen=True, slots=True)
class Step:
    """The job has come to a status."""

    status: Status
    at: datetime
    attempt: int  #: executions begun until then
    worker: str | None  #: that runs it


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that the job has printed or logged."""

    at: datetime  #: when it was written
    stream: str  #: "stdout", "stderr" or "log"
    level: str | None  #: of what was logged
    text: str


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Lines that were written together."""

    lines: list[LogLine]


def read_entry(entry: bytes) -> Step | LogPiece | None:
    """None where it can't be read: anybody may have written anything."""
    try:
        told: dict[str, Any] = json.loads(entry.partition(b" ")[2])
        if told["event"] == "log":
            return LogPiece([LogLine(moment(at), *line) for at, *line in told["lines"]])
        status = status_of(JobStatus(told["status"]))
        return Step(status, moment(told["at"]), int(told["attempt"]), told.get("worker"))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def moment(unix: float) -> datetime:
    """Unix seconds as a time in UTC."""
    return datetime.fromtimestamp(unix, UTC)
