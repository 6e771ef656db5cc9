"""How an execution ended, and what it cost."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The ways to end. What follows from each is decided in `settlement` alone."""

    RETURNED = "returned"  #: the task returned
    RAISED = "raised"  #: it raised, ran into its timeout or a limit
    CANCELED = "canceled"  #: it was told to stop
    PUT_BACK = "put back"  #: its worker was told to leave before it had ended
    DIED = "died"  #: its process was killed, or crashed


@dataclass(frozen=True, slots=True)
class Usage:
    """What an execution used: seconds, and bytes at the peak."""

    wall_seconds: float
    cpu_seconds: float | None  #: None where nobody can tell
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One execution's end."""

    kind: Kind
    usage: Usage
    reason: str = ""  #: in a word or two, for the record
    body: bytes = b""  #: the result as JSON, or the traceback as text
    may_retry: bool = False  #: whether the task's policy retries this error

    def record(self) -> dict[str, Any]:
        """For the job's list of executions."""
        cpu = self.usage.cpu_seconds
        return {
            "outcome": self.kind.value,
            "reason": self.reason,
            "wall_seconds": round(self.usage.wall_seconds, 6),
            "cpu_seconds": None if cpu is None else round(cpu, 6),
            "peak_rss": self.usage.peak_rss,
        }
