"""Reading what the script that enqueues answers."""

from typing import Any

from rq.job import Job
from rq.utils import as_text

from service.errors import (
    AlreadySubmitted,
    DependencyUnknown,
    IdempotencyKeyReused,
    QueueFull,
)
from service.submission import Submission


def check_taken(answer: Any, job: Job, submission: Submission) -> None:
    """Return where the submission became this job, now or when it was sent before.

    Raises `AlreadySubmitted`, `IdempotencyKeyReused`, `QueueFull` or `DependencyUnknown` where it
    became none.
    """
    if isinstance(answer, int):
        return
    word, told = as_text(answer[0]), answer[1]
    match word:
        case "replayed" | "duplicate":
            raise AlreadySubmitted(as_text(told), is_replay=word == "replayed")
        case "reused":
            raise IdempotencyKeyReused(as_text(told))
        case "unknown":
            raise DependencyUnknown(as_text(told))
        case "full":
            raise QueueFull(job.origin, submission.queue_limit, int(told))
        case _:
            raise AssertionError(f"the script knows no such answer: {word}")
