"""How a job came to its end, from its error and the record of its last execution."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from service.broker.records import JobRecord
from service.broker.status import Status
from service.durations import in_words
from service.failure import Failure

LONGEST_MESSAGE = 200  # characters of an error's message that stand in a sentence

# What an error's type says of it; all others are the task's own exceptions.
_BY_TYPE = {
    "rq.timeouts.JobTimeoutException": "timeout",
    "MemoryError": "memory",
    "service.execution.limits.CpuTimeExceeded": "cpu_time",
    "DependencyFailed": "dependency_failed",
    "ResultGone": "result_gone",
    "ResultsTooLarge": "result_too_large",
    "service.execution.assignment.ResultTooLarge": "result_too_large",
    "service.execution.assignment.NotInCatalogue": "not_in_catalogue",
    "Unreadable": "unreadable",
    "service.execution.assignment.Unreadable": "unreadable",
}

_SIGNAL = re.compile(r"killed by (SIG\w+)")


@dataclass(frozen=True, slots=True)
class Reason:
    """One of them."""

    kind: str
    detail: str  #: a sentence
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """The last one that has ended, as far as it explains something."""

    outcome: str
    reason: str
    worker: str
    seconds: float | None


def last_execution(entry: bytes | None) -> Execution | None:
    """Read off its record."""
    if entry is None:
        return None
    told = json.loads(entry)
    return Execution(
        told["outcome"], told["reason"], told.get("worker") or "", told.get("wall_seconds")
    )


def how_it_ended(job: JobRecord, last: Execution | None, canceled_by: str | None) -> Reason:
    """Of a job that has ended."""
    match job.status:
        case Status.FINISHED:
            return Reason("finished", f"It finished{_after(last)}.", {"at": job.ended_at})
        case Status.CANCELED:
            return _canceled(job, last, canceled_by)
        case _:
            return _failed(job, last)


def _canceled(job: JobRecord, last: Execution | None, canceled_by: str | None) -> Reason:
    if job.error is not None and job.error.type == "Expired":
        return Reason(
            "expired",
            "No worker had started it by the time at which it expired.",
            {"expires_at": job.expires_at, "at": job.ended_at},
        )
    by = f" by {canceled_by}" if canceled_by else ""
    before = "while it ran" if last and last.outcome == "canceled" else "before it was run"
    was_killed = last is not None and last.reason == "canceled, killed"
    killed = "; it did not stop when told to, and was killed" if was_killed else ""
    return Reason(
        "canceled",
        f"It was canceled{by} {before}{killed}.",
        {"by": canceled_by, "at": job.ended_at},
    )


def _failed(job: JobRecord, last: Execution | None) -> Reason:
    error = job.error
    if error is None:
        return Reason("unknown", "It failed, and nothing is known of why.", {"at": job.ended_at})
    data: dict[str, Any] = {"type": error.type, "message": error.message, "at": job.ended_at}
    data |= {"attempts": job.attempts}
    if error.type == "WorkerLost":
        return _died(job, last, data)
    kind = _BY_TYPE.get(error.type, "exception")
    if kind == "timeout":
        killed = last is not None and "killed" in last.reason
        how = "went on when it was interrupted, and was killed" if killed else "was interrupted"
        told = f"It ran past its timeout and {how}{_after(last)}."
        return Reason(kind, told, data | {"killed": killed})
    words = {
        "memory": f"It ran out of the memory that it may use{_after(last)}.",
        "cpu_time": f"It used more CPU time than it may{_after(last)}.",
    }
    return Reason(kind, words.get(kind, f"It failed{_after(last)} with {_told(error)}"), data)


def _died(job: JobRecord, last: Execution | None, data: dict[str, Any]) -> Reason:
    """Poison: its process, or its worker, died as often as it may."""
    found = _SIGNAL.search(last.reason) if last else None
    if last is not None and found:
        name = found[1]
        memory = " (out of memory, it may be: the kernel kills so)" if name == "SIGKILL" else ""
        return Reason(
            "signal",
            f"Its process was killed by {name}{memory}, as often as its task allows.",
            data | {"signal": name},
        )
    what = last.reason if last else "it is not known how"
    return Reason(
        "worker_lost",
        f"The process that ran it died ({what}), as often as its task allows.",
        data | {"worker": last.worker if last else None},
    )


def _after(last: Execution | None) -> str:
    if last is None or last.seconds is None:
        return ""
    return " at once" if last.seconds < 0.0005 else f" after {in_words(last.seconds)}"


def _told(error: Failure) -> str:
    """Its type and the first line of what it says, as the end of a sentence."""
    line = error.message.strip().partition("\n")[0].rstrip()
    if not line:
        return f"{error.type}."
    if len(line) > LONGEST_MESSAGE:
        line = f"{line[: LONGEST_MESSAGE - 1]}…"
    return f"{error.type}: {line}{'' if line[-1] in '.!?…' else '.'}"
